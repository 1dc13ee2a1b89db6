import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type NcaPairOptions = { beta: number };

/**
 * Noise-contrastive alignment on pairs: `−log σ(βΔchosen) − ½·log σ(−βΔchosen) − ½·log σ(−βΔrejected)`.
 *
 * Chen et al. 2024, arXiv:2402.05369, section 4.1; TRL `nca_pair`. It sees absolute log-ratios: adding a constant to the policy alone changes it.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @returns the loss in nats and the rewards `β·Δ`, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0
 */
export function ncaPairLoss(policy: PairLogps, reference: PairLogps, { beta = 0.1 } = {}): PairLoss {
  positive('ncaPairLoss', 'beta', beta);
  return tf.tidy(() => {
    const ratios = logRatios('ncaPairLoss', policy, reference);
    const rewards = rewardsOf(ratios, beta);
    const noise = tf.add(logSigmoid(tf.neg(rewards.chosenRewards)), logSigmoid(tf.neg(rewards.rejectedRewards)));
    const loss: tf.Tensor1D = tf.neg(tf.add(logSigmoid(rewards.chosenRewards), tf.mul(0.5, noise)));
    return { loss, ...rewards };
  });
}

export const ncaPair = {
  needs: ['reference'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
  }),
  apply: ({ policy, reference }, options) => ncaPairLoss(policy, reference!, options),
} satisfies PairLossSpec<NcaPairOptions>;
