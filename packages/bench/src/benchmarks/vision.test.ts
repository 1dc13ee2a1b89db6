import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stepwiseToOutcome } from '@plumbline/rewards/judge';
import { dataPath } from '@plumbline/tools/fixtures';
import { afterAll, describe, expect, it } from 'vitest';
import { evaluate, readItems } from './evaluate.js';
import { benchmarkRows } from './rows.js';
import { vlrmBench } from './steps.js';
import type { PreferenceItem, Row } from './types.js';
import { finalAnswer, vilBench } from './vilbench.js';
import { vlrmCritique, vlrmForesight, vlrmSolutions } from './vlrm.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-vision-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (file: string, line = 1) => ({ path: `data/${file}.jsonl`, file, line });

describe('ViLBench', () => {
  const item = (candidates: string[], more: Row = {}) =>
    vilBench.read(
      { id: 'q', image: 'a.png', question: 'How many?', answer: '4', source: 'MathVista', candidates, ...more },
      at('vilbench'),
    )!;
  const numbers = (items: PreferenceItem[], scores: number[][]) =>
    Object.fromEntries(
      vilBench
        .report(
          items,
          scores.map((one) => ({ scores: one })),
        )
        .map(({ name, value }) => [name, value]),
    );

  it('puts right solutions first, by their final answers, and keeps the order of the file', () => {
    const read = item(['so 3', 'The answer is 4.', 'it is \\boxed{4}', 'none']);
    expect(read.correct).toBe(2);
    expect(read.candidates).toEqual(['The answer is 4.', 'it is \\boxed{4}', 'so 3', 'none']);
    expect(read).toMatchObject({ subset: 'MathVista', media: [{ kind: 'image', uri: 'a.png' }], info: { order: '[1,2,0,3]' } });
  });
  it('reads letters where there are options, and a key that is an option’s text', () => {
    expect(finalAnswer('A cat is not B. The answer is (C).', 4)).toBe('C');
    expect(finalAnswer('so \\boxed{D}', 4)).toBe('D');
    expect(finalAnswer('I take B', 4)).toBe('B');
    expect(finalAnswer('no idea', 4)).toBeUndefined();
    const read = item(['Answer: B', 'Answer: A'], { options: ['three', 'four'], answer: 'four' });
    expect(read.correct).toBe(1);
    expect(read.prompt).toBe('How many?\nA. three\nB. four');
    expect(item(['Answer: B'], { options: ['three', 'four'], answer: '(B) four' }).correct).toBe(1);
  });
  it('counts the choice, the first of several with one score; what cannot be beaten stands beside it', () => {
    // 24 solutions, 7 right: a random choice is right in 7 of 24
    const right = [5, 6, 7, 8, 9, 10, 11];
    const one = item(Array.from({ length: 24 }, (_, i) => `The answer is ${right.includes(i) ? 4 : 100 + i}.`));
    const constant = numbers([one], [Array(24).fill(1)]);
    expect(constant).toMatchObject({ accuracy: 0, 'any right': 1, 'the majority': 1, 'first place shared': 1 });
    expect(constant['a random choice']).toBeCloseTo(0.2916666667, 9);
    const perfect = one.candidates.map((text) => (String(text).includes(' 4.') ? 1 : 0));
    expect(numbers([one], [perfect])).toMatchObject({ accuracy: 1, 'best of the first 4': 0, 'best of the first 8': 1 });
    const none = item(['The answer is 1.', 'The answer is 2.']);
    expect(numbers([one, none], [perfect, [1, 0]])).toMatchObject({ accuracy: 0.5, 'any right': 0.5, 'the majority': 0.5 });
  });
  it('is judged by step scorers, a solution by the mean over its steps, and refuses judges of pairs', async () => {
    // mean .866667 against .716667: the second has one fatal step, which the last step alone would tell
    const items = [item(['one\ntwo\nThe answer is 3.', 'uno\ndos\nThe answer is 4.'])];
    const scores: Record<string, number> = { one: 0.9, two: 0.8, uno: 0.95, dos: 0.9, 'The answer is 3.': 0.9, 'The answer is 4.': 0.3 };
    const steps = {
      name: 'steps',
      scoreSteps: async (batch: readonly { steps: readonly string[] }[]) =>
        batch.map((one) => Float32Array.from(one.steps, (step) => scores[step])),
    };
    const run = (how: 'mean' | 'max') =>
      evaluate(vilBench, { items, subject: { kind: 'reward', reward: stepwiseToOutcome(steps, how) }, dir: join(folder, how) });
    expect((await run('mean')).result.numbers[0].value).toBe(0);
    expect((await run('max')).result.numbers[0].value).toBe(1);
    const judge = { name: 'judge', compare: async () => [] };
    await expect(evaluate(vilBench, { items, subject: { kind: 'judge', judge }, dir: join(folder, 'judge') })).rejects.toThrow(
      'ViLBench needs scores',
    );
  });
  it('names rows without a solution or a question', () => {
    expect(() => item([])).toThrow('"candidates" must be at least one solution');
    expect(() => vilBench.read({ id: 'q', candidates: ['a'], answer: '1' }, at('v', 7))).toThrow(
      'data/v.jsonl, line 7: "question" must be a text',
    );
  });
});

