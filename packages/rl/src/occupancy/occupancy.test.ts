import { gradients, rng } from '@plumbline/core';
import { policyEvaluation, type TabularMdp, uniformPolicy } from '@plumbline/data/tabular';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import {
  chiSquared,
  discriminatorLoss,
  gaussianChiSquared,
  hackingLowerBound,
  klDivergence,
  occupancyReward,
  proxyCorrelation,
  sequenceChi2Penalty,
  sqrtChi2,
} from './divergence.js';
import { chiSquaredChoice, solveRegularised } from './solve.js';

const close = (got: ArrayLike<number>, want: readonly number[], digits = 6) =>
  Array.from(got).forEach((value, i) => {
    expect(value).toBeCloseTo(want[i], digits);
  });
const bandit: TabularMdp = {
  states: 1,
  actions: 3,
  gamma: 0.9,
  transition: Float64Array.of(1, 1, 1),
  reward: new Float64Array(3),
  initial: Float64Array.of(1),
  terminal: new Uint8Array(1),
};
const [base, proxy, truth] = [Float64Array.of(0.3, 0.6, 0.1), Float64Array.of(0, 2, 3), Float64Array.of(1, 2, 0)];

/** A process with random transitions. */
function random(seed: number, S = 4, A = 3): { mdp: TabularMdp; reward: Float64Array; base: Float64Array } {
  const draw = rng(seed);
  const rows = (name: string, n: number, width: number) => {
    const x = Float64Array.from(draw.fork(name).uniform(n * width), (u) => u + 0.05);
    for (let i = 0; i < n; i++) {
      const row = x.subarray(i * width, (i + 1) * width);
      const sum = row.reduce((a, b) => a + b, 0);
      for (let j = 0; j < width; j++) row[j] /= sum;
    }
    return x;
  };
  const mdp = {
    states: S,
    actions: A,
    gamma: 0.9,
    transition: rows('t', S * A, S),
    reward: new Float64Array(S * A),
    initial: rows('i', 1, S),
    terminal: new Uint8Array(S),
  };
  return { mdp, reward: Float64Array.from(draw.fork('r').normal(S * A)), base: rows('b', S, A) };
}

describe('divergences', () => {
  it('have the values of the card', () => {
    const pi = [0.2, 0.5, 0.3];
    expect(chiSquared(pi, base)).toBeCloseTo(0.45, 12);
    expect(klDivergence(pi, base)).toBeCloseTo(0.15733, 5);
    expect(chiSquared([1, 0], [0, 1])).toBe(Infinity);
    expect(gaussianChiSquared({ mean: 0, deviation: 1 }, { mean: 0.5, deviation: 1.2 })).toBeCloseTo(0.199597, 6);
    expect(gaussianChiSquared({ mean: 0, deviation: 2 }, { mean: 0, deviation: 1 })).toBe(Infinity);
    const { correlation, mean, proxyMean, deviation, proxyDeviation } = proxyCorrelation(base, truth, proxy);
    close([mean, proxyMean, deviation, proxyDeviation, correlation], [1.5, 1.5, 0.67082, 1.024695, 0.218218], 5);
    expect(proxyDeviation * Math.sqrt(1 - correlation ** 2)).toBeCloseTo(1, 6);
    const gain = (reward: Float64Array, from: number, sd: number) => (pi.reduce((sum, p, i) => sum + p * reward[i], 0) - from) / sd;
    expect(gain(truth, mean, deviation)).toBeCloseTo(-0.447214, 6);
    expect(hackingLowerBound({ correlation, proxyGain: gain(proxy, proxyMean, proxyDeviation), chi2: 0.45 })).toBeCloseTo(-1.211146, 5);
    expect(() => hackingLowerBound({ correlation: -0.1, proxyGain: 0, chi2: 0 })).toThrow('the correlation must be in (0, 1]');
  });
  it('bound the loss of true reward in random bandits', () => {
    const draw = rng(1);
    let checked = 0;
    for (let k = 0; k < 2000; k++) {
      const own = draw.fork(k);
      const n = 3;
      const simplex = (name: string) => {
        const u = Array.from(own.fork(name).uniform(n), (x) => x + 0.01);
        const sum = u.reduce((a, b) => a + b, 0);
        return u.map((x) => x / sum);
      };
      const [nu, pi, r, p] = [simplex('nu'), simplex('pi'), own.fork('r').normal(n), own.fork('p').normal(n)];
      const c = proxyCorrelation(nu, r, p);
      if (!(c.correlation > 0.01)) continue;
      checked++;
      const of = (x: ArrayLike<number>) => pi.reduce((sum, q, i) => sum + q * x[i], 0);
      const bound = hackingLowerBound({
        correlation: c.correlation,
        proxyGain: (of(p) - c.proxyMean) / c.proxyDeviation,
        chi2: chiSquared(pi, nu),
      });
      expect((of(r) - c.mean) / c.deviation).toBeGreaterThan(bound - 1e-6);
    }
    expect(checked).toBeGreaterThan(500);
  });
  it('become rewards: their signs, the root of their mean, their clip', () => {
    close(occupancyReward([-1, 0, 0.5], 'chi2'), [0.632121, 0, -0.648721]);
    close(occupancyReward([-1, 0, 0.5], 'kl'), [1, 0, -0.5]);
    close(occupancyReward([-1, 0, 0.5], 'tv'), [1, 0, -1]);
    const excess = [Math.expm1(1), Math.expm1(0.5)];
    const root = Math.sqrt((excess[0] + excess[1]) / 2);
    close(occupancyReward([1, 0.5], 'sqrtChi2'), [-excess[0] / root, -excess[1] / root]);
    close(occupancyReward([-1, -2], 'sqrtChi2'), [0.632121, 0.864665]);
    close(occupancyReward([800, Number.NaN], 'chi2', { clip: 5 }), [0, 0]);
    close(occupancyReward([10], 'chi2', { clip: 5 }), [-5]);
  });
});

