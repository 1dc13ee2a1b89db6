/** On a softmax bandit the policy gradient is known: estimators must have it as their mean. */
import { rng } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import { klValue } from '../kl.js';
import { reinforceAdvantages, remaxAdvantages, rlooAdvantages } from './baselines.js';
import { groupAdvantages } from './group.js';

const logits = [0.4, -0.3, 0.1];
const rewards = [1, 0.2, -0.5];
const weights = logits.map(Math.exp);
const total = weights.reduce((a, b) => a + b, 0);
const pi = weights.map((w) => w / total);
const value = pi.reduce((sum, p, a) => sum + p * rewards[a], 0);
/** d/dlogits of the expected reward: π_a (r_a − E r). */
const exact = pi.map((p, a) => p * (rewards[a] - value));

const group = 4;
const groups = 25_000;
const draw = rng(3);
const actions = Array.from({ length: group * groups }, () => draw.categorical(pi));
const drawn = actions.map((a) => rewards[a]);
const ids = actions.map((_, i) => Math.floor(i / group));

/** Mean over groups of Σ A·∇log π / G, and the standard error of each entry. */
function estimate(advantages: ArrayLike<number>) {
  const perGroup = Array.from({ length: groups }, (_, g) => {
    const gradient = [0, 0, 0];
    for (let i = g * group; i < (g + 1) * group; i++)
      for (let a = 0; a < 3; a++) gradient[a] += (advantages[i] * ((actions[i] === a ? 1 : 0) - pi[a])) / group;
    return gradient;
  });
  const mean = exact.map((_, a) => perGroup.reduce((sum, g) => sum + g[a], 0) / groups);
  const error = exact.map((_, a) => Math.sqrt(perGroup.reduce((sum, g) => sum + (g[a] - mean[a]) ** 2, 0) / (groups - 1) / groups));
  return { mean, error };
}
const expectExact = (advantages: ArrayLike<number>) => {
  const { mean, error } = estimate(advantages);
  mean.forEach((m, a) => void expect(Math.abs(m - exact[a]), `entry ${a}`).toBeLessThan(4 * error[a]));
};

describe('the mean over 100,000 draws is the exact policy gradient', () => {
  it('for REINFORCE without a baseline', () => expectExact(reinforceAdvantages(drawn)));
  it('for RLOO', () => expectExact(rlooAdvantages(drawn, ids)));
  it('for ReMax, whose baseline is the reward of the likeliest action', () =>
    expectExact(remaxAdvantages(drawn, new Float64Array(groups).fill(rewards[0]), ids)));
  it('for the centred group advantage times G/(G−1)', () =>
    expectExact(groupAdvantages(drawn, ids, { scale: 'none' }).map((a) => (a * group) / (group - 1))));
  it('and not for one divided by the deviation of its group, which has the same sign only', () => {
    const { mean, error } = estimate(groupAdvantages(drawn, ids));
    mean.forEach((m, a) => {
      expect(Math.sign(m)).toBe(Math.sign(exact[a]));
      expect(Math.abs(m - exact[a])).toBeGreaterThan(4 * error[a]);
    });
  });
  it('has far less noise with a baseline', () => {
    expect(estimate(rlooAdvantages(drawn, ids)).error[0]).toBeLessThan(estimate(reinforceAdvantages(drawn.map((r) => r + 3))).error[0] / 2);
  });
});

describe('the KL on that bandit', () => {
  const reference = [0.5, 0.2, 0.3];
  const score = (a: number, b: number) => (a === b ? 1 : 0) - pi[b];
  const d = pi.map((p, a) => Math.log(p) - Math.log(reference[a]));
  const kl = pi.reduce((sum, p, a) => sum + p * d[a], 0);
  const gradient = pi.map((p, b) => p * (d[b] - kl));
  it('has the same expected gradient as k1 in the reward and as k2 in the loss; k1 in the loss has none', () => {
    const inReward = gradient.map((_, b) =>
      pi.reduce((sum, p, a) => sum + p * klValue(Math.log(pi[a]), Math.log(reference[a]), 'k1') * score(a, b), 0),
    );
    const k2InLoss = gradient.map((_, b) => pi.reduce((sum, p, a) => sum + p * d[a] * score(a, b), 0));
    const k1InLoss = gradient.map((_, b) => pi.reduce((sum, p, a) => sum + p * score(a, b), 0));
    gradient.forEach((g, b) => {
      expect(inReward[b]).toBeCloseTo(g, 12);
      expect(k2InLoss[b]).toBeCloseTo(g, 12);
      expect(k1InLoss[b]).toBeCloseTo(0, 12);
    });
  });
});
