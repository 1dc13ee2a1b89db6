import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs, logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec, PairScores } from './types.js';

export type DnoOptions = { eta: number };

/**
 * Direct Nash optimization: cross-entropy to a soft label, `−q·log σ(ηd) − (1−q)·log σ(−ηd)`, `d = Δchosen − Δrejected`, `q = σ(r_c − r_r)`.
 *
 * Rosset et al. 2024, arXiv:2404.03715, algorithm 1; the reference is the policy of the previous iteration. q → 1 is DPO with β = η.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @param scores rewards (win rates against the current policy), [pairs]
 * @returns the loss in nats and the rewards `η·Δ`, each [pairs]; the caller disposes them
 * @throws RangeError if eta is not above 0
 */
export function dnoLoss(policy: PairLogps, reference: PairLogps, scores: PairScores, { eta = 0.1 } = {}): PairLoss {
  positive('dnoLoss', 'eta', eta);
  checkPairs('dnoLoss', { policy, scores });
  return tf.tidy(() => {
    const ratios = logRatios('dnoLoss', policy, reference);
    const z = tf.mul(eta, tf.sub(ratios.chosen, ratios.rejected));
    const gap = tf.sub(scores.chosen, scores.rejected);
    const kept = tf.mul(tf.sigmoid(gap), logSigmoid(z));
    const loss: tf.Tensor1D = tf.neg(tf.add(kept, tf.mul(tf.sigmoid(tf.neg(gap)), logSigmoid(tf.neg(z)))));
    return { loss, ...rewardsOf(ratios, eta) };
  });
}

export const dno = {
  needs: ['reference', 'scores'],
  scope: 'pair',
  options: z.strictObject({
    eta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
  }),
  apply: ({ policy, reference, scores }, options) => dnoLoss(policy, reference!, scores!, options),
} satisfies PairLossSpec<DnoOptions>;
