import { stopGradient } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { expectileLoss } from './offline.js';

export type IlqlInputs = {
  /** Q heads at each token, [tokens, vocabulary]; one or two. */
  q: readonly tf.Tensor2D[];
  /** V at each token, [tokens]. */
  values: tf.Tensor1D;
  /** Q of the tokens that were written, by the slowly moving copies of the heads, [tokens] each; constants. */
  targetQ: readonly tf.Tensor1D[];
  /** V at the following token, 0 after the last; constants, [tokens]. */
  nextValues: tf.Tensor1D;
  /** [tokens] */
  rewards: tf.Tensor1D;
  /** The tokens that were written, int32 [tokens]. */
  tokens: tf.Tensor1D;
};

/**
 * Implicit language Q-learning per token: V by the expectile of the smaller target Q, Q by one step of Bellman, and a cross-entropy that keeps Q low where nothing was written.
 *
 * Snell et al. 2022, arXiv:2206.11871: `|τ − 1(u < 0)|·u²` with `u = min Q'(token) − V`, plus `Σ_heads (r + γ·V_next − Q(token))²`, plus
 * `α·Σ_heads −log softmax(Q)(token)`. Decode with `ilqlLogits`. τ 0.7 and α 1 are not the paper's of every task.
 *
 * @returns the three terms and their sum, [tokens] each; the caller disposes them
 */
export function ilqlLoss(
  { q, values, targetQ, nextValues, rewards, tokens }: IlqlInputs,
  { tau = 0.7, gamma = 0.99, alpha = 1 } = {},
): { loss: tf.Tensor1D; value: tf.Tensor1D; bellman: tf.Tensor1D; conservative: tf.Tensor1D } {
  if (!(gamma >= 0 && gamma <= 1)) throw new RangeError(`ilqlLoss: gamma must be in [0, 1], got ${gamma}`);
  if (!(alpha >= 0)) throw new RangeError(`ilqlLoss: alpha must be >= 0, got ${alpha}`);
  if (q.length === 0 || targetQ.length === 0) throw new RangeError('ilqlLoss: there are no Q heads');
  return tf.tidy(() => {
    const target = stopGradient(targetQ.reduce((least, one) => tf.minimum(least, one) as tf.Tensor1D));
    const value = expectileLoss(tf.sub(target, values) as tf.Tensor1D, tau);
    const goal = stopGradient(tf.add(rewards, tf.mul(gamma, nextValues)) as tf.Tensor1D);
    const written = tf.oneHot(tf.cast(tokens, 'int32'), q[0].shape[1]) as tf.Tensor2D;
    const add = (terms: tf.Tensor[]) => terms.reduce((a, b) => tf.add(a, b)) as tf.Tensor1D;
    const bellman = add(q.map((head) => tf.square(tf.sub(goal, tf.sum(tf.mul(written, head), 1)))));
    const conservative = tf.mul(alpha, add(q.map((head) => tf.neg(tf.sum(tf.mul(written, tf.logSoftmax(head)), 1))))) as tf.Tensor1D;
    return { loss: add([value, bellman, conservative]), value, bellman, conservative };
  });
}

/** What implicit language Q-learning decodes with: `log π + β·(min Q − V)`, [tokens, vocabulary]. β 0 is the language model alone. The caller disposes it. */
export function ilqlLogits(logits: tf.Tensor2D, q: readonly tf.Tensor2D[], values: tf.Tensor1D, { beta = 1 } = {}): tf.Tensor2D {
  if (!(beta >= 0)) throw new RangeError(`ilqlLogits: beta must be >= 0, got ${beta}`);
  return tf.tidy(() => {
    const least = q.reduce((a, b) => tf.minimum(a, b) as tf.Tensor2D);
    return tf.add(tf.logSoftmax(logits), tf.mul(beta, tf.sub(least, tf.reshape(values, [-1, 1])))) as tf.Tensor2D;
  });
}
