/** Means and deviations that leave out what was not scored (NaN), on the host in double precision. */

export const isScored = (x: number) => !Number.isNaN(x);

/** The mean of what is not NaN; NaN for nothing. */
export function nanMean(x: ArrayLike<number>): number {
  const kept = Array.from(x).filter(isScored);
  return kept.reduce((a, b) => a + b, 0) / kept.length;
}

/** The standard deviation of what is not NaN, with `ddof` subtracted from the count; 0 where too few are left. */
export function nanStd(x: ArrayLike<number>, ddof = 1): number {
  const kept = Array.from(x).filter(isScored);
  if (kept.length <= ddof) return 0;
  const mean = kept.reduce((a, b) => a + b, 0) / kept.length;
  return Math.sqrt(kept.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (kept.length - ddof));
}

/** Rows of each group, in order of first appearance. @throws RangeError where lengths differ, or a reward is infinite */
export function groupRows(who: string, rewards: ArrayLike<number>, groups: ArrayLike<number>): number[][] {
  if (rewards.length !== groups.length)
    throw new RangeError(`${who}: ${rewards.length} rewards and ${groups.length} groups; there must be one each a sample`);
  if (rewards.length === 0) throw new RangeError(`${who}: there are no rewards`);
  const rows = new Map<number, number[]>();
  for (let i = 0; i < rewards.length; i++) {
    if (Math.abs(rewards[i]) === Infinity) throw new RangeError(`${who}: the reward of sample ${i} is ${rewards[i]}`);
    const own = rows.get(groups[i]);
    if (own) own.push(i);
    else rows.set(groups[i], [i]);
  }
  return [...rows.values()];
}
