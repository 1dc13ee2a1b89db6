/** Learning from recorded behaviour, and from values estimated beforehand. */
import * as tf from '@tensorflow/tfjs-core';

/**
 * A*PO (TRL's `a2po`): the optimal value of a prompt from samples of the reference, `V* = β₁·(log Σ exp(r/β₁) − log N)`.
 * Brantley et al. 2025, arXiv:2505.20686, eq. 4. β₁ → 0 is the best sample, → ∞ their mean.
 */
export function optimalValue(rewards: ArrayLike<number>, beta1 = 0.5): number {
  if (!(beta1 > 0)) throw new RangeError(`optimalValue: beta1 must be > 0, got ${beta1}`);
  if (rewards.length === 0) throw new RangeError('optimalValue: there are no rewards');
  const scaled = Array.from(rewards, (r) => r / beta1);
  const largest = Math.max(...scaled);
  return beta1 * (largest + Math.log(scaled.reduce((sum, x) => sum + Math.exp(x - largest), 0)) - Math.log(rewards.length));
}

/**
 * The regression that follows: `(β₂·Σ_t(log π − log π_ref) − (r − V*))²` of each sample. Same paper, eq. 6.
 *
 * @param sequenceLogRatios log π − log π_ref summed over the completion, [samples]; gradients flow through these
 * @param advantages r − V*, [samples]
 * @returns [samples]; the caller disposes it
 */
export function optimalAdvantageLoss(sequenceLogRatios: tf.Tensor1D, advantages: tf.Tensor1D, { beta2 = 1e-3 } = {}): tf.Tensor1D {
  if (!(beta2 > 0)) throw new RangeError(`optimalAdvantageLoss: beta2 must be > 0, got ${beta2}`);
  return tf.tidy(() => tf.square(tf.sub(tf.mul(beta2, sequenceLogRatios), advantages)) as tf.Tensor1D);
}

/** Weights of advantage-weighted regression: `min(exp(A/β), wMax)`. Peng et al. 2019, arXiv:1910.00177, eq. 9. */
export function awrWeights(advantages: ArrayLike<number>, { beta = 1, wMax = 20 } = {}): Float64Array {
  if (!(beta > 0)) throw new RangeError(`awrWeights: beta must be > 0, got ${beta}`);
  return Float64Array.from(advantages, (a) => Math.min(wMax, Math.exp(a / beta)));
}

/** Expectile loss of implicit Q-learning: `|τ − 1(u < 0)|·u²`, shaped as `u`. Kostrikov et al. 2021, arXiv:2110.06169, eq. 5. The caller disposes it. */
export function expectileLoss<T extends tf.Tensor>(u: T, tau = 0.7): T {
  if (!(tau > 0 && tau < 1)) throw new RangeError(`expectileLoss: tau must be in (0, 1), got ${tau}`);
  return tf.tidy(() => tf.mul(tf.where(tf.less(u, 0), tf.fill(u.shape, 1 - tau), tf.fill(u.shape, tau)), tf.square(u)) as T);
}

/**
 * Conservative Q-learning's penalty: `α·(log Σ_a exp Q(s, a) − Q(s, data))`. Kumar et al. 2020, arXiv:2006.04779, eq. 4.
 * @param q all actions, [states, actions]; `qData` [states]
 */
export function cqlPenalty(q: tf.Tensor2D, qData: tf.Tensor1D, { alpha = 1 } = {}): tf.Tensor1D {
  return tf.tidy(() => tf.mul(alpha, tf.sub(tf.logSumExp(q, 1), qData)) as tf.Tensor1D);
}

/** `(Σw)² / Σw²`: how many samples importance weights are worth. */
export function effectiveSampleSize(weights: ArrayLike<number>): number {
  const sum = Array.from(weights).reduce((a, b) => a + b, 0);
  const squares = Array.from(weights).reduce((a, b) => a + b * b, 0);
  return squares === 0 ? 0 : (sum * sum) / squares;
}
