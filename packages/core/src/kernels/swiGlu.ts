import * as tf from '@tensorflow/tfjs-core';
import { defineKernel } from '../kernel.js';
import { expectShapes } from './check.js';

/**
 * `silu(gate) · up`, where `silu(z) = z · σ(z)`. Shazeer 2020, arXiv:2002.05202, eq. 6, without its matrices.
 * `gate` and `up` [n, m]; the output is shaped as they are.
 */
export const swiGlu = defineKernel<{ gate: tf.Tensor2D; up: tf.Tensor2D }, object, { y: tf.Tensor2D }>({
  name: 'SwiGlu',
  outputs: ['y'],
  saves: ['gate', 'up'],
  prepare: ({ gate, up }, attrs) => {
    expectShapes('swiGlu', { gate: [gate, ['n', 'm']], up: [up, ['n', 'm']] });
    return attrs;
  },
  forward: ({ gate, up }) => ({ y: tf.mul(tf.mul(gate, tf.sigmoid(gate)), up) }),
  backward: ({ y: dy }, { gate, up }, _attrs, needs) => {
    // s = σ(gate):  dgate = dy·up·s·(1 + gate·(1 − s)),  dup = dy·gate·s.
    const s = tf.sigmoid(gate);
    const dyS = tf.mul(dy!, s);
    return {
      ...(needs.has('gate') && { gate: tf.mul(tf.mul(dyS, up), tf.add(tf.mul(gate, tf.sub(1, s)), 1)) }),
      ...(needs.has('up') && { up: tf.mul(dyS, gate) }),
    };
  },
});
