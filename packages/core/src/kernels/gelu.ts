import * as tf from '@tensorflow/tfjs-core';
import { defineKernel } from '../kernel.js';
import { expectShapes } from './check.js';

const slope = Math.sqrt(2 / Math.PI);
const cubic = 0.044715;

/**
 * GELU in its tanh form, `x/2 · (1 + tanh(sqrt(2/π) · (x + 0.044715·x³)))`, GPT-2's activation.
 * Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2. Any shape.
 */
export const geluTanh = defineKernel<{ x: tf.Tensor }, object, { y: tf.Tensor }>({
  name: 'GeluTanh',
  outputs: ['y'],
  saves: ['x'],
  prepare: ({ x }, attrs) => {
    expectShapes('geluTanh', { x: [x, x.shape] });
    return attrs;
  },
  forward: ({ x }) => ({ y: tf.mul(tf.mul(x, 0.5), tf.add(tanhOf(x), 1)) }),
  backward: ({ y: dy }, { x }) => {
    // t = tanh(u):  dx = dy · ((1 + t)/2 + x/2 · (1 − t²) · u'),  u' = sqrt(2/π)·(1 + 3·0.044715·x²).
    const t = tanhOf(x);
    const du = tf.mul(tf.add(tf.mul(tf.square(x), 3 * cubic), 1), slope);
    const bend = tf.mul(tf.mul(tf.mul(x, 0.5), tf.sub(1, tf.square(t))), du);
    return { x: tf.mul(dy!, tf.add(tf.mul(tf.add(t, 1), 0.5), bend)) };
  },
});

const tanhOf = (x: tf.Tensor): tf.Tensor => tf.tanh(tf.mul(tf.mul(x, slope), tf.add(tf.mul(tf.square(x), cubic), 1)));
