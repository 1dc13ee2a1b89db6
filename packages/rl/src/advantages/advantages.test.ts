import { fixturePath, largestError, readFixture } from '@plumbline/tools/fixtures';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  emaBaseline,
  gpgAdvantages,
  opoAdvantages,
  optimalTokenBaseline,
  passKAdvantages,
  reinforceAdvantages,
  remaxAdvantages,
  rlooAdvantages,
} from './baselines.js';
import { gdpoAdvantages, groupAdvantages, groupsWithoutDeviation, weightedRewards } from './group.js';
import { discountedReturns, gae, reinforcePlusPlus, vtrace, whiten } from './temporal.js';

const close = (ours: ArrayLike<number>, theirs: ArrayLike<number>, digits = 5) => {
  expect(ours.length).toBe(theirs.length);
  for (let i = 0; i < theirs.length; i++) expect(ours[i], `entry ${i} of ${Array.from(ours)}`).toBeCloseTo(theirs[i], digits);
};
const groups = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2];
const rewards = [1, 0, 0, 1, 0.5, 0.5, 0.5, 0.5, 0, 0, 0, 1];
const one = [0, 0, 0, 0];

describe('groupAdvantages', () => {
  it('centres by group and divides by the deviation of the group, of the batch, or by nothing', () => {
    close(groupAdvantages(rewards, groups), [0.865875, -0.865875, -0.865875, 0.865875, 0, 0, 0, 0, -0.4999, -0.4999, -0.4999, 1.4997], 5);
    close(groupAdvantages(rewards, groups, { scale: 'none' }), [0.5, -0.5, -0.5, 0.5, 0, 0, 0, 0, -0.25, -0.25, -0.25, 0.75]);
    close(
      groupAdvantages(rewards, groups, { scale: 'batch' }),
      [1.197537, -1.197537, -1.197537, 1.197537, 0, 0, 0, 0, -0.598769, -0.598769, -0.598769, 1.796306],
    );
    expect(groupsWithoutDeviation(rewards, groups)).toBeCloseTo(1 / 3, 9);
    // the deviation of all twelve is 0.417424
    expect(0.5 / groupAdvantages(rewards, groups, { scale: 'batch', eps: 0 })[0]).toBeCloseTo(0.417424, 6);
  });
  it('leaves a reward that was not given out of mean and deviation, and gives its sample 0', () => {
    close(groupAdvantages([1, Number.NaN, 0, 0.5], one), [0.9998, 0, -0.9998, 0], 4);
    close(groupAdvantages([Number.NaN, Number.NaN, Number.NaN, 3], one), [0, 0, 0, 0]);
  });
  it('hides an affine shaping, and not another', () => {
    close(groupAdvantages([1, 2, 4], [0, 0, 0], { eps: 0 }), [-0.872872, -0.218218, 1.091089]);
    close(groupAdvantages([-4, -1, 5], [0, 0, 0], { eps: 0 }), [-0.872872, -0.218218, 1.091089]);
    const shaped = [1, 2, 4].map((r) => 1 / (1 + Math.exp(2 - r)));
    close(groupAdvantages(shaped, [0, 0, 0], { eps: 0 }), [-0.909391, -0.161548, 1.070939]);
  });
  it('sums to 0 over a group and does not see a shift', () =>
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 2, maxLength: 8 }),
        fc.double({ min: -3, max: 3, noNaN: true }),
        (r, shift) => {
          const ids = r.map(() => 7);
          const plain = groupAdvantages(r, ids);
          expect(plain.reduce((a, b) => a + b, 0)).toBeCloseTo(0, 6);
          expect(
            largestError(
              groupAdvantages(
                r.map((x) => x + shift),
                ids,
              ),
              plain,
            ),
          ).toBeLessThan(1e-6);
        },
      ),
    ));
  it('refuses a group of one, unless allowed, and an infinite reward', () => {
    expect(() => groupAdvantages([1, 2, 3], [0, 0, 5])).toThrow('group 5 has one sample');
    close(groupAdvantages([1, 2, 3], [0, 0, 5], { allowSingletons: true, scale: 'none' }), [-0.5, 0.5, 0]);
    expect(() => groupAdvantages([1, Infinity], [0, 0])).toThrow('the reward of sample 1 is Infinity');
    expect(() => groupAdvantages([1, 2], [0])).toThrow('2 rewards and 1 groups');
    expect(() => groupAdvantages([1, 2], [0, 0], { eps: -1 })).toThrow('eps must be >= 0, got -1');
  });
  it('adds several rewards first, or normalizes each first', () => {
    const functions = [
      [1, 0, 0, 1],
      [10, 30, 20, 40],
    ];
    close(groupAdvantages(weightedRewards(functions, [1, 0.5]), one), [-1.080107, 0.308602, -0.462903, 1.234408], 4);
    close(gdpoAdvantages(functions, one, [1, 0.5]), [0.254864, -0.601289, -0.947714, 1.294139], 4);
  });
});

