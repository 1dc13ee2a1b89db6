import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs, logRatios, positive, rewardsOf } from './inputs.js';
import type { PairLogps, PairLoss, PairLossSpec, PairScores } from './types.js';

export type SppoOptions = { beta: number };

/**
 * Self-play preference optimization: `(Δchosen − (Pc − ½)/β)² + (Δrejected − (Pr − ½)/β)²`, P = probability of beating the current policy.
 *
 * Wu et al. 2024, arXiv:2405.00675, eq. 4.7, with β = 1/η (the paper's η is 1e3). The soft form takes P from `scores`.
 *
 * @param policy, reference log-probabilities summed over the completion, [pairs]; the reference's are constants
 * @param scores Pc and Pr in [0, 1], [pairs]
 * @returns the loss in nats² and the rewards `β·Δ`, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0
 */
export function sppoLoss(policy: PairLogps, reference: PairLogps, scores: Omit<PairScores, 'preference'>, { beta = 0.1 } = {}): PairLoss {
  positive('sppoLoss', 'beta', beta);
  checkPairs('sppoLoss', { policy, scores });
  return tf.tidy(() => {
    const ratios = logRatios('sppoLoss', policy, reference);
    const chosen = tf.square(tf.sub(ratios.chosen, tf.div(tf.sub(scores.chosen, 0.5), beta)));
    const rejected = tf.square(tf.sub(ratios.rejected, tf.div(tf.sub(scores.rejected, 0.5), beta)));
    const loss: tf.Tensor1D = tf.add(chosen, rejected);
    return { loss, ...rewardsOf(ratios, beta) };
  });
}

/** The same with Pc = 1 and Pr = 0: `(Δchosen − ½/β)² + (Δrejected + ½/β)²`. TRL `sppo_hard`. */
export function sppoHardLoss(policy: PairLogps, reference: PairLogps, { beta = 0.1 } = {}): PairLoss {
  positive('sppoHardLoss', 'beta', beta);
  return tf.tidy(() => {
    const ratios = logRatios('sppoHardLoss', policy, reference);
    const loss: tf.Tensor1D = tf.add(tf.square(tf.sub(ratios.chosen, 0.5 / beta)), tf.square(tf.add(ratios.rejected, 0.5 / beta)));
    return { loss, ...rewardsOf(ratios, beta) };
  });
}

export const sppo = {
  needs: ['reference', 'scores'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
  }),
  apply: ({ policy, reference, scores }, options) => sppoLoss(policy, reference!, scores!, options),
} satisfies PairLossSpec<SppoOptions>;

export const sppoHard = {
  needs: ['reference'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
  }),
  apply: ({ policy, reference }, options) => sppoHardLoss(policy, reference!, options),
} satisfies PairLossSpec<SppoOptions>;
