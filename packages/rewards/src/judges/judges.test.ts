import { readFileSync } from 'node:fs';
import { rng } from '@plumbline/core';
import { type LanguageModel, type PairwiseJudge, textOf } from '@plumbline/data';
import {
  groupRewardFunctionContract,
  pairwiseJudgeContract,
  rewardFunctionContract,
  stepRewardFunctionContract,
} from '@plumbline/data/contract';
import { dataPath } from '@plumbline/tools/fixtures';
import { describe, expect, it } from 'vitest';
import { debiased, pairwiseFromPointwise, rewardFromText } from '../adapters.js';
import { JudgeError, modelFromFunction } from './ask.js';
import { calibrateJudge, type PairLabel } from './calibrate.js';
import { generativeJudge, logitJudge, voted } from './pairwise.js';
import { parseChecklist, parseRanking, parseRating, parseVerdict, parseYesNo } from './parse.js';
import { groupFromPairwise, rankingJudge, ratingJudge, rubricJudge, stepJudge, yesNoJudge } from './pointwise.js';
import { checkRubric, formatRubric, parseRubric, rubricFrom, rubricScore } from './rubric.js';

const ctx = { rng: rng(1) };
const says = (answer: string | ((text: string, call: { seed: number; temperature: number }) => string)) =>
  modelFromFunction('stub', (messages, call) =>
    typeof answer === 'string' ? answer : answer(messages.map(({ content }) => content).join('\n'), call),
  );
/** What stands in a block of the question. */
const blockOf = (text: string, title: string) => new RegExp(`<${title}>\\n([\\s\\S]*?)\\n</${title}>`).exec(text)?.[1] ?? '';
/** Prefers the longer answer, and says so as asked. */
const longer = says((text) => {
  const [a, b] = [blockOf(text, 'answer A').length, blockOf(text, 'answer B').length];
  return `I compared them [[A]] no.\n${a > b ? '[[A]]' : a < b ? '[[B]]' : '[[C]]'}`;
});
const pairs = [
  { prompt: 'p', a: 'long answer', b: 'short' },
  { prompt: [{ role: 'user', content: 'q' }], a: [{ role: 'assistant', content: 'x' }], b: [{ role: 'assistant', content: 'longer' }] },
  { prompt: 'r', a: 'same1', b: 'same2' },
];
/** A model whose log-probability of an answer is minus its number of letters `x` in the question. */
const scoring = (logps: (prompt: string, answer: string) => number): LanguageModel => ({
  ...says(''),
  can: { score: true, embed: false, logps: true },
  score: async (batch) =>
    batch.map(({ prompt, completion }) => {
      const answer = textOf(completion);
      return {
        tokens: Int32Array.of(answer.charCodeAt(0), 2),
        logps: Float32Array.of(logps(textOf(prompt), answer), -0.1),
      };
    }),
});

describe('parsing', () => {
  it('takes the last verdict, after the thinking', () => {
    expect(parseVerdict('[[A]] or rather [[B]]')).toBe('b');
    expect(parseVerdict('<think>[[A]]</think> so [[ tie ]]')).toBe('tie');
    expect(parseVerdict('<think>[[A]]</think> A is better')).toBeNull();
    expect(parseVerdict('The answer is A.')).toBeNull();
  });
  it('takes ratings inside of the scale alone', () => {
    expect(parseRating('[[3]] then [[7.5]]', { min: 1, max: 10 })).toBe(7.5);
    expect(parseRating('[[8/10]]', { min: 1, max: 10 })).toBe(8);
    expect(parseRating('[[11]]', { min: 1, max: 10 })).toBeNull();
    expect(parseRating('7', { min: 1, max: 10 })).toBeNull();
  });
  it('takes yes and no, whole checklists, and rankings that are permutations', () => {
    expect([parseYesNo(' Yes.'), parseYesNo('I think [[no]]'), parseYesNo('Yes and no')]).toEqual([true, false, null]);
    expect(parseChecklist('1: yes\n2) no\n**3**: Yes, it does', 3)).toEqual([true, false, true]);
    expect(parseChecklist('1: yes\n3: yes', 3)).toBeNull();
    expect([parseRanking('[[2, 1, 3]]', 3), parseRanking('[[2 > 1]]', 2), parseRanking('[[1, 1, 2]]', 3)]).toEqual([
      [1, 0, 2],
      [1, 0],
      null,
    ]);
  });
});

