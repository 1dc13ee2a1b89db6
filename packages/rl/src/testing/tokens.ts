/** For tests: token losses from plain numbers, and values and gradients read back. */
import { createParameters, gradients, readCopy } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import type { TokenLosses } from '../losses/types.js';

export type Rows = { logps: number[][]; oldLogps: number[][]; advantages: number[]; mask?: number[][] };

/** Two sequences of 3 and 2 tokens. */
export const F = {
  logps: [
    [-0.5, -1, -1.5],
    [-0.8, -1.2],
  ],
  oldLogps: [
    [-0.7, -1, -1.1],
    [-0.9, -0.6],
  ],
  ref: [
    [-0.6, -1.1, -1.4],
    [-0.7, -1],
  ],
  samp: [
    [-0.75, -0.95, -1.3],
    [-0.9, -0.7],
  ],
  advantages: [1, -0.5],
};

/** Everything but `logps`, which the gradient is taken of. The caller disposes it. */
export function tokensOf({ oldLogps, advantages, mask }: Rows): Omit<TokenLosses, 'logps'> {
  const flat = (rows: number[][]) => tf.tensor1d(rows.flat());
  return {
    oldLogps: flat(oldLogps),
    refLogps: flat(oldLogps),
    advantages: flat(oldLogps.map((row, i) => row.map(() => advantages[i]))),
    completionMask: flat(mask ?? oldLogps.map((row) => row.map(() => 1))),
    seqIds: tf.tensor1d(
      oldLogps.flatMap((row, i) => row.map(() => i)),
      'int32',
    ),
    sequences: oldLogps.length,
  };
}

/** Value and gradient of a scalar function of a list of numbers. */
export async function valueAndGrad(f: (x: tf.Tensor1D) => tf.Scalar, x: ArrayLike<number>): Promise<{ value: number; grad: number[] }> {
  const tree = createParameters({ x: { shape: [x.length], data: Float32Array.from(x) } });
  const { loss, grads } = gradients(() => ({ loss: f(tree.get('x').value as tf.Tensor1D) }), tree.trainable());
  const grad = grads.get(tree.get('x'));
  const result = { value: (await readCopy(loss))[0], grad: grad ? Array.from(await readCopy(grad)) : Array.from(x, () => 0) };
  tf.dispose([loss, ...grads.values()]);
  tree.dispose();
  return result;
}
