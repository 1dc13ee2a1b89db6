import { readFileSync } from 'node:fs';
import { createParameters, gradients, type Parameter, readCopy, rng } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BradleyTerryOptions, bradleyTerryLoss } from './bradleyTerry.js';
import { plackettLuceLoss } from './plackettLuce.js';

type Pairs = { chosen: number[]; rejected: number[]; margin?: number[]; weight?: number[] };
const tensors = (pairs: Pairs) =>
  Object.fromEntries(Object.entries(pairs).map(([name, values]) => [name, tf.tensor1d(values)])) as Record<keyof Pairs, tf.Tensor1D>;

/** Unreduced loss and penalty, read back. */
async function lossOf(pairs: Pairs, options?: BradleyTerryOptions) {
  const { loss, penalty } = bradleyTerryLoss(tensors(pairs), options);
  return { loss: [...(await readCopy(loss))], penalty: [...(await readCopy(penalty))] };
}
const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** Value and gradients of `Σ loss / Σ weight + mean(penalty)`. */
async function objective({ chosen, rejected, margin, weight }: Pairs, options?: BradleyTerryOptions) {
  const tree = createParameters(
    Object.fromEntries(
      Object.entries({ chosen, rejected }).map(([name, data]) => [name, { shape: [data.length], data: Float32Array.from(data) }]),
    ),
  );
  const parameters = [tree.get('chosen'), tree.get('rejected')] as [Parameter, Parameter];
  const total = weight ? weight.reduce((a, b) => a + b, 0) : chosen.length;
  const { loss, grads } = gradients(() => {
    const constants = tensors({ ...(margin && { margin }), ...(weight && { weight }) } as Pairs);
    const [c, r] = parameters.map(({ value }) => value as tf.Tensor1D);
    const parts = bradleyTerryLoss({ ...constants, chosen: c, rejected: r }, options);
    return { loss: tf.add(tf.div(tf.sum(parts.loss), total), tf.mean(parts.penalty)) as tf.Scalar };
  }, parameters);
  const [value, ...sides] = await Promise.all([loss, ...parameters.map((parameter) => grads.get(parameter)!)].map(readCopy));
  tree.dispose();
  return { value: value[0], chosen: [...sides[0]], rejected: [...sides[1]] };
}
const expectClose = (actual: number[], expected: number[], digits = 6) => {
  expect(actual).toHaveLength(expected.length);
  actual.forEach((value, i) => {
    expect(value).toBeCloseTo(expected[i], digits);
  });
};

const three: Pairs = { chosen: [1, 2, 0.5], rejected: [0, 2, 1.5] };

