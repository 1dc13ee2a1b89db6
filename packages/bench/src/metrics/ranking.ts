/** Who is best, from pairwise comparisons. */
import { bradleyTerryMle, normalQuantile } from '@plumbline/data/statistics';

export type Ranked = {
  name: string;
  /** Log-strength, 0 on average, with its interval: `P(this beats that) = σ(difference)`. */
  strength: { mean: number; low: number; high: number };
  /** The same on Elo's scale, 1000 on average and 400 for odds of ten to one. */
  elo: { mean: number; low: number; high: number };
};

/**
 * A Bradley-Terry ranking from the strongest to the weakest, with Wald intervals from the standard errors of `bradleyTerryMle`.
 *
 * @param names [players]
 * @param wins  [players][players] how often the row beat the column; a tie is half a win for each
 * @param level of each interval by itself, 0.95 by default
 * @param ridge as in `bradleyTerryMle`, for players that never lost or never won
 * @throws RangeError where there are not as many names as rows, and as `bradleyTerryMle` does
 */
export function bradleyTerryRanking(
  names: readonly string[],
  wins: readonly (readonly number[])[],
  { level = 0.95, ridge = 0 }: { level?: number; ridge?: number } = {},
): Ranked[] {
  if (names.length !== wins.length) throw new RangeError(`bradleyTerryRanking: ${names.length} names for ${wins.length} rows of wins`);
  const { logStrength, standardError } = bradleyTerryMle(wins, { ridge });
  const z = normalQuantile((1 + level) / 2);
  const elo = (strength: number) => 1000 + (400 / Math.LN10) * strength;
  return names
    .map((name, i) => {
      const [mean, low, high] = [0, -z, z].map((times) => logStrength[i] + times * standardError[i]);
      return { name, strength: { mean, low, high }, elo: { mean: elo(mean), low: elo(low), high: elo(high) } };
    })
    .sort((a, b) => b.strength.mean - a.strength.mean);
}
