import { rng } from '@plumbline/core';
import type { Shaper } from '@plumbline/data';
import { describe, expect, it, vi } from 'vitest';
import { scoreReferences } from './references.js';
import { rescaleScores } from './rescale.js';
import { bestOfN, bestOfNCurve, bestOfNKl } from './select.js';
import {
  ceiling,
  centered,
  centeredAtan,
  centeredTanh,
  chain,
  identity,
  lengthPenalty,
  logSigmoidCentered,
  polynomialSigmoid,
  runningClip,
  runningMeanStd,
  runningMinMax,
  sigmoidPolynomial,
  sigmoidPreference,
  sigmoidReward,
  slowGrowth,
  tanhReward,
} from './shaping.js';

const quiet = { warn: () => {} };
const references = [Float32Array.of(0.2, 1, -0.5)];
const one = (shaper: Shaper, reward = 1.5, of = references) => shaper.apply({ rewards: Float32Array.of(reward), references: of })[0];
const batch = (shaper: Shaper, rewards: number[]) => [...shaper.apply({ rewards: Float32Array.from(rewards) })];
const expectClose = (actual: ArrayLike<number>, expected: number[]) => {
  expect(actual.length).toBe(expected.length);
  expected.forEach((value, i) => {
    expect(actual[i]).toBeCloseTo(value, 6);
  });
};

describe('shapers over references', () => {
  it.each<[string, Shaper, number]>([
    ['sigmoidPreference k = 1', sigmoidPreference(quiet), 0.76303],
    ['sigmoidPreference k = 2', sigmoidPreference({ k: 2, ...quiet }), 0.881311],
    ['sigmoidPreference k = 3', sigmoidPreference({ k: 3, ...quiet }), 0.931754],
    ['sigmoidPreference, first reference only', sigmoidPreference({ maxReferences: 1, ...quiet }), 0.785835],
    ['centered', centered(quiet), 1.266667],
    ['centeredTanh', centeredTanh(quiet), 0.762623],
    ['centeredAtan', centeredAtan(quiet), 0.828632],
    ['slowGrowth slope 1', slowGrowth(quiet), 0.166422],
    ['slowGrowth slope 3', slowGrowth({ slope: 3, ...quiet }), 0.018013],
    ['logSigmoidCentered', logSigmoidCentered(), -0.478337],
  ])('%s of 1.5 against .2, 1 and -.5', (_, shaper, value) => {
    expect(one(shaper)).toBeCloseTo(value, 5);
  });
  it('take the mean of the function, not the function of the mean', () => {
    expect(1 / (1 + Math.exp(-1.266667))).toBeCloseTo(0.780172, 6);
    expect(one(sigmoidPreference(quiet))).not.toBeCloseTo(0.780172, 3);
  });
  it('sigmoidPreference has the derivative mean of σ(1 - σ)', () => {
    const h = 1 / 64; // exact in float32
    expect((one(sigmoidPreference(quiet), 1.5 + h) - one(sigmoidPreference(quiet), 1.5 - h)) / (2 * h)).toBeCloseTo(0.169432, 4);
  });
  it('sigmoidPreference is one half where the reward equals every reference, and unmoved by a common shift', () => {
    expect(one(sigmoidPreference(quiet), 0.7, [Float32Array.of(0.7, 0.7)])).toBe(0.5);
    expect(one(sigmoidPreference(quiet), 3.5, [references[0].map((x) => x + 2)])).toBeCloseTo(one(sigmoidPreference(quiet)), 6);
  });
  it('sigmoidPreference stays in [0, 1] and finite for scores of any size', () => {
    const draw = rng(1).uniform(20_000);
    const rewards = draw.subarray(0, 10_000).map((u) => 2000 * u - 1000);
    const of = Array.from(draw.subarray(10_000), (u) => Float32Array.of(2000 * u - 1000));
    expect(
      sigmoidPreference(quiet)
        .apply({ rewards, references: of })
        .every((x) => x >= 0 && x <= 1),
    ).toBe(true);
  });
  it('polynomialSigmoid is the least-squares fit, and leaves [0, 1] by a little at its ends', () => {
    const coefficients = sigmoidPolynomial();
    [2.0266917e-4, 0, -1.0130912e-2, 0, 0.22878851, 0.5].forEach((value, i) => {
      expect(coefficients[i]).toBeCloseTo(value, 7);
    });
    const p = polynomialSigmoid(quiet);
    const zero = [Float32Array.of(0)];
    expect([one(p, 2, zero), one(p, 4.9, zero)].map((x) => x.toFixed(6))).toEqual(['0.883015', '1.001662']);
    expect([one(p, -5.5, zero), one(p, 5.5, zero)]).toEqual([0, 1]);
  });
  it('say which row has no references, or one that is not a number', () => {
    const rewards = Float32Array.of(1, 2);
    expect(() => sigmoidPreference(quiet).apply({ rewards })).toThrow(
      /prompt row 0 has no reference rewards; score some with scoreReferences/,
    );
    expect(() => centered(quiet).apply({ rewards, references: [Float32Array.of(1), new Float32Array()] })).toThrow(
      /prompt row 1 has no reference rewards/,
    );
    expect(() => one(logSigmoidCentered(), 1, [Float32Array.of(1, NaN)])).toThrow(/reference 1 of prompt row 0 is NaN/);
    expect(() => one(logSigmoidCentered(), 1, [Float32Array.of(1)])).toThrow(/needs at least 2 references for a standard deviation/);
    expect(one(logSigmoidCentered({ estimate: 'empirical' }), 1, [Float32Array.of(1)])).toBeCloseTo(-Math.LN2, 6);
    expect(() => sigmoidPreference({ k: 0 })).toThrow(/k must be > 0, got 0/);
  });
  it('tell once of rows with fewer references than asked for', () => {
    const warn = vi.fn();
    const shaper = sigmoidPreference({ warn });
    one(shaper);
    one(shaper);
    expect(warn.mock.calls).toEqual([['sigmoidPreference: row 0 has 3 of 10 references']]);
  });
});

