import { rng } from '@plumbline/core';
import { policyIteration, type TabularMdp, withReward } from '@plumbline/data/tabular';
import { describe, expect, it } from 'vitest';
import { averageRegret, normalisedRegret, worstCaseRegret } from './regret.js';
import { canonicalise, distanceMatrix, rewardNorm, type StarcOptions, starcDistance } from './starc.js';

/** Two states; 0 stays, 1 switches. */
function toy(gamma = 0.9): TabularMdp {
  const transition = new Float64Array(8);
  for (const s of [0, 1]) {
    transition[(s * 2 + 0) * 2 + s] = 1;
    transition[(s * 2 + 1) * 2 + (1 - s)] = 1;
  }
  return {
    states: 2,
    actions: 2,
    gamma,
    transition,
    reward: new Float64Array(8),
    initial: Float64Array.of(0.5, 0.5),
    terminal: new Uint8Array(2),
  };
}
const even: TabularMdp = { ...toy(), transition: Float64Array.from({ length: 8 }, (_, i) => (i % 2 === 0 ? 0.8 : 0.2)) };
const at = (s: number, a: number, next: number) => (s * 2 + a) * 2 + next;
const one = (i: number, value = 1) => Float64Array.from({ length: 8 }, (_, j) => (i === j ? value : 0));
const plus = (a: Float64Array, b: Float64Array, scale = 1) => a.map((value, i) => value + scale * b[i]);
const close = (got: ArrayLike<number>, want: readonly number[], digits = 6) =>
  Array.from(got).forEach((value, i) => {
    expect(value).toBeCloseTo(want[i], digits);
  });
const [r1, r2] = [one(at(0, 1, 1)), one(at(1, 1, 0))];
const plain = { norm: 'l2', metric: 'l2' } as const;
const shaping = (mdp: TabularMdp, phi: readonly number[]) => {
  const S = mdp.states;
  return Float64Array.from({ length: S * mdp.actions * S }, (_, i) => mdp.gamma * phi[i % S] - phi[Math.floor(i / (mdp.actions * S))]);
};

/** A random process and rewards. */
function random(seed: number, S = 16, A = 4): { mdp: TabularMdp; rewards: Float64Array[] } {
  const draw = rng(seed);
  const transition = Float64Array.from(draw.fork('t').uniform(S * A * S));
  for (let row = 0; row < S * A; row++) {
    const slice = transition.subarray(row * S, (row + 1) * S);
    const sum = slice.reduce((a, b) => a + b, 0);
    for (let i = 0; i < S; i++) slice[i] /= sum;
  }
  const mdp = {
    states: S,
    actions: A,
    gamma: 0.95,
    transition,
    reward: new Float64Array(S * A * S),
    initial: new Float64Array(S).fill(1 / S),
    terminal: new Uint8Array(S),
  };
  return { mdp, rewards: [0, 1, 2].map((k) => Float64Array.from(draw.fork('r', k).normal(S * A * S))) };
}

describe('canonical rewards', () => {
  it('have the values of the card on the two-state process', () => {
    close(canonicalise(r1, toy(), 'val'), [-0.275, -0.275, 0.275, 0.275, -0.225, -0.225, 0.225, 0.225]);
    close(canonicalise(r1, toy(), 'epic'), [-0.1375, -0.3625, -0.1375, 0.6375, 0.1125, -0.1125, 0.1125, -0.1125]);
    const norm = (how: 'val' | 'epic' | 'valPotential') => rewardNorm(canonicalise(r1, toy(), how), toy(), 'l2');
    expect(norm('val')).toBeCloseTo(0.710634, 6);
    expect(norm('epic')).toBeCloseTo(0.79136, 6);
    expect(norm('valPotential')).toBeCloseTo(0.977241, 6);
    const q = policyIteration(withReward(toy(), r1)).Q;
    close(q, [4.736842, 5.263158, 4.263158, 4.736842]);
  });
  it('have them on the process that ignores state and action', () => {
    const r = Float64Array.from({ length: 8 }, (_, i) => i + 1);
    const val = canonicalise(r, even, 'val');
    close(val, [-1, -1, 1, 1, -1, -1, 1, 1]);
    expect(rewardNorm(val, even, 'l2')).toBeCloseTo(2.828427, 6);
    const least = canonicalise(r, even, 'minimalL2');
    close(least, [-1.176471, -0.294118, 1.176471, 0.294118, -1.176471, -0.294118, 1.176471, 0.294118]);
    expect(rewardNorm(least, even, 'l2')).toBeCloseTo(2.425356, 6);
    expect(rewardNorm(r, even, 'weighted1')).toBeCloseTo(16.8, 10);
    expect(rewardNorm(r, even, 'weighted2')).toBeCloseTo(9.549869, 6);
    expect(rewardNorm(r, even, 'weightedInf')).toBeCloseTo(5.6, 10);
  });
  it('do not see potential shaping; VAL and minimal L2 do not see a redistribution over next states either', () => {
    for (const how of ['val', 'valPotential', 'epic', 'minimalL2'] as const)
      close(canonicalise(plus(r1, shaping(toy(), [1, -2])), toy(), how), Array.from(canonicalise(r1, toy(), how)), 10);
    const r = Float64Array.from({ length: 8 }, (_, i) => i + 1);
    const moved = plus(plus(plus(plus(r, one(at(0, 0, 0), 0.2)), one(at(0, 0, 1), -0.8)), one(at(1, 1, 0), 0.6)), one(at(1, 1, 1), -2.4));
    for (const how of ['val', 'minimalL2'] as const) close(canonicalise(moved, even, how), Array.from(canonicalise(r, even, how)), 10);
    for (const how of ['epic', 'valPotential'] as const)
      expect(rewardNorm(plus(canonicalise(moved, even, how), canonicalise(r, even, how), -1), even, 'l2')).toBeGreaterThan(0.1);
  });
  it('of EPIC and DARD are those of their definitions, written out', () => {
    const {
      mdp,
      rewards: [r],
    } = random(3, 5, 3);
    const { states: S, actions: A, gamma, transition: t } = mdp;
    const R = (s: number, a: number, next: number) => r[(s * A + a) * S + next];
    const range = (n: number) => Array.from({ length: n }, (_, i) => i);
    const phi = (s: number) => range(A).reduce((sum, a) => sum + range(S).reduce((inner, x) => inner + R(s, a, x), 0), 0) / (A * S);
    const psi = (s: number) =>
      range(A).reduce((sum, a) => sum + range(S).reduce((inner, x) => inner + t[(s * A + a) * S + x] * R(s, a, x), 0), 0) / A;
    const whole = range(S).reduce((sum, s) => sum + phi(s), 0) / S;
    const ahead = (s: number, next: number) =>
      range(A).reduce(
        (sum, a) =>
          sum +
          range(S).reduce(
            (inner, m) => inner + t[(s * A + a) * S + m] * range(S).reduce((last, e) => last + t[(next * A + a) * S + e] * R(m, a, e), 0),
            0,
          ),
        0,
      ) / A;
    const [epic, dard] = [canonicalise(r, mdp, 'epic'), canonicalise(r, mdp, 'dard')];
    for (const s of range(S))
      for (const a of range(A))
        for (const next of range(S)) {
          const i = (s * A + a) * S + next;
          expect(epic[i]).toBeCloseTo(R(s, a, next) + gamma * phi(next) - phi(s) - gamma * whole, 10);
          expect(dard[i]).toBeCloseTo(R(s, a, next) + gamma * psi(next) - psi(s) - gamma * ahead(s, next), 10);
        }
  });
});

