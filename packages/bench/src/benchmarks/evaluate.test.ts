import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Candidate, LanguageModel, PairwiseJudge, RewardFunction } from '@plumbline/data';
import { afterAll, describe, expect, it } from 'vitest';
import { evaluate, readItems } from './evaluate.js';
import { benchmarks } from './index.js';
import { judgeBench } from './preference.js';
import { socraticPrmBench } from './steps.js';
import type { AnswerBenchmark, PreferenceItem } from './types.js';

const root = mkdtempSync(join(tmpdir(), 'plumbline-eval-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const dir = (name: string) => join(root, name);

const items: PreferenceItem[] = Array.from({ length: 10 }, (_, i) => ({
  id: `i${i}`,
  subset: i < 5 ? 'a' : 'b',
  prompt: `question ${i}`,
  candidates: ['x'.repeat(10 - i), 'xxxxx'],
  correct: 1,
}));
/** Scores by length. */
const lengthReward = (calls: number[] = []): RewardFunction => ({
  name: 'length',
  score: async (batch: readonly Candidate[]) => {
    calls.push(batch.length);
    return { scores: Float32Array.from(batch, ({ completion }) => (completion as string).length) };
  },
});

describe('evaluate', () => {
  it('scores every candidate, writes the table, the page and a line an item', async () => {
    const { result, reportPath } = await evaluate(judgeBench, {
      items,
      subject: { kind: 'reward', reward: lengthReward() },
      dir: dir('one'),
      batch: 4,
    });
    expect(result).toMatchObject({ items: 10, missing: 0, subject: 'length', benchmark: 'judgebench' });
    // lengths 10 to 6 beat 5, 5 ties, 4 to 1 lose
    expect(result.numbers[0]).toMatchObject({ value: 0.5, n: 10 });
    const [a] = result.numbers.filter(({ name }) => name === 'a');
    expect(a).toMatchObject({ value: 1, n: 5 });
    // Wilson's interval of 5 of 5
    expect(a.ci95![0]).toBeCloseTo(0.5655175, 6);
    expect(a.ci95![1]).toBe(1);
    expect(readFileSync(reportPath, 'utf8')).toContain('Judged wrongly');
    expect(
      readFileSync(join(dir('one'), 'results.jsonl'), 'utf8')
        .trim()
        .split('\n'),
    ).toHaveLength(12); // what they are of, ten items, what they took
  });
  it('goes on where it stopped, also after a line that was cut short, and gives the same table', async () => {
    const controller = new AbortController();
    const stop = (done: number) => done >= 4 && controller.abort();
    const options = { items, dir: dir('two'), batch: 2 };
    await expect(
      evaluate(judgeBench, {
        ...options,
        subject: { kind: 'reward', reward: lengthReward() },
        signal: controller.signal,
        onProgress: stop,
      }),
    ).rejects.toThrow('4 of 10 items are kept');
    appendFileSync(join(dir('two'), 'results.jsonl'), '{"id":"i4","outc');
    const calls: number[] = [];
    const { result } = await evaluate(judgeBench, { ...options, subject: { kind: 'reward', reward: lengthReward(calls) } });
    expect(calls.reduce((sum, n) => sum + n, 0)).toBe(12);
    const { result: whole } = await evaluate(judgeBench, {
      ...options,
      dir: dir('three'),
      subject: { kind: 'reward', reward: lengthReward() },
    });
    expect(result.numbers).toEqual(whole.numbers);
    const other = { ...lengthReward(), name: 'another' };
    await expect(evaluate(judgeBench, { ...options, subject: { kind: 'reward', reward: other } })).rejects.toThrow('choose another folder');
    // other weights under the same name
    await expect(evaluate(judgeBench, { ...options, subject: { kind: 'reward', reward: lengthReward() }, identity: 'ab' })).rejects.toThrow(
      'choose another folder',
    );
  });
  it('judges an item again that is no longer what was judged, and one whose score is no number not at all', async () => {
    const options = { dir: dir('changed'), subject: { kind: 'reward' as const, reward: lengthReward() } };
    await evaluate(judgeBench, { ...options, items });
    const calls: number[] = [];
    const changed = items.map((item, i) => (i < 3 ? { ...item, prompt: `another question ${i}` } : item));
    await evaluate(judgeBench, { ...options, items: changed, subject: { kind: 'reward', reward: lengthReward(calls) } });
    expect(calls).toEqual([6]);
    const broken: RewardFunction = {
      name: 'broken',
      score: async (batch) => ({ scores: Float32Array.from(batch, ({ prompt }) => (prompt === 'question 3' ? Number.NaN : 1)) }),
    };
    const { result } = await evaluate(judgeBench, { items, subject: { kind: 'reward', reward: broken }, dir: dir('broken') });
    expect(result).toMatchObject({
      items: 9,
      missing: 1,
      firstError: 'item "i3": the reward gave NaN, NaN for 2 answers, not a number each',
    });
  });
  it('keeps no answer that the signal cut short', async () => {
    const controller = new AbortController();
    const model: LanguageModel = {
      name: 'stopped',
      can: { score: false, embed: false, logps: false },
      generate: async (prompts) => {
        controller.abort();
        return prompts.map(() => [{ text: '', tokens: new Int32Array(0), samplingLogps: new Float32Array(0), finish: 'aborted' as const }]);
      },
    };
    const sums = [1, 2, 3].map((i) => ({ id: String(i), subset: 'all', prompt: `${i}`, target: '1' }));
    const options = { items: sums, dir: dir('cut short'), batch: 2, signal: controller.signal };
    await expect(evaluate(benchmarks.gsm8k, { ...options, subject: { kind: 'model', model } })).rejects.toThrow('0 of 3 items are kept');
    const answering: LanguageModel = {
      ...model,
      generate: async (prompts) =>
        prompts.map(() => [{ text: '1', tokens: new Int32Array(1), samplingLogps: new Float32Array(1), finish: 'stop' as const }]),
    };
    const { result } = await evaluate(benchmarks.gsm8k, { ...options, signal: undefined, subject: { kind: 'model', model: answering } });
    expect(result.numbers[0]).toMatchObject({ value: 1, n: 3 });
  });
  it('asks a judge in both orders: one that always takes the first shown is undecided everywhere', async () => {
    const judge = (pick: (a: string, b: string) => 'a' | 'b'): PairwiseJudge => ({
      name: 'judge',
      compare: async (batch) => batch.map(({ a, b }) => ({ winner: pick(a as string, b as string), probA: 0.5, parsed: true })),
    });
    const first = await evaluate(benchmarks.rewardbench, {
      items: items.map((item) => ({ ...item, subset: 'donotanswer' })),
      subject: { kind: 'judge', judge: judge(() => 'a') },
      dir: dir('four'),
    });
    expect(first.result.numbers[0].value).toBe(0.5);
    expect(first.result.orders).toEqual({ agreement: 0, firstShown: 1, pairs: 10 });
    const longer = await evaluate(judgeBench, {
      items,
      subject: { kind: 'judge', judge: judge((a, b) => (a.length >= b.length ? 'a' : 'b')) },
      dir: dir('five'),
    });
    expect(longer.result.orders).toEqual({ agreement: 0.9, firstShown: 0.55, pairs: 10 });
  });
  it('leaves items out that fail, says so, and gives up where most do', async () => {
    const some = {
      name: 'some',
      score: async (batch: readonly Candidate[]) => {
        if (batch.some(({ prompt }) => prompt === 'question 3')) throw new Error('no answer');
        return { scores: Float32Array.from(batch, ({ completion }) => (completion as string).length) };
      },
    };
    const { result, reportPath } = await evaluate(judgeBench, { items, subject: { kind: 'reward', reward: some }, dir: dir('six') });
    expect(result).toMatchObject({ items: 9, missing: 1, firstError: 'no answer' });
    expect(readFileSync(reportPath, 'utf8')).toContain('1 of 10 items have no outcome');
    const none = {
      name: 'none',
      score: async () => {
        throw new Error('down');
      },
    };
    await expect(evaluate(judgeBench, { items, subject: { kind: 'reward', reward: none }, dir: dir('seven') })).rejects.toThrow(
      'none failed on 10 of 10 items; the last error: down',
    );
    expect(existsSync(join(dir('seven'), 'result.json'))).toBe(false);
  });
  it('checks answers of a model, and refuses a subject that does not fit', async () => {
    const arithmetic: AnswerBenchmark<number> = {
      kind: 'answers',
      id: 'sums',
      title: 'Sums',
      files: 'none',
      metric: 'share right',
      maxTokens: 4,
      read: () => undefined,
      check: async ({ target }, response) => ({ right: Number(response) === target ? 1 : 0 }),
      report: (all, outcomes) => [
        { name: 'right', level: 'overall', value: outcomes.filter(({ passed }) => passed.right).length / all.length, n: all.length },
      ],
    };
    const model: LanguageModel = {
      name: 'two',
      can: { score: false, embed: false, logps: false },
      generate: async (prompts) =>
        prompts.map(() => [{ text: '2', tokens: new Int32Array(1), samplingLogps: new Float32Array(1), finish: 'stop' as const }]),
    };
    const sums = [1, 2].map((b) => ({ id: `1+${b - 1}`, subset: 's', prompt: `1+${b - 1}`, target: b }));
    const { result } = await evaluate(arithmetic, { items: sums, subject: { kind: 'model', model }, dir: dir('eight') });
    expect(result.numbers[0].value).toBe(0.5);
    await expect(evaluate(judgeBench, { items, subject: { kind: 'model', model }, dir: dir('nine') })).rejects.toThrow(
      'judges a reward function or a pairwise judge',
    );
    await expect(
      evaluate(socraticPrmBench, { items, subject: { kind: 'reward', reward: lengthReward() }, dir: dir('nine') }),
    ).rejects.toThrow('judges a step reward function');
  });
});

describe('readItems', () => {
  async function* rows(list: Record<string, unknown>[]) {
    for (const [i, row] of list.entries()) yield { row, place: { path: 'f.jsonl', file: 'f', line: i + 1 } };
  }
  const good = { pair_id: 'i', source: 's', question: 'q', response_A: 'A', response_B: 'B', label: 'A>B' };
  it('refuses an id that is there twice, and files without an item', async () => {
    expect(await readItems(judgeBench, rows([good, { ...good, pair_id: 'j' }]), { limit: 1 })).toHaveLength(1);
    await expect(readItems(judgeBench, rows([good, good]))).rejects.toThrow('f.jsonl, line 2: the id "i" is there twice');
    await expect(readItems(judgeBench, rows([]))).rejects.toThrow('no item of JudgeBench was found; it reads JSON lines with pair_id');
  });
});
