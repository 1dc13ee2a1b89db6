import { stopGradient } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkRange, checkTokens, type RatioLevel, ratioOf } from './ratio.js';
import type { PolicyLoss, PolicyLossSpec, TokenLosses } from './types.js';

export type CispoOptions = { epsilonHigh?: number; epsilonLow?: number; level?: Extract<RatioLevel, 'token' | 'sequence'> };

/**
 * Clipped importance-sampling policy optimization: `−sg(min(ρ, ε_high))·A·log π`: the weight is capped, every token keeps a gradient.
 *
 * MiniMax-M1, arXiv:2506.13585. `epsilonHigh` is the cap itself, not 1 + it, and there is no lower bound (TRL); `epsilonLow` gives verl's
 * lower bound.
 *
 * @returns [tokens] each, unreduced; `clipped` is 1 where the cap holds and A > 0; the caller disposes them
 */
export function cispoLoss(t: TokenLosses, { epsilonHigh = 5, epsilonLow = 0, level = 'token' }: CispoOptions = {}): PolicyLoss {
  checkTokens('cispoLoss', t);
  checkRange('cispoLoss', 'epsilonHigh', epsilonHigh, Infinity);
  return tf.tidy(() => {
    const ratio = ratioOf(t, level);
    const weight = stopGradient(tf.clipByValue(ratio, epsilonLow, epsilonHigh));
    const loss: tf.Tensor1D = tf.neg(tf.mul(t.completionMask, tf.mul(tf.mul(weight, t.advantages), t.logps)));
    const capped = tf.logicalAnd(tf.greater(ratio, epsilonHigh), tf.greater(t.advantages, 0));
    return { loss, ratio, clipped: tf.mul(t.completionMask, tf.cast(capped, 'float32')) as tf.Tensor1D };
  });
}

export const cispo = {
  aggregation: 'token-mean',
  options: z.strictObject({
    epsilonHigh: z.number().positive().default(5).describe('Cap of the importance weight'),
    epsilonLow: z.number().min(0).default(0).describe('Lower bound of the importance weight'),
    level: z.enum(['token', 'sequence']).default('token').describe('Over what the ratio is formed'),
  }),
  apply: cispoLoss,
} satisfies PolicyLossSpec<CispoOptions>;
