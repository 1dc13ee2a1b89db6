import { rng } from '@plumbline/core';
import { type Candidate, type PairwiseJudge, type RewardFunction, textOf } from '@plumbline/data';
import { pairwiseJudgeContract, rewardFunctionContract } from '@plumbline/data/contract';
import { describe, expect, it } from 'vitest';
import { batched, cached, debiased, pairwiseFromPointwise, pointwiseFromPairwise, rewardFromText, weightedSum } from './adapters.js';

const ctx = { rng: rng(1) };
const candidates: Candidate[] = ['a', 'bbb', '', 'cc', 'a'].map((completion) => ({ prompt: 'p', completion }));
const length = rewardFromText('length', (text) => text.length);
const vowels = rewardFromText('vowels', (text) => text.replace(/[^aeiou]/g, '').length);
/** Has nothing to say about nothing. */
const shy: RewardFunction = {
  name: 'shy',
  score: async (batch) => ({
    scores: Float32Array.from(batch, ({ completion }) => textOf(completion).length),
    abstained: Uint8Array.from(batch, ({ completion }) => (completion === '' ? 1 : 0)),
  }),
};
const counting = (reward: RewardFunction) => {
  const sizes: number[] = [];
  const score: RewardFunction['score'] = (batch, c) => {
    sizes.push(batch.length);
    return reward.score(batch, c);
  };
  return { sizes, reward: { name: reward.name, score } };
};
const judge = (probA: (a: string, b: string) => number, parsed: (a: string, b: string) => boolean = () => true): PairwiseJudge => ({
  name: 'judge',
  compare: async (batch) =>
    batch.map(({ a, b }) => {
      if (!parsed(textOf(a), textOf(b))) return { winner: 'tie', probA: 0.5, parsed: false };
      const p = probA(textOf(a), textOf(b));
      return { winner: p > 0.5 ? 'a' : p < 0.5 ? 'b' : 'tie', probA: p, parsed: true };
    }),
});
const compare = (of: PairwiseJudge, a = 'a', b = 'b') => of.compare([{ prompt: 'p', a, b }], ctx).then(([verdict]) => verdict);

describe('weightedSum', () => {
  const sum = weightedSum([
    { reward: length, weight: 2 },
    { reward: vowels, weight: -1 },
  ]);
  for (const { name, run } of rewardFunctionContract(() => sum, { candidates })) it(name, run);
  it('adds weighted scores and keeps each as a component', async () => {
    const { scores, components, abstained } = await sum.score(candidates, ctx);
    expect([...scores]).toEqual([1, 6, 0, 4, 1]);
    expect([...components!.vowels]).toEqual([1, 0, 0, 0, 1]);
    expect(abstained).toBeUndefined();
  });
  it('abstains where a part that counts does', async () => {
    const { scores, abstained } = await weightedSum([
      { reward: shy, weight: 1 },
      { reward: length, weight: 1 },
    ]).score(candidates, ctx);
    expect([...abstained!]).toEqual([0, 0, 1, 0, 0]);
    expect(scores[2]).toBe(0);
    expect(
      (
        await weightedSum([
          { reward: shy, weight: 0 },
          { reward: length, weight: 1 },
        ]).score(candidates, ctx)
      ).abstained,
    ).toBeUndefined();
  });
  it('refuses no parts, weights that are no numbers and parts of one name', () => {
    expect(() => weightedSum([])).toThrow(/no parts/);
    expect(() => weightedSum([{ reward: length, weight: NaN }])).toThrow(/the weight of length is NaN/);
    expect(() =>
      weightedSum([
        { reward: length, weight: 1 },
        { reward: length, weight: 1 },
      ]),
    ).toThrow(/two parts have the same name/);
  });
});

describe('cached', () => {
  for (const { name, run } of rewardFunctionContract(() => cached(shy), { candidates })) it(name, run);
  it('asks once for each candidate', async () => {
    const { sizes, reward } = counting(
      weightedSum([
        { reward: length, weight: 1 },
        { reward: vowels, weight: 1 },
      ]),
    );
    const once = cached(reward);
    const first = await once.score(candidates, ctx);
    expect(await once.score(candidates, ctx)).toEqual(first);
    await once.score([...candidates, { prompt: 'p', completion: 'new' }], ctx);
    expect(sizes).toEqual([4, 1]);
    expect(first).toEqual(await reward.score(candidates, ctx));
  });
  it('forgets the oldest beyond its size', async () => {
    const { sizes, reward } = counting(length);
    const small = cached(reward, { size: 2 });
    await small.score(candidates.slice(0, 3), ctx);
    expect([...(await small.score(candidates.slice(0, 3), ctx)).scores]).toEqual([1, 3, 0]);
    expect(sizes).toEqual([3, 1]);
  });
});