describe('baselines', () => {
  const r = [1, 0, 0, 2];
  it('RLOO leaves each sample out of its own baseline', () => {
    close(rlooAdvantages(r, one), [1 / 3, -1, -1, 5 / 3]);
    const kl = [2, 1, 0, 4];
    close(
      rlooAdvantages(
        r.map((x, i) => x - 0.05 * kl[i]),
        one,
      ),
      [0.316667, -0.95, -0.883333, 1.516667],
    );
    const centred = groupAdvantages(r, one, { scale: 'none' });
    close(
      rlooAdvantages(r, one),
      centred.map((a) => (a * 4) / 3),
      9,
    );
  });
  it('REINFORCE subtracts nothing, the mean, or a running value used before it is updated', () => {
    close(reinforceAdvantages(r), r);
    close(reinforceAdvantages(r, { baseline: 'batchMean' }), [0.25, -0.75, -0.75, 1.25]);
    const baseline = emaBaseline();
    const used = [[0.5], [1], [0]].map((batch) => {
      const value = baseline.value;
      baseline.update(batch);
      return value;
    });
    close(used, [0, 0.5, 0.55]);
    expect(baseline.value).toBeCloseTo(0.495, 9);
  });
  it('a running baseline takes the first mean whole, passes over batches without rewards, and comes back from a checkpoint', async () => {
    const [whole, first, second] = [emaBaseline(), emaBaseline(), emaBaseline()];
    await second.load(await first.save()); // nothing seen yet
    second.update([Number.NaN]);
    expect(second.value).toBe(0);
    for (const baseline of [whole, second]) baseline.update([4, 2]);
    await first.load(await second.save());
    for (const baseline of [whole, first]) baseline.update([1]);
    expect(first.value).toBe(whole.value);
    expect(whole.value).toBeCloseTo(2.8, 9);
    await expect(first.load({ tensors: {}, json: {} })).rejects.toThrow('holds no value');
    expect(() => emaBaseline({ decay: 1 })).toThrow('decay must be in [0, 1), got 1');
  });
  it('ReMax subtracts the greedy reward of the same prompt', () => {
    close(remaxAdvantages([1, 0, 3], [0.4, 2], [0, 0, 1]), [0.6, -0.4, 1]);
    expect(() => remaxAdvantages([1], [0.4], [1])).toThrow('sample 0 is of group 1, and there are 1 greedy rewards');
  });
  it('OPO weighs the baseline by length; pass@k and GPG', () => {
    close(opoAdvantages([1, 0, 0, 2], one, [2, 4, 6, 8]), [0.1, -0.9, -0.9, 1.1]);
    close(passKAdvantages(r, one), [0, 0, 0, 1]);
    close(passKAdvantages(r, one, { scale: true }), [0, 0, 0, 1.044465], 4);
    close(passKAdvantages([2, 2, 0, 1], one), [0, 0, 0, 0]);
    close(gpgAdvantages(r, one, { alpha: 2 }), [0.5, -1.5, -1.5, 2.5]);
    close(
      gpgAdvantages(rewards, groups),
      rewards.map((x, i) => (x - [0.5, 0.5, 0.25][groups[i]]) * (12 / 8)),
    );
  });
  it('the optimal token baseline weighs returns by what is left to learn', () => {
    const advantages = optimalTokenBaseline(
      [1, 0, 1],
      [
        [0.9, 0.5],
        [0.6, 0.5],
        [0.3, 0.2],
      ],
      [
        [0.82, 0.5],
        [0.52, 0.5],
        [0.4, 0.3],
      ],
    );
    close(
      advantages.flatMap((a) => Array.from(a)),
      [0.280702, 0.269737, -0.719298, -0.730263, 0.280702, 0.269737],
    );
  });
});