describe('penalties in a loss', () => {
  it('have the values of the card and leave no tensor behind', () => {
    const before = tf.memory().numTensors;
    const { chi2, kl } = sequenceChi2Penalty(tf.tensor1d([0, 0.5, -0.5]));
    expect(chi2.dataSync()[0]).toBeCloseTo(0.170168, 6);
    expect(Math.sqrt(chi2.dataSync()[0])).toBeCloseTo(0.412514, 5);
    expect(kl.dataSync()[0]).toBeCloseTo((0.106531 + 0.148721) / 3, 6);
    const far = sequenceChi2Penalty(tf.tensor1d([12]));
    expect(far.chi2.dataSync()[0] / 66077.397).toBeCloseTo(1, 5);
    const loss = discriminatorLoss(tf.tensor1d([0.5]), tf.tensor1d([-0.2]));
    expect(loss.dataSync()[0]).toBeCloseTo(1.072216, 6);
    tf.dispose([chi2, kl, far.chi2, far.kl, loss]);
    expect(tf.memory().numTensors - before).toBe(4); // the four inputs
  });
  it('have the gradient of their formula, finite beyond the clip, and none at the floor', () => {
    const at = (x: number) => {
      const parameter = { name: 'x', shape: [1], trainable: true, value: tf.tensor1d([x]) };
      const { loss, grads } = gradients(() => ({ loss: sqrtChi2(sequenceChi2Penalty(parameter.value as tf.Tensor1D).chi2) }), [parameter]);
      return { loss: loss.dataSync()[0], slope: grads.get(parameter)?.dataSync()[0] ?? 0 };
    };
    const f = (x: number) => Math.sqrt(Math.expm1(x) + Math.expm1(-x));
    expect(at(0.7).slope).toBeCloseTo((f(0.7001) - f(0.6999)) / 0.0002, 3);
    expect(Number.isFinite(at(12).slope)).toBe(true);
    expect(at(0)).toEqual({ loss: expect.closeTo(0.01, 6), slope: 0 });
  });
});

describe('solveRegularised', () => {
  it('is the closed form in a bandit, over actions and over occupancies', () => {
    for (const over of ['action', 'occupancy'] as const) {
      const at = (weight: number) => solveRegularised(bandit, proxy, base, { over, divergence: 'chi2' }, weight).policy;
      close(at(1), [0.075, 0.75, 0.175]);
      close(at(2), [0.1875, 0.675, 0.1375]);
      const kl = solveRegularised(bandit, proxy, base, { over, divergence: 'kl' }, 0.5).policy;
      const z = base.map((p, i) => p * Math.exp(proxy[i] / 0.5));
      const sum = z.reduce((a, b) => a + b, 0);
      close(
        kl,
        Array.from(z, (x) => x / sum),
        8,
      );
    }
    const into = new Float64Array(3);
    chiSquaredChoice(proxy, base, 0.05, into);
    close(into, [0, 0, 1]);
  });
  it('is the best: no small change of the occupancy gains, in random processes', () => {
    for (let seed = 0; seed < 6; seed++) {
      const { mdp, reward, base: start } = random(seed);
      const nu = policyEvaluation(mdp, start).occupancy;
      for (const divergence of ['kl', 'chi2'] as const)
        for (const weight of [0.02, 0.3]) {
          const gain = (occupancy: Float64Array) =>
            occupancy.reduce((sum, m, i) => sum + m * reward[i], 0) -
            weight * (divergence === 'kl' ? klDivergence(occupancy, nu) : chiSquared(occupancy, nu));
          const { occupancy, policy } = solveRegularised(mdp, reward, start, { over: 'occupancy', divergence }, weight);
          close(policyEvaluation(mdp, policy).occupancy, Array.from(occupancy), 9);
          const best = gain(occupancy);
          for (let k = 0; k < 20; k++) {
            const other = random(100 + k).base;
            const mixed = policyEvaluation(mdp, other).occupancy.map((m, i) => 0.99 * occupancy[i] + 0.01 * m); // occupancies are convex
            expect(gain(mixed)).toBeLessThanOrEqual(best + 1e-9);
          }
          expect(best).toBeGreaterThanOrEqual(gain(nu) - 1e-12);
        }
    }
  });
  it('goes to the base as the weight grows, and to the optimum of the proxy as it falls', () => {
    const { mdp, reward, base: start } = random(3);
    for (const over of ['action', 'occupancy'] as const)
      for (const divergence of ['kl', 'chi2'] as const) {
        close(solveRegularised(mdp, reward, start, { over, divergence }, 1e4).policy, Array.from(start), 3);
        const greedy = solveRegularised(mdp, reward, start, { over, divergence }, 1e-3).policy;
        expect(Math.max(...greedy.subarray(0, 3))).toBeGreaterThan(0.98);
      }
    expect(() => solveRegularised(mdp, reward, uniformPolicy(mdp), { over: 'action', divergence: 'kl' }, 0)).toThrow(
      'weight must be > 0, got 0',
    );
  });
});
