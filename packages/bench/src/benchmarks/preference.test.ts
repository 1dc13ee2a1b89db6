import { describe, expect, it } from 'vitest';
import {
  judgeBench,
  llmBar,
  mRewardBench,
  planRewardBench,
  rewardBench,
  rewardBench2,
  rmBench,
  vlRewardBench,
  writingQuality,
} from './preference.js';
import type { PreferenceBenchmark, PreferenceItem, Row } from './types.js';

const at = (file = 'x', line = 1) => ({ path: `data/${file}.jsonl`, file, line });
/** Items of `n` rows a subset, and outcomes of which the given share is right. */
function withAccuracies(benchmark: PreferenceBenchmark, name: string, accuracies: Record<string, number>, more: Row = {}) {
  const items: PreferenceItem[] = [];
  const outcomes: { scores: number[] }[] = [];
  for (const [subset, accuracy] of Object.entries(accuracies))
    for (let i = 0; i < 20; i++) {
      items.push(benchmark.read({ id: `${subset}${i}`, [name]: subset, prompt: 'p', chosen: 'c', rejected: 'r', ...more }, at())!);
      outcomes.push({ scores: i < Math.round(20 * accuracy) ? [1, 0] : [0, 1] });
    }
  return { items, outcomes, value: (what: string) => benchmark.report(items, outcomes).find(({ name }) => name === what)?.value };
}

describe('RewardBench and M-RewardBench', () => {
  const chat = { 'alpacaeval-easy': 0.9, 'alpacaeval-length': 0.8, 'alpacaeval-hard': 0.95, 'mt-bench-easy': 1, 'mt-bench-med': 0.7 };
  it('weigh subsets by their official sizes: the values of the card', () => {
    const { items, outcomes } = withAccuracies(mRewardBench, 'source', chat, { language: 'deu_Latn' });
    expect(mRewardBench.report(items, outcomes)[0].value).toBeCloseTo(0.868581, 6);
    const reasoning = {
      'math-prm': 0.6,
      'hep-cpp': 0.9,
      'hep-go': 0.9,
      'hep-java': 0.9,
      'hep-js': 0.9,
      'hep-python': 0.9,
      'hep-rust': 0.9,
    };
    const second = withAccuracies(mRewardBench, 'source', reasoning, { language: 'deu_Latn' });
    expect(mRewardBench.report(second.items, second.outcomes)[0].value).toBeCloseTo(0.75, 12);
    expect(withAccuracies(rewardBench, 'subset', chat).value('Chat')).toBeCloseTo((90 + 76 + 90.25 + 28 + 28) / 358, 12);
  });
  it('name a subset that is none of theirs, but in the translation task', () => {
    const row = { id: 1, subset: 'math', source: 'math', prompt: 'p', chosen: 'c', rejected: 'r' };
    for (const benchmark of [rewardBench, mRewardBench])
      expect(() => benchmark.read(row, at())).toThrow(/must be one of alpacaeval-easy, .*, it holds "math"/);
    expect(mRewardBench.read(row, at('translation-easy'))).toMatchObject({ subset: 'math', info: { language: 'translation' } });
  });
  it('average the languages but English, and report the drop from it', () => {
    const parts = ['eng_Latn', 'deu_Latn', 'fra_Latn'].map((language, i) =>
      withAccuracies(mRewardBench, 'source', { donotanswer: 0.9 - 0.1 * i }, { language }),
    );
    const numbers = mRewardBench.report(
      parts.flatMap(({ items }) => items),
      parts.flatMap(({ outcomes }) => outcomes),
    );
    expect(numbers.slice(0, 2).map(({ name, value }) => [name, Number(value.toFixed(9))])).toEqual([
      ['multilingual average', 0.75],
      ['drop from English', 0.15],
    ]);
  });
  it('count a tie of scores as a loss, and half for a judge that could not say', () => {
    const item = rewardBench.read({ id: 1, subset: 'donotanswer', prompt: 'p', chosen: 'c', rejected: 'r' }, at())!;
    expect(rewardBench.report([item], [{ scores: [1, 1] }])[0].value).toBe(0);
    expect(rewardBench.report([item], [{ wins: [0.5] }])[0].value).toBe(0.5);
  });
});

