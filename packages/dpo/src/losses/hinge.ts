import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type HingeOptions = { beta: number };

/**
 * `max(0, 1 − β·(Δchosen − Δrejected))`, the loss of RSO (hinge-norm) and, with a reference, of SLiC.
 *
 * Liu et al. 2023, arXiv:2309.06657; TRL `hinge`. The gradient at the corner is 0.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @returns the loss and the rewards `β·Δ`, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0
 */
export function hingeLoss(policy: PairLogps, reference: PairLogps, { beta = 0.1 } = {}): PairLoss {
  positive('hingeLoss', 'beta', beta);
  return tf.tidy(() => {
    const ratios = logRatios('hingeLoss', policy, reference);
    const loss: tf.Tensor1D = tf.relu(tf.sub(1, tf.mul(beta, tf.sub(ratios.chosen, ratios.rejected))));
    return { loss, ...rewardsOf(ratios, beta) };
  });
}

export const hinge = {
  needs: ['reference'],
  scope: 'pair',
  divergences: true,
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
  }),
  apply: ({ policy, reference }, options) => hingeLoss(policy, reference!, options),
} satisfies PairLossSpec<HingeOptions>;
