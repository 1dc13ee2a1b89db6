import { describe, expect, it } from 'vitest';
import { answerDistance, answerDistances, answerRegret } from './language.js';

const a = [
  [1, 2, 3],
  [0, 4, 2],
];

describe('answerDistance', () => {
  it('is 0 between rewards that differ by scale and a constant for each prompt', () => {
    const b = a.map((row, p) => row.map((value) => 3 * value + 10 * p));
    expect(answerDistance(a, b)).toBeCloseTo(0, 12);
    expect(answerDistance(a, b, { canon: 'none' })).toBeCloseTo(0.46066, 5); // cosine 162 / sqrt(34 · 966): the constant counts
  });
  it('is 2 to the opposite and 1 to a reward that likes everything alike', () => {
    expect(
      answerDistance(
        a,
        a.map((row) => row.map((value) => -value)),
      ),
    ).toBeCloseTo(2, 12);
    expect(
      answerDistance(a, [
        [5, 5, 5],
        [7, 7, 7],
      ]),
    ).toBeCloseTo(1, 12);
  });
  it('is the chord of the angle that the correlation within prompts is the cosine of', () => {
    // centred: (-1, 0, 1, -2, 2, 0) and (-1, 1, 0, 0, 0, 0): cosine 1 / sqrt(10 · 2)
    expect(
      answerDistance(a, [
        [0, 2, 1],
        [3, 3, 3],
      ]),
    ).toBeCloseTo(Math.sqrt(2 - 2 / Math.sqrt(20)), 12);
  });
  it('makes a matrix with zeros on the diagonal', () => {
    const [x, y] = answerDistances([
      a,
      [
        [0, 2, 1],
        [3, 3, 3],
      ],
    ]);
    expect(x[0]).toBe(0);
    expect(x[1]).toBe(y[0]);
  });
  it('names the prompt whose candidates do not fit, or the score that is not finite', () => {
    expect(() =>
      answerDistance(a, [
        [1, 2, 3],
        [1, 2],
      ]),
    ).toThrow('3 candidates against 2 at prompt 1');
    expect(() =>
      answerDistance(a, [
        [1, Number.NaN, 3],
        [1, 2, 3],
      ]),
    ).toThrow('score 1 of prompt 0 by the second reward is NaN');
    expect(() => answerRegret([], [])).toThrow('scores of 0 prompts');
  });
});

describe('answerRegret', () => {
  it('is 0 for one order, 1 for the opposite, and the share that is lost between', () => {
    expect(answerRegret(a, a)).toBe(0);
    expect(
      answerRegret(
        a,
        a.map((row) => row.map((value) => -value)),
      ),
    ).toBe(1);
    // b chooses candidates 1 and 1: by a they are 2 of [1, 3] and 4 of [0, 4]: (3.5 − 3) / (3.5 − 0.5) = 1/6; a chooses 2 and 1: by b 1 of [0, 2] and 9 of [1, 9]: 1/10
    const b = [
      [0, 2, 1],
      [1, 9, 5],
    ];
    expect(answerRegret(a, b)).toBeCloseTo((1 / 6 + 1 / 10) / 2, 12);
  });
});
