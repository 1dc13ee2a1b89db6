import * as tf from '@tensorflow/tfjs-core';
import { defineKernel } from '../kernel.js';
import { expectShapes } from './check.js';

/**
 * Root-mean-square normalization over the last axis: `x / sqrt(mean(x²) + eps) · weight`.
 * Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4. `x` [..., width], `weight` [width]; the output is shaped as `x`.
 */
export const rmsNorm = defineKernel<{ x: tf.Tensor; weight: tf.Tensor }, { eps: number }, { y: tf.Tensor }, { r: tf.Tensor }>({
  name: 'RmsNorm',
  outputs: ['y'],
  residuals: ['r'], // 1 / sqrt(mean(x²) + eps), [..., 1]
  saves: ['x', 'weight', 'r'],
  prepare: ({ x, weight }, attrs) => {
    expectShapes('rmsNorm', { x: [x, [...x.shape.slice(0, -1), 'width']], weight: [weight, ['width']] });
    return attrs;
  },
  forward: ({ x, weight }, { eps }) => {
    const r = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), eps));
    return { y: tf.mul(tf.mul(x, r), weight), r };
  },
  backward: ({ y: dy }, { x, weight, r }, _attrs, needs) => {
    // n = x·r, g = dy·weight:  dx = r·(g − n·mean(g·n)),  dweight = Σ dy·n over the leading axes.
    const n = tf.mul(x, r);
    const g = tf.mul(dy!, weight);
    return {
      ...(needs.has('x') && { x: tf.mul(r, tf.sub(g, tf.mul(n, tf.mean(tf.mul(g, n), -1, true)))) }),
      ...(needs.has('weight') && { weight: tf.sum(tf.reshape(tf.mul(dy!, n), [-1, weight.size]), 0) }),
    };
  },
});
