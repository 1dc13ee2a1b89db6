import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkTokens, type RatioLevel, ratioOf } from './ratio.js';
import type { PolicyLoss, PolicyLossSpec, TokenLosses } from './types.js';

export type SapoOptions = { temperaturePos?: number; temperatureNeg?: number; level?: Extract<RatioLevel, 'token' | 'sequence'> };

/**
 * Soft adaptive policy optimization: `−A·(4/τ)·σ(τ·(ρ − 1))`, a smooth gate in the clip's place; its slope in ρ is 1 at ρ = 1.
 *
 * Gao et al. 2025, arXiv:2511.20347. τ is `temperaturePos` where A > 0, else `temperatureNeg`.
 *
 * @returns [tokens] each, unreduced; nothing counts as clipped; the caller disposes them
 */
export function sapoLoss(t: TokenLosses, { temperaturePos = 1, temperatureNeg = 1.05, level = 'token' }: SapoOptions = {}): PolicyLoss {
  checkTokens('sapoLoss', t);
  for (const [name, value] of Object.entries({ temperaturePos, temperatureNeg }))
    if (!(value > 0)) throw new RangeError(`sapoLoss: ${name} must be > 0, got ${value}`);
  return tf.tidy(() => {
    const ratio = ratioOf(t, level);
    const tau = tf.where(tf.greater(t.advantages, 0), tf.fill([t.logps.size], temperaturePos), tf.fill([t.logps.size], temperatureNeg));
    const gate = tf.mul(tf.div(4, tau), tf.sigmoid(tf.mul(tau, tf.sub(ratio, 1))));
    const loss: tf.Tensor1D = tf.neg(tf.mul(t.completionMask, tf.mul(t.advantages, gate)));
    return { loss, ratio, clipped: tf.zerosLike(t.logps) };
  });
}

export const sapo = {
  aggregation: 'seq-mean-token-mean',
  options: z.strictObject({
    temperaturePos: z.number().positive().default(1).describe('Sharpness of the gate for positive advantages'),
    temperatureNeg: z.number().positive().default(1.05).describe('Sharpness of the gate for negative advantages'),
    level: z.enum(['token', 'sequence']).default('token').describe('Over what the ratio is formed'),
  }),
  apply: sapoLoss,
} satisfies PolicyLossSpec<SapoOptions>;
