import * as tf from '@tensorflow/tfjs-core';
import { frozenTensor } from '../frozen.js';
import { defineKernel } from '../kernel.js';
import { expectShapes, expectWeight } from './check.js';
import type { LinearAttrs } from './linear.js';
import { roundedFor } from './products.js';

/** `scale` multiplies the update, which is computed in float32 whatever `products` says of the weight's. */
export type LowRankLinearAttrs = LinearAttrs & { scale: number };
type Inputs = { x: tf.Tensor2D; weight?: tf.Tensor2D; bias?: tf.Tensor1D; a: tf.Tensor2D; b: tf.Tensor2D };

/**
 * A linear map with an update of low rank: `x · weightᵀ + bias + scale · (x · aᵀ) · bᵀ`. Hu et al. 2021, arXiv:2106.09685, eq. 3.
 *
 * `x` [n, in], `weight` [out, in] (or `frozen`), `bias` [out] if there is one, `a` [r, in], `b` [out, r]; the output is [n, out]. The update is added to the
 * map where it lies, in both directions, so that neither is there twice. Keeps `x` only where `a` or the weight is trained.
 */
export const lowRankLinear = defineKernel<Inputs, LowRankLinearAttrs, { y: tf.Tensor2D }, { h: tf.Tensor2D }>({
  name: 'LowRankLinear',
  outputs: ['y'],
  residuals: ['h'], // scale · x·aᵀ, [n, r]
  saves: (needs, { frozen }) => [
    ...(needs.has('a') || needs.has('weight') ? (['x'] as const) : []),
    ...(needs.has('x') && !frozen ? (['weight'] as const) : []),
    ...(needs.has('x') ? (['a'] as const) : []),
    ...(needs.has('x') || needs.has('a') ? (['b'] as const) : []),
    ...(needs.has('b') ? (['h'] as const) : []),
  ],
  prepare: ({ x, weight, bias, a, b }, attrs) => {
    const [out, width] = expectWeight('lowRankLinear', weight, attrs);
    expectShapes('lowRankLinear', { x: [x, ['n', width]], bias: [bias, [out]], a: [a, ['r', width]], b: [b, [out, 'r']] });
    return attrs;
  },
  forward: ({ x, weight, bias, a, b }, { frozen, products, scale }) => {
    const rounded = roundedFor(products);
    const y: tf.Tensor2D = tf.matMul(rounded(x), rounded(frozen ? frozenTensor(frozen) : weight!), false, true);
    const h: tf.Tensor2D = tf.mul(tf.matMul(x, a, false, true), scale);
    return { y: tf.add(bias ? tf.add(y, bias) : y, tf.matMul(h, b, false, true)), h };
  },
  backward: ({ y: dy }, { x, weight, a, b, h }, { frozen, products, scale }, needs) => {
    const rounded = roundedFor(products);
    const g = needs.has('x') || needs.has('a') ? (tf.mul(tf.matMul(dy!, b), scale) as tf.Tensor2D) : null; // [n, r]
    return {
      ...(needs.has('x') && {
        x: tf.add(tf.matMul(rounded(dy!), rounded(frozen ? frozenTensor(frozen) : weight!)), tf.matMul(g!, a)) as tf.Tensor2D,
      }),
      ...(needs.has('weight') && { weight: tf.matMul(rounded(dy!), rounded(x), true, false) as tf.Tensor2D }),
      ...(needs.has('bias') && { bias: tf.sum(dy!, 0) as tf.Tensor1D }),
      ...(needs.has('a') && { a: tf.matMul(g!, x, true, false) as tf.Tensor2D }),
      ...(needs.has('b') && { b: tf.matMul(dy!, h, true, false) as tf.Tensor2D }),
    };
  },
});