describe('RewardBench 2', () => {
  const item = (id: string, subset: string, chosen: string[], rejected: string[]) =>
    rewardBench2.read({ id, subset, prompt: 'p', chosen, rejected }, at())!;
  it('asks that the right one of four scores highest, sharing first places', () => {
    const items = [1, 2, 3].map((i) => item(String(i), 'Focus', ['c'], ['x', 'y', 'z']));
    const outcomes = [{ scores: [3, 1, 1, 1] }, { scores: [3, 3, 1, 1] }, { scores: [0, 3, 1, 1] }];
    expect(rewardBench2.report(items, outcomes)[0].value).toBeCloseTo(0.5, 12);
  });
  it('has its own formula for several right answers', () => {
    const items = [item('ref:0', 'Ties', ['c'], ['x', 'y']), item('tied:0', 'Ties', ['a', 'b'], ['x', 'y'])];
    // gaps 2 and 1, spread 0.5: all holds, margin tanh(1 / 0.5 - 1)
    const good = rewardBench2.report(items, [{ scores: [3, 1, 0] }, { scores: [3, 2.5, 1.5, 0] }]);
    expect(good[0].value).toBeCloseTo(1 + 0.01 * Math.tanh(1), 12);
    // the right ones are further apart than right from wrong
    const spread = rewardBench2.report(items, [{ scores: [3, 1, 0] }, { scores: [9, 2, 1.5, 0] }]);
    expect(spread[0].value).toBeCloseTo(0.6 + 0.01 * Math.tanh(0.5 / 7 - 1), 12);
    // right answers that score the same: as far apart as can be, or nothing to say where no gap is left either
    const alike = (wrong: number) => rewardBench2.report(items, [{ scores: [3, wrong, 0] }, { scores: [3, 3, wrong, 0] }])[0].value;
    expect(alike(1)).toBeCloseTo(1.01, 12);
    expect(alike(3)).toBe(0);
    expect(() => rewardBench2.report(items, [{ wins: [1, 1] }, { wins: [1, 1, 1, 1] }])).toThrow('needs scores');
  });
});

describe('RM-Bench', () => {
  it('reads the matrix: easy below the diagonal, hard above it', () => {
    const row = (file: string, id: number) =>
      rmBench.read({ id, prompt: 'p', chosen: ['a', 'b', 'c'], rejected: ['x', 'y', 'z'] }, at(file))!;
    const items = [row('chat_filtered', 1), row('safety-refuse_filtered', 1), row('safety-response_filtered', 1)];
    // style is all that counts: every styled answer beats every plainer one
    const styled = { scores: [0, 1, 2, 0.5, 1.5, 2.5] };
    const numbers = rmBench.report(
      items,
      items.map(() => styled),
    );
    const value = (name: string) => numbers.find((one) => one.name === name)!.value;
    expect([value('easy'), value('normal'), value('hard'), value('accuracy')]).toEqual([1, 0, 0, 1 / 3]);
    expect(value('chosen with Markdown, rejected concise')).toBe(1);
    expect(numbers.filter(({ level }) => level === 'group').map(({ name }) => name)).toEqual(expect.arrayContaining(['chat', 'safety']));
    expect(() => rmBench.read({ id: 1, prompt: 'p', chosen: ['a'], rejected: ['x', 'y', 'z'] }, at('chat_filtered'))).toThrow(
      '"chosen" must be a list of three texts',
    );
    expect(() => rmBench.read({ id: 1, prompt: 'p', chosen: ['a', 'b', 'c'], rejected: ['x', 'y', 'z'] }, at('unknown'))).toThrow(
      'chat, math, code or safety',
    );
  });
});

