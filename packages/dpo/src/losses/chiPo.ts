import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type ChiPoOptions = { beta: number; rMax?: number };

/**
 * Chi-squared preference optimization: `−log σ(clip(β·(φ(Δchosen) − φ(Δrejected)), ±2·rMax))`, `φ(u) = e^u + u`.
 *
 * Huang et al. 2024, arXiv:2407.13399, algorithm 1. The exponent is capped at 20, with no gradient above. Without `rMax` nothing is clipped.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @returns the loss in nats and the rewards `β·Δ` (not β·φ, to be comparable), each [pairs]; the caller disposes them
 * @throws RangeError if beta or rMax is not above 0
 */
export function chiPoLoss(policy: PairLogps, reference: PairLogps, { beta = 0.1, rMax }: { beta?: number; rMax?: number } = {}): PairLoss {
  positive('chiPoLoss', 'beta', beta);
  if (rMax !== undefined) positive('chiPoLoss', 'rMax', rMax);
  return tf.tidy(() => {
    const ratios = logRatios('chiPoLoss', policy, reference);
    const phi = (u: tf.Tensor1D): tf.Tensor1D => tf.add(tf.exp(tf.clipByValue(u, -Number.MAX_VALUE, 20)), u);
    const margins: tf.Tensor1D = tf.mul(beta, tf.sub(phi(ratios.chosen), phi(ratios.rejected)));
    const clipped = rMax === undefined ? margins : tf.clipByValue(margins, -2 * rMax, 2 * rMax);
    const loss: tf.Tensor1D = tf.neg(logSigmoid(clipped));
    return { loss, ...rewardsOf(ratios, beta) };
  });
}

export const chiPo = {
  needs: ['reference'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    rMax: z.number().positive().optional().describe('Bound of the reward; margins are clipped to twice this'),
  }),
  apply: ({ policy, reference }, options) => chiPoLoss(policy, reference!, options),
} satisfies PairLossSpec<ChiPoOptions>;