describe('judges of pairs', () => {
  const made: Record<string, () => PairwiseJudge> = {
    generativeJudge: () => generativeJudge(longer),
    'generativeJudge with votes': () =>
      generativeJudge(
        says((_, { seed }) => (seed % 3 === 0 ? '[[A]]' : '[[B]]')),
        { votes: 3 },
      ),
    logitJudge: () => logitJudge(scoring((prompt, answer) => (answer === 'A' ? -prompt.length / 900 : -1))),
    'voted judge': () => voted(generativeJudge(longer), 3),
  };
  for (const [name, make] of Object.entries(made))
    for (const { name: what, run } of pairwiseJudgeContract(make, { pairs })) it(`${name} ${what}`, run);
  for (const { name, run } of pairwiseJudgeContract(() => debiased(generativeJudge(longer)), { pairs, symmetric: true }))
    it(`in both orders, a judge ${name}`, run);

  it('reads verdicts, and a tie between equal answers without asking', async () => {
    const judge = generativeJudge(longer);
    const verdicts = await judge.compare([...pairs, { prompt: 'p', a: 'one', b: 'one' }], ctx);
    expect(verdicts.map(({ winner }) => winner)).toEqual(['a', 'b', 'tie', 'tie']);
    expect(verdicts[0]).toMatchObject({ probA: 1, parsed: true, rationale: expect.stringContaining('I compared them') });
    expect(judge.report).toMatchObject({ asked: 3, parsed: 3, unparsed: 0, errors: 0, identical: 1 });
  });
  it('counts what it cannot parse and what fails, as ties that say so', async () => {
    const judge = generativeJudge(
      says((text) => {
        if (text.includes('boom')) throw new Error('the server is down');
        return text.includes('odd') ? 'Both have their merits.' : '[[A]]';
      }),
    );
    const verdicts = await judge.compare(
      ['odd', 'boom', 'fine'].map((prompt) => ({ prompt, a: '1', b: '2' })),
      ctx,
    );
    expect(verdicts).toEqual([
      { winner: 'tie', probA: 0.5, parsed: false },
      { winner: 'tie', probA: 0.5, parsed: false },
      { winner: 'a', probA: 1, parsed: true, rationale: '[[A]]' },
    ]);
    expect(judge.report).toMatchObject({ asked: 3, parsed: 1, unparsed: 1, errors: 1 });
    expect(judge.report.examples).toEqual(expect.arrayContaining(['Both have their merits.', 'error: the server is down']));
  });
  it('stops a judge that talks nonsense, showing some of it', async () => {
    const judge = generativeJudge(says('I would rather not say.'));
    const many = Array.from({ length: 20 }, (_, i) => ({ prompt: `${i}`, a: '1', b: '2' }));
    await expect(judge.compare(many, ctx)).rejects.toThrow(JudgeError);
    await expect(judge.compare(many, ctx)).rejects.toThrow(/of no use.*"I would rather not say\."/s);
  });
  it('is stopped by its signal, not by counting errors', async () => {
    const controller = new AbortController();
    controller.abort();
    await expect(generativeJudge(longer).compare(pairs, { ...ctx, signal: controller.signal })).rejects.toThrow(/abort/i);
  });
  it('puts several votes together', async () => {
    let calls = 0;
    const judge = generativeJudge(
      says(() => ['[[A]]', '[[B]]', '[[A]]', 'hm', '[[C]]'][calls++ % 5]),
      { votes: 5, concurrency: 1 },
    );
    const [verdict] = await judge.compare([pairs[0]], ctx);
    expect(verdict).toMatchObject({ winner: 'a', probA: (1 + 0 + 1 + 0.5) / 4, parsed: true });
    expect(judge.report).toMatchObject({ asked: 5, parsed: 4, unparsed: 1 });
    expect(() => generativeJudge(longer, { votes: 3, temperature: 0 })).toThrow('3 votes at temperature 0 are one vote');
    expect(() => voted(judge, 4)).toThrow('k must be an odd whole number');
  });
  it.each([
    [0.7, 0.83692],
    [0.4, 0.31744],
  ])('of a judge that is right %f five votes are right %f of the time', async (one, five) => {
    const draws = rng(5);
    const coin: PairwiseJudge = {
      name: 'coin',
      compare: async (batch) =>
        batch.map(() => (draws.uniform(1)[0] < one ? { winner: 'a', probA: 1, parsed: true } : { winner: 'b', probA: 0, parsed: true })),
    };
    const many = Array.from({ length: 20_000 }, () => pairs[0]);
    const right = (await voted(coin, 5).compare(many, ctx)).filter(({ winner }) => winner === 'a').length / many.length;
    expect(Math.abs(right - five)).toBeLessThan(0.01);
  });
  it('is a softmax over the two letters', async () => {
    const [verdict] = await logitJudge(scoring((_, answer) => (answer === 'A' ? -0.2 : -1.4))).compare([pairs[0]], ctx);
    expect(verdict.probA).toBeCloseTo(0.768525, 5);
    expect(verdict).toMatchObject({ winner: 'a', parsed: true });
    await expect(logitJudge(longer).compare([pairs[0]], ctx)).rejects.toThrow('gives no log-probabilities');
    const broken = logitJudge(scoring(() => Number.NaN));
    expect(await broken.compare([pairs[0]], ctx)).toEqual([{ winner: 'tie', probA: 0.5, parsed: false }]);
    expect(broken.report.errors).toBe(1);
  });
  it('averages both orders: (.7 + 1 - .4) / 2', async () => {
    const leaning: PairwiseJudge = {
      name: 'leaning',
      compare: async (batch) => batch.map(({ a }) => ({ winner: a === 'x' ? 'a' : 'b', probA: a === 'x' ? 0.7 : 0.4, parsed: true })),
    };
    const both = debiased(leaning);
    expect((await both.compare([{ prompt: '', a: 'x', b: 'y' }], ctx))[0].probA).toBeCloseTo(0.65, 10);
    expect(both.consistency).toBe(1);
  });
});

