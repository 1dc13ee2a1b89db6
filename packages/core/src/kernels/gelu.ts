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

/**
 * GELU itself, `x · Φ(x) = x/2 · (1 + erf(x/√2))`, the activation of BERT and ViT. Hendrycks & Gimpel 2016, arXiv:1606.08415, equation 1. Any shape.
 */
export const gelu = defineKernel<{ x: tf.Tensor }, object, { y: tf.Tensor }>({
  name: 'Gelu',
  outputs: ['y'],
  saves: ['x'],
  prepare: ({ x }, attrs) => {
    expectShapes('gelu', { x: [x, x.shape] });
    return attrs;
  },
  forward: ({ x }) => ({ y: tf.mul(x, normalCdf(x)) }),
  backward: ({ y: dy }, { x }) => {
    // dx = dy · (Φ(x) + x·φ(x)),  φ(x) = exp(−x²/2) / √(2π).
    const density = tf.mul(tf.exp(tf.mul(tf.square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
    return { x: tf.mul(dy!, tf.add(normalCdf(x), tf.mul(x, density))) };
  },
});

const normalCdf = (x: tf.Tensor): tf.Tensor => tf.mul(tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1), 0.5);
const tanhOf = (x: tf.Tensor): tf.Tensor => tf.tanh(tf.mul(tf.mul(x, slope), tf.add(tf.mul(tf.square(x), cubic), 1)));
