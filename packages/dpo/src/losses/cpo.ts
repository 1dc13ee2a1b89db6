import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs, positive, rewardsOf, within } from './inputs.js';
import type { PairLengths, PairLogps, PairLoss, PairLossSpec } from './types.js';

export type CpoOptions = { beta: number; labelSmoothing: number; cpoAlpha: number };
export type CpoIpoOptions = { beta: number; cpoAlpha: number };

/**
 * Contrastive preference optimization: DPO without a reference, `−log σ(β·(log π(chosen) − log π(rejected)))`, with label smoothing as in DPO.
 *
 * Xu et al. 2024, arXiv:2401.08417, eq. 3; TRL's CPO trainer with `loss_type` sigmoid. The sums over tokens are compared, not the means. The
 * record `cpo` adds `cpoAlpha` times the cross-entropy of the chosen completions (token mean of the step, answer tokens only).
 *
 * @param policy log-probabilities summed over the completion, [pairs]
 * @returns the loss in nats and the rewards `β·log π`, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0, or labelSmoothing not in [0, 0.5)
 */
export function cpoLoss(policy: PairLogps, { beta = 0.1, labelSmoothing = 0 } = {}): PairLoss {
  positive('cpoLoss', 'beta', beta);
  within('cpoLoss', 'labelSmoothing', labelSmoothing, 0, 0.5);
  checkPairs('cpoLoss', { policy });
  return tf.tidy(() => {
    const z = tf.mul(beta, tf.sub(policy.chosen, policy.rejected));
    const kept = tf.mul(1 - labelSmoothing, logSigmoid(z));
    const loss: tf.Tensor1D = tf.neg(tf.add(kept, tf.mul(labelSmoothing, logSigmoid(tf.neg(z)))));
    return { loss, ...rewardsOf(policy, beta) };
  });
}

/** CPO's `ipo`: `(m(chosen) − m(rejected) − 1/(2β))²` of the mean log-probabilities m; rewards are `β·m`. */
export function cpoIpoLoss(policy: PairLogps, lengths: PairLengths, { beta = 0.1 } = {}): PairLoss {
  positive('cpoIpoLoss', 'beta', beta);
  checkPairs('cpoIpoLoss', { policy, lengths });
  return tf.tidy(() => {
    const means = { chosen: tf.div(policy.chosen, lengths.chosen), rejected: tf.div(policy.rejected, lengths.rejected) } as PairLogps;
    const loss: tf.Tensor1D = tf.square(tf.sub(tf.sub(means.chosen, means.rejected), 1 / (2 * beta)));
    return { loss, ...rewardsOf(means, beta) };
  });
}

export const cpo = {
  needs: ['nll'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Scale of the log-probabilities, per nat'),
    labelSmoothing: z.number().min(0).lt(0.5).default(0).describe('Assumed share of flipped labels'),
    cpoAlpha: z.number().min(0).default(1).describe('Weight of the cross-entropy of the chosen completions'),
  }),
  apply: ({ policy, nll }, options) => plusNll(cpoLoss(policy, options), nll!, options.cpoAlpha),
} satisfies PairLossSpec<CpoOptions>;

export const cpoIpo = {
  needs: ['lengths', 'nll'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Scale of the log-probabilities, per nat'),
    cpoAlpha: z.number().min(0).default(1).describe('Weight of the cross-entropy of the chosen completions'),
  }),
  apply: ({ policy, lengths, nll }, options) => plusNll(cpoIpoLoss(policy, lengths!, options), nll!, options.cpoAlpha),
} satisfies PairLossSpec<CpoIpoOptions>;

/** Adds `weight · nll` to a pair loss, taking over its tensors. */
export function plusNll(pairs: PairLoss, nll: tf.Tensor1D, weight: number): PairLoss {
  if (weight === 0) return pairs;
  const loss: tf.Tensor1D = tf.tidy(() => tf.add(pairs.loss, tf.mul(weight, nll)));
  pairs.loss.dispose();
  return { ...pairs, loss };
}