describe('JudgeBench and LLMBar', () => {
  it('count verdicts that cancel as wrong in JudgeBench, and as half in LLMBar', () => {
    const hard = judgeBench.read({ pair_id: 'i', source: 's', question: 'q', response_A: 'A', response_B: 'B', label: 'A>B' }, at())!;
    expect(judgeBench.report([hard, { ...hard, id: 'j' }], [{ wins: [0.5] }, { wins: [1] }])[0].value).toBe(0.5);
    const natural = llmBar.read({ input: 'q', output_1: 'one', output_2: 'two', label: 2 }, at('natural'))!;
    expect(llmBar.report([natural], [{ wins: [0.5] }])[0].value).toBe(0.5);
  });
  it('have an interval for a group of JudgeBench of which a subset has one pair alone', () => {
    const items = ['mmlu-pro-law', 'mmlu-pro-law', 'mmlu-pro-math'].map(
      (source, i) => judgeBench.read({ pair_id: String(i), source, question: 'q', response_A: 'A', response_B: 'B', label: 'A>B' }, at())!,
    );
    const numbers = judgeBench.report(items, [{ scores: [1, 0] }, { scores: [0, 1] }, { scores: [1, 0] }]);
    const knowledge = numbers.find(({ name }) => name === 'Knowledge')!;
    expect(knowledge).toEqual({ ...numbers[0], name: 'Knowledge', level: 'group' });
    expect(knowledge.ci95).toBeDefined();
  });
  it('leave what LLMBar took from other benchmarks out of its headline', () => {
    const items = ['natural', 'adversarial_manual', 'processed_mt_bench'].map(
      (file) => llmBar.read({ input: 'q', output_1: 'one', output_2: 'two', label: 1 }, at(file))!,
    );
    const numbers = llmBar.report(items, [{ scores: [1, 0] }, { scores: [0, 1] }, { scores: [0, 1] }]);
    expect(numbers[0]).toMatchObject({ name: 'overall', value: 0.5, n: 2 });
    expect(numbers.find(({ name }) => name === 'Processed')).toMatchObject({ value: 0, n: 1 });
    expect(llmBar.report([items[2]], [{ scores: [1, 0] }])[0]).toMatchObject({ value: 1, n: 1 });
  });
});

describe('pairs with a label', () => {
  it('put the right answer first', () => {
    const judged = judgeBench.read({ pair_id: 'i', source: 's', question: 'q', response_A: 'A', response_B: 'B', label: 'B>A' }, at())!;
    expect(judged.candidates).toEqual(['B', 'A']);
    expect(llmBar.read({ input: 'q', output_1: 'one', output_2: 'two', label: 2 }, at('adversarial_gptinst'))).toMatchObject({
      subset: 'GPTInst',
      candidates: ['two', 'one'],
    });
    expect(
      llmBar.read(
        { input: 'q', output_1: 'one', output_2: 'two', label: 1 },
        { path: 'LLMBar/Natural/dataset.json', file: 'dataset', line: 3 },
      ),
    ).toMatchObject({ subset: 'Natural', id: 'Natural/3' });
    expect(
      writingQuality.read({ paragraph1: 'one', paragraph2: 'two', reference_preference: '2', sample_type: 'style-mimic' }, at()),
    ).toMatchObject({ subset: 'style-mimic', candidates: ['two', 'one'] });
    expect(writingQuality.read({ paragraph: 'alone' }, at())).toBeUndefined();
    const vl = { id: 'a', query: 'q', response: ['one', 'two'], human_ranking: [1, 0], query_source: 'POVID', image: 'x.png' };
    expect(vlRewardBench.read(vl, at())).toMatchObject({
      subset: 'hallucination',
      candidates: ['two', 'one'],
      media: [{ kind: 'image', uri: 'x.png' }],
    });
    expect(() => vlRewardBench.read({ ...vl, query_source: 'elsewhere' }, at())).toThrow('"query_source" must be one of VLFeedback');
    expect(() =>
      judgeBench.read({ pair_id: 'i', source: 's', question: 'q', response_A: 'A', response_B: 'B', label: 'A=B' }, at('f', 7)),
    ).toThrow('data/f.jsonl, line 7: "label" must be one of A>B, B>A, it holds "A=B"');
  });
  it('of trajectories keep the query and its tools as the prompt', () => {
    const messages = [
      { role: 'user', content: 'do it' },
      { role: 'tool_call', content: '{}' },
    ];
    const item = planRewardBench.read(
      { query: 'do it', tools: [{ name: 't' }], chosen: { messages }, reject: { messages: messages.slice(0, 1) }, uuid: 'u' },
      at('tool_irrelevance'),
    )!;
    expect(item).toMatchObject({ id: 'tool_irrelevance/1', subset: 'tool_irrelevance', candidates: [[{ role: 'assistant' }], []] });
    expect(item.prompt).toEqual([
      { role: 'system', content: 'Tools: [{"name":"t"}]' },
      { role: 'user', content: 'do it' },
    ]);
    expect(() => planRewardBench.read({ query: 'q', chosen: {}, reject: {} }, at())).toThrow('"chosen" must be an object with messages');
  });
});
