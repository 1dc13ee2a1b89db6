import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { gradients, initBackend, readCopy } from '../index.node.js';
import { checkGradient, ops, parameter } from '../testing/gradientOps.js';

const backends: string[] = [];
for (const backend of ['cpu', 'native', 'wasm'])
  await initBackend({ backend }).then(
    () => backends.push(backend),
    () => {},
  );

describe.each(backends)('the gradient, by central differences, on %s', (backend) => {
  it.for(Object.entries(ops))('%s', async ([name, op], { skip }) => {
    skip(backend in (op.lacking ?? {}), op.lacking?.[backend]);
    await initBackend({ backend });
    await checkGradient(name, op);
  });
});

describe('by hand', () => {
  const gradientOf = async (f: (x: tf.Tensor) => tf.Tensor, x: number[], shape = [x.length]): Promise<number[]> => {
    const p = parameter(tf.tensor(x, shape), 0);
    const { grads } = gradients(() => ({ loss: tf.sum(f(tf.mul(p.value, 1))) as tf.Scalar }), [p]);
    return [...(await readCopy(grads.get(p)!))];
  };
  it('tied entries of a maximum share it', async () => {
    expect(await gradientOf((x) => tf.max(x), [2, 2, 1, 2])).toEqual([1, 1, 0, 1].map((x) => Math.fround(x / 3)));
    expect(await gradientOf((x) => tf.maximum(x, tf.tensor1d([1, 2, 3])), [2, 2, 2])).toEqual([1, 0.5, 0]);
  });
  it('norm at 0 has gradient 0', async () => {
    expect(await gradientOf((x) => tf.norm(x), [0, 0])).toEqual([0, 0]);
    expect(await gradientOf((x) => tf.norm(x), [3, 4])).toEqual([3, 4].map((x) => Math.fround(x / 5)));
  });
  it('what was not selected adds nothing, even where it is infinite', async () => {
    expect(await gradientOf((x) => tf.where(tf.greater(x, 0), tf.log(x), tf.zerosLike(x)), [2, -1])).toEqual([0.5, 0]);
  });
  it('rounding and comparing pass no gradient on, and neither do whole numbers', async () => {
    expect(await gradientOf((x) => tf.add(tf.round(x), tf.mul(x, 2)), [1.2, 2.7])).toEqual([2, 2]);
    expect(await gradientOf((x) => tf.add(tf.cast(tf.cast(x, 'int32'), 'float32'), tf.mul(x, 3)), [1.2, 2.7])).toEqual([3, 3]);
  });
  it('says which kernel has none', () => {
    const p = parameter(tf.ones([2, 2]), 0);
    expect(() =>
      gradients(() => ({ loss: tf.sum(tf.image.rotateWithOffset(tf.reshape(p.value, [1, 2, 2, 1]) as tf.Tensor4D, 1)) as tf.Scalar }), [p]),
    ).toThrow('There is no gradient for RotateWithOffset');
  });
});
