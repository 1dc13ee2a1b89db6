import { stopGradient } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkTokens, onTokens, ratioOf, sequenceSums } from './ratio.js';
import type { PolicyLoss, PolicyLossSpec, TokenLosses } from './types.js';

export type VespoOptions = { kPos?: number; lambdaPos?: number; kNeg?: number; lambdaNeg?: number };

/**
 * Variational sequence-level soft policy optimization: `−sg(φ(w))·A·log π`, `φ(w) = exp(λ + k·ln w − λ·w)`, w the ratio of the whole sequence.
 *
 * arXiv:2602.10693; TRL `vespo`. `ln w` is the sum of the token log-ratios, each kept in ±20, and kept in [ln 1e-8, 20] itself; k and λ go by
 * the sign of A. φ(1) = 1, whatever k and λ.
 *
 * @param samplingLogRatio `log π_old − log π_sampler` summed over each sequence, [sequences], if the sampler is corrected for: it enters ln w
 * @returns [tokens] each, unreduced; nothing counts as clipped; the caller disposes them
 */
export function vespoLoss(
  t: TokenLosses,
  { kPos = 2, lambdaPos = 3, kNeg = 3, lambdaNeg = 2 }: VespoOptions = {},
  samplingLogRatio?: tf.Tensor1D,
): PolicyLoss {
  checkTokens('vespoLoss', t);
  return tf.tidy(() => {
    const tokens = tf.clipByValue(tf.sub(t.logps, t.oldLogps) as tf.Tensor1D, -20, 20);
    const sums = sequenceSums(tf.mul(t.completionMask, tokens), t);
    const logW = tf.clipByValue(onTokens(samplingLogRatio ? tf.add(sums, samplingLogRatio) : sums, t), Math.log(1e-8), 20);
    const positive = tf.greaterEqual(t.advantages, 0);
    const pick = (a: number, b: number) => tf.where(positive, tf.fill([t.logps.size], a), tf.fill([t.logps.size], b));
    const [k, lambda] = [pick(kPos, kNeg), pick(lambdaPos, lambdaNeg)];
    const phi = stopGradient(tf.exp(tf.add(lambda, tf.sub(tf.mul(k, logW), tf.mul(lambda, tf.exp(logW))))));
    const loss: tf.Tensor1D = tf.neg(tf.mul(t.completionMask, tf.mul(tf.mul(phi, t.advantages), t.logps)));
    return { loss, ratio: ratioOf(t), clipped: tf.zerosLike(t.logps) };
  });
}

export const vespo = {
  aggregation: 'token-mean',
  options: z.strictObject({
    kPos: z.number().default(2).describe('Power of the ratio for advantages of 0 and above'),
    lambdaPos: z.number().default(3).describe('Rate of the decay there'),
    kNeg: z.number().default(3).describe('Power of the ratio for negative advantages'),
    lambdaNeg: z.number().default(2).describe('Rate of the decay there'),
  }),
  correctsSampler: true,
  apply: (t, options) => vespoLoss(t, options, t.samplingLogRatio),
} satisfies PolicyLossSpec<VespoOptions>;
