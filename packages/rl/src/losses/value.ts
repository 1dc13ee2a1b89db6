import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { ratioOf } from './ratio.js';
import type { PolicyLossSpec, TokenLosses } from './types.js';

/**
 * PPO's clipped value loss, per token: `½·max((V − R)², (clip(V, V_old ± ε) − R)²)`.
 *
 * TRL's and verl's form of Schulman et al. 2017. Add it to the policy loss with weight `vfCoef` (0.1).
 *
 * @param values, oldValues, returns, completionMask [tokens]; only `values` has a gradient
 * @returns the loss and where it was clipped, [tokens], 0 where masked; the caller disposes them
 */
export function clippedValueLoss(
  {
    values,
    oldValues,
    returns,
    completionMask,
  }: { values: tf.Tensor1D; oldValues: tf.Tensor1D; returns: tf.Tensor1D; completionMask: tf.Tensor1D },
  { clipRangeValue = 0.2 } = {},
): { loss: tf.Tensor1D; clipped: tf.Tensor1D } {
  if (!(clipRangeValue > 0)) throw new RangeError(`clippedValueLoss: clipRangeValue must be > 0, got ${clipRangeValue}`);
  return tf.tidy(() => {
    const moved = tf.clipByValue(tf.sub(values, oldValues), -clipRangeValue, clipRangeValue);
    const free = tf.square(tf.sub(values, returns));
    const bounded = tf.square(tf.sub(tf.add(oldValues, moved), returns));
    return {
      loss: tf.mul(completionMask, tf.mul(0.5, tf.maximum(free, bounded))) as tf.Tensor1D,
      clipped: tf.mul(completionMask, tf.cast(tf.greater(bounded, free), 'float32')) as tf.Tensor1D,
    };
  });
}

/** PPO's KL-penalty form in the clip's place, per token: `−A·ρ + β·(ρ − 1 − ln ρ)`. Schulman et al. 2017, eq. 8. The caller disposes it. */
export function klPenaltyLoss({ logps, oldLogps, advantages, completionMask }: TokenLosses, { beta = 0.5 } = {}): tf.Tensor1D {
  return tf.tidy(() => {
    const log = tf.mul(completionMask, tf.sub(logps, oldLogps));
    const ratio = tf.exp(log);
    return tf.mul(completionMask, tf.sub(tf.mul(beta, tf.sub(tf.sub(ratio, 1), log)), tf.mul(advantages, ratio))) as tf.Tensor1D;
  });
}

/**
 * How that form's β follows the KL between the old policy and the new one: doubled where the mean KL of the last update is above 1.5 of its target, halved where it is below the target / 1.5.
 * Schulman et al. 2017, section 4.
 */
export function adaptKlPenalty(beta: number, kl: number, target: number): number {
  if (!(target > 0)) throw new RangeError(`adaptKlPenalty: target must be > 0, got ${target}`);
  return kl > 1.5 * target ? 2 * beta : kl < target / 1.5 ? beta / 2 : beta;
}

/** That form as a trainer names it; nothing is ever clipped. */
export const klPenalty = {
  aggregation: 'token-mean',
  options: z.strictObject({ beta: z.number().positive().default(0.5).describe('Weight of the KL between the old policy and the new one') }),
  apply: (t, options) => ({ loss: klPenaltyLoss(t, options), ratio: ratioOf(t), clipped: tf.zerosLike(t.logps) }),
} satisfies PolicyLossSpec<{ beta?: number }>;
