import type { Rng } from '@plumbline/core';

export type CemOptions = {
  /** Higher is better; NaN counts as worst. All candidates of a round at once, [population][dimensions]. */
  score: (candidates: readonly Float64Array[], round: number) => ArrayLike<number> | Promise<ArrayLike<number>>;
  /** Where the search begins: one number a dimension. */
  mean: ArrayLike<number>;
  /** How wide: one number, or one a dimension. 1 unless given. */
  std?: number | ArrayLike<number>;
  rounds: number;
  rng: Rng;
  /** Candidates of a round, and how many of them the next one is drawn around; 64 and 8 unless given. */
  population?: number;
  elites?: number;
  /** Share of the old mean and deviation that is kept; 0.1 unless given. */
  smoothing?: number;
  /** Deviations never fall below this; 0.02 unless given. */
  stdFloor?: number;
  /** Candidates are kept within. */
  bounds?: { low: ArrayLike<number>; high: ArrayLike<number> };
};

/**
 * The cross-entropy method: draw candidates from a Gaussian, keep the best, fit the Gaussian to them, again. Without gradients; for the weights of small policies and for sequences of actions.
 * Rubinstein 1999; de Boer et al. 2005. A deviation is over the elites' number.
 *
 * @returns the best candidate of all and its score, the last Gaussian, and each round's best and mean score
 * @throws RangeError for an option out of range, or scores of another number than the candidates
 */
export async function crossEntropyMethod(
  options: CemOptions,
): Promise<{ best: Float64Array; score: number; mean: Float64Array; std: Float64Array; history: { best: number; mean: number }[] }> {
  const { score, rounds, rng, population = 64, elites = 8, smoothing = 0.1, stdFloor = 0.02, bounds } = options;
  const size = options.mean.length;
  for (const [name, value] of Object.entries({ rounds, population, elites }))
    if (!(Number.isInteger(value) && value > 0))
      throw new RangeError(`crossEntropyMethod: ${name} must be a whole number above 0, got ${value}`);
  if (elites > population) throw new RangeError(`crossEntropyMethod: ${elites} elites of a population of ${population}`);
  if (!(smoothing >= 0 && smoothing < 1)) throw new RangeError(`crossEntropyMethod: smoothing must be in [0, 1), got ${smoothing}`);
  if (!(stdFloor >= 0)) throw new RangeError(`crossEntropyMethod: stdFloor must be at least 0, got ${stdFloor}`);
  let mean = Float64Array.from(options.mean);
  const { std: given = 1 } = options;
  let std = typeof given === 'number' ? new Float64Array(size).fill(given) : Float64Array.from(given);
  if (size === 0 || std.length !== size || !std.every((value) => value >= 0))
    throw new RangeError(`crossEntropyMethod: there are ${size} dimensions and the deviations [${std}]`);
  let best: { candidate: Float64Array; score: number } | undefined;
  const history: { best: number; mean: number }[] = [];
  for (let round = 0; round < rounds; round++) {
    const draws = rng.fork('round', round);
    const candidates = Array.from({ length: population }, (_, i) => {
      const z = draws.fork(i).normal(size);
      return mean.map((m, k) => clipped(m + std[k] * z[k], bounds, k));
    });
    const scores = Array.from(await score(candidates, round), (value) => (Number.isNaN(value) ? -Infinity : value));
    if (scores.length !== population)
      throw new RangeError(`crossEntropyMethod: ${population} candidates were given ${scores.length} scores`);
    const order = candidates.map((_, i) => i).sort((a, b) => scores[b] - scores[a] || a - b);
    const kept = order.slice(0, elites).map((i) => candidates[i]);
    if (!best || scores[order[0]] > best.score) best = { candidate: candidates[order[0]], score: scores[order[0]] };
    const fitted = mean.map((_, k) => kept.reduce((sum, own) => sum + own[k], 0) / elites);
    const spread = fitted.map((m, k) => Math.sqrt(kept.reduce((sum, own) => sum + (own[k] - m) ** 2, 0) / elites));
    mean = mean.map((old, k) => smoothing * old + (1 - smoothing) * fitted[k]);
    std = std.map((old, k) => Math.max(stdFloor, smoothing * old + (1 - smoothing) * spread[k]));
    const finite = scores.filter(Number.isFinite);
    history.push({ best: scores[order[0]], mean: finite.reduce((a, b) => a + b, 0) / Math.max(1, finite.length) });
  }
  return { best: best!.candidate, score: best!.score, mean, std, history };
}

const clipped = (x: number, bounds: CemOptions['bounds'], k: number) => (bounds ? Math.min(bounds.high[k], Math.max(bounds.low[k], x)) : x);
