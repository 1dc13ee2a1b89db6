import { quantileOf } from '@plumbline/data';

/** Where `from` maps to `low` and `high`: a fixed interval, or percentiles of the scores themselves, such as [1, 99]. */
export type RescaleOptions = { low: number; high: number; decimals?: number } & (
  | { from: readonly [number, number]; percentiles?: undefined }
  | { percentiles: readonly [number, number]; from?: undefined }
);

/**
 * Scores on another scale, linearly, cut off at its ends and rounded to `decimals` (half to even, as Python rounds). As for the goals of arXiv:2410.08067:
 * VADER's [-1, 1] or implicit rewards to [1, 10] in tenths.
 *
 * @throws RangeError where the interval to map from is empty: the scores do not differ
 */
export function rescaleScores(scores: ArrayLike<number>, { low, high, from, percentiles, decimals }: RescaleOptions): Float64Array {
  const bad = Array.from(scores).findIndex((score) => !Number.isFinite(score));
  if (bad >= 0) throw new RangeError(`rescaleScores: score ${bad} is ${scores[bad]}`);
  const [a, b] = from ?? percentiles!.map((percentile) => quantileOf(scores, percentile / 100));
  if (!(b > a)) throw new RangeError(`rescaleScores: cannot map [${a}, ${b}] to [${low}, ${high}]; do the scores differ?`);
  return Float64Array.from(scores, (score) => {
    const mapped = low + ((high - low) * (Math.min(b, Math.max(a, score)) - a)) / (b - a);
    return decimals === undefined ? mapped : roundHalfEven(mapped, decimals);
  });
}

function roundHalfEven(x: number, decimals: number): number {
  const scaled = x * 10 ** decimals;
  const down = Math.floor(scaled);
  const rest = scaled - down;
  const rounded = rest === 0.5 ? down + (down % 2) : Math.round(scaled);
  return Number((rounded / 10 ** decimals).toFixed(decimals));
}
