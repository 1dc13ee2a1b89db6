/** `plumb bench` at tiny shapes and without PyTorch: that it runs and answers numbers, never how fast. */
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { plumb } from './plumb.js';

type Spread = { median: number; low: number; high: number };
type Result = {
  participants: { name: string }[];
  cases: { name: string; results: Record<string, { seconds?: Spread; rate?: Spread; error?: string }> }[];
};

describe('plumb bench', () => {
  for (const suite of ['kernels', 'train'])
    it(`measures ${suite} on each backend that works here and keeps a line of history`, async () => {
      const folder = mkdtempSync(join(tmpdir(), 'plumbline-bench-'));
      const outcome = await plumb(['bench', suite, '--quick', '--no-peer', '--json'], { cwd: folder });
      expect(outcome.code, outcome.stderr).toBe(0);
      const result = JSON.parse(outcome.stdout) as Result;
      expect(result.participants.map(({ name }) => name)).toContain('wasm');
      for (const { name, results } of result.cases)
        for (const participant of result.participants) {
          const measured = results[participant.name];
          // bf16 operands are there for products alone, the plain copy is native's
          if (!measured && (participant.name === 'native-bf16' || name.startsWith('copy'))) continue;
          const { seconds, rate, error } = measured;
          expect(error, `${participant.name}, ${name}`).toBeUndefined();
          for (const value of [seconds, rate].flatMap((spread) => Object.values(spread ?? { missing: Number.NaN })))
            expect(value > 0 && value < Infinity, `${participant.name}, ${name}: ${value}`).toBe(true);
        }
      const history = readFileSync(join(folder, '.plumbline', 'bench-history.jsonl'), 'utf8')
        .trim()
        .split('\n');
      expect(history.map((line) => JSON.parse(line))).toEqual([result]);
    });

  it('names the backend that does not exist, and the suites that do', async () => {
    const backend = await plumb(['bench', 'kernels', '--quick', '--no-peer', '--backend', 'wasm,tpu']);
    expect(backend.code).toBeGreaterThan(0);
    expect(backend.stderr).toMatch(/"tpu".*native/);
    const suite = await plumb(['bench', 'kernel']);
    expect(suite.code).toBeGreaterThan(0);
    expect(suite.stderr).toMatch(/kernel.*kernels, train/s);
  });
});