describe('shapers of the reward alone', () => {
  it('are what their names say', () => {
    expect(batch(identity(), [1, -2])).toEqual([1, -2]);
    expectClose(batch(sigmoidReward({ k: 2 }), [0, 0.5]), [0.5, 0.731059]);
    expectClose(batch(tanhReward(), [1]), [0.761594]);
    expect(batch(ceiling(1), [0.5, 3])).toEqual([0.5, 1]);
    expect(() => batch(ceiling(1), [0, NaN])).toThrow(/the reward of row 1 is NaN/);
  });
  it('lengthPenalty takes a cent for each token beyond', () => {
    const shaper = lengthPenalty({ validLength: 300, perToken: 0.01 });
    expectClose(shaper.apply({ rewards: Float32Array.of(0, 1), lengths: Int32Array.of(350, 300) }), [-0.5, 1]);
    expect(() => batch(shaper, [0])).toThrow(/1 rewards, but no lengths/);
    expect(() => lengthPenalty({ validLength: 300, perToken: -1 })).toThrow(/perToken must be >= 0, got -1/);
  });
  it('leave group-normalised advantages alone if they are affine, and change them if not', () => {
    const normalised = (rewards: number[]) => {
      const m = rewards.reduce((a, b) => a + b, 0) / rewards.length;
      const sd = Math.sqrt(rewards.reduce((sum, r) => sum + (r - m) ** 2, 0) / (rewards.length - 1));
      return rewards.map((r) => (r - m) / sd);
    };
    const rewards = [1, 2, 4];
    const plain = [-0.872872, -0.218218, 1.091089];
    expectClose(normalised(rewards), plain);
    expectClose(normalised(rewards.map((r) => 3 * r - 7)), plain);
    expectClose(normalised(batch(runningMinMax(), rewards)), plain);
    const refs = rewards.map(() => Float32Array.of(2));
    expectClose(normalised([...centered(quiet).apply({ rewards: Float32Array.from(rewards), references: refs })]), plain);
    expectClose(
      normalised([...sigmoidPreference(quiet).apply({ rewards: Float32Array.from(rewards), references: refs })]),
      [-0.909391, -0.161548, 1.070939],
    );
  });
});

