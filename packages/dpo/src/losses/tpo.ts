import type * as tf from '@tensorflow/tfjs-core';
import { plusNll } from './cpo.js';
import type { PairLoss } from './types.js';

/**
 * Triple preference optimization: a reference-free pair loss plus `tpoAlpha` times the cross-entropy of a third, gold completion.
 *
 * Saeidi et al. 2024, arXiv:2405.16681, eq. 5; TRL's TPO trainer, whose `loss_type` sigmoid, hinge, ipo and tpo-l are here `cpoLoss`,
 * `slicLoss`, `cpoIpoLoss` and `simpoLoss`.
 *
 * @param pair    the pair term, whose tensors are taken over
 * @param goldNll cross-entropy of the gold completions, [pairs], scaled so that its mean over pairs is the token mean
 * @returns the sum and the pair term's rewards; the caller disposes them
 */
export function tpoLoss(pair: PairLoss, goldNll: tf.Tensor1D, { tpoAlpha = 1 } = {}): PairLoss {
  if (!(tpoAlpha >= 0)) throw new RangeError(`tpoLoss: tpoAlpha must be >= 0, got ${tpoAlpha}`);
  return plusNll(pair, goldNll, tpoAlpha);
}
