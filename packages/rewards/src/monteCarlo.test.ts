import { rng } from '@plumbline/core/light';
import { describe, expect, it } from 'vitest';
import { mcEstimate } from './monteCarlo.js';

/** Four steps, each right with probability q; a wrong one is never mended. */
const q = 0.9;
const solver = async ({ steps, n, rng: draw }: { steps: readonly string[]; n: number; rng: { uniform(n: number): Float32Array } }) =>
  Array.from({ length: n }, () => [...draw.uniform(4 - steps.length)].map((u) => (u < q ? 'right' : 'wrong')).join(' '));
const verify = ({ steps, rest }: { steps: readonly string[]; rest: string }) => !/wrong/.test([...steps, rest].join(' '));

describe('mcEstimate', () => {
  it('is the chance of a right end: q to the steps that are left, and 0 after an error', async () => {
    const samples = 4000;
    const at = async (steps: string[]) => [...(await mcEstimate(solver, { prompt: 'p', steps }, { samples, verify, rng: rng(1) }))];
    (await at(['right', 'right', 'right', 'right'])).forEach((rate, s) => {
      const p = q ** (3 - s);
      expect(Math.abs(rate - p)).toBeLessThanOrEqual(3 * Math.sqrt((p * (1 - p)) / samples) + 1e-4);
    });
    expect((await at(['right', 'wrong', 'right'])).slice(1)).toEqual([0, 0]);
    expect(await at(['right', 'right'])).toEqual(await at(['right', 'right']));
  });
  it('refuses no samples, and a completer that answers too little', async () => {
    const solution = { prompt: 'p', steps: ['right'] };
    await expect(mcEstimate(solver, solution, { samples: 0, verify, rng: rng(1) })).rejects.toThrow(
      'samples must be a whole number above 0, got 0',
    );
    await expect(mcEstimate(async () => [], solution, { samples: 2, verify, rng: rng(1) })).rejects.toThrow(
      'step 0 was completed 0 times, not 2',
    );
    expect(await mcEstimate(solver, { prompt: 'p', steps: [] }, { samples: 2, verify, rng: rng(1) })).toHaveLength(0);
  });
});