describe('bradleyTerryLoss', () => {
  it('is log(1 + exp(-d)) of each pair', async () => {
    const { loss, penalty } = await lossOf(three);
    expectClose(loss, [0.313262, Math.LN2, 1.313262]);
    expect(mean(loss)).toBeCloseTo(0.773224, 6);
    expect(penalty).toEqual([0, 0, 0]);
  });
  it('takes the margin off inside the sigmoid', async () => {
    const { loss } = await lossOf({ ...three, margin: [0.5, 0, 1] });
    expectClose(loss, [0.474077, Math.LN2, 2.126928]);
    expect(mean(loss)).toBeCloseTo(1.098051, 6);
  });
  it('pulls scores towards 0 by the centring term', async () => {
    const { loss, penalty } = await lossOf(three, { centerCoefficient: 0.01 });
    expect(mean(penalty)).toBeCloseTo(0.07, 6);
    expect(mean(loss) + mean(penalty)).toBeCloseTo(0.843224, 6);
  });
  it('adds the squares of both scores with a norm coefficient', async () => {
    const { loss, penalty } = await lossOf({ chosen: [1.5], rejected: [0.5] }, { normCoefficient: 0.005 });
    expect(loss[0] + penalty[0]).toBeCloseTo(0.325762, 6);
  });
  it('smooths labels, with the margin in both terms', async () => {
    expectClose((await lossOf(three, { labelSmoothing: 0.1 })).loss, [0.413262, Math.LN2, 1.213262]);
    const both = (await lossOf({ ...three, margin: [0.5, 0, 1] }, { labelSmoothing: 0.1 })).loss;
    expectClose(both, [0.524077, Math.LN2, 1.926928]);
    expect(mean(both)).toBeCloseTo(1.048051, 6);
  });
  it('smooths each pair by its own share', async () => {
    const { loss } = await lossOf(three, { labelSmoothing: tf.tensor1d([0.1, 0, 0]) });
    expectClose(loss, [0.413262, Math.LN2, 1.313262]);
  });
  it('weights pairs, whose weights are the denominator', async () => {
    expect((await objective({ ...three, weight: [1, 0, 2] })).value).toBeCloseTo(0.979928, 6);
  });
  it('divides differences by the temperature', async () => {
    expectClose((await lossOf({ chosen: [2], rejected: [0] }, { temperature: 2 })).loss, [0.313262]);
  });
  it('has the gradients worked out by hand', async () => {
    const plain = await objective(three);
    expectClose(plain.chosen, [-0.089647, -0.166667, -0.243686]);
    expectClose(plain.rejected, [0.089647, 0.166667, 0.243686]);
    const centred = await objective(three, { centerCoefficient: 0.01 });
    expectClose(
      centred.chosen.map((g, i) => g - plain.chosen[i]),
      [0.006667, 0.026667, 0.013333],
    );
    expectClose((await objective({ chosen: [1], rejected: [0] }, { labelSmoothing: 0.1 })).chosen, [-0.168941]);
  });
  it('has gradients that agree with central differences', async () => {
    const draw = rng(1);
    const of = (values: Float32Array) => [...values];
    const pairs = { chosen: of(draw.normal(6)), rejected: of(draw.normal(6)), margin: of(draw.uniform(6)), weight: of(draw.uniform(6)) };
    const options = { labelSmoothing: 0.2, centerCoefficient: 0.05, normCoefficient: 0.03, temperature: 1.5 };
    const { chosen, rejected } = await objective(pairs, options);
    for (const [side, grads] of [
      ['chosen', chosen],
      ['rejected', rejected],
    ] as const) {
      for (let i = 0; i < 6; i++) {
        const at = async (by: number) =>
          (await objective({ ...pairs, [side]: pairs[side].map((x, j) => (j === i ? x + by : x)) }, options)).value;
        expect(grads[i]).toBeCloseTo(((await at(0.01)) - (await at(-0.01))) / 0.02, 4);
      }
    }
  });
  it('is linear where σ underflows, with finite gradients on both sides', async () => {
    expect((await lossOf({ chosen: [-100, 100, -1e4], rejected: [0, 0, 1e4] })).loss).toEqual([100, expect.closeTo(0, 30), 2e4]);
    const { chosen } = await objective({ chosen: [-100, 100, -1e4], rejected: [0, 0, 1e4] });
    expectClose(chosen, [-1 / 3, 0, -1 / 3]);
  });
  it('has its minimum at ln((1 - a) / a) under smoothing a', async () => {
    const { value, chosen } = await objective({ chosen: [2.197225], rejected: [0] }, { labelSmoothing: 0.1 });
    expect(value).toBeCloseTo(0.325083, 6);
    expect(chosen[0]).toBeCloseTo(0, 6);
  });
  it('does not change when both scores of a pair shift together', () =>
    fc.assert(
      fc.asyncProperty(fc.double({ min: -5, max: 5, noNaN: true }), fc.double({ min: -5, max: 5, noNaN: true }), async (score, shift) => {
        const [one, two] = [
          await lossOf({ chosen: [score], rejected: [1] }),
          await lossOf({ chosen: [score + shift], rejected: [1 + shift] }),
        ];
        expect(two.loss[0]).toBeCloseTo(one.loss[0], 4);
      }),
      { numRuns: 20 },
    ));
  it('names the option and its value when it is out of range, and both shapes when they differ', () => {
    const pairs = tensors(three);
    expect(() => bradleyTerryLoss(pairs, { labelSmoothing: 0.5 })).toThrow(/labelSmoothing must be in \[0, 0.5\), got 0.5/);
    expect(() => bradleyTerryLoss(pairs, { centerCoefficient: NaN })).toThrow(/centerCoefficient must be >= 0, got NaN/);
    expect(() => bradleyTerryLoss(pairs, { temperature: 0 })).toThrow(/temperature must be > 0, got 0/);
    expect(() => bradleyTerryLoss({ ...pairs, rejected: tf.tensor1d([1]) })).toThrow(/chosen is \[3\] and rejected \[1\]/);
    expect(() => bradleyTerryLoss({ chosen: tf.tensor1d([]), rejected: tf.tensor1d([]) })).toThrow(/the batch is empty/);
  });
  it('leaves no tensor behind', () => {
    const pairs = tensors({ ...three, margin: [0, 0, 1], weight: [1, 1, 1] });
    const before = tf.memory().numTensors;
    tf.dispose(bradleyTerryLoss(pairs, { labelSmoothing: 0.1, centerCoefficient: 1 }));
    expect(tf.memory().numTensors).toBe(before);
  });

  type Case = {
    config: { margin: boolean; center_rewards_coefficient: number | null };
    loss: number;
    grad_chosen: number[];
    grad_rejected: number[];
    metrics: { accuracy: number; margin: number };
  };
  const trl = JSON.parse(readFileSync(new URL('../../test/fixtures/reward-loss.json', import.meta.url), 'utf8')) as {
    inputs: Required<Omit<Pairs, 'weight'>>;
    cases: Record<string, Case>;
  };
  it.each(Object.entries(trl.cases))(
    "agrees with TRL's reward trainer in value and gradients: %s",
    async (_, { config, loss, grad_chosen, grad_rejected }) => {
      const { margin, ...sides } = trl.inputs;
      const found = await objective(
        { ...sides, ...(config.margin && { margin }) },
        { centerCoefficient: config.center_rewards_coefficient ?? 0 },
      );
      const error = (ours: number[], theirs: number[]) =>
        Math.max(...theirs.map((value, i) => Math.abs(ours[i] - value) / (1 + Math.abs(value))));
      expect(error([found.value], [loss])).toBeLessThan(1e-5); // float32 against float64
      expect(error(found.chosen, grad_chosen)).toBeLessThan(1e-5);
      expect(error(found.rejected, grad_rejected)).toBeLessThan(1e-5);
    },
  );
});

