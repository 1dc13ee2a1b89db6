/** The two ancestors of Adam, for comparisons. */
import * as tf from '@tensorflow/tfjs-core';
import type { Optimizer } from '../types.js';
import { checkRange, type Decay, perParameter, type RuleOutput } from './state.js';

/** RMSProp as PyTorch has it: `s ← α·s + (1 − α)·g²`, `b ← momentum·b + g / (√s + eps)`, `value ← value − learningRate·b`; L2 weight decay. */
export function rmsProp({
  alpha = 0.99,
  momentum = 0,
  eps = 1e-8,
  weightDecay = 0,
  decays,
}: Decay & { alpha?: number; momentum?: number; eps?: number } = {}): Optimizer {
  checkRange('rmsProp', { alpha, momentum }, 0, 1);
  checkRange('rmsProp', { eps }, 0, Infinity);
  const shapes = (shape: readonly number[]) => ({ squares: shape, ...(momentum > 0 && { momentum: shape }) });
  return perParameter('rmsProp', { weightDecay, decays }, shapes, ({ value, slots, learningRate, decay, ...input }): RuleOutput => {
    const grad = decay === 0 ? input.grad : tf.add(input.grad, tf.mul(value, decay));
    const squares = tf.add(tf.mul(slots.squares, alpha), tf.mul(tf.square(grad), 1 - alpha));
    const scaled = tf.div(grad, tf.add(tf.sqrt(squares), eps));
    if (momentum === 0) return { value: tf.sub(value, tf.mul(scaled, learningRate)), slots: { squares } };
    const buffer = tf.add(tf.mul(slots.momentum, momentum), scaled);
    return { value: tf.sub(value, tf.mul(buffer, learningRate)), slots: { squares, momentum: buffer } };
  });
}

/** Adagrad: `s ← s + g²`, `value ← value − learningRate·g / (√s + eps)`; L2 weight decay. Duchi et al. 2011, JMLR 12. */
export function adagrad({ eps = 1e-10, weightDecay = 0, decays }: Decay & { eps?: number } = {}): Optimizer {
  checkRange('adagrad', { eps }, 0, Infinity);
  return perParameter(
    'adagrad',
    { weightDecay, decays },
    (shape) => ({ squares: shape }),
    ({ value, slots, learningRate, decay, ...input }) => {
      const grad = decay === 0 ? input.grad : tf.add(input.grad, tf.mul(value, decay));
      const squares = tf.add(slots.squares, tf.square(grad));
      return { value: tf.sub(value, tf.mul(tf.div(grad, tf.add(tf.sqrt(squares), eps)), learningRate)), slots: { squares } };
    },
  );
}
