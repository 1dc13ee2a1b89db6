import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { dpoLoss } from './dpo.js';
import { ipoLoss } from './ipo.js';
import type { PairLoss, PairLossSpec } from './types.js';

/**
 * Exploratory preference optimization: a DPO (or IPO) term on the pair ordered by reward, plus `α·log π(ỹ|x)`, where ỹ is the sample of the
 * pair that the reference drew; the other is the policy's.
 *
 * Xie et al. 2024, arXiv:2405.21046, algorithm 1; TRL's XPO trainer (α 1e-5).
 *
 * @param pair the preference term, whose tensors are taken over
 * @param referenceSampleLogps log π of the reference's samples, summed, [pairs]; gradients flow through these
 * @returns the sum and the preference term's rewards; the caller disposes them
 */
export function xpoLoss(pair: PairLoss, referenceSampleLogps: tf.Tensor1D, { alpha = 1e-5 } = {}): PairLoss {
  if (!(alpha >= 0)) throw new RangeError(`xpoLoss: alpha must be >= 0, got ${alpha}`);
  const loss: tf.Tensor1D = tf.tidy(() => tf.add(pair.loss, tf.mul(alpha, referenceSampleLogps)));
  pair.loss.dispose();
  return { ...pair, loss };
}

export type XpoOptions = { beta: number; alpha: number; term: 'sigmoid' | 'ipo' };

/** As a trainer names it, on pairs of `opponentPairs` with the reference as opponent. The IPO term is the paper's sum form, as TRL's online trainers use. */
export const xpo = {
  needs: ['reference', 'drawnBy'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
    alpha: z.number().min(0).default(1e-5).describe("Weight of the reference's samples: how far the policy explores away from them"),
    term: z.enum(['sigmoid', 'ipo']).default('sigmoid').describe('The preference term'),
  }),
  apply: ({ policy, reference, chosenByReference: theirs }, { beta, alpha, term }) => {
    if (!reference || !theirs) throw new TypeError('xpo: reference log-probabilities, and which answers the reference drew, are required');
    return tf.tidy(() => {
      const pair =
        term === 'ipo' ? ipoLoss(policy, reference, undefined, { beta, lengthNormalize: false }) : dpoLoss(policy, reference, { beta });
      const sample = tf.add(tf.mul(theirs, policy.chosen), tf.mul(tf.sub(1, theirs), policy.rejected)) as tf.Tensor1D;
      return xpoLoss(pair, sample, { alpha });
    });
  },
} satisfies PairLossSpec<XpoOptions>;
