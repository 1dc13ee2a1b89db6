import * as tf from '@tensorflow/tfjs-core';
import type { PairLoss } from './types.js';

/**
 * Exploratory preference optimization: a DPO (or IPO) term on the pair ordered by reward, plus `α·log π(ỹ|x)`, where ỹ is the sample of the
 * pair that the reference drew; the other is the policy's.
 *
 * Xie et al. 2024, arXiv:2405.21046, algorithm 1; TRL's XPO trainer (α 1e-5).
 *
 * @param pair the preference term, whose tensors are taken over
 * @param referenceSampleLogps log π of the reference's samples, summed, [pairs]; gradients flow through these
 * @returns the sum and the preference term's rewards; the caller disposes them
 */
export function xpoLoss(pair: PairLoss, referenceSampleLogps: tf.Tensor1D, { alpha = 1e-5 } = {}): PairLoss {
  if (!(alpha >= 0)) throw new RangeError(`xpoLoss: alpha must be >= 0, got ${alpha}`);
  const loss: tf.Tensor1D = tf.tidy(() => tf.add(pair.loss, tf.mul(alpha, referenceSampleLogps)));
  pair.loss.dispose();
  return { ...pair, loss };
}