describe('gae', () => {
  const [r, v] = [
    [0, 0, 1],
    [0.5, 0.6, 0.7],
  ];
  it('has the values of its recursion', () => {
    close(gae(r, v).advantages, [0.46575, 0.385, 0.3]);
    close(gae(r, v).returns, [0.96575, 0.985, 1]);
    close(gae(r, v, { lambda: 1 }).advantages, [0.5, 0.4, 0.3]);
    close(gae(r, v, { lambda: 0 }).advantages, [0.1, 0.1, 0.3]);
    close(gae(r, v, { gamma: 0.9 }).advantages, [0.284958, 0.2865, 0.3]);
    close(gae(r, v, { gamma: 0.99 }).advantages, [0.446829, 0.37515, 0.3]);
    close(gae(r, v, { gamma: 0.99, lastValue: 0.8 }).advantages, [1.147384, 1.120026, 1.092]);
    expect(() => gae(r, v, { gamma: 1.1 })).toThrow('gamma must be in [0, 1], got 1.1');
    expect(() => gae(r, [1])).toThrow('rewards has 3 entries and values 1');
  });
  it('passes over tokens of the environment, whose values never matter', () => {
    const mask = [1, 1, 0, 0, 1];
    const at = (e: number, gamma: number) => gae([0, 0.2, 0, 0, 1], [0.5, 0.6, e, e, 0.7], { gamma, mask });
    close(at(9, 1).advantages, [0.65575, 0.585, 0, 0, 0.3]);
    close(at(9, 0.99).advantages, [0.634929, 0.57515, 0, 0, 0.3]);
    close(at(-3, 0.99).advantages, at(9, 0.99).advantages, 12);
    close(at(9, 1).returns, [1.15575, 1.185, 0, 0, 1]);
  });
  it('with λ 1 is the discounted return minus the value', () => {
    const returns = discountedReturns([0.3, -1, 2], 0.9);
    close(
      gae([0.3, -1, 2], v, { gamma: 0.9, lambda: 1 }).advantages,
      returns.map((g, t) => g - v[t]),
      9,
    );
  });
});

describe('other estimators over time', () => {
  it('V-trace', () => {
    const on = vtrace([0, 0, 1], [0.5, 0.6, 0.7], [1, 1, 1], { lastValue: 0.8 });
    close(on.targets, [1.756339, 1.77408, 1.792]);
    close(on.advantages, [1.256339, 1.17408, 1.092]);
    const off = vtrace([0, 0, 1], [0.5, 0.6, 0.7], [0.5, 2, 1.2], { lastValue: 0.8 });
    close(off.targets, [1.12817, 1.77408, 1.792]);
    close(off.advantages, [0.62817, 1.17408, 1.092]);
  });
  it('whitening and REINFORCE++', () => {
    close(whiten([1, 2, 3, 6]), [-0.92582, -0.46291, 0, 1.38873], 4);
    close(whiten([1, 2, 3, 6], undefined, { shift: false }), [2.07418, 2.53709, 3, 4.38873], 4);
    const [a, b] = reinforcePlusPlus([
      [-0.01, -0.02, 1],
      [0, 0.5],
    ]);
    close(a, [0.679366, 0.717109, 0.792594]);
    close(b, [-1.094534, -1.094534]);
    expect(() => whiten([1, 2], [1, 0])).toThrow('1 count');
  });
});

type Case = {
  config: {
    scale_rewards?: 'group' | 'batch' | 'none';
    reward_weights: number[];
    rewards: string;
    normalize_advantages?: boolean;
    beta?: number;
    reward_clip_range?: [number, number] | null;
  };
  advantages: number[];
  metrics?: Record<string, number>;
};
const path = fixturePath('losses/advantages.json');
describe.skipIf(!path)(`advantages.json${path ? '' : ' (skipped: the reference numbers are not in this checkout)'}`, () => {
  if (!path) return;
  const fixture = readFixture<{
    group_size: number;
    reward_sets: Record<string, number[][]>;
    lengths: number[];
    old_logps: number[][];
    ref_logps: number[][];
    cases: Record<string, Case>;
  }>(path);
  for (const [title, { config, advantages, metrics }] of Object.entries(fixture.cases))
    it(title, () => {
      const rows = fixture.reward_sets[config.rewards];
      const ids = rows.map((_, i) => Math.floor(i / fixture.group_size));
      const functions = config.reward_weights.map((_, f) => rows.map((row) => row[f]));
      if (title.startsWith('grpo/normalize_then_sum'))
        return void expect(largestError(gdpoAdvantages(functions, ids, config.reward_weights), advantages)).toBeLessThan(1e-7);
      let sums = weightedRewards(functions, config.reward_weights);
      if (title.startsWith('grpo')) {
        expect(largestError(groupAdvantages(sums, ids, { scale: config.scale_rewards }), advantages)).toBeLessThan(1e-7);
        if (metrics) expect(groupsWithoutDeviation(sums, ids)).toBeCloseTo(metrics.frac_reward_zero_std, 9);
        return;
      }
      if (config.reward_clip_range)
        sums = sums.map((x) => Math.min(config.reward_clip_range![1], Math.max(config.reward_clip_range![0], x)));
      const kl = fixture.old_logps.map((row, i) => row.reduce((sum, x, t) => sum + x - fixture.ref_logps[i][t], 0));
      const penalized = sums.map((x, i) => x - config.beta! * kl[i]);
      expect(largestError(rlooAdvantages(penalized, ids, { normalize: config.normalize_advantages }), advantages)).toBeLessThan(1e-7);
    });
});
