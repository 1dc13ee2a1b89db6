/** Learning from recorded behaviour, and from values estimated beforehand. */
import { stopGradient } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';

/**
 * A*PO (TRL's `a2po`): the optimal value of a prompt from samples of the reference, `V* = β₁·(log Σ exp(r/β₁) − log N)`.
 * Brantley et al. 2025, arXiv:2505.20686. β₁ → 0 is the best sample, → ∞ their mean.
 */
export function optimalValue(rewards: ArrayLike<number>, beta1 = 0.5): number {
  if (!(beta1 > 0)) throw new RangeError(`optimalValue: beta1 must be > 0, got ${beta1}`);
  if (rewards.length === 0) throw new RangeError('optimalValue: there are no rewards');
  const scaled = Array.from(rewards, (r) => r / beta1);
  const largest = Math.max(...scaled);
  return beta1 * (largest + Math.log(scaled.reduce((sum, x) => sum + Math.exp(x - largest), 0)) - Math.log(rewards.length));
}

/**
 * The regression that follows: `(β₂·Σ_t(log π − log π_ref) − (r − V*))²` of each sample. Same paper.
 *
 * @param sequenceLogRatios log π − log π_ref summed over the completion, [samples]; gradients flow through these
 * @param advantages r − V*, [samples]
 * @returns [samples]; the caller disposes it
 */
export function optimalAdvantageLoss(sequenceLogRatios: tf.Tensor1D, advantages: tf.Tensor1D, { beta2 = 1e-3 } = {}): tf.Tensor1D {
  if (!(beta2 > 0)) throw new RangeError(`optimalAdvantageLoss: beta2 must be > 0, got ${beta2}`);
  return tf.tidy(() => tf.square(tf.sub(tf.mul(beta2, sequenceLogRatios), advantages)) as tf.Tensor1D);
}

/** Weights of advantage-weighted regression: `min(exp(A/β), wMax)`. Peng et al. 2019, arXiv:1910.00177. Implicit Q-learning's are those of β 1/3 and wMax 100. */
export function awrWeights(advantages: ArrayLike<number>, { beta = 1, wMax = 20 } = {}): Float64Array {
  if (!(beta > 0)) throw new RangeError(`awrWeights: beta must be > 0, got ${beta}`);
  return Float64Array.from(advantages, (a) => Math.min(wMax, Math.exp(a / beta)));
}

/** Expectile loss of implicit Q-learning: `|τ − 1(u < 0)|·u²`, shaped as `u`. Kostrikov et al. 2021, arXiv:2110.06169. The caller disposes it. */
export function expectileLoss<T extends tf.Tensor>(u: T, tau = 0.7): T {
  if (!(tau > 0 && tau < 1)) throw new RangeError(`expectileLoss: tau must be in (0, 1), got ${tau}`);
  return tf.tidy(() => tf.mul(tf.where(tf.less(u, 0), tf.fill(u.shape, 1 - tau), tf.fill(u.shape, tau)), tf.square(u)) as T);
}

/**
 * Advantage-weighted regression (AWR, AWAC, RWR, the policy of implicit Q-learning): `−w·log π` per token or action, with the weights of `awrWeights`. Weights of 1 are behaviour
 * cloning, and weights of 1 and 0 (`topByReturn`) filtered behaviour cloning.
 *
 * @param logps log π of what was done, [tokens]; gradients flow through these
 * @param weights [tokens], constants; 0 where nothing is learned
 * @returns nats, [tokens]; its mean over what has a weight is the objective. The caller disposes it
 */
export function weightedCloningLoss(logps: tf.Tensor1D, weights: tf.Tensor1D): tf.Tensor1D {
  if (logps.size !== weights.size) throw new RangeError(`weightedCloningLoss: ${logps.size} logps and ${weights.size} weights`);
  return tf.tidy(() => tf.neg(tf.mul(stopGradient(weights), logps)) as tf.Tensor1D);
}

/** Indices of the best `share` of episodes by return, at least one, in their order: what filtered behaviour cloning learns from. Of equal returns the first. */
export function topByReturn(returns: ArrayLike<number>, share = 0.1): number[] {
  if (!(share > 0 && share <= 1)) throw new RangeError(`topByReturn: share must be in (0, 1], got ${share}`);
  if (returns.length === 0) throw new RangeError('topByReturn: there are no returns');
  const bad = Array.from(returns).findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new RangeError(`topByReturn: the return of episode ${bad} is ${returns[bad]}`);
  const order = Array.from(returns, (_, i) => i).sort((i, j) => returns[j] - returns[i] || i - j);
  return order.slice(0, Math.max(1, Math.round(share * returns.length))).sort((i, j) => i - j);
}

/**
 * TD3 with behaviour cloning, per state: `−λ·Q(s, π(s)) + mean_d (π(s) − a)²`, `λ = α / mean|Q|` without gradient. Fujimoto and Gu 2021, arXiv:2106.06860.
 *
 * @param q Q(s, π(s)), [states], and `policyAction` [states, width]; gradients flow through both
 * @param action what was done, [states, width]
 * @returns [states]; the caller disposes it
 */
export function td3BcLoss(
  { q, policyAction, action }: { q: tf.Tensor1D; policyAction: tf.Tensor2D; action: tf.Tensor2D },
  { alpha = 2.5 } = {},
): tf.Tensor1D {
  if (!(alpha > 0)) throw new RangeError(`td3BcLoss: alpha must be > 0, got ${alpha}`);
  return tf.tidy(() => {
    const lambda = tf.div(alpha, tf.maximum(tf.mean(tf.abs(stopGradient(q))), 1e-8));
    return tf.sub(tf.mean(tf.square(tf.sub(policyAction, action)), 1), tf.mul(lambda, q)) as tf.Tensor1D;
  });
}

/**
 * Conservative Q-learning's penalty: `α·(log Σ_a exp Q(s, a) − Q(s, data))`. Kumar et al. 2020, arXiv:2006.04779.
 *
 * @param q          all actions, or actions that were drawn, [states, actions]; `qData` [states]
 * @param logDensity of drawn actions, [states, actions]: each then counts by `exp(Q) / density`
 * @returns [states]; the caller disposes it
 */
export function cqlPenalty(
  q: tf.Tensor2D,
  qData: tf.Tensor1D,
  { alpha = 1, logDensity }: { alpha?: number; logDensity?: tf.Tensor2D } = {},
): tf.Tensor1D {
  return tf.tidy(() => tf.mul(alpha, tf.sub(tf.logSumExp(logDensity ? tf.sub(q, logDensity) : q, 1), qData)) as tf.Tensor1D);
}
