/** Means, differences and win rates, each with an interval. */
import type { Rng } from '@plumbline/core';
import { normalQuantile, tQuantile, tTwoSidedP } from './distributions.js';

type Numbers = ArrayLike<number>;
/** What a bootstrap draws from; any `Rng` will do. */
export type Draws = Pick<Rng, 'below'>;

/**
 * An estimate with its interval. `n` counts the units that were averaged or resampled: seeds, prompts, problems.
 * `method` says where the interval comes from; `p` is two-sided, against a mean of 0, where the method gives one.
 */
export type Estimate = {
  mean: number;
  low: number;
  high: number;
  sd: number;
  n: number;
  level: number;
  method: 't' | 'bootstrap' | 'wilson' | 'none';
  p?: number;
};

export const mean = (values: Numbers): number => {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum / values.length;
};

/** Sample standard deviation (n − 1); 0 for one value. */
export function standardDeviation(values: Numbers): number {
  if (values.length < 2) return 0;
  const centre = mean(values);
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] - centre) ** 2;
  return Math.sqrt(sum / (values.length - 1));
}

/** Linear interpolation between order statistics (NumPy's default). */
export function quantile(values: Numbers, share: number): number {
  const sorted = Float64Array.from(values).sort();
  const position = share * (sorted.length - 1);
  const below = Math.floor(position);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (position - below) * (sorted[above] - sorted[below]);
}

/**
 * Student's interval of a mean: `mean ± t(level, n − 1) · sd / √n`. The interval for few seeds: at five, a percentile
 * bootstrap covers 83%, not 95. One value has no interval: `low` and `high` are infinite and `p` is 1.
 *
 * @throws RangeError on an empty sample or a value that is not finite
 */
export function tInterval(values: Numbers, { level = 0.95 } = {}): Estimate {
  checkSample('tInterval', values);
  checkLevel('tInterval', level);
  const n = values.length;
  const centre = mean(values);
  const sd = standardDeviation(values);
  if (n === 1) return { mean: centre, low: -Infinity, high: Infinity, sd: 0, n, level, method: 'none', p: 1 };
  const error = sd / Math.sqrt(n);
  const half = tQuantile(0.5 + level / 2, n - 1) * error;
  const p = error === 0 ? (centre === 0 ? 1 : 0) : tTwoSidedP(centre / error, n - 1);
  return { mean: centre, low: centre - half, high: centre + half, sd, n, level, method: 't', p };
}

/**
 * Percentile bootstrap of a mean over units, such as prompts or problems. For thirty units or more; for a handful of
 * seeds use `tInterval`.
 *
 * @param draws     where the resamples come from; equal draws give equal intervals
 * @param resamples number of resamples, 2,000 unless said
 * @throws RangeError on an empty sample or a value that is not finite
 */
export function bootstrapInterval(values: Numbers, draws: Draws, { level = 0.95, resamples = 2000 } = {}): Estimate {
  checkSample('bootstrapInterval', values);
  checkLevel('bootstrapInterval', level);
  const n = values.length;
  const means = new Float64Array(resamples);
  for (let r = 0; r < resamples; r++) {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += values[draws.below(n)];
    means[r] = sum / n;
  }
  const tail = (1 - level) / 2;
  // The share of resamples on the far side of 0, doubled, with the sample itself counted once: never exactly 0.
  const atOrBelow = means.reduce((count, m) => count + (m <= 0 ? 1 : 0), 0);
  const atOrAbove = means.reduce((count, m) => count + (m >= 0 ? 1 : 0), 0);
  const p = Math.min(1, (2 * (Math.min(atOrBelow, atOrAbove) + 1)) / (resamples + 1));
  return {
    mean: mean(values),
    low: quantile(means, tail),
    high: quantile(means, 1 - tail),
    sd: standardDeviation(values),
    n,
    level,
    method: 'bootstrap',
    p,
  };
}

/** `a − b`, unit by unit. @throws RangeError where the lengths differ */
export function differences(a: Numbers, b: Numbers): Float64Array {
  if (a.length !== b.length)
    throw new RangeError(`differences: ${a.length} units against ${b.length}; a paired difference needs the same units in both`);
  return Float64Array.from(a, (value, i) => value - b[i]);
}

