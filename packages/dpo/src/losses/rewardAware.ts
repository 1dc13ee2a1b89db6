import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs, logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec, PairScores } from './types.js';

export type RewardAwareOptions = { beta: number; eta: number };

/**
 * Reward-aware preference optimization: `KL(q ‖ q̂)` of two Bernoullis, `q = σ(η·(r_c − r_r))` and `q̂ = σ(β·(Δchosen − Δrejected))`.
 *
 * Nemotron-4 340B, arXiv:2406.11704, section 3.3.2 (RPO, backward-KL form). Its minimum is 0, where the implicit margin is the reward's.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @param scores rewards of the two completions, [pairs]
 * @returns the loss in nats and the rewards `β·Δ`, each [pairs]; the caller disposes them
 * @throws RangeError if beta or eta is not above 0
 */
export function rewardAwareLoss(policy: PairLogps, reference: PairLogps, scores: PairScores, { beta = 0.1, eta = 1 } = {}): PairLoss {
  positive('rewardAwareLoss', 'beta', beta);
  positive('rewardAwareLoss', 'eta', eta);
  checkPairs('rewardAwareLoss', { policy, scores });
  return tf.tidy(() => {
    const ratios = logRatios('rewardAwareLoss', policy, reference);
    const z = tf.mul(beta, tf.sub(ratios.chosen, ratios.rejected));
    const gap = tf.mul(eta, tf.sub(scores.chosen, scores.rejected));
    const kept = tf.mul(tf.sigmoid(gap), tf.sub(logSigmoid(gap), logSigmoid(z)));
    const flipped = tf.mul(tf.sigmoid(tf.neg(gap)), tf.sub(logSigmoid(tf.neg(gap)), logSigmoid(tf.neg(z))));
    const loss: tf.Tensor1D = tf.add(kept, flipped);
    return { loss, ...rewardsOf(ratios, beta) };
  });
}

export const rewardAware = {
  needs: ['reference', 'scores'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    eta: z.number().positive().default(1).describe('Scale of the reward gap'),
  }),
  apply: ({ policy, reference, scores }, options) => rewardAwareLoss(policy, reference!, scores!, options),
} satisfies PairLossSpec<RewardAwareOptions>;
