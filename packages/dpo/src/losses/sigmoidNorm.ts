import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs, logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLengths, PairLogps, PairLoss, PairLossSpec } from './types.js';

export type SigmoidNormOptions = { beta: number };

/**
 * Length-normalized DPO: `−log σ(β · (Δchosen/|chosen| − Δrejected/|rejected|))`: each log-ratio is a mean over its tokens.
 *
 * TRL `sigmoid_norm`. Useful β are larger than DPO's by about the length of a completion (1 to 10).
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @param lengths completion tokens, [pairs]
 * @returns the loss in nats and the rewards `β·Δ` (of the sums), each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0
 */
export function sigmoidNormLoss(policy: PairLogps, reference: PairLogps, lengths: PairLengths, { beta = 0.1 } = {}): PairLoss {
  positive('sigmoidNormLoss', 'beta', beta);
  checkPairs('sigmoidNormLoss', { policy, lengths });
  return tf.tidy(() => {
    const ratios = logRatios('sigmoidNormLoss', policy, reference);
    const margins = tf.sub(tf.div(ratios.chosen, lengths.chosen), tf.div(ratios.rejected, lengths.rejected));
    const loss: tf.Tensor1D = tf.neg(logSigmoid(tf.mul(beta, margins)));
    return { loss, ...rewardsOf(ratios, beta) };
  });
}

export const sigmoidNorm = {
  needs: ['reference', 'lengths'],
  scope: 'pair',
  divergences: true,
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
  }),
  apply: ({ policy, reference, lengths }, options) => sigmoidNormLoss(policy, reference!, lengths!, options),
} satisfies PairLossSpec<SigmoidNormOptions>;