/**
 * Mean of `a − b` over paired units (the same seeds, the same prompts), with a t interval, or with a bootstrap over the
 * units where `draws` is given.
 */
export function pairedDifference(a: Numbers, b: Numbers, { level = 0.95, draws }: { level?: number; draws?: Draws } = {}): Estimate {
  const d = differences(a, b);
  return draws ? bootstrapInterval(d, draws, { level }) : tInterval(d, { level });
}

/** Welch's t interval of the difference of two independent means. */
export function welchDifference(a: Numbers, b: Numbers, { level = 0.95 } = {}): Estimate & { df: number; t: number } {
  const va = standardDeviation(a) ** 2 / a.length;
  const vb = standardDeviation(b) ** 2 / b.length;
  const df = (va + vb) ** 2 / (va ** 2 / (a.length - 1) + vb ** 2 / (b.length - 1));
  const difference = mean(a) - mean(b);
  const half = tQuantile(0.5 + level / 2, df) * Math.sqrt(va + vb);
  const t = difference / Math.sqrt(va + vb);
  return {
    mean: difference,
    low: difference - half,
    high: difference + half,
    sd: Math.sqrt(va + vb),
    n: a.length + b.length,
    level,
    method: 't',
    p: tTwoSidedP(t, df),
    df,
    t,
  };
}

/** Wilson's score interval of `successes` in `trials`, which may be a fraction (ties count half). */
export function wilsonInterval(successes: number, trials: number, { level = 0.95 } = {}): Estimate {
  checkLevel('wilsonInterval', level);
  if (!(trials > 0 && successes >= 0 && successes <= trials))
    throw new RangeError(`wilsonInterval: successes must lie in [0, trials] and trials be > 0, got ${successes} of ${trials}`);
  const z = normalQuantile(0.5 + level / 2);
  const share = successes / trials;
  const scale = 1 + (z * z) / trials;
  const centre = (share + (z * z) / (2 * trials)) / scale;
  const half = (z / scale) * Math.sqrt((share * (1 - share)) / trials + (z * z) / (4 * trials * trials));
  return {
    mean: share,
    low: successes === 0 ? 0 : Math.max(0, centre - half),
    high: successes === trials ? 1 : Math.min(1, centre + half),
    sd: Math.sqrt(share * (1 - share)),
    n: trials,
    level,
    method: 'wilson',
  };
}

/**
 * Share of units in which `a` beats `b`; a tie counts half. Wilson's interval over the units, or a bootstrap over them
 * where `draws` is given. Score each prompt once (the mean of its samples) so that units are independent.
 */
export function winRate(
  a: Numbers,
  b: Numbers,
  { level = 0.95, tie = 0, draws }: { level?: number; tie?: number; draws?: Draws } = {},
): Estimate & { wins: number; ties: number; losses: number } {
  const outcomes = differences(a, b).map((d) => (d > tie ? 1 : d < -tie ? 0 : 0.5));
  checkSample('winRate', outcomes);
  const wins = outcomes.filter((o) => o === 1).length;
  const ties = outcomes.filter((o) => o === 0.5).length;
  const estimate = draws ? bootstrapInterval(outcomes, draws, { level }) : wilsonInterval(wins + ties / 2, outcomes.length, { level });
  const { p: _, ...rest } = estimate; // a bootstrap's p is against 0, which is no hypothesis about a win rate
  return { ...rest, wins, ties, losses: outcomes.length - wins - ties };
}

/**
 * A generator of draws for those who have no `Rng` at hand (mulberry32). Within Plumbline, fork an `Rng` instead.
 */
export function seededDraws(seed: number): Draws {
  let state = seed >>> 0;
  return {
    below(n) {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = state;
      t = Math.imul(t ^ (t >>> 15), t | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * n);
    },
  };
}

function checkSample(where: string, values: Numbers) {
  if (values.length === 0) throw new RangeError(`${where}: the sample is empty`);
  for (let i = 0; i < values.length; i++)
    if (!Number.isFinite(values[i])) throw new RangeError(`${where}: value ${i} of ${values.length} is ${values[i]}, not a finite number`);
}
function checkLevel(where: string, level: number) {
  if (!(level > 0 && level < 1)) throw new RangeError(`${where}: level must be in (0, 1), got ${level}`);
}
