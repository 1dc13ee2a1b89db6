import { rng } from '@plumbline/core';
import {
  checkMdp,
  deterministicPolicy,
  everyPolicyEnds,
  expectedReward,
  mixPolicies,
  policyEvaluation,
  policyIteration,
  policyOfOccupancy,
  returnOf,
  softValueIteration,
  uniformPolicy,
  valueIteration,
  withReward,
} from '@plumbline/data/tabular';
import { describe, expect, it } from 'vitest';
import {
  bandit,
  chain,
  cliff,
  frozenLake,
  gridworld,
  mdpOf,
  randomMdp,
  riverSwim,
  sampleTomatoBoard,
  tabularEnv,
  tomatoLevel2,
  tomatoWorld,
} from './index.js';

const close = (found: ArrayLike<number>, expected: readonly number[], digits: number) => {
  expect(found).toHaveLength(expected.length);
  expected.forEach((x, i) => {
    expect(found[i]).toBeCloseTo(x, digits);
  });
};

describe('valueIteration', () => {
  it('finds the values of the frozen lake', () => {
    const { V } = valueIteration(frozenLake());
    close(
      V,
      [0.542026, 0.498803, 0.470696, 0.456852, 0.558451, 0, 0.358348, 0, 0.591799, 0.64308, 0.615208, 0, 0, 0.74172, 0.862837, 0],
      6,
    );
    expect(V[0]).toBeCloseTo(0.542025932, 9);
    expect(valueIteration(frozenLake({ gamma: 1 })).V[0]).toBeCloseTo(14 / 17, 8);
    expect(valueIteration(frozenLake({ slippery: false, gamma: 0.9 })).V[0]).toBeCloseTo(0.9 ** 5, 12);
  });

  it('is -(1 - gamma^d) / (1 - gamma) at distance d from the goal of a grid', () => {
    const { V } = valueIteration(gridworld({ width: 5, height: 5, goals: [{ cell: 24 }] }));
    expect(V[23]).toBeCloseTo(-1, 12);
    expect(V[20]).toBeCloseTo(-3.709875, 9);
    expect(V[0]).toBeCloseTo(-6.7315913742, 9);
  });

  it('swims to the end of the river', () => {
    const { V, policy } = valueIteration(riverSwim(6));
    close(V, [2.04597715, 2.40492052, 2.94648418, 3.64393245, 4.51570161, 5.59851968], 7);
    expect([...policy]).toEqual([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
  });

  it('walks along the cliff in 13 steps, and round a wall', () => {
    expect(policyIteration(cliff({ gamma: 0.999 })).return).toBeCloseTo(-(1 - 0.999 ** 13) / 0.001, 9);
    const walled = gridworld({ width: 3, height: 3, walls: [1, 4], goals: [{ cell: 2 }], gamma: 0.5 });
    expect(valueIteration(walled).V[0]).toBeCloseTo(-(1 - 0.5 ** 6) / 0.5, 12);
  });

  it('is exact for a bandit and a chain', () => {
    const { V, Q } = valueIteration(bandit([1, 2, 0.5]));
    expect(V[0]).toBe(2);
    close(Q.subarray(0, 3), [1, 2, 0.5], 12);
    expect(valueIteration(chain(5, { gamma: 0.9 })).V[0]).toBeCloseTo(0.9 ** 3, 12);
  });

  it('refuses a loss without end', () => {
    expect(() => valueIteration(gridworld({ width: 3, height: 1, goals: [{ cell: 2 }], gamma: 1 }))).toThrow(/gamma 1/);
  });
});

describe('policyEvaluation', () => {
  it('solves the equations of a policy: two states, stay or switch', () => {
    const two = mdpOf({ states: 2, actions: 2, gamma: 0.9, start: 0 }, (s, a) => [[1, a === 0 ? s : 1 - s, s === 0 && a === 1 ? 1 : 0]]);
    const { V, Q } = policyEvaluation(two, uniformPolicy(two));
    close(V, [2.75, 2.25], 12); // V0 = .5 (.9 V0) + .5 (1 + .9 V1), V1 = .5 (.9 V1) + .5 (.9 V0)
    close(Q, [2.475, 3.025, 2.025, 2.475], 12);
    close(valueIteration(two).Q, [4.736842, 5.263158, 4.263158, 4.736842], 6);
  });

  it('gives an occupancy that adds up to 1 and earns the return', () => {
    for (let seed = 0; seed < 5; seed++) {
      const mdp = randomMdp(rng(seed), { states: 12, actions: 3, kind: seed % 2 ? 'logits' : 'garnet' });
      const policy = mixPolicies(
        uniformPolicy(mdp),
        deterministicPolicy(
          3,
          rng(seed)
            .permutation(12)
            .map((x) => x % 3),
        ),
        0.4,
      );
      const { occupancy, return: value } = policyEvaluation(mdp, policy);
      const r = expectedReward(mdp);
      expect(occupancy.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
      expect(occupancy.reduce((sum, mu, i) => sum + mu * r[i], 0) / (1 - mdp.gamma)).toBeCloseTo(value, 10);
      close(policyOfOccupancy(mdp, occupancy), [...policy], 12);
    }
  });

  it('counts visits where nothing is discounted, and says where a policy need not end', () => {
    const lane = chain(4, { gamma: 1 });
    const on = deterministicPolicy(2, [1, 1, 1, 1]);
    close(policyEvaluation(lane, on).occupancy, [0, 1, 0, 1, 0, 1, 0, 0], 12);
    expect(returnOf(lane, on)).toBeCloseTo(1, 12);
    expect(() => policyEvaluation(lane, deterministicPolicy(2, [0, 0, 0, 0]))).toThrow(/must end/);
  });

  it('is never better than the optimum, which policy and value iteration agree on', () => {
    for (let seed = 0; seed < 5; seed++) {
      const mdp = randomMdp(rng(seed), { states: 20, actions: 4 });
      const { V } = valueIteration(mdp, 1e-13);
      close(policyIteration(mdp).V, [...V], 9);
      expect(policyEvaluation(mdp, uniformPolicy(mdp)).V.every((v, s) => v <= V[s] + 1e-9)).toBe(true);
    }
  });
});

describe('softValueIteration', () => {
  it('is the log-sum-exp of a bandit', () => {
    const { V, policy } = softValueIteration(bandit([1, 2, 0.5]), 0.5);
    expect(V[0]).toBeCloseTo(2.0849230098, 9);
    close(policy.subarray(0, 3), [0.1141952, 0.84379473, 0.04201007], 7);
  });

  it('with a prior is the optimum under a KL penalty', () => {
    const mdp = bandit([1, 2, 0.5]);
    const prior = Float64Array.of(0.6, 0.1, 0.3, 1 / 3, 1 / 3, 1 / 3);
    const { V, policy } = softValueIteration(mdp, 0.7, { prior });
    const objective = (p: ArrayLike<number>) =>
      [1, 2, 0.5].reduce((sum, r, a) => sum + p[a] * r - (p[a] > 0 ? 0.7 * p[a] * Math.log(p[a] / prior[a]) : 0), 0);
    expect(objective(policy)).toBeCloseTo(V[0], 10);
    for (let seed = 0; seed < 50; seed++) {
      const raw = rng(seed).uniform(3);
      const total = raw[0] + raw[1] + raw[2];
      expect(objective([raw[0] / total, raw[1] / total, raw[2] / total])).toBeLessThanOrEqual(V[0] + 1e-9);
    }
  });

  it('goes to the optimum as tau goes to 0', () => {
    const mdp = randomMdp(rng(3), { states: 8, actions: 3 });
    close(softValueIteration(mdp, 1e-4).V, [...valueIteration(mdp).V], 2);
  });
});

describe('the checks', () => {
  it('name the state and action whose probabilities are wrong', () => {
    const mdp = randomMdp(rng(0), { states: 4, actions: 2 });
    mdp.transition[(2 * 2 + 1) * 4] += 0.1;
    expect(() => checkMdp(mdp)).toThrow('state 2, action 1');
    expect(() => checkMdp({ ...mdp, gamma: 1.5 })).toThrow('gamma');
    expect(() => checkMdp(withReward(mdp, new Float64Array(3)))).toThrow('reward has 3 numbers');
  });

  it('know whether every policy ends', () => {
    expect(everyPolicyEnds(bandit([1, 2]))).toBe(true);
    expect(everyPolicyEnds(chain(3))).toBe(false);
    expect(everyPolicyEnds(frozenLake())).toBe(false); // along the upper edge one can go up for ever
  });
});

describe('tabularEnv', () => {
  it('earns on average what the equations say, the same for the same seed', () => {
    const mdp = riverSwim(4, { gamma: 0.8 });
    const env = tabularEnv(mdp);
    const episode = (seed: number) => {
      env.reset(seed);
      let total = 0;
      for (let t = 0; t < 60; t++) total += 0.8 ** t * env.step(1).reward;
      return total;
    };
    expect(episode(7)).toBe(episode(7));
    const mean = Array.from({ length: 2000 }, (_, i) => episode(i)).reduce((a, b) => a + b, 0) / 2000;
    const expected = returnOf(mdp, deterministicPolicy(2, [1, 1, 1, 1]));
    expect(Math.abs(mean - expected)).toBeLessThan(0.06 * expected + 0.01);
  });

  it('does not go on after the end', () => {
    const env = tabularEnv(bandit([1, 2]));
    expect(() => env.step(0)).toThrow('reset');
    env.reset(0);
    expect(env.step(1)).toEqual({ obs: 1, reward: 2, terminated: true });
    expect(() => env.step(0)).toThrow('reset');
    env.reset(1);
    expect(() => env.step(2)).toThrow('actions are 0 to 1');
  });
});

describe('the tomato world', () => {
  it('has 218 states that can be reached on the board of level 2', () => {
    const { mdp } = tomatoWorld(tomatoLevel2);
    checkMdp(mdp);
    expect(mdp.states).toBe(218);
  });

  it('is hacked by the optimum of its proxy, while both rewards go together under the base policy', () => {
    const { mdp, proxy } = tomatoWorld(tomatoLevel2);
    const best = policyIteration(mdp).policy;
    const base = mixPolicies(best, uniformPolicy(mdp), 0.5);
    const per = (policy: Float64Array, reward: Float64Array) => (1 - mdp.gamma) * returnOf(withReward(mdp, reward), policy);
    const { occupancy } = policyEvaluation(mdp, base);
    const [r, p] = [expectedReward(mdp), expectedReward(withReward(mdp, proxy))];
    const moment = (x: Float64Array, y: Float64Array) => {
      const mean = (z: Float64Array) => z.reduce((sum, v, i) => sum + v * occupancy[i], 0);
      return x.reduce((sum, v, i) => sum + occupancy[i] * (v - mean(x)) * (y[i] - mean(y)), 0);
    };
    const correlation = moment(r, p) / Math.sqrt(moment(r, r) * moment(p, p));
    expect(correlation).toBeGreaterThan(0.8);
    expect(per(base, mdp.reward)).toBeGreaterThan(0.07);
    expect(per(base, mdp.reward)).toBeLessThan(0.09);
    const hacked = policyIteration(withReward(mdp, proxy)).policy;
    expect(per(hacked, proxy)).toBeGreaterThan(0.19);
    expect(per(hacked, mdp.reward)).toBeLessThan(0.03);
  });

  it('has random boards that are rooms of their size, the same for the same seed', () => {
    for (let seed = 0; seed < 20; seed++) {
      const board = sampleTomatoBoard(rng(seed));
      expect(board).toEqual(sampleTomatoBoard(rng(seed)));
      const letters = board.join('');
      expect(letters.replaceAll('#', '')).toHaveLength(11);
      expect(letters.match(/A/g)).toHaveLength(1);
      expect(letters.match(/B/g)).toHaveLength(1);
      const { mdp, cells } = tomatoWorld(board);
      expect(new Set(cells.map(({ cell }) => cell)).size).toBe(11); // connected
      expect(mdp.states).toBeLessThan(400);
    }
  });

  it('names what a board lacks', () => {
    expect(() => tomatoWorld(['###', '#A#', '###'])).toThrow('bucket');
  });
});
