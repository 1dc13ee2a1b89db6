/** Our wasm kernels against cpu's, on shapes that do not fill tiles, vectors or blocks. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, it } from 'vitest';
import { initBackend, readCopy } from '../index.node.js';

beforeAll(async () => void (await initBackend({ backend: 'wasm' })));

const wave = (...shape: number[]): tf.Tensor =>
  tf.tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * i + shape.length)),
    shape,
  );

async function agree(f: () => tf.Tensor | tf.Tensor[]): Promise<void> {
  const on = async (backend: string): Promise<{ shapes: number[][]; values: number[] }> => {
    await tf.setBackend(backend);
    const made = tf.tidy(f);
    const all = Array.isArray(made) ? made : [made];
    const values = (await Promise.all(all.map((y) => readCopy(y)))).flatMap((y) => Array.from(y));
    tf.dispose(all);
    return { shapes: all.map((y) => y.shape), values };
  };
  const [found, expected] = [await on('wasm'), await on('cpu')];
  expect(found.shapes).toEqual(expected.shapes);
  expected.values.forEach((y, i) => {
    if (!(Math.abs(found.values[i] - y) <= 1e-4 * (1 + Math.abs(y))) && !Object.is(found.values[i], y))
      throw new Error(`[${i}] is ${found.values[i]}, expected ${y}`);
  });
}

const flags = [false, true];
const sizes = [
  [1, 3, 1, 4],
  [1, 1, 1, 1],
  [1, 5, 3, 7],
  [3, 5, 3, 7],
  [2, 8, 16, 16],
  [1, 33, 300, 17],
  [1, 13, 520, 530],
  [1, 4, 3, 520],
  [2, 3, 0, 4],
];
it.each(sizes.flatMap((size) => flags.flatMap((a) => flags.map((b) => [...size, a, b] as const))))(
  'multiplies %d matrices of %d x %d x %d (transposed: %s, %s)',
  (batch, m, k, n, a, b) =>
    agree(() =>
      tf.matMul(
        wave(batch as number, ...((a ? [k, m] : [m, k]) as number[])),
        wave(batch as number, ...((b ? [n, k] : [k, n]) as number[])),
        a as boolean,
        b as boolean,
      ),
    ),
);
it('multiplies over a broadcast batch', () => agree(() => tf.matMul(wave(2, 1, 3, 4), wave(5, 4, 6))));
it('multiplies by one tensor in two shapes, which corrupts the memory of the original kernel', () =>
  agree(() => {
    const x = wave(12);
    return [tf.matMul(wave(5, 1), tf.reshape(x, [1, 12])), tf.matMul(wave(2, 12), tf.reshape(x, [12, 1]))];
  }));
it('refuses sizes that do not fit', async () => {
  await tf.setBackend('wasm');
  expect(() => tf.matMul(wave(2, 3) as tf.Tensor2D, wave(4, 5) as tf.Tensor2D)).toThrow();
});
it('fuses bias and activation', () =>
  agree(() =>
    ['linear', 'relu', 'relu6', 'elu', 'sigmoid'].map((activation) =>
      tf.fused.matMul({ a: wave(5, 3), b: wave(3, 7), bias: wave(7), activation: activation as 'relu' }),
    ),
  ));
it('exponentiates from 0 over denormals to infinity, NaN included', () =>
  agree(() => tf.exp(tf.tensor1d([-Infinity, -200, -104, -103, -90, -87.4, -5, -1e-3, 0, 1e-4, 1, 10, 80, 88.7, 89, Infinity, NaN, 3]))));
it('takes rows, tensors of any rank and indices of any shape', () =>
  agree(() => [
    tf.gather(wave(5, 3, 2), tf.tensor2d([4, 0, 4, 1], [2, 2], 'int32')),
    tf.gather(wave(4), tf.tensor1d([3, 3], 'int32')),
    tf.gather(wave(3, 4), tf.tensor1d([2, 0], 'int32'), 1),
  ]));
it('sums leading, last and all axes', () =>
  agree(() => [tf.sum(wave(130, 7), 0), tf.sum(wave(3, 4, 5), [0, 1], true), tf.sum(wave(3, 4), 1), tf.sum(wave(3, 4))]));
it('transposes, slices, splits and selects', () =>
  agree(() => [
    tf.transpose(wave(33, 18)),
    tf.transpose(wave(2, 3, 4), [2, 0, 1]),
    tf.slice(wave(3, 4, 40), [0, 0, 3], [-1, -1, 20]),
    tf.slice(wave(5, 9), [0, 2], [-1, 3]),
    tf.slice(wave(5, 9), [1, 2], [2, 3]),
    ...tf.split(wave(3, 8), 2, 1),
    ...tf.split(wave(3, 2, 8), [1, 7], -1),
    ...tf.split(wave(4, 3), 2, 0),
    tf.where(tf.greater(wave(4, 5), 0), wave(4, 5), tf.zeros([4, 5])),
    tf.where(tf.greater(wave(4, 1), 0), wave(4, 5), tf.zeros([5])),
  ]));