describe('running shapers', () => {
  it('update their statistics before they transform', () => {
    const [meanStd, clip, minMax] = [runningMeanStd(), runningClip(), runningMinMax()];
    expectClose(batch(meanStd, [1, 2, 3]), [-1.224745, 0, 1.224745]);
    expectClose(batch(meanStd, [4, 0]), [Math.SQRT2, -Math.SQRT2]);
    batch(clip, [1, 2, 3]);
    expectClose(batch(clip, [4, 0]), [3.414214, 0.585786]);
    batch(minMax, [1, 2, 3]);
    expect(batch(minMax, [4, 0])).toEqual([1, 0]);
  });
  it('come back from a checkpoint bit for bit', async () => {
    for (const make of [runningMeanStd, runningClip, () => runningMinMax(), () => chain(sigmoidReward(), runningMeanStd())]) {
      const [whole, first, second] = [make(), make(), make()];
      const [a, b] = [[...rng(1).normal(7)], [...rng(2).normal(5)]];
      batch(whole, a);
      batch(first, a);
      await second.load(JSON.parse(JSON.stringify(await first.save())));
      expect(batch(second, b)).toEqual(batch(whole, b));
    }
    await expect(runningClip().load(await runningMeanStd().save())).rejects.toThrow(
      /runningClip: the checkpoint holds the state of runningMeanStd/,
    );
    await expect(chain(identity()).load(await chain(identity(), identity()).save())).rejects.toThrow(/1 shapers, but 2 saved ones/);
  });
  it('say once that nothing differs yet', () => {
    const warn = vi.fn();
    const shaper = runningMinMax({ warn });
    expect(batch(shaper, [2, 2])).toEqual([0, 0]);
    expect(batch(shaper, [2])).toEqual([0]);
    expect(warn).toHaveBeenCalledTimes(1);
    expect(batch(runningMeanStd(), [2, 2])).toEqual([0, 0]);
  });
  it('stay exact far from 0', () => expectClose(batch(runningMeanStd(), [1e6 + 1, 1e6 + 2, 1e6 + 3]), [-1.224745, 0, 1.224745]));
});

describe('scoreReferences', () => {
  const reward = {
    name: 'length',
    score: async (of: readonly { completion: unknown }[]) => ({
      scores: Float32Array.from(of, ({ completion }) => (completion as string).length),
      abstained: Uint8Array.from(of, ({ completion }) => (completion === '' ? 1 : 0)),
    }),
  };
  it('scores what the sampler gives for each prompt, without what is abstained on', async () => {
    const sample = async (prompts: readonly unknown[], { n }: { n: number }) =>
      prompts.map((_, i) => Array.from({ length: n }, (_, j) => 'x'.repeat(i + j)));
    const { referenceRewards } = await scoreReferences(reward, sample, ['a', 'b'], { perPrompt: 3, rng: rng(1) });
    expect(referenceRewards).toEqual([Float32Array.of(1, 2), Float32Array.of(1, 2, 3)]);
    await expect(scoreReferences(reward, async () => [['']], ['a'], { perPrompt: 1, rng: rng(1) })).rejects.toThrow(
      /length abstains on every reference of prompt 0/,
    );
  });
});

describe('rescaleScores', () => {
  it('maps VADER to 1 to 10 in tenths', () => {
    expect([...rescaleScores([-1, -0.5, 0, 0.3612, 1], { from: [-1, 1], low: 1, high: 10, decimals: 1 })]).toEqual([
      1.0, 3.2, 5.5, 7.1, 10.0,
    ]);
  });
  it('cuts off at percentiles', () => {
    const scores = Array.from({ length: 101 }, (_, i) => i);
    const scaled = rescaleScores(scores, { percentiles: [1, 99], low: 1, high: 10, decimals: 1 });
    expect([scaled[0], scaled[1], scaled[50], scaled[99], scaled[100]]).toEqual([1, 1, 5.5, 10, 10]);
  });
  it('refuses scores that do not differ or are not finite', () => {
    expect(() => rescaleScores([2, 2], { percentiles: [1, 99], low: 1, high: 10 })).toThrow(/do the scores differ\?/);
    expect(() => rescaleScores([1, NaN], { from: [0, 1], low: 1, high: 10 })).toThrow(/score 1 is NaN/);
  });
});

describe('choosing the best', () => {
  it('takes the highest score, the first of equals, and passes over what has none', () => {
    expect(bestOfN(['a', 'b', 'c'], [1, 3, 3])).toEqual({ index: 1, item: 'b', score: 3 });
    expect(bestOfN(['a', 'b'], [9, 1], [1, 0])).toEqual({ index: 1, item: 'b', score: 1 });
    expect(() => bestOfN([], [])).toThrow(/no candidates/);
    expect(() => bestOfN(['a'], [NaN])).toThrow(/candidate 0 is not a number/);
  });
  it('has an unbiased curve over n', () => {
    const curve = bestOfNCurve([0.1, 0.5, 0.3, 0.9, 0.2], [1, 2, 0, 3, -1], [1, 2, 3, 5]);
    expectClose(
      curve.map(({ proxy }) => proxy),
      [0.4, 0.59, 0.72, 0.9],
    );
    expectClose(
      curve.map(({ gold }) => gold),
      [1, 1.7, 2.4, 3],
    );
    expect(() => bestOfNCurve([1], [1], [2])).toThrow(/n must be a whole number in 1 to 1, got 2/);
  });
  it('knows its distance to the base', () => expectClose([2, 4, 16, 64].map(bestOfNKl), [0.193147, 0.636294, 1.835089, 3.174508]));
});
