import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type BcoPairOptions = { beta: number; shift: number };

/**
 * Binary classifier optimization on pairs: `−log σ(βΔchosen − δ) − log σ(−(βΔrejected − δ))`, δ = `shift`.
 *
 * Jung et al. 2024, arXiv:2404.04656, section 4; TRL `bco_pair`, which has no running shift (δ = 0). It sees absolute log-ratios.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @returns the loss in nats and the rewards `β·Δ`, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0
 */
export function bcoPairLoss(policy: PairLogps, reference: PairLogps, { beta = 0.1, shift = 0 } = {}): PairLoss {
  positive('bcoPairLoss', 'beta', beta);
  return tf.tidy(() => {
    const rewards = rewardsOf(logRatios('bcoPairLoss', policy, reference), beta);
    const chosen = logSigmoid(tf.sub(rewards.chosenRewards, shift));
    const rejected = logSigmoid(tf.sub(shift, rewards.rejectedRewards));
    const loss: tf.Tensor1D = tf.neg(tf.add(chosen, rejected));
    return { loss, ...rewards };
  });
}

export const bcoPair = {
  needs: ['reference'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    shift: z.number().default(0).describe('Reward that separates good from bad'),
  }),
  apply: ({ policy, reference }, options) => bcoPairLoss(policy, reference!, options),
} satisfies PairLossSpec<BcoPairOptions>;
