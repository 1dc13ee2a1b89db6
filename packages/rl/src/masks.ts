/** Which tokens keep their loss, and corrections for a sampler that is not the trainer. Masks are 0 or 1, on the host unless said. */
import * as tf from '@tensorflow/tfjs-core';

/**
 * Threshold of the entropy mask: the (1 − q) quantile, with linear interpolation, of the counting tokens' entropies over the batch. Tokens at or
 * above it keep their loss. Wang et al. 2025, arXiv:2506.01939: q = 0.2.
 */
export function entropyThreshold(entropies: ArrayLike<number>, mask: ArrayLike<number>, topQuantile: number): number {
  if (!(topQuantile > 0 && topQuantile <= 1)) throw new RangeError(`entropyThreshold: topQuantile must be in (0, 1], got ${topQuantile}`);
  const kept = Array.from(entropies)
    .filter((_, i) => mask[i])
    .sort((a, b) => a - b);
  if (kept.length === 0) return -Infinity;
  const at = (1 - topQuantile) * (kept.length - 1);
  const below = Math.floor(at);
  return kept[below] + (at - below) * ((kept[below + 1] ?? kept[below]) - kept[below]);
}

/**
 * Off-policy mask of DeepSeek-V3.2 (arXiv:2512.02556, eq. 9): a sequence is kept if its advantage is at least 0, or its mean `log π_old − log π`
 * is at most `threshold`.
 *
 * @param drift mean over the sequence's tokens of `oldLogps − logps`, [sequences]; take the sampler's log-probabilities where they are known
 */
export function offPolicyMask(drift: ArrayLike<number>, advantages: ArrayLike<number>, threshold: number): Uint8Array {
  return Uint8Array.from(drift, (x, i) => (advantages[i] >= 0 || x <= threshold ? 1 : 0));
}

export type SamplingCorrection = {
  mode: 'token_truncate' | 'token_mask' | 'sequence_truncate' | 'sequence_mask';
  min?: number;
  max?: number;
};

/**
 * Truncated importance sampling: weights `exp(oldLogps − samplingLogps)` per token, or of the sum per sequence, without gradient; `truncate`
 * clips them into [min, max], `mask` sets those outside to 0. Yao et al. 2025 (off-policy rollouts); TRL's default is `sequence_mask` with max 3.
 *
 * @param seqIds sequence of each token, on the host
 * @returns weights, [tokens]
 */
export function samplingWeights(
  oldLogps: ArrayLike<number>,
  samplingLogps: ArrayLike<number>,
  seqIds: ArrayLike<number>,
  { mode, min = 0, max = 3 }: SamplingCorrection,
): Float32Array {
  if (oldLogps.length !== samplingLogps.length || seqIds.length !== oldLogps.length)
    throw new RangeError(`samplingWeights: ${oldLogps.length} oldLogps, ${samplingLogps.length} samplingLogps and ${seqIds.length} seqIds`);
  const logs = Float64Array.from(oldLogps, (x, i) => x - samplingLogps[i]);
  const sums = new Map<number, number>();
  logs.forEach((x, i) => void sums.set(seqIds[i], (sums.get(seqIds[i]) ?? 0) + x));
  return Float32Array.from(logs, (x, i) => {
    const ratio = Math.exp(mode.startsWith('token') ? x : sums.get(seqIds[i])!);
    if (mode.endsWith('truncate')) return Math.min(max, Math.max(min, ratio));
    return ratio >= min && ratio <= max ? ratio : 0;
  });
}

/** Entropy bonus with a coefficient that may follow a target: `coef ± delta`, in [min, max]; applied only while the entropy is at most the target. */
export function adaptEntropyCoef(
  coef: number,
  entropy: number,
  { target = 0.2, delta = 0.005, min = 0, max = 1 } = {},
): { coef: number; applied: number } {
  const next = Math.min(max, Math.max(min, entropy <= target ? coef + delta : coef - delta));
  return { coef: next, applied: entropy <= target ? next : 0 };
}

/** `x` times a mask or weight from the host, [tokens]; the caller disposes it. */
export function weighted(x: tf.Tensor1D, weights: Float32Array): tf.Tensor1D {
  return tf.tidy(() => tf.mul(x, tf.tensor1d(weights.slice())));
}