describe('distances', () => {
  it('have the values of the card', () => {
    const d = (a: Float64Array, b: Float64Array, canon: StarcOptions['canon']) => starcDistance(a, b, toy(), { ...plain, canon });
    expect(d(r1, r2, 'val')).toBeCloseTo(0.199007, 6);
    expect(d(r1, r2, 'valPotential')).toBeCloseTo(1.380492, 6);
    expect(d(r1, r2, 'epic')).toBeCloseTo(1.266803, 6);
    const r3 = plus(r1, one(at(1, 0, 1), 0.8));
    expect(d(r1, r3, 'val')).toBeCloseTo(1.248461, 6);
    expect(d(r1, r3, 'epic')).toBeCloseTo(0.846582, 6);
    for (const canon of ['val', 'epic'] as const) {
      expect(
        d(
          r1,
          r1.map((value) => -value),
          canon,
        ),
      ).toBeCloseTo(2, 12);
      expect(d(r1, new Float64Array(8), canon)).toBeCloseTo(1, 12);
      expect(
        d(
          r1,
          r1.map((value) => 3 * value + 2),
          canon,
        ),
      ).toBeCloseTo(0, 12);
    }
    expect(starcDistance(r1, r2, toy(), { ...plain, half: true })).toBeCloseTo(0.199007 / 2, 6);
  });
  it('are symmetric and hold the triangle inequality', () => {
    for (let seed = 0; seed < 20; seed++) {
      const { mdp, rewards } = random(seed, 6, 3);
      for (const canon of ['val', 'epic', 'dard', 'minimalL2', 'none'] as const) {
        const d = distanceMatrix(rewards, mdp, { canon });
        expect(d[0][1]).toBeCloseTo(d[1][0], 12);
        expect(d[0][2]).toBeLessThanOrEqual(d[0][1] + d[1][2] + 1e-12);
        expect(d[1][1]).toBe(0);
      }
    }
  });
  it('refuse rewards of another size or that are not finite', () => {
    expect(() => starcDistance(new Float64Array(7), r1, toy())).toThrow('the reward has 7 numbers; 8 were expected');
    expect(() => starcDistance(r1, one(2, Number.NaN), toy())).toThrow('reward 2 is NaN');
    expect(starcDistance(new Float64Array(8), new Float64Array(8), toy())).toBe(0);
  });
});

describe('regret', () => {
  it('has the values of the card', () => {
    const r3 = plus(r1, one(at(1, 0, 1), 0.8));
    expect(normalisedRegret(r1, r3, toy())).toBeCloseTo(0.9, 6);
    expect(worstCaseRegret(r1, r2, toy())).toBeCloseTo(0.1, 6);
    expect(
      averageRegret(
        r1,
        r1.map((value) => 5 * value),
        toy(),
      ),
    ).toBeCloseTo(0, 12);
    expect(
      normalisedRegret(
        r1,
        r1.map((value) => -value),
        toy(),
      ),
    ).toBeCloseTo(1, 12);
  });
  it('is 0 where every policy is alike, and names too many policies', () => {
    expect(normalisedRegret(new Float64Array(8).fill(1), r1, toy())).toBe(0);
    const { mdp, rewards } = random(1);
    expect(() => worstCaseRegret(rewards[0], rewards[1], mdp)).toThrow(
      '4 actions in 16 states make 4294967296 deterministic policies; at most 4096 are tried',
    );
  });
});
