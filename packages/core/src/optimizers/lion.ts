import * as tf from '@tensorflow/tfjs-core';
import type { Optimizer } from '../types.js';
import { checkRange, type Decay, perParameter } from './state.js';

/**
 * Lion: steps by the sign of an interpolation of momentum and gradient. Chen et al. 2023, arXiv:2302.06675, algorithm 2:
 * `value ← value − learningRate·(sign(β1·m + (1 − β1)·g) + weightDecay·value)`, then `m ← β2·m + (1 − β2)·g`.
 * Its learning rate is 3 to 10 times smaller than Adam's, its weight decay larger by as much.
 */
export function lion({ beta1 = 0.9, beta2 = 0.99, weightDecay = 0, decays }: Decay & { beta1?: number; beta2?: number } = {}): Optimizer {
  checkRange('lion', { beta1, beta2 }, 0, 1);
  return perParameter(
    'lion',
    { weightDecay, decays },
    (shape) => ({ m: shape }),
    ({ value, grad, slots, learningRate, decay }) => {
      const direction = tf.sign(tf.add(tf.mul(slots.m, beta1), tf.mul(grad, 1 - beta1)));
      return {
        value: tf.sub(tf.mul(value, 1 - learningRate * decay), tf.mul(direction, learningRate)),
        slots: { m: tf.add(tf.mul(slots.m, beta2), tf.mul(grad, 1 - beta2)) },
      };
    },
  );
}
