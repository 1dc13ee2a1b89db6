import * as tf from '@tensorflow/tfjs-core';
import { frozenTensor } from '../frozen.js';
import { defineKernel } from '../kernel.js';
import type { FrozenMatrix, Products } from '../types.js';
import { expectShapes, expectWeight } from './check.js';
import { roundedFor } from './products.js';

export type LinearAttrs = {
  /** The weight, in place of the input of that name. It has no gradient, and nothing of `x` is kept for the backward pass. */
  frozen?: FrozenMatrix;
  /** Of all three products, forward and backward; f32 if left out. */
  products?: Products;
};
type Inputs = { x: tf.Tensor2D; weight?: tf.Tensor2D; bias?: tf.Tensor1D };

/**
 * `x · weightᵀ + bias`. `x` [n, in], `weight` [out, in] as Hugging Face stores it, `bias` [out] if there is one; the output is [n, out].
 * Of `x` and the weight the backward pass keeps only what the gradients that are needed take: `x` for the weight's, the weight for `x`'s.
 */
export const linear = defineKernel<Inputs, LinearAttrs, { y: tf.Tensor2D }>({
  name: 'Linear',
  outputs: ['y'],
  saves: (needs, { frozen }) => [
    ...(needs.has('weight') ? (['x'] as const) : []),
    ...(needs.has('x') && !frozen ? (['weight'] as const) : []),
  ],
  prepare: ({ x, weight, bias }, attrs) => {
    const [out, width] = expectWeight('linear', weight, attrs);
    expectShapes('linear', { x: [x, ['n', width]], bias: [bias, [out]] });
    return attrs;
  },
  forward: ({ x, weight, bias }, { frozen, products }) => {
    const rounded = roundedFor(products);
    const y: tf.Tensor2D = tf.matMul(rounded(x), rounded(frozen ? frozenTensor(frozen) : weight!), false, true);
    return { y: bias ? tf.add(y, bias) : y };
  },
  backward: ({ y: dy }, { x, weight }, { frozen, products }, needs) => {
    const rounded = roundedFor(products);
    return {
      ...(needs.has('x') && { x: tf.matMul(rounded(dy!), rounded(frozen ? frozenTensor(frozen) : weight!)) as tf.Tensor2D }),
      ...(needs.has('weight') && { weight: tf.matMul(rounded(dy!), rounded(x), true, false) as tf.Tensor2D }),
      ...(needs.has('bias') && { bias: tf.sum(dy!, 0) as tf.Tensor1D }),
    };
  },
});
