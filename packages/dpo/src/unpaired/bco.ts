import { type Checkpointable, logSigmoid, type Saved } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkRows } from './kto.js';
import type { UnpairedInputs, UnpairedLoss, UnpairedLossSpec } from './types.js';

export type BcoOptions = { beta: number };

/**
 * Binary classifier optimization: desirable rows `−log σ(βg − δ)`, undesirable `−log σ(−(βg − δ))`, g = log π/π_ref; δ is `shift`, the running
 * mean of all rewards seen.
 *
 * Jung et al. 2024, arXiv:2404.04656, section 4; TRL's BCO trainer. `weights` carries the density ratios of undesirable rows (`densityRatios`).
 *
 * @returns the loss in nats and the rewards `β·g`, [rows]; the caller disposes them
 * @throws RangeError if beta is not above 0
 */
export function bcoLoss(
  { policy, reference, desirable, shift = 0, weights }: UnpairedInputs,
  { beta = 0.1 }: Partial<BcoOptions> = {},
): UnpairedLoss {
  checkRows('bcoLoss', { policy, reference, desirable });
  if (!(beta > 0)) throw new RangeError(`bcoLoss: beta must be > 0, got ${beta}`);
  return tf.tidy(() => {
    const rewards: tf.Tensor1D = tf.mul(beta, tf.sub(policy, reference));
    const sign = tf.sub(tf.mul(2, desirable), 1);
    const loss: tf.Tensor1D = tf.neg(logSigmoid(tf.mul(sign, tf.sub(rewards, shift))));
    return { loss: weights ? tf.mul(weights, loss) : loss, rewards };
  });
}

/** Mean of every reward seen, weighted by count. Update it before it is used, and in training only; it is part of the checkpoint. */
export function runningShift(): Checkpointable & { readonly value: number; update(rewards: ArrayLike<number>): void } {
  let count = 0;
  let mean = 0;
  return {
    get value() {
      return mean;
    },
    update: (rewards) => {
      if (rewards.length === 0) return;
      const sum = Array.from(rewards).reduce((a, b) => a + b, 0);
      mean = (mean * count + sum) / (count + rewards.length);
      count += rewards.length;
    },
    save: async () => ({ tensors: {}, json: { count, mean } }),
    load: async (saved: Saved) => {
      const loaded = saved.json as { count?: unknown; mean?: unknown } | null;
      if (typeof loaded?.count !== 'number' || typeof loaded.mean !== 'number')
        throw new TypeError('runningShift: the checkpoint holds no mean and count');
      count = loaded.count;
      mean = loaded.mean;
    },
  };
}

/** Weights of undesirable rows from a classifier's p = P(desirable | prompt): `p / (1 − p + 1e-8)`, kept in [min, max]. Same paper, section 3.3. */
export function densityRatios(p: ArrayLike<number>, { min = 0.5, max = 10 } = {}): Float32Array {
  return Float32Array.from(p, (x) => {
    if (!(x >= 0 && x <= 1)) throw new RangeError(`densityRatios: probabilities must be in [0, 1], got ${x}`);
    return Math.min(max, Math.max(min, x / (1 - x + 1e-8)));
  });
}

export const bco = {
  needs: ['shift'],
  options: z.strictObject({ beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat') }),
  apply: bcoLoss,
} satisfies UnpairedLossSpec<BcoOptions>;
