import { ShapeError, stopGradient } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { UnpairedInputs, UnpairedLoss, UnpairedLossSpec } from './types.js';

export type KtoOptions = { beta: number; desirableWeight: number; undesirableWeight: number };

/**
 * Kahneman-Tversky optimization: desirable rows `1 − σ(β(g − K))`, undesirable `1 − σ(β(K − g))`, g = log π/π_ref of the completion.
 *
 * Ethayarajh et al. 2024, arXiv:2402.01306, eq. 7; TRL `kto`. K is the batch's mean log-ratio of mismatched completions, at least 0, without
 * gradient: the value of a row depends on its batch through it. Keep `desirableWeight·n_desirable / (undesirableWeight·n_undesirable)` in [1, 4/3].
 *
 * @returns the weighted loss and the rewards `β·g`, [rows]; the caller disposes them
 * @throws RangeError if beta is not above 0 or a weight is negative; ShapeError for different lengths, or a batch of one (K would be a matched pair)
 */
export function ktoLoss(
  { policy, reference, desirable, mismatched }: UnpairedInputs,
  { beta = 0.1, desirableWeight = 1, undesirableWeight = 1 }: Partial<KtoOptions> = {},
): UnpairedLoss {
  checkRows('ktoLoss', { policy, reference, desirable });
  checkWeights('ktoLoss', { beta, desirableWeight, undesirableWeight });
  if (!mismatched) throw new TypeError('ktoLoss: log-probabilities of mismatched completions are required');
  if (mismatched.policy.size < 2)
    throw new ShapeError('ktoLoss: a batch of one has no mismatched pair; use at least 2 rows a step, or apo_zero_unpaired');
  return tf.tidy(() => {
    const ratio: tf.Tensor1D = tf.sub(policy, reference);
    const k = referencePoint(mismatched);
    const sign = tf.sub(tf.mul(2, desirable), 1);
    const term = tf.sub(1, tf.sigmoid(tf.mul(beta, tf.mul(sign, tf.sub(ratio, k)))));
    return {
      loss: tf.mul(rowWeights(desirable, desirableWeight, undesirableWeight), term) as tf.Tensor1D,
      rewards: tf.mul(beta, ratio) as tf.Tensor1D,
    };
  });
}

/** K: `max(0, mean of log π/π_ref)` over mismatched completions, without gradient. The caller disposes it. */
export function referencePoint({ policy, reference }: NonNullable<UnpairedInputs['mismatched']>): tf.Scalar {
  return tf.tidy(() => tf.relu(tf.mean(tf.sub(stopGradient(policy), reference))) as tf.Scalar);
}

/** APO-zero on single completions: desirable `1 − σ(βg)`, undesirable `σ(βg)`; no K. TRL `apo_zero_unpaired`; arXiv:2408.06266. */
export function apoZeroUnpairedLoss(
  { policy, reference, desirable }: UnpairedInputs,
  { beta = 0.1, desirableWeight = 1, undesirableWeight = 1 }: Partial<KtoOptions> = {},
): UnpairedLoss {
  checkRows('apoZeroUnpairedLoss', { policy, reference, desirable });
  checkWeights('apoZeroUnpairedLoss', { beta, desirableWeight, undesirableWeight });
  return tf.tidy(() => {
    const rewards: tf.Tensor1D = tf.mul(beta, tf.sub(policy, reference));
    const sign = tf.sub(tf.mul(2, desirable), 1);
    const term = tf.sub(1, tf.sigmoid(tf.mul(sign, rewards)));
    return { loss: tf.mul(rowWeights(desirable, desirableWeight, undesirableWeight), term) as tf.Tensor1D, rewards };
  });
}

const options = z.strictObject({
  beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat'),
  desirableWeight: z.number().min(0).default(1).describe('Factor of the desirable rows'),
  undesirableWeight: z.number().min(0).default(1).describe('Factor of the undesirable rows'),
});
export const kto = { needs: ['mismatched'], options, apply: ktoLoss } satisfies UnpairedLossSpec<KtoOptions>;
export const apoZeroUnpaired = { needs: [], options, apply: apoZeroUnpairedLoss } satisfies UnpairedLossSpec<KtoOptions>;

export function checkRows(loss: string, rows: Record<string, tf.Tensor>): void {
  const [[first, { shape }]] = Object.entries(rows);
  for (const [name, x] of Object.entries(rows))
    if (x.shape.length !== 1 || x.shape[0] === 0 || x.shape[0] !== shape[0])
      throw new ShapeError(`${loss}: ${first} is [${shape}] and ${name} is [${x.shape}]; both must be [rows], with at least one row`);
}

function checkWeights(loss: string, { beta, desirableWeight, undesirableWeight }: KtoOptions): void {
  if (!(beta > 0)) throw new RangeError(`${loss}: beta must be > 0, got ${beta}`);
  for (const [name, value] of Object.entries({ desirableWeight, undesirableWeight }))
    if (!(value >= 0)) throw new RangeError(`${loss}: ${name} must be >= 0, got ${value}`);
}

function rowWeights(desirable: tf.Tensor1D, up: number, down: number): tf.Tensor1D {
  return tf.add(tf.mul(up - down, desirable), down);
}