describe('VLRMBench’s other tasks', () => {
  const base = { id: '1', image: ['a.png'], question: 'q', step_list: ['STEP1: a', 'STEP2: b'], reasoning_error: 'STEP1: a STEP2: c' };
  it('are read from one folder by their files, each by its own benchmark', async () => {
    const dir = mkdtempSync(join(folder, 'vlrm-'));
    const write = (task: string, row: Row) => writeFileSync(join(dir, `${task}.jsonl`), `${JSON.stringify(row)}\n`);
    write('multi_solution', { ...base, task_gt: [0, 1] });
    write('foresight', { ...base, task_gt: true });
    write('error_correction', { ...base, task_gt: 'reference' });
    write('error_reason_analysis', { ...base, task_gt: 'reference' });
    write('step_correctness', { ...base, task_gt: [0, 1] });
    for (const [benchmark, n] of [
      [vlrmBench, 1],
      [vlrmSolutions, 1],
      [vlrmForesight, 1],
      [vlrmCritique, 2],
    ] as const)
      expect(await readItems(benchmark, benchmarkRows([dir]))).toHaveLength(n);
  });
  it('count a tie between two solutions as a loss', () => {
    const read = vlrmSolutions.read({ ...base, task_gt: [0, 1] }, at('multi_solution'))!;
    expect(read.candidates).toEqual(['STEP1: a\nSTEP2: b', base.reasoning_error]);
    expect(vlrmSolutions.report([read, read], [{ wins: [0.5] }, { wins: [1] }])[0].value).toBe(0.5);
    expect(vlrmSolutions.read({ ...base, error_info: '' }, at('multi_solution'))).toBeUndefined();
  });
  it('take yes and no by the official rule, and by the last word beside it', async () => {
    const check = async (gt: boolean, answer: string) =>
      vlrmForesight.check(vlrmForesight.read({ ...base, task_gt: gt }, at('foresight'))!, answer, {});
    expect(await check(true, 'Yes, it will.')).toEqual({ right: 1, strict: 1 });
    expect(await check(false, 'It is not')).toEqual({ right: 0, strict: 0 });
    expect(await check(false, 'No. True reasoning')).toEqual({ right: 1, strict: 0 });
    expect(await check(true, 'No. True reasoning')).toEqual({ right: 1, strict: 1 });
    expect(() => vlrmForesight.read({ ...base, task_gt: 1 }, at('foresight'))).toThrow('"task_gt" must be true or false');
  });
  it('have critiques win only where both orders together favour them, never against the same text', async () => {
    const read = vlrmCritique.read({ ...base, task_gt: 'the reference' }, at('error_correction'))!;
    const verdict = (winner: 'a' | 'b' | 'tie') => ({ winner, probA: 0.5, parsed: true });
    const judge = (...winners: ('a' | 'b' | 'tie')[]) => ({ name: 'judge', compare: async () => winners.map(verdict) });
    expect(await vlrmCritique.check(read, 'better', { judge: judge('a', 'b') })).toEqual({ wins: 1 });
    expect(await vlrmCritique.check(read, 'better', { judge: judge('a', 'tie') })).toEqual({ wins: 1 });
    expect(await vlrmCritique.check(read, 'better', { judge: judge('a', 'a') })).toEqual({ wins: 0 });
    expect(await vlrmCritique.check(read, ' the reference', { judge: judge('a', 'b') })).toEqual({ wins: 0 });
    expect(() => vlrmCritique.prepare!([read], {})).toThrow('name a judge');
  });
  const here = dataPath('vlrmbench/location_error.jsonl');
  it.skipIf(!here)('leave the official step tasks to the step benchmark (skipped where the real data is missing)', async () => {
    await expect(readItems(vlrmSolutions, benchmarkRows([here!]))).rejects.toThrow('no item of VLRMBench, multiple solutions was found');
  });
});
