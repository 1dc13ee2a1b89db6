import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runDpo, runKto } from './preference.js';
import { DpoSettings, KtoSettings } from './preferenceConfig.js';
import { runSft } from './sft.js';
import { SftSettings } from './sftConfig.js';
import { jobsIn } from './testing.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-samples-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const dataset = join(folder, 'pairs.jsonl');
const names = ['Anna', 'Ben', 'Clara', 'David', 'Emma', 'Frank', 'Grace', 'Henry', 'Iris', 'Jack', 'Kate', 'Leo'];
const rows = names.map((name) => ({
  prompt: `Once there was a child named ${name}.`,
  chosen: ` ${name} was happy.`,
  rejected: ` ${name} cried.`,
}));
writeFileSync(dataset, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));

const shared = {
  steps: 4,
  heldOut: 0.25,
  evaluateEvery: 2,
  learningRate: 5e-3,
  lora: { r: 4, dropout: 0.1 },
  newTokens: 6,
  saveEvery: 100,
};
const { job, adapterOf } = jobsIn(folder, dataset);
const files = (dir: string) => (existsSync(join(folder, dir, 'samples')) ? readdirSync(join(folder, dir, 'samples')).sort() : []);
const read = (dir: string, step: number) =>
  readFileSync(join(folder, dir, 'samples', `step-${String(step).padStart(6, '0')}.jsonl`), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('samples of a policy', () => {
  it('are its likeliest answers to the same held-out prompts before training, at each evaluation and at the end, and move nothing', async () => {
    await runSft(job(SftSettings.parse({ ...shared, writtenSamples: 2 }), 'with'));
    await runSft(job(SftSettings.parse({ ...shared, writtenSamples: 0 }), 'without'));
    expect(files('without')).toEqual([]);
    expect(files('with')).toEqual([0, 2, 4].map((step) => `step-00000${step}.jsonl`));
    expect(adapterOf('with')).toEqual(adapterOf('without'));
    const [before, after] = [read('with', 0), read('with', 4)];
    expect(after).toHaveLength(2);
    expect(after.map(({ prompt, answer }) => ({ prompt, answer }))).toEqual(before.map(({ prompt, answer }) => ({ prompt, answer })));
    expect(after[0].completion).not.toBe(before[0].completion);
    const { chosen, prompt } = rows.find((row) => row.prompt === after[0].prompt)!;
    expect(after[0]).toMatchObject({ step: 4, prompt, finish: expect.any(String), tokens: expect.any(Number) });
    expect(after[0].answer).toContain(chosen);
  });

  it('are not written again by a run that goes on', async () => {
    const settings = SftSettings.parse({ ...shared, writtenSamples: 2 });
    const log = join(folder, 'stopped', 'metrics.jsonl');
    const stops = {
      get aborted() {
        return existsSync(log) && readFileSync(log, 'utf8').split('\n').length > 3;
      },
      throwIfAborted() {},
    } as AbortSignal;
    await expect(runSft(job(settings, 'stopped', stops))).rejects.toThrow(/stopped after step 3/);
    expect(files('stopped')).toHaveLength(2);
    writeFileSync(join(folder, 'stopped', 'samples', 'step-000002.jsonl'), '{"mark":1}\n');
    await runSft(job(settings, 'stopped'));
    expect(read('stopped', 2)).toEqual([{ mark: 1 }]);
    expect(read('stopped', 4)).toEqual(read('with', 4));
    expect(adapterOf('stopped')).toEqual(adapterOf('with'));
  });

  it('stand beside the two answers of a pair, and beside the rated one', async () => {
    const { evaluateEvery: _, ...atTheEnd } = shared;
    await runDpo(job(DpoSettings.parse({ ...atTheEnd, steps: 1, pairsPerStep: 4 }), 'dpo'));
    expect(files('dpo')).toEqual(['step-000000.jsonl', 'step-000001.jsonl']);
    expect(read('dpo', 1)[0]).toMatchObject({ chosen: expect.stringContaining('was happy'), rejected: expect.stringContaining('cried') });
    await runKto(job(KtoSettings.parse({ ...atTheEnd, steps: 1, rowsPerStep: 8 }), 'kto'));
    expect(files('kto')).toEqual(['step-000000.jsonl', 'step-000001.jsonl']);
    for (const { rated, desirable } of read('kto', 1)) expect((rated as string).includes('was happy')).toBe(desirable);
  });
});
