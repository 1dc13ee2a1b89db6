import { createParameters, gradients, type Parameter, readCopy } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { cosentLoss, demonstrationLoss, progressLoss } from './ranking.js';

/** Value and gradient of a scalar function of numbers. */
async function at(f: (x: tf.Tensor1D) => tf.Scalar, x: number[]): Promise<{ value: number; grad: number[] }> {
  const tree = createParameters({ x: { shape: [x.length], data: Float32Array.from(x) } });
  const parameter = tree.get('x') as Parameter;
  const { loss, grads } = gradients(() => ({ loss: tf.tidy(() => f(parameter.value as tf.Tensor1D)) }), [parameter]);
  const result = { value: (await readCopy(loss))[0], grad: [...(await readCopy(grads.get(parameter)!))] };
  tf.dispose([loss, ...grads.values()]);
  tree.dispose();
  return result;
}
async function matchesDifferences(f: (x: tf.Tensor1D) => tf.Scalar, x: number[], step = 1e-2) {
  const { grad } = await at(f, x);
  for (let i = 0; i < x.length; i++) {
    const moved = async (by: number) => (await at(f, x.map((v, j) => (j === i ? v + by : v)))).value; // biome-ignore format: one call
    expect(grad[i]).toBeCloseTo(((await moved(step)) - (await moved(-step))) / (2 * step), 2);
  }
}

describe('cosentLoss', () => {
  const loss = (labels: number[], options?: { scale: number }) => (x: tf.Tensor1D) => cosentLoss(x, labels, options);
  const labels = [0.9, 0.5, 0.1];
  it('has the values done by hand', async () => {
    expect((await at(loss(labels), [0.8, 0.7, 0.75])).value).toBeCloseTo(1.44019, 5);
    expect((await at(loss(labels), [0.8, 0.7, 0.6])).value).toBeCloseTo(0.253856, 5);
    expect((await at(loss(labels), [0.4, 0.4, 0.4])).value).toBeCloseTo(Math.log(4), 5);
  });
  it('knows only the order of labels and differences of similarities', async () => {
    const { value } = await at(loss(labels), [0.8, 0.7, 0.75]);
    expect((await at(loss([3, 2, -7]), [0.8, 0.7, 0.75])).value).toBeCloseTo(value, 6);
    expect((await at(loss(labels), [0.3, 0.2, 0.25])).value).toBeCloseTo(value, 4);
    expect((await at(loss([0.1, 0.9, 0.5]), [0.75, 0.8, 0.7])).value).toBeCloseTo(value, 5);
    const equal = await at(loss([1, 1]), [0.1, 0.9]);
    expect([equal.value, ...equal.grad]).toEqual([0, 0, 0]);
  });
  it('has the gradients of central differences, and stays finite for a large scale', async () => {
    await matchesDifferences(loss(labels, { scale: 3 }), [0.8, 0.7, 0.75]);
    const far = await at(loss(labels, { scale: 1e4 }), [0, 0.5, 1]);
    expect(far.value).toBeCloseTo(1e4, 0);
    expect(far.grad.every(Number.isFinite)).toBe(true);
  });
  it('names what does not fit, and leaves no tensor behind', () => {
    const before = tf.memory().numTensors;
    tf.tidy(() => {
      const x = tf.tensor1d([1, 2]);
      expect(() => cosentLoss(x, [1])).toThrow('2 similarities and 1 labels');
      expect(() => cosentLoss(x, [1, Number.NaN])).toThrow('label 1 is NaN');
      expect(() => cosentLoss(x, [1, 2], { scale: 0 })).toThrow('scale must be > 0, got 0');
      cosentLoss(x, [1, 2]);
    });
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('progressLoss', () => {
  it('has the value and the gradient done by hand: every turn alike', async () => {
    const { value, grad } = await at((c) => tf.sum(progressLoss(c, [0, 0, 0, 0], [1])), [0.1, 0.4, 0.3, 0.05]);
    expect(value).toBeCloseTo(0.0225, 6);
    expect(grad.map((g) => g.toFixed(4))).toEqual(['-0.3000', '-0.3000', '-0.3000', '-0.3000']);
  });
  it('is one number a trajectory, also of one without turns', async () => {
    const losses = progressLoss(tf.tensor1d([0.2, -0.1, 0.5]), [0, 0, 1], [0, 0.6, 2]);
    expect([...(await readCopy(losses))].map((value) => value.toFixed(4))).toEqual(['0.0100', '0.0100', '4.0000']);
    await matchesDifferences((c) => tf.mean(progressLoss(c, [0, 0, 1], [0, 0.6])), [0.2, -0.1, 0.5]);
  });
  it('names what does not fit', () => {
    expect(() => progressLoss(tf.tensor1d([1]), [0, 0], [1])).toThrow('1 contributions and 2 trajectory ids');
    expect(() => progressLoss(tf.tensor1d([1]), [1], [1])).toThrow('turn 0 belongs to trajectory 1; there are 1');
  });
});

describe('demonstrationLoss', () => {
  const both = (x: tf.Tensor1D, options?: object) =>
    demonstrationLoss({ demonstrated: tf.slice(x, 0, 2), generated: tf.slice(x, 2, 2) }, options);
  const x = [0.8, -0.2, 0.1, 0.3];
  it('has the values done by hand', async () => {
    expect([...(await readCopy(both(tf.tensor1d(x))))].map((value) => value.toFixed(6))).toEqual(['0.403186', '0.974077']);
    expect((await at((r) => tf.mean(both(r, { kind: 'linear', l2: 0 })), x)).value).toBeCloseTo(-0.1, 6);
    expect((await at((r) => tf.mean(both(r)), [1, 1, 1, 1])).value).toBeCloseTo(Math.LN2, 6);
  });
  it('has the gradients of central differences', async () => {
    await matchesDifferences((r) => tf.sum(both(r)), x);
    await matchesDifferences((r) => tf.sum(both(r, { kind: 'linear', l2: 0.5 })), x);
  });
  it('names what does not fit', () => {
    expect(() => demonstrationLoss({ demonstrated: tf.zeros([1]), generated: tf.zeros([2]) })).toThrow('1 demonstrated and 2 generated');
    expect(() => both(tf.tensor1d(x), { l2: -1 })).toThrow('l2 must be at least 0, got -1');
  });
});
