import { rng } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import { effectiveSampleSize, perDecisionValue, returnsToGo, targetReturns } from './offPolicy.js';

const ln = Math.log;

describe('perDecisionValue', () => {
  const episodes = [
    { rewards: [1, 2], logRatios: [ln(2), ln(0.5)] },
    { rewards: [0, 4], logRatios: [ln(0.5), ln(3)] },
  ];
  it('counts a reward by the decisions up to it', () => {
    // step 0: (2·1 + ½·0)/2; step 1: weights 1 and 1.5: (1·2 + 1.5·4)/2
    expect(perDecisionValue(episodes).value).toBeCloseTo(1 + 4, 12);
    expect(perDecisionValue(episodes, { gamma: 0.5 }).value).toBeCloseTo(1 + 2, 12);
    // divided by the sums of weights, 2.5 and 2.5
    expect(perDecisionValue(episodes, { weighted: true }).value).toBeCloseTo(2 / 2.5 + 8 / 2.5, 12);
    expect(perDecisionValue(episodes).effective).toBeCloseTo(6.25 / 3.25, 12);
  });
  it('is the mean return where the policy is the one that acted, however long the episodes', () => {
    const own = [
      { rewards: [1, 2, 3], logRatios: [0, 0, 0] },
      { rewards: [4], logRatios: [0] },
    ];
    for (const weighted of [false, true]) expect(perDecisionValue(own, { weighted })).toEqual({ value: 5, effective: 2 });
  });
  it('has the value of the other policy as its mean: a coin, evaluated for another coin', () => {
    const draw = rng(3);
    const [acted, asked] = [0.5, 0.8]; // of heads, which pays 1; two flips
    const flips = Array.from({ length: 20_000 }, () => {
      const heads = [0, 1].map(() => draw.uniform(1)[0] < acted);
      return {
        rewards: heads.map(Number),
        logRatios: heads.map((head) => (head ? ln(asked / acted) : ln((1 - asked) / (1 - acted)))),
      };
    });
    for (const weighted of [false, true]) expect(Math.abs(perDecisionValue(flips, { weighted }).value - 1.6)).toBeLessThan(0.05);
  });
  it('is finite for far ratios in the weighted form, and 0 where nothing was possible', () => {
    const far = [
      { rewards: [1], logRatios: [800] },
      { rewards: [3], logRatios: [-800] },
    ];
    expect(perDecisionValue(far, { weighted: true })).toEqual({ value: 1, effective: 1 });
    const never = [{ rewards: [1], logRatios: [-Infinity] }];
    expect(perDecisionValue(never, { weighted: true })).toEqual({ value: 0, effective: 0 });
  });
  it('names what is wrong', () => {
    expect(() => perDecisionValue([])).toThrow('there are no episodes');
    expect(() => perDecisionValue([{ rewards: [1, 2], logRatios: [0] }])).toThrow('episode 0 has 2 rewards and 1 log-ratios');
    expect(() => perDecisionValue([{ rewards: [Number.NaN], logRatios: [0] }])).toThrow('step 0 of episode 0 has the reward NaN');
  });
});

describe('sequences with a return', () => {
  it('are told what is still to come, and at test time what is still asked for', () => {
    expect([...returnsToGo([1, 0, 2, -1])]).toEqual([2, 1, 1, -1]);
    expect([...targetReturns(5, [1, 0, 2, -1])]).toEqual([5, 4, 4, 2, 3]);
  });
  it('weights are worth fewer samples the more they differ', () => {
    expect(effectiveSampleSize([1, 1, 2])).toBeCloseTo(16 / 6, 9);
    expect(effectiveSampleSize([3, 3, 3])).toBeCloseTo(3, 12);
    expect(effectiveSampleSize([0, 0])).toBe(0);
  });
});
