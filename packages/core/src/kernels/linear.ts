import * as tf from '@tensorflow/tfjs-core';
import { defineKernel } from '../kernel.js';
import { expectShapes } from './check.js';

/**
 * `x · weightᵀ + bias`. `x` [n, in], `weight` [out, in] as Hugging Face stores it, `bias` [out] if there is one; the output is [n, out].
 */
export const linear = defineKernel<{ x: tf.Tensor2D; weight: tf.Tensor2D; bias?: tf.Tensor1D }, object, { y: tf.Tensor2D }>({
  name: 'Linear',
  outputs: ['y'],
  saves: ['x', 'weight'],
  prepare: ({ x, weight, bias }, attrs) => {
    expectShapes('linear', { x: [x, ['n', 'in']], weight: [weight, ['out', 'in']], bias: [bias, ['out']] });
    return attrs;
  },
  forward: ({ x, weight, bias }) => {
    const y: tf.Tensor2D = tf.matMul(x, weight, false, true);
    return { y: bias ? tf.add(y, bias) : y };
  },
  backward: ({ y: dy }, { x, weight }, _attrs, needs) => ({
    ...(needs.has('x') && { x: tf.matMul(dy!, weight) }),
    ...(needs.has('weight') && { weight: tf.matMul(dy!, x, true, false) }),
    ...(needs.has('bias') && { bias: tf.sum(dy!, 0) }),
  }),
});
