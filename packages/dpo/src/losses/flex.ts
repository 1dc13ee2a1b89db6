import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { logRatios, positive } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type FlexOptions = { betaPlus: number; betaMinus: number };

/**
 * Flexible DPO: `−log σ(β₊·Δchosen − β₋·Δrejected)`: a smaller β₋ pushes the rejected down less. Equal betas are DPO.
 *
 * Yan et al. 2024 (3D-properties of DPO), arXiv:2406.07327.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @returns the loss in nats and the rewards `β₊·Δchosen`, `β₋·Δrejected`, each [pairs]; the caller disposes them
 * @throws RangeError if a beta is not above 0
 */
export function flexLoss(policy: PairLogps, reference: PairLogps, { betaPlus = 0.1, betaMinus = 0.1 } = {}): PairLoss {
  positive('flexLoss', 'betaPlus', betaPlus);
  positive('flexLoss', 'betaMinus', betaMinus);
  return tf.tidy(() => {
    const ratios = logRatios('flexLoss', policy, reference);
    const chosenRewards: tf.Tensor1D = tf.mul(betaPlus, ratios.chosen);
    const rejectedRewards: tf.Tensor1D = tf.mul(betaMinus, ratios.rejected);
    const loss: tf.Tensor1D = tf.neg(logSigmoid(tf.sub(chosenRewards, rejectedRewards)));
    return { loss, chosenRewards, rejectedRewards };
  });
}

export const flex = {
  needs: ['reference'],
  scope: 'pair',
  options: z.strictObject({
    betaPlus: z.number().positive().default(0.1).describe('β of the chosen completion'),
    betaMinus: z.number().positive().default(0.1).describe('β of the rejected completion'),
  }),
  apply: ({ policy, reference }, options) => flexLoss(policy, reference!, options),
} satisfies PairLossSpec<FlexOptions>;
