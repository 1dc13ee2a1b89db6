import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type DiscopopOptions = { beta: number; discopopTau: number };

/**
 * Discovered preference optimization (log-ratio modulated): with `z = β·(Δchosen − Δrejected)` and `m = σ(z/τ)`, `(1−m)·−log σ(z) + m·exp(−z)`.
 *
 * Lu et al. 2024, arXiv:2406.08414, eq. 5; TRL `discopop`. m is not detached. The second term is computed as `exp(log σ(z/τ) − z)`: TRL's
 * product is 0 · ∞ = NaN below z ≈ −709 (−88 in float32), this one is finite.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @returns the loss and the rewards `β·Δ`, each [pairs]; the caller disposes them
 * @throws RangeError if beta or discopopTau is not above 0
 */
export function discopopLoss(policy: PairLogps, reference: PairLogps, { beta = 0.1, discopopTau = 0.05 } = {}): PairLoss {
  positive('discopopLoss', 'beta', beta);
  positive('discopopLoss', 'discopopTau', discopopTau);
  return tf.tidy(() => {
    const ratios = logRatios('discopopLoss', policy, reference);
    const z = tf.mul(beta, tf.sub(ratios.chosen, ratios.rejected));
    const logistic = tf.mul(tf.sigmoid(tf.div(tf.neg(z), discopopTau)), tf.neg(logSigmoid(z)));
    const exponential = tf.exp(tf.sub(logSigmoid(tf.div(z, discopopTau)), z));
    const loss: tf.Tensor1D = tf.add(logistic, exponential);
    return { loss, ...rewardsOf(ratios, beta) };
  });
}

export const discopop = {
  needs: ['reference'],
  scope: 'pair',
  divergences: true,
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    discopopTau: z.number().positive().default(0.05).describe('Temperature of the mixing weight'),
  }),
  apply: ({ policy, reference }, options) => discopopLoss(policy, reference!, options),
} satisfies PairLossSpec<DiscopopOptions>;
