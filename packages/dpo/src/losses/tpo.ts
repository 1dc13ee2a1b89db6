import type * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { cpoIpoLoss, cpoLoss, plusNll } from './cpo.js';
import { simpoLoss } from './simpo.js';
import { slicLoss } from './slic.js';
import type { PairLoss, PairLossSpec } from './types.js';

/**
 * Triple preference optimization: a reference-free pair loss plus `tpoAlpha` times the cross-entropy of a third, gold completion.
 *
 * Saeidi et al. 2024, arXiv:2405.16681; TRL's TPO trainer, whose `loss_type` sigmoid, hinge, ipo and tpo-l are here `cpoLoss`,
 * `slicLoss`, `cpoIpoLoss` and `simpoLoss`.
 *
 * @param pair    the pair term, whose tensors are taken over
 * @param goldNll cross-entropy of the gold completions, [pairs], scaled so that its mean over pairs is the token mean
 * @returns the sum and the pair term's rewards; the caller disposes them
 */
export function tpoLoss(pair: PairLoss, goldNll: tf.Tensor1D, { tpoAlpha = 1 } = {}): PairLoss {
  if (!(tpoAlpha >= 0)) throw new RangeError(`tpoLoss: tpoAlpha must be >= 0, got ${tpoAlpha}`);
  return plusNll(pair, goldNll, tpoAlpha);
}

export type TpoOptions = { beta: number; term: 'sigmoid' | 'hinge' | 'ipo' | 'tpo-l'; tpoLGamma: number; tpoAlpha: number };

/** As a trainer names it, on batches that carry a gold completion of each pair: `withGold`. The defaults are TRL's. */
export const tpo = {
  needs: ['lengths', 'gold'],
  scope: 'pair',
  options: z.strictObject({
    beta: z.number().positive().default(0.01).describe('Scale of the log-probabilities, per nat'),
    term: z
      .enum(['sigmoid', 'hinge', 'ipo', 'tpo-l'])
      .default('sigmoid')
      .describe('The pair term; ipo and tpo-l compare means over tokens'),
    tpoLGamma: z.number().default(0.5).describe('Margin of tpo-l'),
    tpoAlpha: z.number().min(0).default(1).describe('Weight of the cross-entropy of the gold completions'),
  }),
  apply: ({ policy, lengths, goldNll }, { beta, term, tpoLGamma, tpoAlpha }) => {
    if (!goldNll) throw new TypeError('tpo: the log-probabilities of the gold completions are required');
    const pair = {
      sigmoid: () => cpoLoss(policy, { beta }),
      hinge: () => slicLoss(policy, { beta }),
      ipo: () => cpoIpoLoss(policy, lengths!, { beta }),
      'tpo-l': () => simpoLoss(policy, lengths!, { beta, simpoGamma: tpoLGamma }),
    }[term]();
    return tpoLoss(pair, goldNll, { tpoAlpha });
  },
} satisfies PairLossSpec<TpoOptions>;
