import * as tf from '@tensorflow/tfjs-core';
import type { PairLogps, PairLoss } from './types.js';

/**
 * Adds `alpha` times the loss with chosen and rejected exchanged, on flagged pairs only: a bonus for disagreeing with labels held to be wrong.
 *
 * Yang et al. 2024 (weak-to-strong deception), arXiv:2406.11431.
 *
 * @param loss    any pair loss, with its options bound: `(policy, reference) => dpoLoss(policy, reference, { beta })`
 * @param flagged 1 on the pairs that take the bonus, [pairs]
 * @returns the sum and the rewards of the plain loss; the caller disposes them
 */
export function reverseBonusLoss(
  loss: (policy: PairLogps, reference: PairLogps) => PairLoss,
  policy: PairLogps,
  reference: PairLogps,
  flagged: tf.Tensor1D,
  { alpha = 1 } = {},
): PairLoss {
  return tf.tidy(() => {
    const plain = loss(policy, reference);
    const swap = ({ chosen, rejected }: PairLogps): PairLogps => ({ chosen: rejected, rejected: chosen });
    const reversed = loss(swap(policy), swap(reference));
    return { ...plain, loss: tf.add(plain.loss, tf.mul(alpha, tf.mul(flagged, reversed.loss))) };
  });
}
