import { rng } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import type { EncodedGroup } from '../encode.js';
import type { PreferenceRecord } from '../records.js';
import { splitRecords } from '../records.js';
import { type MakePairsOptions, makePairs, type PairStrategy } from './makePairs.js';
import { flipGroupLabels, flipLabels, quantileOf, relabel, splitByMargin, swapSides } from './relabel.js';

/** Completions that are as long as told, so that their indices can be told apart. */
const group = (scores: number[], lengths = scores.map((_, i) => i + 1)) => ({
  prompt: 'p',
  completions: lengths.map((n) => 'x'.repeat(n)),
  scores,
});
const indices = (strategy: PairStrategy, scores: number[], options?: MakePairsOptions, lengths?: number[]) =>
  makePairs([group(scores, lengths)], strategy, rng(1), options).map(({ id }) => id!.slice(2));

describe('makePairs', () => {
  const scores = [0.2, 1.5, -0.3, 1.5, 0.9];
  it('takes best and worst, the first of equals', () => {
    expect(indices('bestWorst', scores)).toEqual(['1>2']);
    expect(makePairs([group(scores)], 'bestWorst', rng(1))).toEqual([
      { id: '0:1>2', prompt: 'p', chosen: 'xx', rejected: 'xxx', chosen_score: 1.5, rejected_score: -0.3 },
    ]);
  });
  it('takes the length off before choosing', () => {
    expect(indices('bestWorstLengthPenalised', scores, { lengthPenalty: 0.001 }, [100, 900, 50, 300, 200])).toEqual(['3>2']);
  });
  it('orders the two by what chose them, or by the raw score as the published script does', () => {
    const [raw, lengths] = [
      [1.0, 0.9, 0.5],
      [800, 100, 50],
    ];
    expect(indices('bestWorstLengthPenalised', raw, { lengthPenalty: 0.001 }, lengths)).toEqual(['1>0']);
    expect(indices('bestWorstLengthPenalised', raw, { lengthPenalty: 0.001, orderBy: 'raw' }, lengths)).toEqual(['0>1']);
  });
  it('takes the best and a random other, never the best itself', () => {
    const drawn = new Set<string>();
    for (let seed = 0; seed < 40; seed++) drawn.add(makePairs([group(scores)], 'bestRandom', rng(seed))[0].id!.slice(2));
    expect([...drawn].sort()).toEqual(['1>0', '1>2', '1>4']); // 3 is as good as 1, and so no worse
    expect(indices('bestRandom', [1, 0])).toEqual(indices('bestWorst', [1, 0]));
  });
  it('takes the best and the second best', () => {
    expect(indices('bestSecond', [0.2, 1.5, -0.3, 0.9])).toEqual(['1>3']);
  });
  it('takes the first two, ordered', () => {
    expect(indices('firstTwo', [0, 1, 9])).toEqual(['1>0']);
  });
  it('takes all pairs that differ enough, with their margin if asked to', () => {
    expect(indices('all', [1, 3, 1.5], { minGap: 0.6 })).toEqual(['1>0', '1>2']);
    expect(makePairs([group([1, 3])], 'allMargin', rng(1)).map(({ margin }) => margin)).toEqual([2]);
    expect(makePairs([group([1, 3])], 'bestWorst', rng(1), { marginScale: 0.5 }).map(({ margin }) => margin)).toEqual([1]);
  });
  it('leaves tied groups out, and is an error where all are tied', () => {
    expect(makePairs([group([1, 1]), group([1, 0])], 'bestWorst', rng(1))).toHaveLength(1);
    expect(() => makePairs([group([1, 1])], 'all', rng(1))).toThrow(/does the scorer give equal scores\?/);
  });
  it('refuses scores that are not numbers, unlike lengths and penalties that do not apply', () => {
    expect(() => indices('all', [1, NaN])).toThrow(/group 0 has the score NaN at 1/);
    expect(() => makePairs([{ ...group([1, 2]), scores: [1] }], 'all', rng(1))).toThrow(/2 completions and 1 scores/);
    expect(() => indices('bestWorst', [1, 2], { lengthPenalty: 0.1 })).toThrow(/lengthPenalty .* got 0.1 with bestWorst/);
    expect(() => indices('bestWorstLengthPenalised', [1, 2], { lengthPenalty: -1 })).toThrow(/got -1/);
    expect(() => makePairs([], 'all', rng(1))).toThrow(/there are no groups/);
  });
});

const pair = (gap: number, id = String(gap)): PreferenceRecord => ({
  id,
  prompt: 'p',
  chosen: 'c',
  rejected: 'r',
  chosen_score: gap,
  rejected_score: 0,
});

