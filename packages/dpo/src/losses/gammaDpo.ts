import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs, logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type GammaDpoOptions = { beta: number; gamma: number };

/**
 * DPO with the reference's weight as an option: `−log σ(β·((pc − pr) − γ·(rc − rr)))`; p policy, r reference, c chosen, r rejected.
 *
 * Chen et al. 2024 (preference learning does not learn rankings), arXiv:2405.19534. γ 1 is DPO, γ 0 is CPO's sigmoid.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @returns the loss in nats and the rewards `β·Δ` (γ 1), each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0, or gamma not finite
 */
export function gammaDpoLoss(policy: PairLogps, reference: PairLogps, { beta = 0.1, gamma = 1 } = {}): PairLoss {
  positive('gammaDpoLoss', 'beta', beta);
  if (!Number.isFinite(gamma)) throw new RangeError(`gammaDpoLoss: gamma must be finite, got ${gamma}`);
  checkPairs('gammaDpoLoss', { policy, reference });
  return tf.tidy(() => {
    const margins = tf.sub(tf.sub(policy.chosen, policy.rejected), tf.mul(gamma, tf.sub(reference.chosen, reference.rejected)));
    const loss: tf.Tensor1D = tf.neg(logSigmoid(tf.mul(beta, margins)));
    return { loss, ...rewardsOf(logRatios('gammaDpoLoss', policy, reference), beta) };
  });
}

export const gammaDpo = {
  needs: ['reference'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    gamma: z.number().default(1).describe('Weight of the reference; 1 is DPO'),
  }),
  apply: ({ policy, reference }, options) => gammaDpoLoss(policy, reference!, options),
} satisfies PairLossSpec<GammaDpoOptions>;
