import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type DpopOptions = { beta: number; dpopLambda: number };

/**
 * DPO-positive: `−log σ(β·(Δchosen − Δrejected − λ·max(0, −Δchosen)))`: the chosen completion must not become less likely than under the reference.
 *
 * Pal et al. 2024 (Smaug), arXiv:2402.13228.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @returns the loss in nats and the rewards `β·Δ`, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0, or dpopLambda below 0
 */
export function dpopLoss(policy: PairLogps, reference: PairLogps, { beta = 0.1, dpopLambda = 5 } = {}): PairLoss {
  positive('dpopLoss', 'beta', beta);
  if (!(dpopLambda >= 0)) throw new RangeError(`dpopLoss: dpopLambda must be >= 0, got ${dpopLambda}`);
  return tf.tidy(() => {
    const ratios = logRatios('dpopLoss', policy, reference);
    const fallen = tf.mul(dpopLambda, tf.relu(tf.neg(ratios.chosen)));
    const loss: tf.Tensor1D = tf.neg(logSigmoid(tf.mul(beta, tf.sub(tf.sub(ratios.chosen, ratios.rejected), fallen))));
    return { loss, ...rewardsOf(ratios, beta) };
  });
}

export const dpop = {
  needs: ['reference'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    dpopLambda: z.number().min(0).default(5).describe('Weight of the fall of the chosen completion'),
  }),
  apply: ({ policy, reference }, options) => dpopLoss(policy, reference!, options),
} satisfies PairLossSpec<DpopOptions>;
