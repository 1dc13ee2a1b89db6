import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type ApoOptions = { beta: number };

/**
 * Anchored preference optimization, "zero": `1 − σ(βΔchosen) + σ(βΔrejected)`: raises the chosen and lowers the rejected. For data better
 * than the policy.
 *
 * D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7; TRL `apo_zero`. It sees absolute log-ratios.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @returns the loss in [0, 2] and the rewards `β·Δ`, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0
 */
export function apoZeroLoss(policy: PairLogps, reference: PairLogps, { beta = 0.1 } = {}): PairLoss {
  positive('apoZeroLoss', 'beta', beta);
  return tf.tidy(() => {
    const rewards = rewardsOf(logRatios('apoZeroLoss', policy, reference), beta);
    const loss: tf.Tensor1D = tf.add(tf.sub(1, tf.sigmoid(rewards.chosenRewards)), tf.sigmoid(rewards.rejectedRewards));
    return { loss, ...rewards };
  });
}

/** "Down": `σ(βΔchosen) + 1 − σ(β(Δchosen − Δrejected))`: lowers both, the rejected more. For data worse than the policy. Same paper, eq. 8; TRL `apo_down`. */
export function apoDownLoss(policy: PairLogps, reference: PairLogps, { beta = 0.1 } = {}): PairLoss {
  positive('apoDownLoss', 'beta', beta);
  return tf.tidy(() => {
    const rewards = rewardsOf(logRatios('apoDownLoss', policy, reference), beta);
    const margins = tf.sub(rewards.chosenRewards, rewards.rejectedRewards);
    const loss: tf.Tensor1D = tf.add(tf.sigmoid(rewards.chosenRewards), tf.sub(1, tf.sigmoid(margins)));
    return { loss, ...rewards };
  });
}

export const apoZero = {
  needs: ['reference'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
  }),
  apply: ({ policy, reference }, options) => apoZeroLoss(policy, reference!, options),
} satisfies PairLossSpec<ApoOptions>;

export const apoDown = {
  needs: ['reference'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
  }),
  apply: ({ policy, reference }, options) => apoDownLoss(policy, reference!, options),
} satisfies PairLossSpec<ApoOptions>;
