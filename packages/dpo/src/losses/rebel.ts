import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs, logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec, PairScores } from './types.js';

export type RebelOptions = { eta: number };

/**
 * REBEL: regression of the relative reward, `(d/η − (r_c − r_r))²`, `d = Δchosen − Δrejected` against the policy of the previous iteration.
 *
 * Gao et al. 2024, arXiv:2404.16767.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @param scores rewards of the two completions, [pairs]
 * @returns the loss in points² and the rewards `Δ/η`, each [pairs]; the caller disposes them
 * @throws RangeError if eta is not above 0
 */
export function rebelLoss(policy: PairLogps, reference: PairLogps, scores: PairScores, { eta = 1 } = {}): PairLoss {
  positive('rebelLoss', 'eta', eta);
  checkPairs('rebelLoss', { policy, scores });
  return tf.tidy(() => {
    const ratios = logRatios('rebelLoss', policy, reference);
    const d = tf.sub(ratios.chosen, ratios.rejected);
    const loss: tf.Tensor1D = tf.square(tf.sub(tf.div(d, eta), tf.sub(scores.chosen, scores.rejected)));
    return { loss, ...rewardsOf(ratios, 1 / eta) };
  });
}

export const rebel = {
  needs: ['reference', 'scores'],
  scope: 'pair',
  options: z.strictObject({
    eta: z.number().positive().default(1).describe('Step size: nats of log-ratio per point of reward'),
  }),
  apply: ({ policy, reference, scores }, options) => rebelLoss(policy, reference!, scores!, options),
} satisfies PairLossSpec<RebelOptions>;
