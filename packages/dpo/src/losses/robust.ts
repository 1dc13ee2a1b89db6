import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { logRatios, positive, rewardsOf, within } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type RobustOptions = { beta: number; labelSmoothing: number };

/**
 * DPO that is unbiased under label flips at rate e = `labelSmoothing`: `[−(1−e)·log σ(z) + e·log σ(−z)] / (1 − 2e)`, `z = β·(Δchosen − Δrejected)`.
 *
 * Chowdhury et al. 2024, arXiv:2403.00409, section 3.1; TRL `robust`. It may be negative: that is the price of being unbiased.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @returns the loss in nats and the rewards `β·Δ`, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0, or labelSmoothing not in [0, 0.5)
 */
export function robustLoss(policy: PairLogps, reference: PairLogps, { beta = 0.1, labelSmoothing = 0 } = {}): PairLoss {
  positive('robustLoss', 'beta', beta);
  within('robustLoss', 'labelSmoothing', labelSmoothing, 0, 0.5);
  return tf.tidy(() => {
    const ratios = logRatios('robustLoss', policy, reference);
    const z = tf.mul(beta, tf.sub(ratios.chosen, ratios.rejected));
    const kept = tf.mul(1 - labelSmoothing, logSigmoid(z));
    const flipped = tf.mul(labelSmoothing, logSigmoid(tf.neg(z)));
    const loss: tf.Tensor1D = tf.div(tf.sub(flipped, kept), 1 - 2 * labelSmoothing);
    return { loss, ...rewardsOf(ratios, beta) };
  });
}

export const robust = {
  needs: ['reference'],
  scope: 'pair',
  divergences: true,
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    labelSmoothing: z.number().min(0).lt(0.5).default(0).describe('Assumed share of flipped labels'),
  }),
  apply: ({ policy, reference }, options) => robustLoss(policy, reference!, options),
} satisfies PairLossSpec<RobustOptions>;
