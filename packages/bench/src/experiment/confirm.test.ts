import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { confirmResult } from './confirm.js';
import { defineExperiment } from './define.js';
import { reproductionMatrix, reproductionsMarkdown } from './reproductions.js';
import { runExperiment } from './run.js';
import type { ExperimentResult, Progress } from './types.js';

const root = mkdtempSync(join(tmpdir(), 'plumbline-confirm-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** What `b` gains on `a`, in units, with noise from the seed. */
const experiment = (gain = 1) =>
  defineExperiment({
    id: 'par',
    paper: 'arXiv:0000.00000',
    packages: ['core'],
    config: z.strictObject({ noise: z.number().default(0.1) }),
    quick: {},
    arms: ['a', 'b'],
    metrics: { gold: { unit: 'points', better: 'higher' } },
    claims: [{ id: 'gold', text: 'B has more', test: { metric: 'gold', better: 'b', than: 'a', smallestEffect: 0.5 } }],
    async run({ config, rng }) {
      const noise = rng.normal(1)[0] * config.noise;
      const of = (value: number) => ({ gold: Float64Array.of(value + noise, value - 3 * noise) });
      return { arms: { a: of(0), b: of(gain) }, statistics: { noise } };
    },
  });

/** A stored result of two seeds that other code measured, and where it lies. */
async function storedByOtherCode(name: string) {
  const storeDir = join(root, name, 'docs', 'par');
  const runs = join(root, name, 'runs');
  await runExperiment(experiment(), { outDir: join(runs, 'first'), storeDir, seeds: [3, 4], config: { noise: 0.25 } });
  const file = join(storeDir, 'result.json');
  const stored: ExperimentResult = { ...JSON.parse(readFileSync(file, 'utf8')), codeHash: 'old' };
  writeFileSync(file, `${JSON.stringify(stored, null, 2)}\n`);
  return { storeDir, outDir: join(runs, 'second'), file, stored };
}
const page = async (storeDir: string) =>
  reproductionsMarkdown(await reproductionMatrix({ implemented: new Map([['par', undefined]]), resultsDir: join(storeDir, '..') }));

describe('confirmResult', () => {
  it('keeps that the first counted seed, with the settings that are stored, gives the same numbers, and the page says so', async () => {
    const { storeDir, outDir, file, stored } = await storedByOtherCode('same');
    expect(await page(storeDir)).toContain('**the code has changed since**');
    const confirmation = await confirmResult(experiment(), { storeDir, outDir });
    expect(confirmation).toMatchObject({ id: 'par', seed: 3, compared: 4, differences: [] });
    const { confirmed, ...rest } = JSON.parse(readFileSync(file, 'utf8'));
    expect(rest).toEqual(stored);
    expect(confirmed).toMatchObject({ codeHash: confirmation.codeHash, seed: 3 });
    expect(await page(storeDir)).toContain(
      `code changed since; seed 3, repeated on ${confirmed.date} on the code as it is, gives the same numbers`,
    );
    // confirmed on code that has changed again
    writeFileSync(file, JSON.stringify({ ...rest, confirmed: { ...confirmed, codeHash: 'older' } }));
    expect(await page(storeDir)).toContain('**the code has changed since**');
  });
  it('names the numbers that changed, old and new, and leaves the file as it was', async () => {
    const { storeDir, outDir, file, stored } = await storedByOtherCode('changed');
    const before = readFileSync(file, 'utf8');
    const { differences } = await confirmResult(experiment(1 + 1e-12), { storeDir, outDir });
    const old = stored.arms.b.gold.perSeed[0];
    expect(differences).toEqual([{ where: 'b gold', stored: old, now: expect.closeTo(old + 1e-12, 14) }]);
    expect(readFileSync(file, 'utf8')).toBe(before);
  });
  it('judges claims over seeds again, and names a verdict that is another', async () => {
    const { storeDir, outDir, file, stored } = await storedByOtherCode('verdict');
    const [claim] = stored.claims;
    writeFileSync(file, JSON.stringify({ ...stored, claims: [{ ...claim, verdict: 'holds' }] }));
    const before = readFileSync(file, 'utf8');
    const { differences } = await confirmResult(experiment(), { storeDir, outDir });
    expect(differences).toEqual([{ where: 'verdict on gold', stored: 'holds', now: 'undecided at this scale' }]);
    expect(readFileSync(file, 'utf8')).toBe(before);
    // over units, of which means alone are stored, nothing can be judged again
    writeFileSync(file, JSON.stringify({ ...stored, claims: [{ ...claim, verdict: 'holds', unit: 'prompts' }] }));
    expect((await confirmResult(experiment(), { storeDir, outDir })).differences).toEqual([]);
  });
  it('keeps a seed that is measured already', async () => {
    const { storeDir, outDir } = await storedByOtherCode('kept');
    const states: string[] = [];
    const onProgress = (p: Progress) => p.kind === 'seed' && states.push(`${p.seed} ${p.state}`);
    await confirmResult(experiment(), { storeDir, outDir, onProgress });
    await confirmResult(experiment(), { storeDir, outDir, onProgress });
    expect(states).toEqual(['3 started', '3 finished', '3 kept']);
  });
  it('says where nothing is stored, or on what else it was measured, before it runs', async () => {
    const { storeDir, outDir, file, stored } = await storedByOtherCode('elsewhere');
    await expect(confirmResult(experiment(), { storeDir: join(root, 'nowhere'), outDir })).rejects.toThrow(
      /"par" has no stored result to confirm; `plumb reproduce par --store`/,
    );
    writeFileSync(file, JSON.stringify({ ...stored, backend: 'abacus' }));
    await expect(confirmResult(experiment(), { storeDir, outDir })).rejects.toThrow('was measured on abacus');
    expect(existsSync(outDir)).toBe(false);
  });
});
