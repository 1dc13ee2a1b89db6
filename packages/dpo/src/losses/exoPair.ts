import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type ExoPairOptions = { beta: number; labelSmoothing: number };

/**
 * Efficient exact optimization on pairs, the reverse KL to the smoothed label: with `z = β·(Δchosen − Δrejected)` and e = `labelSmoothing`,
 * `σ(z)·(log σ(z) − log(1−e)) + σ(−z)·(log σ(−z) − log e)`.
 *
 * Ji et al. 2024, arXiv:2402.00856, eq. 16; TRL `exo_pair`. e must be above 0, since the label's own log is taken.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @returns the loss in nats and the rewards `β·Δ`, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0, or labelSmoothing not in (0, 0.5)
 */
export function exoPairLoss(policy: PairLogps, reference: PairLogps, { beta = 0.1, labelSmoothing = 1e-3 } = {}): PairLoss {
  positive('exoPairLoss', 'beta', beta);
  if (!(labelSmoothing > 0 && labelSmoothing < 0.5))
    throw new RangeError(`exoPairLoss: labelSmoothing must be in (0, 0.5), got ${labelSmoothing}`);
  return tf.tidy(() => {
    const ratios = logRatios('exoPairLoss', policy, reference);
    const z = tf.mul(beta, tf.sub(ratios.chosen, ratios.rejected));
    const kept = tf.mul(tf.sigmoid(z), tf.sub(logSigmoid(z), Math.log(1 - labelSmoothing)));
    const flipped = tf.mul(tf.sigmoid(tf.neg(z)), tf.sub(logSigmoid(tf.neg(z)), Math.log(labelSmoothing)));
    const loss: tf.Tensor1D = tf.add(kept, flipped);
    return { loss, ...rewardsOf(ratios, beta) };
  });
}

export const exoPair = {
  needs: ['reference'],
  scope: 'pair',
  divergences: true,
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    labelSmoothing: z.number().positive().lt(0.5).default(1e-3).describe('Share of flipped labels in the target, above 0'),
  }),
  apply: ({ policy, reference }, options) => exoPairLoss(policy, reference!, options),
} satisfies PairLossSpec<ExoPairOptions>;
