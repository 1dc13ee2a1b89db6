import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Aggregation } from '../aggregate.js';
import { checkRange, checkTokens, type RatioLevel, ratioOf } from './ratio.js';
import type { PolicyLoss, PolicyLossSpec, TokenLosses } from './types.js';

export type ClippedOptions = {
  epsilon?: number;
  /** Clip range above, if it differs (DAPO's clip-higher: 0.28). */
  epsilonHigh?: number;
  /** Two-sided clip: upper bound of the unclipped ratio, above 1 + epsilonHigh (INTELLECT-2). */
  delta?: number;
  /** Dual clip: where A < 0 the loss is at most −c·A, c above 1 (3 in verl). */
  dualClip?: number;
  level?: RatioLevel;
};

/**
 * The clipped policy loss of PPO, per token: `−min(min(ρ, δ)·A, clip(ρ, 1 − ε, 1 + ε_high)·A)`, `ρ = π/π_old`.
 *
 * Schulman et al. 2017, arXiv:1707.06347, eq. 7. GRPO, BNPO, Dr. GRPO, DAPO and LUSPO are this loss under different aggregations; GSPO is
 * `level: 'sequence'`, TRL's RLOO `level: 'sequence_sum'`. Where both branches are equal the gradient counts once, so that the first on-policy
 * step has that of `−A·log π`. `clipped` is 1 only where the clip took the gradient away: ρ < 1 − ε with A < 0, or ρ > 1 + ε_high with A > 0.
 *
 * @returns [tokens] each, unreduced; the caller disposes them
 * @throws RangeError for epsilon outside (0, 1), delta not above 1 + epsilonHigh, dualClip not above 1
 */
export function clippedPolicyLoss(
  t: TokenLosses,
  { epsilon = 0.2, epsilonHigh = epsilon, delta, dualClip, level = 'token' }: ClippedOptions = {},
): PolicyLoss {
  checkTokens('clippedPolicyLoss', t);
  checkRange('clippedPolicyLoss', 'epsilon', epsilon);
  checkRange('clippedPolicyLoss', 'epsilonHigh', epsilonHigh, Infinity);
  if (delta !== undefined && !(delta > 1 + epsilonHigh))
    throw new RangeError(`clippedPolicyLoss: delta must be above 1 + epsilonHigh = ${1 + epsilonHigh}, got ${delta}`);
  if (dualClip !== undefined && !(dualClip > 1)) throw new RangeError(`clippedPolicyLoss: dualClip must be above 1, got ${dualClip}`);
  return tf.tidy(() => {
    const { advantages, completionMask } = t;
    const ratio = ratioOf(t, level);
    const free = tf.mul(delta === undefined ? ratio : tf.clipByValue(ratio, 0, delta), advantages);
    const bounded = tf.mul(tf.clipByValue(ratio, 1 - epsilon, 1 + epsilonHigh), advantages);
    let gain = tf.minimum(free, bounded);
    if (dualClip !== undefined) gain = tf.where(tf.less(advantages, 0), tf.maximum(gain, tf.mul(dualClip, advantages)), gain);
    const low = tf.logicalAnd(tf.less(ratio, 1 - epsilon), tf.less(advantages, 0));
    const high = tf.logicalAnd(tf.greater(ratio, 1 + epsilonHigh), tf.greater(advantages, 0));
    return {
      loss: tf.neg(tf.mul(completionMask, gain)) as tf.Tensor1D,
      ratio,
      clipped: tf.mul(completionMask, tf.cast(tf.logicalOr(low, high), 'float32')) as tf.Tensor1D,
    };
  });
}

/** Options of the clipped losses; the aggregation is what tells most of their names apart. */
const optionsAt = <L extends RatioLevel>(levels: [L, ...L[]]) =>
  z
    .strictObject({
      epsilon: z.number().positive().lt(1).default(0.2).describe('Clip range of the ratio, below and unless said above'),
      epsilonHigh: z.number().positive().optional().describe('Clip range above'),
      delta: z.number().positive().optional().describe('Upper bound of the unclipped ratio'),
      dualClip: z.number().gt(1).optional().describe('Bound of the loss where the advantage is negative'),
      level: z
        .enum(levels)
        .default(levels[0] as never)
        .describe('Over what the ratio is formed'),
    })
    .refine((o) => o.delta === undefined || o.delta > 1 + (o.epsilonHigh ?? o.epsilon), {
      path: ['delta'],
      error: 'must be above 1 + epsilonHigh',
    });

const named = (aggregation: Aggregation, levels: [RatioLevel, ...RatioLevel[]] = ['token', 'sequence', 'sequence_token', 'sequence_sum']) =>
  ({ aggregation, options: optionsAt(levels), apply: clippedPolicyLoss }) satisfies PolicyLossSpec<ClippedOptions>;
export const grpo = named('seq-mean-token-mean');
export const bnpo = named('local-token-mean');
export const drGrpo = named('seq-mean-token-sum-norm');
export const dapo = named('token-mean');
/** Weighs a sequence by its length, with one ratio a sequence; at token level it is refused. arXiv:2602.05261. */
export const luspo = named('seq-mean-token-sum', ['sequence', 'sequence_token']);
/** TRL's RLOO: one ratio a sequence, from the sum of its log-ratios. */
export const rloo = named('seq-mean-token-mean', ['sequence_sum']);