describe('judges of one answer, of groups and of steps', () => {
  const candidates = [
    { prompt: 'p', completion: 'good' },
    { prompt: 'p', completion: 'bad' },
  ];
  const rate = says((text) => (blockOf(text, 'answer') === 'good' ? 'fine [[10]]' : '[[4]]'));
  const rubric = {
    criteria: [
      { name: 'polite', description: 'says please', weight: 3 },
      { name: 'short', description: 'is short' },
    ],
  };
  const check = says((text) => (blockOf(text, 'answer') === 'good' ? '1: yes\n2: no' : '1: no\n2: yes'));
  const yes = says((text) => (text.includes('good') ? 'Yes' : 'No.'));
  for (const [name, make] of Object.entries({
    ratingJudge: () => ratingJudge(rate),
    rubricJudge: () => rubricJudge(check, rubric),
    yesNoJudge: () => yesNoJudge(yes),
    'yesNoJudge by probability': () => yesNoJudge(scoring((prompt, answer) => (answer === 'yes' ? -prompt.length / 99 : -4))),
  }))
    for (const { name: what, run } of rewardFunctionContract(make, { candidates })) it(`${name} ${what}`, run);

  it('brings ratings to [0, 1] and abstains where there is none', async () => {
    const judge = ratingJudge(says((text) => (text.includes('good') ? '[[10]]' : 'no idea')));
    const { scores, abstained, components } = await judge.score(candidates, ctx);
    expect([...scores]).toEqual([1, 0]);
    expect([...abstained!]).toEqual([0, 1]);
    expect(components!.raw[0]).toBe(10);
    expect(judge.report).toMatchObject({ asked: 2, parsed: 1, unparsed: 1 });
  });
  it('weighs the criteria that are met, each a component', async () => {
    const { scores, components } = await rubricJudge(check, rubric).score(candidates, ctx);
    expect([...scores]).toEqual([0.75, 0.25]);
    expect([...components!.polite]).toEqual([1, 0]);
  });
  it('is P(yes)', async () => {
    const { scores } = await yesNoJudge(scoring((_, answer) => (answer === 'yes' ? -0.2 : -1.4))).score(candidates.slice(0, 1), ctx);
    expect(scores[0]).toBeCloseTo(0.768525, 5);
    expect([...(await yesNoJudge(yes).score(candidates, ctx)).scores]).toEqual([1, 0]);
  });
  const group = ['one', 'three', 'eleven'].map((completion) => ({ prompt: 'p', completion }));
  const byLength = says((text) => {
    const lengths = [1, 2, 3].map((k) => blockOf(text, `answer ${k}`).length);
    return `[[${[1, 2, 3].sort((x, y) => lengths[y - 1] - lengths[x - 1]).join(', ')}]]`;
  });
  for (const [name, make] of Object.entries({
    rankingJudge: () => rankingJudge(byLength),
    tournament: () => groupFromPairwise(generativeJudge(longer)),
  }))
    for (const { name: what, run } of groupRewardFunctionContract(make, { group })) it(`${name} ${what}`, run);
  it('ranks from 1 to 0, and equal answers share their places', async () => {
    expect([...(await rankingJudge(byLength).scoreGroup(group, ctx)).scores]).toEqual([0, 0.5, 1]);
    const twins = [group[0], group[2], group[0]];
    expect([...(await rankingJudge(byLength).scoreGroup(twins, ctx)).scores]).toEqual([0.25, 1, 0.25]);
    expect((await rankingJudge(says('none')).scoreGroup(group, ctx)).abstained).toEqual(Uint8Array.of(1, 1, 1));
    expect([...(await groupFromPairwise(generativeJudge(longer)).scoreGroup(group, ctx)).scores]).toEqual([0, 0.5, 1]);
  });
  const steps = says((text) => (/wrong/.test(blockOf(text, 'steps')) ? 'no' : 'yes'));
  const solutions = [
    { prompt: 'p', steps: ['a', 'wrong', 'c'] },
    { prompt: 'q', steps: ['x'] },
  ];
  for (const { name, run } of stepRewardFunctionContract(() => stepJudge(steps), { solutions })) it(`stepJudge ${name}`, run);
  it('judges each step by what came before', async () => {
    expect((await stepJudge(steps).scoreSteps(solutions, ctx)).map((scores) => [...scores])).toEqual([[1, 0, 0], [1]]);
    expect([...(await stepJudge(says('perhaps')).scoreSteps([{ prompt: 'p', steps: ['a'] }], ctx))[0]]).toEqual([0.5]);
  });
});

