import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { plusNll } from './cpo.js';
import { checkPairs, positive, rewardsOf, within } from './inputs.js';
import type { PairLengths, PairLogps, PairLoss, PairLossSpec } from './types.js';

export type SimpoOptions = { beta: number; simpoGamma: number; alpha: number; labelSmoothing: number; cpoAlpha: number };

/**
 * Simple preference optimization: `−log σ(β·(m(chosen) − m(rejected)) − γ)`, m = mean log-probability of a completion's tokens, no reference.
 *
 * Meng et al. 2024, arXiv:2405.14734, eq. 6; TRL writes the margin as `γ/β` inside the product. `alpha` ≠ 0 is AlphaPO (Gupta et al. 2025,
 * arXiv:2501.03884): m becomes `(1 − exp(−α·m))/α` before the difference; rewards are β times that.
 *
 * @param policy  log-probabilities summed over the completion, [pairs]
 * @param lengths completion tokens, [pairs]
 * @returns the loss in nats and the rewards, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0, or labelSmoothing not in [0, 0.5)
 */
export function simpoLoss(
  policy: PairLogps,
  lengths: PairLengths,
  { beta = 2, simpoGamma = 1, alpha = 0, labelSmoothing = 0 } = {},
): PairLoss {
  positive('simpoLoss', 'beta', beta);
  within('simpoLoss', 'labelSmoothing', labelSmoothing, 0, 0.5);
  if (!Number.isFinite(simpoGamma) || !Number.isFinite(alpha))
    throw new RangeError(`simpoLoss: simpoGamma and alpha must be finite, got ${simpoGamma} and ${alpha}`);
  checkPairs('simpoLoss', { policy, lengths });
  return tf.tidy(() => {
    const reward = (sum: tf.Tensor1D, length: tf.Tensor1D): tf.Tensor1D => {
      const mean: tf.Tensor1D = tf.div(sum, length);
      return alpha === 0 ? mean : tf.div(tf.neg(tf.expm1(tf.mul(-alpha, mean))), alpha);
    };
    const rewards = { chosen: reward(policy.chosen, lengths.chosen), rejected: reward(policy.rejected, lengths.rejected) };
    const z = tf.sub(tf.mul(beta, tf.sub(rewards.chosen, rewards.rejected)), simpoGamma);
    const kept = tf.mul(1 - labelSmoothing, logSigmoid(z));
    const loss: tf.Tensor1D = tf.neg(tf.add(kept, tf.mul(labelSmoothing, logSigmoid(tf.neg(z)))));
    return { loss, ...rewardsOf(rewards, beta) };
  });
}

const options = {
  beta: z.number().positive().default(2).describe('Scale of the mean log-probabilities'),
  simpoGamma: z.number().default(1).describe('Margin between the two rewards'),
  labelSmoothing: z.number().min(0).lt(0.5).default(0).describe('Assumed share of flipped labels'),
  cpoAlpha: z.number().min(0).default(0).describe('Weight of the cross-entropy of the chosen completions'),
};
const apply: PairLossSpec<SimpoOptions>['apply'] = ({ policy, lengths, nll }, o) =>
  plusNll(simpoLoss(policy, lengths!, o), nll!, o.cpoAlpha);

export const simpo = {
  needs: ['lengths', 'nll'],
  scope: 'pair',
  options: z.strictObject({ ...options, alpha: z.number().default(0).describe('AlphaPO exponent; 0 is SimPO') }),
  apply,
} satisfies PairLossSpec<SimpoOptions>;

export const alphapo = {
  needs: ['lengths', 'nll'],
  scope: 'pair',
  options: z.strictObject({ ...options, alpha: z.number().default(0.25).describe('Exponent of the reward transform; 0 is SimPO') }),
  apply,
} satisfies PairLossSpec<SimpoOptions>;
