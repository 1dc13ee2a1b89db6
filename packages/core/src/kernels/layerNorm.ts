import * as tf from '@tensorflow/tfjs-core';
import { defineKernel } from '../kernel.js';
import { expectShapes } from './check.js';

/**
 * Layer normalization over the last axis: `(x − mean) / sqrt(var + eps) · weight + bias`, the variance divided by the width.
 * Ba et al. 2016, arXiv:1607.06450. `x` [..., width], `weight` and `bias` [width]; the output is shaped as `x`.
 */
export const layerNorm = defineKernel<
  { x: tf.Tensor; weight: tf.Tensor; bias: tf.Tensor },
  { eps: number },
  { y: tf.Tensor },
  { mean: tf.Tensor; r: tf.Tensor }
>({
  name: 'LayerNorm',
  outputs: ['y'],
  residuals: ['mean', 'r'], // mean and 1 / sqrt(var + eps), each [..., 1]
  saves: ['x', 'weight', 'mean', 'r'],
  prepare: ({ x, weight, bias }, attrs) => {
    expectShapes('layerNorm', { x: [x, [...x.shape.slice(0, -1), 'width']], weight: [weight, ['width']], bias: [bias, ['width']] });
    return attrs;
  },
  forward: ({ x, weight, bias }, { eps }) => {
    const mean = tf.mean(x, -1, true);
    const centred = tf.sub(x, mean);
    const r = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), eps));
    return { y: tf.add(tf.mul(tf.mul(centred, r), weight), bias), mean, r };
  },
  backward: ({ y: dy }, { x, weight, mean, r }, _attrs, needs) => {
    // n = (x − mean)·r, g = dy·weight:  dx = r·(g − mean(g) − n·mean(g·n)).
    const n = tf.mul(tf.sub(x, mean), r);
    const g = tf.mul(dy!, weight);
    return {
      ...(needs.has('x') && { x: tf.mul(r, tf.sub(tf.sub(g, tf.mean(g, -1, true)), tf.mul(n, tf.mean(tf.mul(g, n), -1, true)))) }),
      ...(needs.has('weight') && { weight: tf.sum(tf.reshape(tf.mul(dy!, n), [-1, weight.size]), 0) }),
      ...(needs.has('bias') && { bias: tf.sum(tf.reshape(dy!, [-1, weight.size]), 0) }),
    };
  },
});
