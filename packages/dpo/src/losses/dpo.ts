import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type DpoOptions = { beta: number; labelSmoothing: number };

/**
 * Direct preference optimization: `-log σ(β · (Δchosen − Δrejected))`, where `Δ = log π − log π_ref`.
 *
 * Rafailov et al. 2023, arXiv:2305.18290, eq. 7. A completion's log-probability is the sum over its tokens, not their
 * mean, as in the paper. `labelSmoothing` is the assumed share of flipped labels (conservative DPO); 0 is the paper's loss.
 * TRL's `sigmoid` ignores `label_smoothing`; here it is applied, so the two agree at 0 only.
 *
 * @param policy    log-probabilities under the policy; gradients flow through these
 * @param reference the same under the frozen reference; constants
 * @param beta      pull towards the reference, per nat: larger stays closer
 * @returns the loss in nats and the implicit rewards `β·Δ`, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0, or labelSmoothing not in [0, 0.5)
 */
export function dpoLoss(policy: PairLogps, reference: PairLogps, { beta = 0.1, labelSmoothing = 0 } = {}): PairLoss {
  if (!(beta > 0)) throw new RangeError(`dpoLoss: beta must be > 0, got ${beta}`); // `!(>)` catches NaN too
  if (!(labelSmoothing >= 0 && labelSmoothing < 0.5))
    throw new RangeError(`dpoLoss: labelSmoothing must be in [0, 0.5), got ${labelSmoothing}`);
  checkPairs('dpoLoss', { policy, reference });
  return tf.tidy(() => {
    const chosenRewards: tf.Tensor1D = tf.mul(beta, tf.sub(policy.chosen, reference.chosen));
    const rejectedRewards: tf.Tensor1D = tf.mul(beta, tf.sub(policy.rejected, reference.rejected));
    const margins = tf.sub(chosenRewards, rejectedRewards);
    const kept = tf.mul(1 - labelSmoothing, logSigmoid(margins));
    const flipped = tf.mul(labelSmoothing, logSigmoid(tf.neg(margins)));
    const loss: tf.Tensor1D = tf.neg(tf.add(kept, flipped));
    return { loss, chosenRewards, rejectedRewards };
  });
}

/** How a trainer names it: what it needs, and that its value is a sum over pairs. */
export const dpo = {
  needs: ['reference'],
  scope: 'pair',
  divergences: true,
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    labelSmoothing: z.number().min(0).lt(0.5).default(0).describe('Assumed share of flipped labels'),
  }),
  apply: ({ policy, reference }, options) => dpoLoss(policy, reference!, options),
} satisfies PairLossSpec<DpoOptions>;
