/** From several attributes to one score, as ArmoRM does it (Wang et al. 2024, arXiv:2406.12845): probes by ridge regression, a gate, and length taken off. Plain numbers. */
import { spearman } from '@plumbline/data/statistics';

/**
 * Weights of a linear probe in closed form, `(XᵀX + αI)⁻¹ Xᵀy`, without intercept, in double precision. `x` [items][width], `y` [items].
 *
 * @throws RangeError for no items, unlike lengths, or an alpha that is not above 0
 */
export function ridgeProbe(x: readonly ArrayLike<number>[], y: ArrayLike<number>, { alpha }: { alpha: number }): Float64Array {
  if (x.length === 0 || x.length !== y.length) throw new RangeError(`ridgeProbe: ${x.length} items and ${y.length} targets`);
  if (!(alpha > 0)) throw new RangeError(`ridgeProbe: alpha must be > 0, got ${alpha}`);
  const width = x[0].length;
  const a = Array.from({ length: width }, (_, i) => Float64Array.from({ length: width + 1 }, (__, j) => (i === j ? alpha : 0)));
  x.forEach((row, n) => {
    if (row.length !== width) throw new RangeError(`ridgeProbe: item ${n} has ${row.length} numbers and the first ${width}`);
    for (let i = 0; i < width; i++) {
      for (let j = 0; j < width; j++) a[i][j] += row[i] * row[j];
      a[i][width] += row[i] * y[n];
    }
  });
  // XᵀX + αI is positive definite, so that elimination needs no pivots.
  for (let k = 0; k < width; k++)
    for (let i = 0; i < width; i++) {
      if (i === k) continue;
      const factor = a[i][k] / a[k][k];
      for (let j = k; j <= width; j++) a[i][j] -= factor * a[k][j];
    }
  return Float64Array.from(a, (row, i) => row[width] / row[i]);
}

/** The alpha among `alphas` whose probe has the least squared error on the last fifth of the items, and the probe of all items with it. */
export function chooseRidge(
  x: readonly ArrayLike<number>[],
  y: ArrayLike<number>,
  alphas: readonly number[] = [1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100, 1e3, 1e4],
): { alpha: number; weights: Float64Array } {
  const cut = Math.floor(x.length * 0.8);
  if (cut < 1 || cut === x.length)
    throw new RangeError(`chooseRidge: ${x.length} items; a fifth of them is held out, so that 5 are needed`);
  const errorOf = (alpha: number) => {
    const w = ridgeProbe(x.slice(0, cut), Array.from(y).slice(0, cut), { alpha });
    return x.slice(cut).reduce((sum, row, n) => sum + (w.reduce((dot, weight, i) => dot + weight * row[i], 0) - y[cut + n]) ** 2, 0);
  };
  const alpha = alphas.reduce((best, one) => (errorOf(one) < errorOf(best) ? one : best));
  return { alpha, weights: ridgeProbe(x, y, { alpha }) };
}

/** Weights of attributes from a gate's logits: `softmax(logits / temperature)`. */
export function gateWeights(logits: ArrayLike<number>, temperature = 10): Float64Array {
  if (!(temperature > 0)) throw new RangeError(`gateWeights: temperature must be > 0, got ${temperature}`);
  const largest = Math.max(...Array.from(logits));
  const exponentials = Float64Array.from(logits, (logit) => Math.exp((logit - largest) / temperature));
  const total = exponentials.reduce((a, b) => a + b, 0);
  return exponentials.map((value) => value / total);
}

/** `Σ weight · reward` of one item. */
export function gatedScore(rewards: ArrayLike<number>, weights: ArrayLike<number>): number {
  if (rewards.length !== weights.length) throw new RangeError(`gatedScore: ${rewards.length} rewards and ${weights.length} weights`);
  return Array.from(rewards).reduce((sum, reward, k) => sum + reward * weights[k], 0);
}

const penalties = [0, 0.01, 0.025, ...Array.from({ length: 19 }, (_, i) => 0.05 * (i + 1))];

/**
 * For each attribute the smallest penalty p from {0, .01, .025, .05, .1, ..., .95} at which Spearman's correlation of `r_k - p r_verbosity` with `r_verbosity` is at most `threshold`; the
 * largest where none is enough. The verbosity attribute itself gets 1. `rewards` [items][attributes].
 */
export function verbosityPenalties(
  rewards: readonly ArrayLike<number>[],
  { verbosity, threshold = 0.03 }: { verbosity: number; threshold?: number },
): Float64Array {
  if (rewards.length < 3) throw new RangeError(`verbosityPenalties: ${rewards.length} items; a correlation needs 3 or more`);
  const attributes = rewards[0].length;
  if (!(Number.isInteger(verbosity) && verbosity >= 0 && verbosity < attributes))
    throw new RangeError(`verbosityPenalties: verbosity is ${verbosity}, no attribute of ${attributes}`);
  const long = rewards.map((row) => row[verbosity]);
  return Float64Array.from({ length: attributes }, (_, k) => {
    if (k === verbosity) return 1;
    const enough = (p: number) => {
      const { value } = spearman(
        rewards.map((row, i) => row[k] - p * long[i]),
        long,
      );
      return !(value > threshold); // a constant has no correlation, and needs no penalty
    };
    return penalties.find(enough) ?? penalties.at(-1)!;
  });
}

/** Rewards with verbosity taken off, `r_k - p_k r_verbosity`, [attributes] of one item. ArmoRM's script trains its gate on the raw rewards and takes off at inference alone. */
export function withoutVerbosity(rewards: ArrayLike<number>, penalty: ArrayLike<number>, verbosity: number): Float64Array {
  if (rewards.length !== penalty.length)
    throw new RangeError(`withoutVerbosity: ${rewards.length} rewards and ${penalty.length} penalties`);
  return Float64Array.from(rewards, (reward, k) => reward - penalty[k] * rewards[verbosity]);
}
