import { rng } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import { preferenceBandit } from './preferenceBandit.js';

const three = preferenceBandit({ prompts: 1, responses: 3, rng: rng(0), rewards: [0, 1, 3], reference: [0.5, 0.3, 0.2] });

describe('preferenceBandit', () => {
  it('has the optimum of its KL penalty in closed form', () => {
    const best = three.optimum(1);
    [0.093763, 0.152925, 0.753312].forEach((p, i) => void expect(best[i]).toBeCloseTo(p, 6));
    expect(three.evaluate(best).kl).toBeCloseTo(0.739024, 6);
    const bandit = preferenceBandit({ rng: rng(1) });
    const objective = (policy: Float64Array) => bandit.evaluate(policy).reward - 0.5 * bandit.evaluate(policy).kl;
    for (const other of [bandit.reference, bandit.optimum(0.4), bandit.optimum(0.6)])
      expect(objective(bandit.optimum(0.5))).toBeGreaterThan(objective(other));
  });
  it('knows the reference: no KL, and it beats itself half of the time', () => {
    const bandit = preferenceBandit({ rng: rng(1) });
    expect(bandit.evaluate(bandit.reference).kl).toBe(0);
    expect(bandit.evaluate(bandit.reference).winRate).toBeCloseTo(0.5, 12);
    expect(three.evaluate(three.reference).reward).toBeCloseTo(0.9, 12);
    expect(three.preference(0, 1, 0)).toBeCloseTo(1 / (1 + Math.exp(-1)), 12);
  });
  it('draws pairs of different responses, labelled as often as the preference says', () => {
    const pairs = three.pairs(20_000, rng(2));
    expect(pairs.every(({ chosen, rejected }) => chosen !== rejected)).toBe(true);
    const between = pairs.filter(({ chosen, rejected }) => chosen + rejected === 1);
    expect(between.filter(({ chosen }) => chosen === 1).length / between.length).toBeCloseTo(three.preference(0, 1, 0), 1);
    expect(three.pairs(5, rng(2))).toEqual(three.pairs(5, rng(2)));
  });
  it('is the same for a seed', () => {
    expect(preferenceBandit({ rng: rng(1) }).rewards).toEqual(preferenceBandit({ rng: rng(1) }).rewards);
    expect(preferenceBandit({ rng: rng(1) }).rewards).not.toEqual(preferenceBandit({ rng: rng(2) }).rewards);
  });
  it('names what does not fit', () => {
    expect(() => preferenceBandit({ responses: 1, rng: rng(0) })).toThrow('responses must be a whole number from 2 on, got 1');
    expect(() => preferenceBandit({ rewards: [1], rng: rng(0) })).toThrow('rewards holds 1 numbers; 20 prompts of 8 have 160');
    expect(() => preferenceBandit({ prompts: 1, responses: 2, reference: [1, 1], rng: rng(0) })).toThrow('add up to 2 for prompt 0');
    expect(() => three.evaluate(Float64Array.of(1, 1, 1))).toThrow('the probabilities of the policy add up to 3');
    expect(() => three.optimum(0)).toThrow('beta must be > 0, got 0');
  });
});
