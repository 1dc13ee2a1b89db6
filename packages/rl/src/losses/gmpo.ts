import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkRange, checkTokens, logRatio, onTokens, ratioOf, sequenceLengths, sequenceSums } from './ratio.js';
import type { PolicyLoss, PolicyLossSpec, TokenLosses } from './types.js';

export type GmpoOptions = { epsilon?: number };

/**
 * Geometric-mean policy optimization: one value a sequence, `−A·exp(mean of c)`, `c = min(l, clip(l, ±ε))` if A > 0, else the maximum, of the
 * token log-ratios l.
 *
 * Zhao et al. 2025, arXiv:2507.20673. The sequence's value stands on each of its tokens, so that a mean over its tokens gives it back.
 *
 * @returns [tokens] each, unreduced; the caller disposes them
 */
export function gmpoLoss(t: TokenLosses, { epsilon = 0.4 }: GmpoOptions = {}): PolicyLoss {
  checkTokens('gmpoLoss', t);
  checkRange('gmpoLoss', 'epsilon', epsilon);
  return tf.tidy(() => {
    const log = logRatio(t);
    const bounded = tf.clipByValue(log, -epsilon, epsilon);
    const positive = tf.greater(t.advantages, 0);
    const chosen: tf.Tensor1D = tf.where(positive, tf.minimum(log, bounded), tf.maximum(log, bounded)) as tf.Tensor1D;
    const means = tf.div(sequenceSums(tf.mul(t.completionMask, chosen), t), sequenceLengths(t)) as tf.Tensor1D;
    const loss: tf.Tensor1D = tf.neg(tf.mul(t.completionMask, tf.mul(t.advantages, onTokens(tf.exp(means), t))));
    const outside = tf.logicalOr(
      tf.logicalAnd(positive, tf.greater(log, epsilon)),
      tf.logicalAnd(tf.less(t.advantages, 0), tf.less(log, -epsilon)),
    );
    return { loss, ratio: ratioOf(t), clipped: tf.mul(t.completionMask, tf.cast(outside, 'float32')) as tf.Tensor1D };
  });
}

export const gmpo = {
  aggregation: 'seq-mean-token-mean',
  options: z.strictObject({ epsilon: z.number().positive().lt(1).default(0.4).describe('Clip range of the log-ratio') }),
  apply: gmpoLoss,
} satisfies PolicyLossSpec<GmpoOptions>;