describe('plackettLuceLoss', () => {
  const lossOfRanking = async (scores: number[]) => (await readCopy(plackettLuceLoss(tf.tensor1d(scores))))[0];
  it('is minus the log-probability of the ranking', async () => {
    expect(await lossOfRanking([2, 1, 0])).toBeCloseTo(0.720868, 6);
  });
  it('is Bradley-Terry for two', async () => expect(await lossOfRanking([1, 0])).toBeCloseTo(0.313262, 6));
  it('differs from the mean of its pairs', async () => {
    expect(mean((await lossOf({ chosen: [2, 2, 1], rejected: [1, 0, 0] })).loss)).toBeCloseTo(0.25115, 6);
  });
  it('has a gradient of the probabilities minus the choices', async () => {
    const tree = createParameters({ scores: { shape: [3], data: Float32Array.of(2, 1, 0) } });
    const parameter = tree.get('scores');
    const { grads } = gradients(() => ({ loss: plackettLuceLoss(parameter.value as tf.Tensor1D) }), [parameter]);
    const z = [Math.exp(2), Math.exp(1), 1];
    const [all, last] = [z[0] + z[1] + z[2], z[1] + z[2]];
    expectClose([...(await readCopy(grads.get(parameter)!))], [z[0] / all - 1, z[1] / all + z[1] / last - 1, z[2] / all + z[2] / last]);
  });
  it('is large but finite for a reversed ranking of far scores, and leaves nothing behind', async () => {
    expect(await lossOfRanking([-500, 500])).toBeCloseTo(1000, 3);
    const scores = tf.tensor1d([1, 2, 3]);
    const before = tf.memory().numTensors;
    plackettLuceLoss(scores).dispose();
    expect(tf.memory().numTensors).toBe(before);
    expect(() => plackettLuceLoss(tf.tensor1d([1]))).toThrow(/a ranking needs at least two/);
  });
});
