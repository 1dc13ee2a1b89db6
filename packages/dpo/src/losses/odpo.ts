import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs, logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type OdpoOptions = { beta: number; offsetScale: number };

/**
 * DPO with an offset: `−log σ(β·(Δchosen − Δrejected) − offset)`: clearer preferences ask for a wider margin.
 *
 * Amini et al. 2024, arXiv:2402.10571.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @param offset [pairs], in nats
 * @returns the loss in nats and the rewards `β·Δ`, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0
 */
export function odpoLoss(policy: PairLogps, reference: PairLogps, offset: tf.Tensor1D, { beta = 0.1 } = {}): PairLoss {
  positive('odpoLoss', 'beta', beta);
  checkPairs('odpoLoss', { policy, offset: { chosen: offset, rejected: offset } });
  return tf.tidy(() => {
    const ratios = logRatios('odpoLoss', policy, reference);
    const loss: tf.Tensor1D = tf.neg(logSigmoid(tf.sub(tf.mul(beta, tf.sub(ratios.chosen, ratios.rejected)), offset)));
    return { loss, ...rewardsOf(ratios, beta) };
  });
}

/** In a trainer the offset is the paper's, `offsetScale · log(r_c − r_r)`, with the gap kept at or above 1e-6. */
export const odpo = {
  needs: ['reference', 'scores'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    offsetScale: z.number().min(0).default(1).describe('Weight of the log of the reward gap'),
  }),
  apply: ({ policy, reference, scores }, options) =>
    tf.tidy(() => {
      const gap = tf.clipByValue(tf.sub(scores!.chosen, scores!.rejected), 1e-6, Number.MAX_VALUE);
      return odpoLoss(policy, reference!, tf.mul(options.offsetScale, tf.log(gap)), options);
    }),
} satisfies PairLossSpec<OdpoOptions>;
