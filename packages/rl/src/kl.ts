/** Estimates of KL(policy ‖ reference) per token, and coefficients that follow it. */
import { type Checkpointable, type Saved, stopGradient } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';

export type KlEstimator = 'k1' | 'k2' | 'k3' | 'k3+';

/**
 * KL estimates from tokens drawn from the policy, with `d = log π − log π_ref`: k1 `d`, k2 `d²/2`, k3 `e^{−d} + d − 1`.
 *
 * Schulman 2020 (approximating KL divergence). k1 and k3 have the KL as their mean, k2 is biased, k3 is never negative. As a LOSS only k2's
 * expected gradient is that of the KL (k1's is 0: it belongs into the reward). `k3+` has k3's value and k2's gradient (verl).
 * Gradients to `logps`: 1, d, 1 − e^{−d}. `clamped` is verl's guard: d within ±20 and k3 within ±10, with no gradient beyond.
 *
 * @param logps, refLogps [tokens]; the reference's are constants
 * @returns nats, [tokens]; the caller disposes it
 */
export function klEstimate(
  logps: tf.Tensor1D,
  refLogps: tf.Tensor1D,
  estimator: KlEstimator = 'k3',
  { clamped = false } = {},
): tf.Tensor1D {
  return tf.tidy(() => {
    const within = (x: tf.Tensor1D, bound: number): tf.Tensor1D => (clamped ? tf.clipByValue(x, -bound, bound) : x);
    const d = within(tf.sub(logps, refLogps), 20);
    const k3 = (x: tf.Tensor1D) => within(tf.sub(tf.add(tf.exp(tf.neg(x)), x), 1), 10);
    switch (estimator) {
      case 'k1':
        return d;
      case 'k2':
        return tf.mul(0.5, tf.square(d)) as tf.Tensor1D;
      case 'k3':
        return k3(d);
      case 'k3+': {
        const k2: tf.Tensor1D = tf.mul(0.5, tf.square(d));
        const detached = stopGradient(d);
        return tf.add(k2, tf.sub(k3(detached), tf.mul(0.5, tf.square(detached)))) as tf.Tensor1D;
      }
      default:
        return estimator satisfies never;
    }
  });
}

/** The same estimates on the host, of one token. */
export function klValue(logp: number, refLogp: number, estimator: KlEstimator = 'k3'): number {
  const d = logp - refLogp;
  switch (estimator) {
    case 'k1':
      return d;
    case 'k2':
      return (d * d) / 2;
    case 'k3':
    case 'k3+':
      return Math.exp(-d) + d - 1;
    default:
      return estimator satisfies never;
  }
}

/** A KL coefficient that may move: `update` after each batch; its state is in the checkpoint. */
export interface KlController extends Checkpointable {
  readonly coef: number;
  /** @param kl nats per sequence; @param samples sequences of the batch */
  update(kl: number, samples: number): void;
}

/**
 * Without `target` the coefficient is fixed; with it, `coef ← coef·(1 + clip(kl/target − 1, ±0.2)·samples/horizon)`.
 * Ziegler et al. 2019, arXiv:1909.08593, section 2.2.
 */
export function klController({ coef, target, horizon = 10_000 }: { coef: number; target?: number; horizon?: number }): KlController {
  if (!(coef >= 0)) throw new RangeError(`klController: coef must be >= 0, got ${coef}`);
  if (target !== undefined && !(target > 0)) throw new RangeError(`klController: target must be > 0, got ${target}`);
  if (!(horizon > 0)) throw new RangeError(`klController: horizon must be > 0, got ${horizon}`);
  let current = coef;
  return {
    get coef() {
      return current;
    },
    update: (kl, samples) => {
      if (target === undefined || !Number.isFinite(kl)) return;
      current *= 1 + (Math.min(0.2, Math.max(-0.2, kl / target - 1)) * samples) / horizon;
    },
    save: async () => ({ tensors: {}, json: { coef: current } }),
    load: async (saved: Saved) => {
      const loaded = (saved.json as { coef?: unknown } | null)?.coef;
      if (typeof loaded !== 'number') throw new TypeError('klController: the checkpoint holds no coefficient');
      current = loaded;
    },
  };
}
