import { logSigmoid, stopGradient } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs, logRatios, positive, rewardsOf, within } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type AotOptions = { beta: number; labelSmoothing: number };

/**
 * Distributional alignment by optimal transport on paired data: `(1−e)·−log σ(βq_i) + e·−log σ(−βq_i)`, where `q_i` is the i-th smallest
 * `log π(chosen) − log π(rejected)` of the batch minus the i-th smallest such difference under the reference.
 *
 * Melnyk et al. 2024, arXiv:2406.05882, section 3; TRL `aot`. Not a sum over pairs: rows of `loss` are ranks, not pairs, and the value depends on
 * which pairs share a batch. The gradient goes back through the sort.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @returns the loss in nats, by ascending rank, and the rewards `β·Δ` by pair, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0, or labelSmoothing not in [0, 0.5)
 */
export function aotLoss(policy: PairLogps, reference: PairLogps, { beta = 0.1, labelSmoothing = 0 } = {}): PairLoss {
  positive('aotLoss', 'beta', beta);
  within('aotLoss', 'labelSmoothing', labelSmoothing, 0, 0.5);
  checkPairs('aotLoss', { policy, reference });
  return tf.tidy(() => {
    const q = tf.sub(sorted(tf.sub(policy.chosen, policy.rejected)), sorted(tf.sub(reference.chosen, reference.rejected)));
    return { loss: smoothed(tf.mul(beta, q), labelSmoothing), ...rewardsOf(logRatios('aotLoss', policy, reference), beta) };
  });
}

/**
 * The unpaired form: `q_i` is the i-th smallest Δchosen minus the i-th smallest Δrejected of the batch. Same paper, eq. 5; TRL
 * `aot_unpaired`. Counts of chosen and rejected must be equal, as they are in pairs.
 */
export function aotUnpairedLoss(policy: PairLogps, reference: PairLogps, { beta = 0.1, labelSmoothing = 0 } = {}): PairLoss {
  positive('aotUnpairedLoss', 'beta', beta);
  within('aotUnpairedLoss', 'labelSmoothing', labelSmoothing, 0, 0.5);
  return tf.tidy(() => {
    const ratios = logRatios('aotUnpairedLoss', policy, reference);
    const q = tf.sub(sorted(ratios.chosen), sorted(ratios.rejected));
    return { loss: smoothed(tf.mul(beta, q), labelSmoothing), ...rewardsOf(ratios, beta) };
  });
}

/** Ascending; `topk` has no gradient, so it finds the order and `gather` carries the gradient. */
function sorted(x: tf.Tensor1D): tf.Tensor1D {
  return tf.gather(x, tf.topk(tf.neg(stopGradient(x)), x.size).indices as tf.Tensor1D);
}

function smoothed(z: tf.Tensor1D, labelSmoothing: number): tf.Tensor1D {
  return tf.neg(tf.add(tf.mul(1 - labelSmoothing, logSigmoid(z)), tf.mul(labelSmoothing, logSigmoid(tf.neg(z)))));
}

export const aot = {
  needs: ['reference'],
  scope: 'batch',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    labelSmoothing: z.number().min(0).lt(0.5).default(0).describe('Assumed share of flipped labels'),
  }),
  apply: ({ policy, reference }, options) => aotLoss(policy, reference!, options),
} satisfies PairLossSpec<AotOptions>;

export const aotUnpaired = {
  needs: ['reference'],
  scope: 'batch',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    labelSmoothing: z.number().min(0).lt(0.5).default(0).describe('Assumed share of flipped labels'),
  }),
  apply: ({ policy, reference }, options) => aotUnpairedLoss(policy, reference!, options),
} satisfies PairLossSpec<AotOptions>;
