import { readCopy } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { valueAndGrad } from '../testing/tokens.js';
import { gaussianLogp, softBellmanTarget, softPolicyLoss, squashedGaussianLogp, temperatureLoss } from './actorCritic.js';

const row = (x: number) => tf.tensor2d([[x]]);
const read = async (x: tf.Tensor) => [...(await readCopy(x))];

describe('squashedGaussianLogp', () => {
  const at = (raw: number, options?: object) => squashedGaussianLogp({ raw: row(raw), mean: row(0.3), logStd: row(-0.5) }, options);
  it('has the values of its formula', async () => {
    expect((await read(gaussianLogp({ action: row(0.8), mean: row(0.3), logStd: row(-0.5) })))[0]).toBeCloseTo(-0.7587238618, 5);
    expect((await read(at(0.8)))[0]).toBeCloseTo(-0.1772166411, 5);
    expect((await read(at(0.8, { scale: 2 })))[0]).toBeCloseTo(-0.870364716, 5);
  });
  it('stays finite where tanh is 1', async () => {
    const [far] = await read(at(40));
    expect(far).toBeCloseTo(-0.5 * (39.7 / Math.exp(-0.5)) ** 2 + 0.5 - 0.5 * Math.log(2 * Math.PI) - 2 * (Math.LN2 - 40), 0);
  });
  it('has the gradients of central differences', async () => {
    const f = (x: tf.Tensor1D) => {
      const [raw, mean, logStd] = tf.split(tf.reshape(x, [1, 3]), 3, 1) as tf.Tensor2D[];
      return tf.sum(squashedGaussianLogp({ raw, mean, logStd })) as tf.Scalar;
    };
    const x = [0.8, 0.3, -0.5];
    const { grad } = await valueAndGrad(f, x);
    for (let i = 0; i < 3; i++) {
      const [up, down] = await Promise.all([1e-2, -1e-2].map((by) => valueAndGrad(f, x.map((v, j) => (j === i ? v + by : v))))); // biome-ignore format: two sides
      expect(grad[i]).toBeCloseTo((up.value - down.value) / 2e-2, 2);
    }
  });
  it('names what does not fit', () => {
    expect(() => at(0, { scale: 0 })).toThrow('scale must be > 0, got 0');
    expect(() => squashedGaussianLogp({ raw: row(0), mean: tf.zeros([1, 2]), logStd: row(0) })).toThrow('raw is [1,1], mean [1,2]');
  });
});

describe('softBellmanTarget', () => {
  const one = (done: number, options: object) =>
    softBellmanTarget(
      {
        rewards: tf.tensor1d([1]),
        done: tf.tensor1d([done]),
        nextQ: [tf.tensor1d([2]), tf.tensor1d([2.5])],
        nextLogp: tf.tensor1d([-1.3]),
      },
      options,
    );
  it('takes the smaller critic and the entropy, and nothing after the end', async () => {
    expect((await read(one(0, { alpha: 0.2 })))[0]).toBeCloseTo(3.2374, 4);
    expect(await read(one(1, { alpha: 0.2 }))).toEqual([1]);
    expect((await read(one(0, {})))[0]).toBeCloseTo(2.98, 5);
  });
  it('names what does not fit', () => {
    expect(() => one(0, { gamma: 2 })).toThrow('gamma must be in [0, 1], got 2');
    expect(() => softBellmanTarget({ rewards: tf.tensor1d([1]), done: tf.tensor1d([0]), nextQ: [tf.tensor1d([2])] }, { alpha: 1 })).toThrow(
      'there is no nextLogp',
    );
  });
});

describe('softPolicyLoss and temperatureLoss', () => {
  it('have the values and the gradients of their formulas', async () => {
    const loss = (x: tf.Tensor1D) =>
      tf.sum(softPolicyLoss({ logp: tf.slice(x, 0, 1), q: [tf.slice(x, 1, 1), tf.slice(x, 2, 1)] }, { alpha: 0.2 })) as tf.Scalar;
    const { value, grad } = await valueAndGrad(loss, [-1.3, 2, 2.5]);
    expect(value).toBeCloseTo(-0.26 - 2, 5);
    expect(grad.map((g) => g.toFixed(4))).toEqual(['0.2000', '-1.0000', '0.0000']);
    const heat = await valueAndGrad((x) => tf.sum(temperatureLoss(x, tf.tensor1d([-1.3]), -1)), [Math.log(0.2)]);
    expect(heat.value).toBeCloseTo(0.46, 5); // −0.2 · (−1.3 − 1)
    expect(heat.grad[0]).toBeCloseTo(0.46, 5);
    expect(() => softPolicyLoss({ logp: tf.zeros([1]), q: [tf.zeros([1])] }, { alpha: -1 })).toThrow('alpha must be at least 0, got -1');
  });
});
