import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { describe, expect, it } from 'vitest';
import { clipScale, globalNorm, gradientSum } from './gradientSum.js';
import { createParameters } from './parameters.js';
import { readCopy } from './scope.js';
import type { Parameter } from './types.js';

const tree = createParameters({ a: { shape: [2], data: new Float32Array(2) }, b: { shape: [], data: new Float32Array(1) } });
const micro = (loss: number, a: number[], b?: number, accuracy = 0) => ({
  loss: tf.scalar(loss),
  metrics: { accuracy: tf.scalar(accuracy) },
  grads: new Map<Parameter, tf.Tensor>([
    [tree.get('a'), tf.tensor(a)],
    ...(b === undefined ? [] : [[tree.get('b'), tf.scalar(b)] as const]),
  ]),
});

describe('gradientSum', () => {
  it('sums losses, metrics and gradients, and takes the norm of the sum', async () => {
    const before = tf.memory().numTensors;
    const sum = gradientSum(tree.trainable());
    sum.add(micro(1, [1, 0], undefined, 0.25));
    sum.add(micro(2, [2, -4], 12, 0.5));
    expect(await sum.read()).toEqual({ loss: 3, gradNorm: 13, accuracy: 0.75 }); // √(3² + 4² + 12²)
    expect([...(await readCopy(sum.grads.get(tree.get('a'))!))]).toEqual([3, -4]);
    sum.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('has no entry for a parameter that no loss reached, and shows NaN', async () => {
    const sum = gradientSum(tree.trainable());
    sum.add(micro(Number.NaN, [Number.NaN, 0]));
    expect(sum.grads.has(tree.get('b'))).toBe(false);
    expect(await sum.read()).toEqual({ loss: Number.NaN, gradNorm: Number.NaN, accuracy: 0 });
    sum.dispose();
  });

  it('refuses parameters of another tree, its own names as metrics, and reading before adding', async () => {
    const sum = gradientSum([tree.get('a')]);
    expect(() => sum.add(micro(1, [1, 1], 1))).toThrow('"b" is not among the 1 parameters');
    expect(() => sum.add({ loss: tf.scalar(0), metrics: { loss: tf.scalar(0) }, grads: new Map() })).toThrow(
      '"loss" is no name for a metric',
    );
    await expect(sum.read()).rejects.toThrow('before any micro-batch');
  });
});

describe('globalNorm', () => {
  it('is 0 for nothing and does not depend on the split', async () => {
    expect((await readCopy(globalNorm([])))[0]).toBe(0);
    const whole = await readCopy(globalNorm([tf.tensor([3, 4, 12])]));
    expect(await readCopy(globalNorm([tf.tensor([[3], [4]]), tf.scalar(12)]))).toEqual(whole);
  });
});

describe('clipScale', () => {
  it('is max / (norm + 1e-6) above the maximum and 1 below it', () => {
    expect(clipScale(2, 1)).toBeCloseTo(1 / 2.000001, 12);
    expect(clipScale(0.5, 1)).toBe(1);
    expect(clipScale(0, 1)).toBe(1);
    expect(clipScale(1e30, Infinity)).toBe(1);
    expect(clipScale(Infinity, 1)).toBe(0);
    expect(() => clipScale(1, 0)).toThrow('max must be > 0, got 0');
    expect(() => clipScale(Number.NaN, 1)).toThrow('got NaN');
  });
});
