/** GRPO-S of DR-IRL (arXiv:2503.18991): advantages scaled by how hard a sample is. Plain numbers. */
import type { Checkpointable, Saved } from '@plumbline/core';

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const meanOf = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0) / values.length;

/** `σ(value) / σ(centre)` of each value: above 1 where a sample is harder than usual. Equal values give 1. */
export function hardnessScale(values: ArrayLike<number>, centre: number): Float64Array {
  if (!Number.isFinite(centre)) throw new RangeError(`hardnessScale: the centre is ${centre}`);
  return Float64Array.from(values, (value, i) => {
    if (!Number.isFinite(value)) throw new RangeError(`hardnessScale: the value of sample ${i} is ${value}`);
    return sigmoid(value) / sigmoid(centre);
  });
}

/**
 * `α = σ(δ)/σ(mean δ) · σ(R)/σ(R̄)`, within `bounds`.
 *
 * @param distances δ = 1 − semantic similarity of the sample to its prompt's demonstration
 * @param gaps      R = r(demonstration) − r(sample), points
 * @param centre    R̄; the batch's mean unless a running one is given (`robustMean`)
 * @param bounds    ours, to keep one sample from ruling the step
 * @returns [samples]
 */
export function hardness(
  distances: ArrayLike<number>,
  gaps: ArrayLike<number>,
  { centre = meanOf(gaps), bounds = [0.2, 5] }: { centre?: number; bounds?: readonly [number, number] } = {},
): Float64Array {
  if (distances.length !== gaps.length) throw new RangeError(`hardness: ${distances.length} distances and ${gaps.length} gaps`);
  const byData = hardnessScale(distances, meanOf(distances));
  const byModel = hardnessScale(gaps, centre);
  return byData.map((a, i) => Math.min(bounds[1], Math.max(bounds[0], a * byModel[i])));
}

/** `A_i ← α_i·A_i`. With every α at 1 it is the advantages themselves. @throws RangeError where an α is not finite, or not above 0 */
export function hardnessScaled(advantages: ArrayLike<number>, alpha: ArrayLike<number>): Float64Array {
  if (advantages.length !== alpha.length)
    throw new RangeError(`hardnessScaled: ${advantages.length} advantages and ${alpha.length} scales`);
  return Float64Array.from(advantages, (a, i) => {
    if (!(alpha[i] > 0 && alpha[i] < Infinity))
      throw new RangeError(`hardnessScaled: the scale of sample ${i} is ${alpha[i]}; it must be > 0`);
    return alpha[i] * a;
  });
}

/**
 * Running mean and deviation that leave out what is further than `outliers` deviations of the batch from its mean (a batch without deviation is taken
 * whole): `m ← decay·m + (1 − decay)·mean`, from the first batch's. Its state is in the checkpoint.
 */
export function robustMean({ decay = 0.9, outliers = 2 } = {}): Checkpointable & {
  readonly mean: number;
  readonly std: number;
  update(values: ArrayLike<number>): void;
} {
  if (!(decay >= 0 && decay < 1)) throw new RangeError(`robustMean: decay must be in [0, 1), got ${decay}`);
  let state: { mean: number; std: number } | undefined;
  const moments = (values: readonly number[]) => {
    const mean = meanOf(values);
    return { mean, std: Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length) };
  };
  return {
    get mean() {
      return state?.mean ?? 0;
    },
    get std() {
      return state?.std ?? 0;
    },
    update(values) {
      const all = Array.from(values).filter(Number.isFinite);
      if (all.length === 0) return;
      const { mean, std } = moments(all);
      const now = moments(std === 0 ? all : all.filter((x) => Math.abs(x - mean) <= outliers * std));
      const blend = (before: number, after: number) => decay * before + (1 - decay) * after;
      state = state ? { mean: blend(state.mean, now.mean), std: blend(state.std, now.std) } : now;
    },
    save: async () => ({ tensors: {}, json: { state: state ? { ...state } : null } }),
    load: async (saved: Saved) => {
      const loaded = (saved.json as { state?: { mean?: unknown; std?: unknown } | null } | null)?.state;
      if (loaded === undefined || (loaded !== null && (typeof loaded.mean !== 'number' || typeof loaded.std !== 'number')))
        throw new TypeError('robustMean: the checkpoint holds no mean');
      state = loaded === null ? undefined : { mean: loaded.mean as number, std: loaded.std as number };
    },
  };
}