describe('splitByMargin', () => {
  const records = [2.0, 0.3, -0.3, 0.3, 2.1].map((gap) => pair(gap));
  it('calls a pair easy where its margin is above the threshold', () => {
    expect(splitByMargin(records, { threshold: 1 }).easy).toEqual([records[0], records[4]]);
    expect(splitByMargin(records, { threshold: 0, absolute: false }).hard).toEqual([records[2]]);
  });
  it('puts the threshold at a quantile', () => {
    const { easy, threshold } = splitByMargin(records, { quantile: 0.5 });
    expect(threshold).toBeCloseTo(0.3, 12);
    expect(easy).toEqual([records[0], records[4]]);
    expect(quantileOf([4, 1, 3, 2], 0.25)).toBe(1.75);
  });
  it('wants one of threshold and quantile, and scores', () => {
    expect(() => splitByMargin(records, {})).toThrow(/exactly one/);
    expect(() => splitByMargin([{ prompt: 'p', chosen: 'c', rejected: 'r' }], { threshold: 0 })).toThrow(/record 0 has no chosen_score/);
  });
});

describe('relabel', () => {
  const records = [{ ...pair(1), margin: 0.5 }, pair(2), pair(3)];
  it('swaps where the other side is more likely to be better', () => {
    const relabelled = relabel(records, [0.3, 0.5, 0.9]);
    expect(relabelled[0]).toEqual({ id: '1', prompt: 'p', chosen: 'r', rejected: 'c', chosen_score: 0, rejected_score: 1, margin: -0.5 });
    expect(relabelled.slice(1)).toEqual(records.slice(1));
  });
  it('keeps the probability where labels stay soft', () => {
    expect(relabel(records, [0.25, 0.5, 1], { soft: true }).map(({ preference }) => preference)).toEqual([0.75, 0.5, 1]);
  });
  it('refuses what is no probability', () => {
    expect(() => relabel(records, [0.1, NaN, 0])).toThrow(/record 2 must be in \[0, 1\], got NaN/);
    expect(() => relabel(records, [0.1])).toThrow(/3 records, but 1 probabilities/);
  });
  it('swaps back to where it was', () => expect(swapSides(swapSides(records[0]))).toEqual(records[0]));
});

describe('label noise', () => {
  const many = Array.from({ length: 400 }, (_, i): PreferenceRecord => ({ prompt: 'p', chosen: `good ${i}`, rejected: `bad ${i}` }));
  const flips = (records: readonly PreferenceRecord[]) => records.map(({ chosen }) => String(chosen).startsWith('bad'));
  it('swaps about the share that is asked for, each by a draw of its own', () => {
    const noisy = flipLabels(many, 0.25, rng(1));
    expect(flips(noisy).filter(Boolean).length).toBeGreaterThan(75);
    expect(flips(noisy).filter(Boolean).length).toBeLessThan(125);
    expect(noisy.every((record, i) => record.prompt === 'p' && new Set([record.chosen, record.rejected]).has(many[i].chosen))).toBe(true);
    expect(flips(flipLabels(many.slice(0, 40), 0.25, rng(1)))).toEqual(flips(noisy).slice(0, 40));
    expect(flipLabels(many, 0, rng(1))).toEqual(many);
  });
  it('swaps the pairs of a group whatever other groups there are', () => {
    const pairs = Array.from({ length: 30 }, (_, i) => ({ chosen: i, rejected: i + 100, margin: 1 }));
    const group = (id: string) => ({ id, pairs }) as unknown as EncodedGroup;
    const of = (groups: EncodedGroup[]) => flipGroupLabels(groups, 0.4, rng(2)).map(({ pairs: own }) => own.map(({ chosen }) => chosen));
    const [first, second] = of([group('a'), group('b')]);
    expect(of([group('a')])).toEqual([first]);
    expect(second).not.toEqual(first);
    expect(first.filter((chosen) => chosen >= 100).length).toBeGreaterThan(4);
    expect(first.every((chosen, i) => chosen === i || chosen === i + 100)).toBe(true);
  });
});

describe('splitRecords', () => {
  it('keeps records of one prompt on one side and loses none', () => {
    const records = Array.from({ length: 60 }, (_, i) => ({ prompt: `prompt ${i % 20}`, i }));
    const [some, rest] = splitRecords(records, 0.25, rng(3));
    expect([some.length, rest.length]).toEqual([15, 45]);
    expect([...some, ...rest].map(({ i }) => i).sort((a, b) => a - b)).toEqual(records.map(({ i }) => i));
    const prompts = new Set(some.map(({ prompt }) => prompt));
    expect(rest.some(({ prompt }) => prompts.has(prompt))).toBe(false);
    expect(splitRecords(records, 0.25, rng(3))[0]).toEqual(some);
    expect(splitRecords(records, 0.25, rng(4))[0]).not.toEqual(some);
    expect(() => splitRecords(records, 1.5, rng(3))).toThrow(/got 1.5/);
  });
});