describe('rubrics', () => {
  it('read and write the same text', () => {
    const text = '1. The response names the file. [Hard Rule]\n2. The response is kind. [Principle]';
    const { rubric, untagged } = parseRubric(text);
    expect(formatRubric(rubric)).toBe(text);
    expect(untagged).toBe(0);
    expect(parseRubric('Here:\n1. It is so. **[hard rule]**\n- And so\n- And so')).toMatchObject({
      rubric: {
        criteria: [
          { description: 'It is so.', kind: 'hardRule' },
          { description: 'And so', kind: 'principle' },
        ],
      },
      untagged: 1,
    });
    expect(() => parseRubric('nothing here')).toThrow(/no criterion parsed from "nothing here"/);
  });
  it('are checked, each mistake named', () => {
    expect(rubricFrom(['is short']).criteria[0]).toEqual({ name: 'criterion 1', description: 'is short' });
    expect(() => rubricFrom({ criteria: [] })).toThrow('no criteria');
    expect(() => rubricFrom([{ name: 'a', describtion: 'b' }])).toThrow('holds "describtion"; there are name, description, weight');
    expect(() =>
      checkRubric({
        criteria: [
          { name: 'a', description: 'x' },
          { name: 'a', description: 'y' },
        ],
      }),
    ).toThrow('two criteria with the name "a"');
  });
  it('score the weighted share of what was judged, with penalties taken off', () => {
    const rubric = rubricFrom([
      { name: 'a', description: 'x', weight: 2 },
      { name: 'b', description: 'y' },
      { name: 'c', description: 'z', weight: -1 },
    ]);
    expect(rubricScore([true, false, false], rubric)).toBeCloseTo(2 / 3, 12);
    expect(rubricScore([true, null, true], rubric)).toBe(0.5);
    expect(rubricScore([false, false, true], rubric)).toBe(0);
    expect(() => rubricScore([null, null, true], rubric)).toThrow('no criterion with a weight above 0 was judged');
  });
});