describe('batched', () => {
  for (const { name, run } of rewardFunctionContract(() => batched(shy, 2), { candidates })) it(name, run);
  it('hands on pieces and joins the answers', async () => {
    const { sizes, reward } = counting(weightedSum([{ reward: shy, weight: 1 }]));
    expect(await batched(reward, 2).score(candidates, ctx)).toEqual(await reward.score(candidates, ctx));
    expect(sizes).toEqual([2, 2, 1, 5]);
    expect(() => batched(length, 0)).toThrow(/size must be a whole number above 0, got 0/);
  });
  it('stops between pieces where it is asked to', async () => {
    const controller = new AbortController();
    const stopping: RewardFunction = {
      name: 'stop',
      score: async (batch) => {
        controller.abort();
        return length.score(batch, ctx);
      },
    };
    await expect(batched(stopping, 2).score(candidates, { ...ctx, signal: controller.signal })).rejects.toThrow(/abort/);
  });
});

describe('pairwiseFromPointwise', () => {
  const pairs = [
    { prompt: 'p', a: 'xx', b: 'x' },
    { prompt: 'p', a: 'x', b: 'x' },
    { prompt: 'p', a: '', b: 'x' },
  ];
  for (const { name, run } of pairwiseJudgeContract(() => pairwiseFromPointwise(shy), { pairs, symmetric: true })) it(name, run);
  it('is the logistic function of the difference', async () => {
    const verdicts = await pairwiseFromPointwise(shy).compare(pairs, ctx);
    expect(verdicts[0].probA).toBeCloseTo(0.731059, 6);
    expect(verdicts.map(({ logOdds }) => logOdds)).toEqual([1, 0, undefined]);
    expect(await compare(pairwiseFromPointwise(length), 'x'.repeat(100), '')).toEqual({
      winner: 'a',
      probA: 1,
      logOdds: 100,
      parsed: true,
    });
    expect(verdicts.map(({ winner, parsed }) => `${winner} ${parsed}`)).toEqual(['a true', 'tie true', 'tie false']);
    expect((await compare(pairwiseFromPointwise(length, { temperature: 2 }), 'xxx', 'x')).probA).toBeCloseTo(0.731059, 6);
  });
});

describe('debiased', () => {
  for (const { name, run } of pairwiseJudgeContract(() => debiased(judge((a) => (a === 'a' ? 0.9 : 0.6))), {
    pairs: [{ prompt: 'p', a: 'a', b: 'b' }],
    symmetric: true,
  }))
    it(name, run);
  it('averages both orders', async () => {
    expect((await compare(debiased(judge((a) => (a === 'a' ? 0.7 : 0.4))))).probA).toBeCloseTo(0.65, 12);
  });
  it('gives one half for a judge that always prefers the first', async () => {
    const both = debiased(judge(() => 0.8));
    expect(await compare(both)).toMatchObject({ winner: 'tie', probA: 0.5, parsed: true });
    expect(both.consistency).toBe(0);
  });
  it('makes a tie of disagreement where consistency is required', async () => {
    expect(
      await compare(
        debiased(
          judge((a) => (a === 'a' ? 0.9 : 0.6)),
          { requireConsistent: true },
        ),
      ),
    ).toMatchObject({ winner: 'tie', probA: 0.5 });
    expect((await compare(debiased(judge((a) => (a === 'a' ? 0.9 : 0.6))))).winner).toBe('a');
  });
  it('takes the order that could be parsed', async () => {
    expect(
      (
        await compare(
          debiased(
            judge(
              () => 0.3,
              (a) => a === 'b',
            ),
          ),
        )
      ).probA,
    ).toBeCloseTo(0.7, 12);
    expect(
      await compare(
        debiased(
          judge(
            () => 0.3,
            () => false,
          ),
        ),
      ),
    ).toEqual({ winner: 'tie', probA: 0.5, parsed: false });
  });
});

describe('pointwiseFromPairwise', () => {
  const against = pointwiseFromPairwise(pairwiseFromPointwise(shy), () => 'bb');
  for (const { name, run } of rewardFunctionContract(() => against, { candidates })) it(name, run);
  it('is the probability of beating the reference, abstaining where the judge does', async () => {
    const { scores, abstained } = await against.score(candidates.slice(0, 4), ctx);
    expect([...abstained!]).toEqual([0, 0, 1, 0]);
    expect(scores[0]).toBeCloseTo(0.268941, 6);
    expect(scores[3]).toBe(0.5);
  });
});
