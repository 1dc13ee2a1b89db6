/**
 * Divergences between what two policies do, and their place in a reward or a loss. Laidlaw et al. 2025, arXiv:2403.03185: the true reward that optimising a proxy may cost is bounded by
 * the chi-squared divergence of the occupancy measures, not by the KL divergence of the actions.
 */
import * as tf from '@tensorflow/tfjs-core';

type Numbers = ArrayLike<number>;

/** `Σ p² / q − 1`; Infinity where p is anywhere that q is not. */
export function chiSquared(p: Numbers, q: Numbers): number {
  let sum = -1;
  for (let i = 0; i < p.length; i++) if (p[i] > 0) sum += q[i] > 0 ? p[i] ** 2 / q[i] : Infinity;
  return sum;
}

/** `Σ p ln(p / q)`, in nats; Infinity where p is anywhere that q is not. */
export function klDivergence(p: Numbers, q: Numbers): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) if (p[i] > 0) sum += q[i] > 0 ? p[i] * Math.log(p[i] / q[i]) : Infinity;
  return sum;
}

/** Chi-squared divergence of two normal distributions; Infinity where the first is too wide: `2 q.deviation² ≤ p.deviation²`. */
export function gaussianChiSquared(p: { mean: number; deviation: number }, q: { mean: number; deviation: number }): number {
  const room = 2 * q.deviation ** 2 - p.deviation ** 2;
  if (room <= 0) return Infinity;
  return (q.deviation ** 2 / (p.deviation * Math.sqrt(room))) * Math.exp((p.mean - q.mean) ** 2 / room) - 1;
}

/** Correlation, means and deviations of two rewards under the occupancy of a base policy. */
export function proxyCorrelation(occupancy: Numbers, trueReward: Numbers, proxy: Numbers) {
  let [mean, proxyMean] = [0, 0];
  for (let i = 0; i < occupancy.length; i++) {
    mean += occupancy[i] * trueReward[i];
    proxyMean += occupancy[i] * proxy[i];
  }
  let [variance, proxyVariance, covariance] = [0, 0, 0];
  for (let i = 0; i < occupancy.length; i++) {
    variance += occupancy[i] * (trueReward[i] - mean) ** 2;
    proxyVariance += occupancy[i] * (proxy[i] - proxyMean) ** 2;
    covariance += occupancy[i] * (trueReward[i] - mean) * (proxy[i] - proxyMean);
  }
  const [deviation, proxyDeviation] = [Math.sqrt(variance), Math.sqrt(proxyVariance)];
  return { correlation: covariance / (deviation * proxyDeviation), mean, proxyMean, deviation, proxyDeviation };
}

/**
 * Least gain in true reward, in its deviations under the base policy, of a policy that gains `proxyGain` deviations of the proxy at a chi-squared divergence of occupancies:
 * `(proxyGain − sqrt((1 − ρ²) χ²)) / ρ`. Theorem 5.1 of the paper.
 *
 * @throws RangeError unless the correlation is above 0: the theorem says nothing of others
 */
export function hackingLowerBound({ correlation, proxyGain, chi2 }: { correlation: number; proxyGain: number; chi2: number }): number {
  if (!(correlation > 0 && correlation <= 1 + 1e-12))
    throw new RangeError(`hackingLowerBound: the correlation must be in (0, 1], got ${correlation}`);
  return (proxyGain - Math.sqrt(Math.max(0, 1 - correlation ** 2) * chi2)) / correlation;
}

export type OccupancyPenalty = 'kl' | 'chi2' | 'sqrtChi2' | 'tv' | 'wasserstein';

/**
 * What is added to each reward of the current policy, from a discriminator's `log μ / μ_base`, for a weight of 1: `−d`, `−(e^d − 1)`, that over the root of its trimmed mean,
 * `−sign d`, `−d`. Values that are not finite become 0.
 *
 * @param trim share of the largest and of the smallest that the mean of `sqrtChi2` leaves out
 * @param clip largest absolute value
 */
export function occupancyReward(
  logRatio: Numbers,
  kind: OccupancyPenalty,
  { trim = 0.01, clip = 1000 }: { trim?: number; clip?: number } = {},
): Float32Array {
  const excess = Float64Array.from(logRatio, (d) => Math.expm1(d));
  const root = kind === 'sqrtChi2' ? Math.sqrt(Math.max(trimmedMean(excess, trim), 0)) || 1 : 1;
  return Float32Array.from(logRatio, (d, i) => {
    const value = kind === 'tv' ? -Math.sign(d) : kind === 'kl' || kind === 'wasserstein' ? -d : -excess[i] / root;
    return Number.isFinite(value) ? Math.max(-clip, Math.min(clip, value)) : 0;
  });
}

function trimmedMean(values: Float64Array, share: number): number {
  const sorted = values.filter(Number.isFinite).sort();
  const cut = Math.floor(sorted.length * share);
  const kept = sorted.subarray(cut, sorted.length - cut);
  return kept.length === 0 ? 0 : kept.reduce((sum, value) => sum + value, 0) / kept.length;
}

/**
 * Loss of the discriminator whose optimum is `log μ / μ_base`: `mean softplus(−d)` on samples of the current policy, `mean softplus(d)` on samples of the base. Scalar.
 *
 * @param current [n] d on samples of the current policy
 * @param base    [m] d on samples of the base policy
 */
export function discriminatorLoss(current: tf.Tensor1D, base: tf.Tensor1D): tf.Scalar {
  return tf.tidy(() => tf.add(tf.mean(tf.softplus(tf.neg(current))), tf.mean(tf.softplus(base))) as tf.Scalar);
}

/**
 * Chi-squared and KL divergence of sequences from their log-ratios, differentiable: means of `e^x − 1 + e^−x − 1` and of `x + e^−x − 1` with `x = Σ log π − log π_ref` of samples
 * of the policy. Beyond `clip` the exponentials go on as straight lines, so that one sequence cannot take over. To be added to a loss as `coef · sqrt(max(chi2, 1e-4))`.
 *
 * @param logRatios [sequences]
 */
export function sequenceChi2Penalty(logRatios: tf.Tensor1D, { clip = 10 }: { clip?: number } = {}): { chi2: tf.Scalar; kl: tf.Scalar } {
  const [chi2, kl] = tf.tidy(() => {
    const [up, down] = [linearExpm1(logRatios, clip), linearExpm1(tf.neg(logRatios), clip)];
    return [tf.mean(tf.add(up, down)) as tf.Scalar, tf.mean(tf.add(logRatios, down)) as tf.Scalar];
  });
  return { chi2, kl };
}

/** The penalty itself, `sqrt(max(chi2, 1e-4))`, without gradient where the floor holds. Scalar. */
export function sqrtChi2(chi2: tf.Scalar): tf.Scalar {
  return tf.tidy(() => tf.sqrt(tf.maximum(chi2, 1e-4)) as tf.Scalar);
}

/** `e^x − 1`, from `clip` on along its tangent, as the reference continues it: `e^clip (1 + x − clip) − 1`. */
function linearExpm1(x: tf.Tensor1D, clip: number): tf.Tensor1D {
  const inside = tf.expm1(tf.minimum(x, clip));
  const beyond = tf.mul(tf.relu(tf.sub(x, clip)), Math.exp(clip));
  return tf.add(inside, beyond) as tf.Tensor1D;
}