describe('calibrateJudge', () => {
  const word = (n: number) => 'w '.repeat(n).trim();
  const labels: PairLabel[] = Array.from({ length: 200 }, (_, i) => ({
    prompt: `${i}`,
    a: word(1 + (i % 7)),
    b: word(8 + (i % 5)),
    label: i % 4 === 0 ? 'a' : 'b',
  }));
  it('is perfect for a judge who agrees, in rates and kappa', async () => {
    const agrees = pairwiseFromPointwise(
      rewardFromText('oracle', (text, { prompt }) => (text.split(' ').length >= 8 === (Number(prompt) % 4 !== 0) ? 1 : 0)),
    );
    const found = await calibrateJudge(agrees, labels);
    expect(found).toMatchObject({
      labels: 200,
      unparsed: 0,
      compared: 200,
      kappa: { value: expect.closeTo(1, 12) },
      accuracy: { value: 1 },
      truePositiveRate: { value: 1 },
      trueNegativeRate: { value: 1 },
    });
    expect(found.position).toMatchObject({ consistency: { value: 1 }, firstWins: { value: 0.5 } });
    expect(found.length.longerWins.people.value).toBe(0.75);
    expect(found.warnings).toEqual([]);
  });
  it('shows a judge that takes the first, and one that takes the longer', async () => {
    const first: PairwiseJudge = { name: 'first', compare: async (batch) => batch.map(() => ({ winner: 'a', probA: 1, parsed: true })) };
    const leaning = await calibrateJudge(first, labels);
    expect(leaning.position).toMatchObject({ consistency: { value: 0 }, firstWins: { value: 1 } });
    expect(leaning.truePositiveRate.value).toBe(1);
    expect(leaning.trueNegativeRate.value).toBe(0);
    expect(leaning.kappa.value).toBeCloseTo(0, 10);
    const ruler = await calibrateJudge(generativeJudge(longer), labels);
    expect(ruler.length.longerWins.judge.value).toBe(1);
    expect(ruler.length.accuracyWhenLonger.value).toBe(1);
    expect(ruler.length.accuracyWhenShorter.value).toBe(0);
    expect(ruler.accuracy.value).toBe(0.75);
    expect(ruler.kappa.low).toBeLessThan(ruler.kappa.value);
  });
  it('leaves out what could not be parsed, and says so', async () => {
    const half = generativeJudge(
      says((text) => (Number(blockOf(text, 'request')) % 2 === 0 ? '[[A]]' : 'hm')),
      { maxUnparsed: 1 },
    );
    const found = await calibrateJudge(half, labels);
    expect(found).toMatchObject({ unparsed: 100, compared: 100 });
    expect(found.warnings[0]).toContain('100 of 200 could not be judged');
  });
  it('measures a reward against accepted and refused answers', async () => {
    const points = Array.from({ length: 60 }, (_, i) => ({ prompt: 'p', completion: word(1 + (i % 12)), label: i % 3 !== 0 }));
    const found = await calibrateJudge(
      rewardFromText('length', (text) => text.split(' ').length / 12),
      points,
      { threshold: 0.5 },
    );
    expect(found).toMatchObject({ compared: 60, threshold: 0.5, length: { judge: 1 } });
    expect(found.ece).toBeGreaterThan(0);
    expect(found.auroc).toBeGreaterThan(0.3);
    await expect(
      calibrateJudge(
        rewardFromText('x', () => 1),
        points.map((one) => ({ ...one, label: true })),
      ),
    ).rejects.toThrow('people accept all 60 answers');
    await expect(
      calibrateJudge(
        generativeJudge(longer),
        labels.map((one) => ({ ...one, label: 'tie' as const })),
      ),
    ).rejects.toThrow('call every pair a tie');
    await expect(calibrateJudge(generativeJudge(says('hm'), { maxUnparsed: 1 }), labels)).rejects.toThrow('answered none of 200 pairs');
  });

  const [scores, answers] = [dataPath('judgebench/rm_scores_gpt-4o.jsonl'), dataPath('judgebench/pairs_gpt-4o-2024-05-13.jsonl')];
  it.skipIf(!scores || !answers)(
    `gives JudgeBench's accuracy to a real reward model as a judge${scores ? '' : ' (skipped: the data is not here)'}`,
    async () => {
      const rows = <T>(path: string) =>
        readFileSync(path, 'utf8')
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as T);
      type Pair = { pair_id: string; question: string; response_A: string; response_B: string; label: string };
      type Score = { pair_id: string; judge_model: string; score_A: number; score_B: number };
      const known = new Map(
        rows<Score>(scores!)
          .filter(({ judge_model }) => /Skywork-Reward-Gemma-2-27B/.test(judge_model))
          .map((row) => [row.pair_id, row]),
      );
      const real = rows<Pair>(answers!).filter(({ pair_id }) => known.has(pair_id));
      const scoreOf = new Map(
        real.flatMap(
          ({ pair_id, response_A, response_B }) =>
            [
              [response_A, known.get(pair_id)!.score_A],
              [response_B, known.get(pair_id)!.score_B],
            ] as const,
        ),
      );
      const judge = pairwiseFromPointwise(rewardFromText('Skywork', (text) => scoreOf.get(text)!));
      const found = await calibrateJudge(
        judge,
        real.map(({ question, response_A, response_B, label }) => ({
          prompt: question,
          a: response_A,
          b: response_B,
          label: label === 'A>B' ? ('a' as const) : ('b' as const),
        })),
      );
      const right = real.filter(
        ({ pair_id, label }) => known.get(pair_id)!.score_A > known.get(pair_id)!.score_B === (label === 'A>B'),
      ).length;
      console.log(
        `JudgeBench: accuracy ${found.accuracy.value.toFixed(3)}, kappa ${found.kappa.value.toFixed(3)} [${found.kappa.low.toFixed(3)}, ${found.kappa.high.toFixed(3)}] on ${found.compared}`,
      );
      expect(found.accuracy.value).toBeCloseTo(right / real.length, 2);
      expect(found.kappa.value).toBeCloseTo(2 * found.accuracy.value - 1, 1); // even marginals
    },
  );
});
