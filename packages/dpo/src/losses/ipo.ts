import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs, logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLengths, PairLogps, PairLoss, PairLossSpec } from './types.js';

export type IpoOptions = { beta: number; lengthNormalize: boolean };

/**
 * Identity preference optimization: `(Δchosen/|chosen| − Δrejected/|rejected| − 1/(2β))²`.
 *
 * Azar et al. 2023, arXiv:2310.12036, eq. 17. `lengthNormalize` divides each side's log-ratio by its own number of completion tokens: TRL's
 * `ipo`, agreed with the authors, and the default. `false` is the paper's sum, which TRL's online trainers use. The target is `1/(2β)` in both.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @param lengths completion tokens, [pairs]; not read where `lengthNormalize` is false
 * @returns the loss in nats² and the rewards `β·Δ` (of the sums), each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0
 */
export function ipoLoss(
  policy: PairLogps,
  reference: PairLogps,
  lengths: PairLengths | undefined,
  { beta = 0.1, lengthNormalize = true } = {},
): PairLoss {
  positive('ipoLoss', 'beta', beta);
  if (lengthNormalize) checkPairs('ipoLoss', { policy, lengths });
  return tf.tidy(() => {
    const ratios = logRatios('ipoLoss', policy, reference);
    const chosen = lengthNormalize ? tf.div(ratios.chosen, lengths!.chosen) : ratios.chosen;
    const rejected = lengthNormalize ? tf.div(ratios.rejected, lengths!.rejected) : ratios.rejected;
    const loss: tf.Tensor1D = tf.square(tf.sub(tf.sub(chosen, rejected), 1 / (2 * beta)));
    return { loss, ...rewardsOf(ratios, beta) };
  });
}

export const ipo = {
  needs: ['reference', 'lengths'],
  scope: 'pair',
  divergences: true,
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    lengthNormalize: z.boolean().default(true).describe('Divide each log-ratio by its number of tokens'),
  }),
  apply: ({ policy, reference, lengths }, options) => ipoLoss(policy, reference!, lengths, options),
} satisfies PairLossSpec<IpoOptions>;
