import { describe, expect, it } from 'vitest';
import { expectedScoreFromLogits, type LogitScoreMode } from './logitScore.js';

const six = [0, 1, 2, 3, 4, 5];
const five = { values: [1, 2, 3, 4, 5], normalise: false };
const of = (probabilities: number[], mode: LogitScoreMode) => expectedScoreFromLogits(probabilities.map(Math.log), { ...five, mode });

describe('expectedScoreFromLogits', () => {
  it('is the expectation over the score tokens alone', () => {
    const logits = [0, 0, 0, 1, 2, 3];
    expect(expectedScoreFromLogits(logits, { values: six })).toBeCloseTo(0.8504159711, 9);
    expect(expectedScoreFromLogits(logits.map((x) => x + 7), { values: six })).toBeCloseTo(0.8504159711, 9); // biome-ignore format: shifted
    expect(expectedScoreFromLogits([0, 0, 0, 0, 0, 0], { values: six })).toBeCloseTo(0.5, 12);
    expect(expectedScoreFromLogits([0, 0, 0, 0, 0, 900], { values: six })).toBe(1);
    expect(expectedScoreFromLogits([0, 0, 0, 0, 0, Infinity], { values: six })).toBe(1);
    expect(expectedScoreFromLogits([0, -Infinity, -Infinity, -Infinity, -Infinity, -Infinity], { values: six })).toBe(0);
  });
  it('has the other ways to read a distribution', () => {
    const q = [0.05, 0.1, 0.2, 0.5, 0.15];
    expect(of(q, 'argmaxTimesProbability')).toBeCloseTo(2, 12);
    expect(of(q, 'expectation')).toBeCloseTo(3.6, 12);
    expect(of(q, 'argmax')).toBe(4);
    const unnormalised = [0.02, 0.08, 0.2, 0.4, 0.1]; // adds up to 0.8
    expect(of(unnormalised, 'argmaxTimesProbability')).toBeCloseTo(2, 12);
    expect(of(unnormalised, 'expectation')).toBeCloseTo(3.6, 12);
  });
  it('names what does not fit', () => {
    expect(() => expectedScoreFromLogits([0], { values: [1] })).toThrow('two at least');
    expect(() => expectedScoreFromLogits([0, 0], { values: [2, 1] })).toThrow('values must ascend, and be two at least, got 2, 1');
    expect(() => expectedScoreFromLogits([0], { values: [1, 2] })).toThrow('1 logits and 2 values');
    expect(() => expectedScoreFromLogits([Number.NaN, 0], { values: [1, 2] })).toThrow('the logits are NaN, 0');
    expect(() => expectedScoreFromLogits([0, 0], { values: [1, 2], mode: 'mean' as 'argmax' })).toThrow('there is no mode "mean"');
  });
});
