import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { plusNll } from './cpo.js';
import { checkPairs, positive, rewardsOf } from './inputs.js';
import type { PairLengths, PairLogps, PairLoss, PairLossSpec } from './types.js';

export type OrpoOptions = { beta: number };

/**
 * Odds ratio preference optimization, the odds term: `−β·log σ(o)`, `o = log odds(chosen) − log odds(rejected)`, where
 * `log odds = m − log(1 − e^m)` of the mean log-probability m of a completion's tokens.
 *
 * Hong et al. 2024, arXiv:2403.07691, eq. 6 and 7; β is the paper's λ. The record `orpo` adds the cross-entropy of the chosen completions over
 * answer tokens only, as in the paper; TRL's takes it over prompt and answer.
 *
 * @param policy  log-probabilities summed over the completion, [pairs]; each below 0
 * @param lengths completion tokens, [pairs]
 * @returns the loss in nats and the rewards `β·m`, each [pairs]; the caller disposes them
 * @throws RangeError if beta is not above 0
 */
export function orpoLoss(policy: PairLogps, lengths: PairLengths, { beta = 0.1 } = {}): PairLoss {
  positive('orpoLoss', 'beta', beta);
  checkPairs('orpoLoss', { policy, lengths });
  return tf.tidy(() => {
    const means = { chosen: tf.div(policy.chosen, lengths.chosen), rejected: tf.div(policy.rejected, lengths.rejected) } as PairLogps;
    const odds = tf.sub(tf.sub(means.chosen, means.rejected), tf.sub(log1mexp(means.chosen), log1mexp(means.rejected)));
    const loss: tf.Tensor1D = tf.mul(-beta, logSigmoid(odds));
    return { loss, ...rewardsOf(means, beta) };
  });
}

/** `log(1 − e^m)` for m < 0: `log1p(−e^m)` below −ln 2, `log(−expm1(m))` above; each branch is fed a harmless m where the other is taken. */
function log1mexp(m: tf.Tensor1D): tf.Tensor1D {
  const low = tf.less(m, -Math.LN2);
  const safe = tf.fill([m.size], -1);
  const far = tf.log1p(tf.neg(tf.exp(tf.where(low, m, safe))));
  const near = tf.log(tf.neg(tf.expm1(tf.where(low, safe, m))));
  return tf.where(low, far, near) as tf.Tensor1D;
}

export const orpo = {
  needs: ['lengths', 'nll'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Weight of the odds term'),
  }),
  apply: ({ policy, lengths, nll }, options) => plusNll(orpoLoss(policy, lengths!, options), nll!, 1),
} satisfies PairLossSpec<OrpoOptions>;
