import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { plusNll } from './cpo.js';
import { checkPairs, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type SlicOptions = { beta: number; delta: number; nllWeight: number };

/**
 * Sequence likelihood calibration: `max(0, δ − β·(log π(chosen) − log π(rejected)))`, without a reference.
 *
 * Zhao et al. 2023, arXiv:2305.10425, section 2 (β 1, δ `delta`). With β 0.1 and δ 1 it is CPO's `hinge` in TRL. The record `slic` adds
 * `nllWeight` times the cross-entropy of the chosen completions, the paper's regulariser.
 *
 * @param policy log-probabilities summed over the completion, [pairs]
 * @returns the loss and the rewards `β·log π`, each [pairs]; the caller disposes them
 * @throws RangeError if beta or delta is not above 0
 */
export function slicLoss(policy: PairLogps, { beta = 1, delta = 1 } = {}): PairLoss {
  positive('slicLoss', 'beta', beta);
  positive('slicLoss', 'delta', delta);
  checkPairs('slicLoss', { policy });
  return tf.tidy(() => {
    const loss: tf.Tensor1D = tf.relu(tf.sub(delta, tf.mul(beta, tf.sub(policy.chosen, policy.rejected))));
    return { loss, ...rewardsOf(policy, beta) };
  });
}

export const slic = {
  needs: ['nll'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(1).describe('Scale of the log-probabilities, per nat'),
    delta: z.number().positive().default(1).describe('Margin'),
    nllWeight: z.number().min(0).default(0).describe('Weight of the cross-entropy of the chosen completions'),
  }),
  apply: ({ policy, nll }, options) => plusNll(slicLoss(policy, options), nll!, options.nllWeight),
} satisfies PairLossSpec<SlicOptions>;
