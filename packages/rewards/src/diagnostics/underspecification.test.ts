import { rng } from '@plumbline/core';
import { expect, it } from 'vitest';
import { crossEvaluation, diagonalGap, memberRankCorrelation } from './underspecification.js';

it('scores what one member chooses by every other', () => {
  // one prompt, two samples, opposite members: each chooses its own, which the other scores 0; best of 1 is the mean
  const opposite = [[[0, 1]], [[1, 0]]];
  expect(crossEvaluation(opposite, 2)).toEqual([
    [1, 0],
    [0, 1],
  ]);
  expect(crossEvaluation(opposite, 1)).toEqual([
    [0.5, 0.5],
    [0.5, 0.5],
  ]);
  expect(diagonalGap(crossEvaluation(opposite, 2))).toBe(1);
  expect(diagonalGap([[3]])).toBe(0);
});

it('finds members that know nothing to flatter their own choices', () => {
  const noise = Array.from({ length: 4 }, (_, m) => Array.from({ length: 50 }, (_, p) => rng(m).fork('noise', p).normal(16)));
  // the expected maximum of 16 standard normal numbers is 1.766, of somebody else's choice 0
  expect(diagonalGap(crossEvaluation(noise, 16))).toBeCloseTo(1.766, 0);
});

it('averages the rank correlation over prompts and pairs of members, without prompts that have no ranks', () => {
  expect(memberRankCorrelation([[[1, 2, 3]], [[10, 20, 90]]])).toBeCloseTo(1, 12);
  expect(
    memberRankCorrelation([
      [
        [1, 2, 3],
        [0, 1, 2],
        [1, 1, 1],
      ],
      [
        [1, 2, 3],
        [2, 1, 0],
        [1, 2, 3],
      ],
    ]),
  ).toBeCloseTo(0, 12);
  expect(() => memberRankCorrelation([[[1, 1]], [[1, 2]]])).toThrow('no prompt has samples that two members rank');
});

it('names the member, prompt and score that are wrong', () => {
  expect(() => crossEvaluation([], 1)).toThrow('no members');
  expect(() => crossEvaluation([[[1, 2]], [[1]]], 1)).toThrow('member 1 and the first have scores of unlike shapes at prompt 0');
  expect(() => memberRankCorrelation([[[1, Number.NaN]], [[1, 2]]])).toThrow('score 1 of prompt 0 by member 0 is NaN');
  expect(() => memberRankCorrelation([[[1, 2]]])).toThrow('at least two members');
});
