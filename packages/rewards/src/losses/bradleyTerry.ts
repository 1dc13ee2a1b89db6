import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs } from './check.js';
import type { PairRewardLoss } from './types.js';

/** Scores of both sides of each pair, [pairs] each; `margin` and `weight` are constants of the pair. */
export type PairScores = { chosen: tf.Tensor1D; rejected: tf.Tensor1D; margin?: tf.Tensor1D; weight?: tf.Tensor1D };
/** [pairs] each, unreduced, so that the trainer can split batches exactly. */
export type BradleyTerryLoss = { loss: tf.Tensor1D; penalty: tf.Tensor1D };
export type BradleyTerryOptions = {
  labelSmoothing?: number | tf.Tensor1D;
  centerCoefficient?: number;
  normCoefficient?: number;
  temperature?: number;
};

/**
 * Bradley-Terry: `weight · (-(1 - a) log σ(d) - a log σ(-d))` with `d = (chosen - rejected) / temperature - margin`, in nats. Bradley & Terry 1952;
 * the margin inside the sigmoid is Llama 2's (arXiv:2307.09288, eq. 2), the smoothing `a`, the assumed share of flipped labels, is of arXiv:2401.06080.
 *
 * The scores are determined only up to a constant for each prompt, which `penalty` settles: `centerCoefficient · (chosen + rejected)²` (Eisenstein et al.
 * 2023, arXiv:2312.09244; 0.01 recommended) plus `normCoefficient · (chosen² + rejected²)` (0.005 in arXiv:2502.18770); both 0 by default. One of them belongs
 * in the loss wherever scores of different prompts are compared. The objective is `Σ loss / Σ weight + mean(penalty)`.
 *
 * @returns loss and penalty, [pairs] each; the caller disposes them
 * @throws RangeError for smoothing outside of [0, 0.5), a negative coefficient or a temperature not above 0; ShapeError for unlike lengths
 */
export function bradleyTerryLoss(
  { chosen, rejected, margin, weight }: PairScores,
  { labelSmoothing = 0, centerCoefficient = 0, normCoefficient = 0, temperature = 1 }: BradleyTerryOptions = {},
): BradleyTerryLoss {
  if (typeof labelSmoothing === 'number' && !(labelSmoothing >= 0 && labelSmoothing < 0.5)) {
    throw new RangeError(`bradleyTerryLoss: labelSmoothing must be in [0, 0.5), got ${labelSmoothing}`);
  }
  if (!(centerCoefficient >= 0)) throw new RangeError(`bradleyTerryLoss: centerCoefficient must be >= 0, got ${centerCoefficient}`);
  if (!(normCoefficient >= 0)) throw new RangeError(`bradleyTerryLoss: normCoefficient must be >= 0, got ${normCoefficient}`);
  if (!(temperature > 0)) throw new RangeError(`bradleyTerryLoss: temperature must be > 0, got ${temperature}`);
  checkPairs('bradleyTerryLoss', { chosen, rejected, margin, weight, ...(typeof labelSmoothing !== 'number' && { labelSmoothing }) });
  return tf.tidy(() => {
    const gap = tf.div(tf.sub(chosen, rejected), temperature);
    const d = margin ? tf.sub(gap, margin) : gap;
    const kept = tf.mul(tf.sub(1, labelSmoothing), logSigmoid(d));
    const flipped = tf.mul(labelSmoothing, logSigmoid(tf.neg(d)));
    const plain: tf.Tensor1D = tf.neg(tf.add(kept, flipped));
    const loss: tf.Tensor1D = weight ? tf.mul(weight, plain) : plain;
    const centring = tf.mul(centerCoefficient, tf.square(tf.add(chosen, rejected)));
    const norm = tf.mul(normCoefficient, tf.add(tf.square(chosen), tf.square(rejected)));
    const penalty: tf.Tensor1D = tf.add(centring, norm);
    return { loss, penalty };
  });
}

const Options = z.strictObject({
  labelSmoothing: z.number().min(0).lt(0.5).default(0).describe('Assumed share of flipped labels'),
  centerCoefficient: z
    .number()
    .min(0)
    .default(0)
    .describe('Weight of (chosen + rejected)²; 0.01 where scores of different prompts are compared'),
  normCoefficient: z.number().min(0).default(0).describe('Weight of chosen² + rejected²'),
  temperature: z.number().positive().default(1).describe('Score differences are divided by it'),
});
/** How a trainer names it. */
export const bradleyTerry = {
  kind: 'pairs',
  heads: 1,
  scope: 'item',
  options: Options,
  apply: (items, options) => bradleyTerryLoss(items, options),
} satisfies PairRewardLoss<z.infer<typeof Options>>;
