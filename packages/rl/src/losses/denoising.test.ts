import { createParameters, gradients, type Parameter, readCopy, rng } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { groupAdvantages } from '../advantages/group.js';
import { valueAndGrad } from '../testing/tokens.js';
import { denoisingPolicyLoss, gaussianStepLogp } from './denoising.js';

describe('gaussianStepLogp', () => {
  const at = (mean: tf.Tensor2D, sample = tf.tensor2d([[0.5]]), std = [0.5]) => gaussianStepLogp({ sample, mean, std });
  it('has the value done by hand, and the gradient (x − μ) / σ²', async () => {
    const { value, grad } = await valueAndGrad((x) => tf.sum(at(tf.reshape(x, [1, 1]))), [0.2]);
    expect(value).toBeCloseTo(-0.4057913526, 5);
    expect(grad[0]).toBeCloseTo(1.2, 5);
  });
  it('adds over elements, or takes their mean', async () => {
    const [mean, sample] = [tf.zeros([1, 4]) as tf.Tensor2D, tf.tensor2d([[1, -1, 2, 0]])];
    const [sum] = await readCopy(gaussianStepLogp({ sample, mean, std: [2] }));
    const [average] = await readCopy(gaussianStepLogp({ sample, mean, std: [2] }, { reduction: 'mean' }));
    expect(sum).toBeCloseTo(-6 / 8 - 4 * (Math.log(2) + 0.5 * Math.log(2 * Math.PI)), 5);
    expect(average).toBeCloseTo(sum / 4, 5);
  });
  it('refuses a deterministic step', () => {
    expect(() => at(tf.zeros([1, 1]), tf.zeros([1, 1]), [0])).toThrow('row 0 has a std of 0; a deterministic step has no log-probability');
    expect(() => at(tf.zeros([1, 1]), tf.zeros([1, 2]))).toThrow('sample is [1,2], mean [1,1] and std [1]');
  });
});

describe('denoisingPolicyLoss', () => {
  const old = () => tf.tensor2d([[-1, -2, -3], [-1, -1, -1]]); // biome-ignore format: two chains
  const at = (x: tf.Tensor1D, options?: Parameters<typeof denoisingPolicyLoss>[1], advantages = [1, -2]) =>
    denoisingPolicyLoss({ logps: tf.reshape(x, [2, 3]), oldLogps: old(), advantages: tf.tensor1d(advantages) }, options);
  it('is minus the discounted advantage where nothing has changed, with that gradient, and the last step undiscounted', async () => {
    const { loss, ratio, clipped } = at(tf.tensor1d([-1, -2, -3, -1, -1, -1]), { gammaDenoise: 0.5 });
    expect([...(await readCopy(loss))]).toEqual([-0.25, -0.5, -1, 0.5, 1, 2]);
    expect([...(await readCopy(ratio))]).toEqual([1, 1, 1, 1, 1, 1]);
    expect([...(await readCopy(clipped))]).toEqual([0, 0, 0, 0, 0, 0]);
    const { grad } = await valueAndGrad((x) => tf.sum(at(x, { gammaDenoise: 0.5 }).loss), [-1, -2, -3, -1, -1, -1]);
    expect(grad).toEqual([-0.25, -0.5, -1, 0.5, 1, 2]);
  });
  it('clips each step by itself', async () => {
    const moved = [-1 + Math.log(1.3), -2 + Math.log(0.7), -3, -1 + Math.log(1.3), -1 + Math.log(0.7), -1];
    const { loss } = at(tf.tensor1d(moved), { gammaDenoise: 1, epsilon: 0.2 });
    const values = await readCopy(loss);
    [-1.2, -0.7, -1, 2.6, 1.6, 2].forEach((value, i) => void expect(values[i]).toBeCloseTo(value, 5));
    const { grad } = await valueAndGrad((x) => tf.sum(at(x, { gammaDenoise: 1, epsilon: 0.2 }).loss), moved);
    [0, -0.7, -1, 2.6, 0, 2].forEach((value, i) => void expect(grad[i]).toBeCloseTo(value, 5));
  });
  it('names what does not fit, and leaves no tensor behind', () => {
    const before = tf.memory().numTensors;
    tf.tidy(() => {
      expect(() => at(tf.zeros([6]), { gammaDenoise: 0 })).toThrow('gammaDenoise must be in (0, 1], got 0');
      expect(() => at(tf.zeros([6]), {}, [1])).toThrow('advantages [1]');
      at(tf.zeros([6]));
    });
    expect(tf.memory().numTensors).toBe(before);
  });
  it('moves a denoising policy to where the reward is', async () => {
    // Two steps from noise: x' = x / 2 + shift + σ·z. The reward is minus the distance of the last x to 1.
    const tree = createParameters({ shift: { shape: [2], data: new Float32Array(2) } });
    const shift = tree.get('shift') as Parameter;
    const std = 0.3;
    const draw = async (stream: ReturnType<typeof rng>) => {
      const by = await readCopy(shift.value);
      const z = stream.normal(3 * 64);
      const xs = Array.from({ length: 64 }, (_, c) => {
        const first = z[3 * c] / 2 + by[0] + std * z[3 * c + 1];
        return [z[3 * c], first, first / 2 + by[1] + std * z[3 * c + 2]];
      });
      return { xs, rewards: xs.map(([, , last]) => -Math.abs(last - 1)) };
    };
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    const start = mean((await draw(rng(1).fork('test'))).rewards);
    for (let step = 0; step < 60; step++) {
      const { xs, rewards } = await draw(rng(0).fork('step', step));
      const advantages = groupAdvantages(rewards, new Int32Array(64));
      const logpsOf = () => {
        const flat = (at: (x: number[]) => number[]) => tf.tensor2d(xs.flatMap(at), [128, 1]);
        const mean = tf.add(
          flat(([a, b]) => [a / 2, b / 2]),
          tf.reshape(tf.tile(shift.value, [64]), [128, 1]),
        ) as tf.Tensor2D;
        return tf.reshape(
          gaussianStepLogp({ sample: flat(([, b, c]) => [b, c]), mean, std: new Float32Array(128).fill(std) }),
          [64, 2],
        ) as tf.Tensor2D;
      };
      const oldLogps = tf.tidy(logpsOf);
      const { loss, grads } = gradients(
        () => ({
          loss: tf.tidy(() =>
            tf.mean(denoisingPolicyLoss({ logps: logpsOf(), oldLogps, advantages: tf.tensor1d(Float32Array.from(advantages)) }).loss),
          ) as tf.Scalar,
        }),
        [shift],
      );
      const next = tf.tidy(() => tf.sub(shift.value, tf.mul(0.02, grads.get(shift)!)));
      await tree.load({ tensors: { shift: { shape: [2], data: (await readCopy(next)) as Float32Array } }, json: (await tree.save()).json });
      tf.dispose([loss, next, oldLogps, ...grads.values()]);
    }
    const end = mean((await draw(rng(1).fork('test'))).rewards);
    tree.dispose();
    expect(start).toBeLessThan(-0.8);
    expect(end).toBeGreaterThan(start / 2);
  });
});
