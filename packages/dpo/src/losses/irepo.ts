import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs, logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec } from './types.js';

export type IrepoOptions = { beta: number; scale: 'reward' | 'logRatio' };

/**
 * Implicit reward pairwise-difference regression: `(β·d − logit p)²` (`scale` 'reward') or `(d − logit(p)/β)²` ('logRatio'), where
 * `d = Δchosen − Δrejected` and p = P(chosen beats rejected).
 *
 * iREPO, arXiv:2405.15230. Which of the two scales is the paper's is not settled; they differ by the constant 1/β². p is kept in
 * [1e-6, 1 − 1e-6].
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @param preference p, [pairs]
 * @returns the loss and the rewards `β·Δ`, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0
 */
export function irepoLoss(
  policy: PairLogps,
  reference: PairLogps,
  preference: tf.Tensor1D,
  { beta = 0.1, scale = 'reward' }: Partial<IrepoOptions> = {},
): PairLoss {
  positive('irepoLoss', 'beta', beta);
  checkPairs('irepoLoss', { policy, preference: { chosen: preference, rejected: preference } });
  return tf.tidy(() => {
    const ratios = logRatios('irepoLoss', policy, reference);
    const p = tf.clipByValue(preference, 1e-6, 1 - 1e-6);
    const logit = tf.log(tf.div(p, tf.sub(1, p)));
    const residual: tf.Tensor1D = tf.sub(tf.mul(beta, tf.sub(ratios.chosen, ratios.rejected)), logit);
    const loss: tf.Tensor1D = tf.square(tf.div(residual, scale === 'reward' ? 1 : beta));
    return { loss, ...rewardsOf(ratios, beta) };
  });
}

/** In a trainer p comes with the scores, or else is the Bradley-Terry probability σ(r_c − r_r). */
export const irepo = {
  needs: ['reference', 'scores'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    scale: z.enum(['reward', 'logRatio']).default('reward').describe('Space in which the residual is squared'),
  }),
  apply: ({ policy, reference, scores }, options) =>
    tf.tidy(() => irepoLoss(policy, reference!, scores!.preference ?? tf.sigmoid(tf.sub(scores!.chosen, scores!.rejected)), options)),
} satisfies PairLossSpec<IrepoOptions>;
