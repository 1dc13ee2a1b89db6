import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs, logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLengths, PairLogps, PairLoss, PairLossSpec } from './types.js';

export type RdpoOptions = { beta: number; lengthAlpha: number };

/**
 * Length-regularized DPO: `−log σ(β·(Δchosen − Δrejected) + α·(|chosen| − |rejected|))`. A longer chosen completion is a margin already won.
 *
 * Park et al. 2024, arXiv:2403.19159: the sign follows from penalizing α·length in the RL objective.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @param lengths completion tokens, [pairs]
 * @returns the loss in nats and the rewards `β·Δ`, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0, or lengthAlpha not finite
 */
export function rdpoLoss(policy: PairLogps, reference: PairLogps, lengths: PairLengths, { beta = 0.1, lengthAlpha = 0.01 } = {}): PairLoss {
  positive('rdpoLoss', 'beta', beta);
  if (!Number.isFinite(lengthAlpha)) throw new RangeError(`rdpoLoss: lengthAlpha must be finite, got ${lengthAlpha}`);
  checkPairs('rdpoLoss', { policy, lengths });
  return tf.tidy(() => {
    const ratios = logRatios('rdpoLoss', policy, reference);
    const margins = tf.mul(beta, tf.sub(ratios.chosen, ratios.rejected));
    const longer = tf.mul(lengthAlpha, tf.sub(lengths.chosen, lengths.rejected));
    const loss: tf.Tensor1D = tf.neg(logSigmoid(tf.add(margins, longer)));
    return { loss, ...rewardsOf(ratios, beta) };
  });
}

export const rdpo = {
  needs: ['reference', 'lengths'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    lengthAlpha: z.number().default(0.01).describe('Nats of margin per token of difference in length'),
  }),
  apply: ({ policy, reference, lengths }, options) => rdpoLoss(policy, reference!, lengths!, options),
} satisfies PairLossSpec<RdpoOptions>;
