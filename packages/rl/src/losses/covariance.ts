import { stopGradient } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { clippedPolicyLoss } from './clipped.js';
import { checkTokens, logRatio, ratioOf } from './ratio.js';
import type { PolicyLoss, PolicyLossSpec, TokenLosses } from './types.js';

/**
 * `(A − mean A)·(log π − mean log π)` over the counting tokens, without gradient, [tokens]: the tokens whose entropy falls fastest.
 * Cui et al. 2025, arXiv:2505.22617. The caller disposes it.
 */
export function tokenCovariance(t: TokenLosses): tf.Tensor1D {
  return tf.tidy(() => {
    const count = tf.clipByValue(tf.sum(t.completionMask), 1, Number.MAX_VALUE);
    const centred = (x: tf.Tensor1D) => tf.sub(x, tf.div(tf.sum(tf.mul(t.completionMask, x)), count));
    return stopGradient(tf.mul(t.completionMask, tf.mul(centred(t.advantages), centred(stopGradient(t.logps))))) as tf.Tensor1D;
  });
}

/**
 * KL-cov: tokens with the largest covariance get `−A·ρ + coef·|log ρ|`, all others `−A·ρ`. Same paper, eq. 14.
 *
 * @param share of the counting tokens that are held back: 2e-4 in the paper; at least one token
 * @returns [tokens] each, unreduced; `clipped` is 1 on the tokens held back; the caller disposes them
 */
export function klCovLoss(
  t: TokenLosses,
  { share = 2e-4, coef = 1, activeTokens = t.logps.size }: { share?: number; coef?: number; activeTokens?: number } = {},
): PolicyLoss {
  checkTokens('klCovLoss', t);
  if (!(share > 0 && share <= 1)) throw new RangeError(`klCovLoss: share must be in (0, 1], got ${share}`);
  return tf.tidy(() => {
    const count = Math.max(1, Math.trunc(share * activeTokens));
    const lowest = tf.fill([t.logps.size], -1e30);
    const candidates = tf.where(tf.greater(t.completionMask, 0), tokenCovariance(t), lowest) as tf.Tensor1D;
    const { indices } = tf.topk(candidates, count);
    const held: tf.Tensor1D = tf.sum(tf.oneHot(indices as tf.Tensor1D, t.logps.size), 0);
    const ratio = ratioOf(t);
    const gain = tf.mul(t.advantages, ratio);
    const loss: tf.Tensor1D = tf.mul(t.completionMask, tf.sub(tf.mul(tf.cast(held, 'float32'), tf.mul(coef, tf.abs(logRatio(t)))), gain));
    return { loss, ratio, clipped: tf.cast(held, 'float32') as tf.Tensor1D };
  });
}

/**
 * Clip-cov: some of the tokens whose covariance is in (`low`, `high`) and which are not clipped get no gradient. Same paper, eq. 13.
 *
 * @param chosen 1 on the tokens to drop, drawn by the caller from `clipCovCandidates`, [tokens]
 * @param loss   the clipped policy loss of the same tokens, whose tensors are taken over
 */
export function clipCovLoss(loss: PolicyLoss, chosen: tf.Tensor1D): PolicyLoss {
  const kept: tf.Tensor1D = tf.tidy(() => tf.mul(loss.loss, tf.sub(1, chosen)));
  const clipped: tf.Tensor1D = tf.tidy(() => tf.maximum(loss.clipped, chosen));
  tf.dispose([loss.loss, loss.clipped]);
  return { loss: kept, ratio: loss.ratio, clipped };
}

/** 1 on the counting, unclipped tokens with a covariance in (`low`, `high`), [tokens]; the caller draws about 2e-4 of all tokens from them. */
export function clipCovCandidates(t: TokenLosses, { clipped }: Pick<PolicyLoss, 'clipped'>, { low = 1, high = 5 } = {}): tf.Tensor1D {
  return tf.tidy(() => {
    const covariance = tokenCovariance(t);
    const inside = tf.logicalAnd(tf.greater(covariance, low), tf.less(covariance, high));
    return tf.mul(tf.mul(t.completionMask, tf.sub(1, clipped)), tf.cast(inside, 'float32')) as tf.Tensor1D;
  });
}

const share = z.number().positive().max(1).default(2e-4).describe('Share of the tokens that is held back, at least one');

/** KL-cov as a trainer names it. The covariance is over the tokens of a micro-batch, as in verl, so that it depends on the split. */
export const klCov = {
  aggregation: 'token-mean',
  options: z.strictObject({ share, coef: z.number().positive().default(1).describe('Weight of |log ratio| on the tokens held back') }),
  apply: (t, options) => klCovLoss(t, options),
} satisfies PolicyLossSpec<{ share?: number; coef?: number }>;

type ClipCovOptions = { share?: number; low?: number; high?: number; epsilon?: number; epsilonHigh?: number };
/** Clip-cov as a trainer names it: draws `share` of the micro-batch's tokens among its candidates. */
export const clipCov = {
  aggregation: 'token-mean',
  options: z.strictObject({
    share,
    low: z.number().default(1).describe('Covariance from which a token is a candidate'),
    high: z.number().default(5).describe('Covariance up to which it is one'),
    epsilon: z.number().positive().lt(1).default(0.2).describe('Clip range of the ratio, below and unless said above'),
    epsilonHigh: z.number().positive().optional().describe('Clip range above'),
  }),
  apply: (t, { share: part = 2e-4, low = 1, high = 5, epsilon = 0.2, epsilonHigh = epsilon }, rng) =>
    tf.tidy(() => {
      if (!rng) throw new RangeError('clip_cov draws tokens: it needs an rng');
      const loss = clippedPolicyLoss(t, { epsilon, epsilonHigh });
      const candidates = clipCovCandidates(t, loss, { low, high });
      const n = t.logps.size;
      const order = tf.mul(candidates, tf.tensor1d(rng.uniform(n).map((u) => 1 + u)));
      const { indices } = tf.topk(order, Math.max(1, Math.trunc(part * n)));
      const drawn = tf.cast(tf.sum(tf.oneHot(indices as tf.Tensor1D, n), 0), 'float32');
      return clipCovLoss(loss, tf.mul(drawn, candidates) as tf.Tensor1D);
    }),
} satisfies PolicyLossSpec<ClipCovOptions>;
