/** Changing and sorting the labels of pairs. */
import type { Rng } from '@plumbline/core';
import type { EncodedGroup } from '../encode.js';
import type { PreferenceRecord } from '../records.js';

/** The same pair with the other side chosen; scores, margin and preference turn with it. */
export function swapSides(record: PreferenceRecord): PreferenceRecord {
  const { chosen, rejected, chosen_score, rejected_score, margin, preference, ...rest } = record;
  return {
    ...rest,
    chosen: rejected,
    rejected: chosen,
    ...(rejected_score !== undefined && { chosen_score: rejected_score }),
    ...(chosen_score !== undefined && { rejected_score: chosen_score }),
    ...(margin !== undefined && { margin: -margin }),
    ...(preference !== undefined && { preference: 1 - preference }),
  };
}

/** Label noise: each pair is swapped with probability `share`, by a draw of its own. */
export function flipLabels(records: readonly PreferenceRecord[], share: number, rng: Rng): PreferenceRecord[] {
  const draws = rng.uniform(records.length);
  return records.map((record, i) => (draws[i] < share ? swapSides(record) : record));
}

/** The same of the pairs inside encoded groups; the draws of a group do not depend on the other groups. */
export function flipGroupLabels(groups: readonly EncodedGroup[], share: number, rng: Rng): EncodedGroup[] {
  return groups.map((group, g) => {
    const draws = rng.fork(g).uniform(group.pairs.length);
    const pairs = group.pairs.map((pair, p) => (draws[p] < share ? { ...pair, chosen: pair.rejected, rejected: pair.chosen } : pair));
    return { ...group, pairs };
  });
}

/**
 * The pairs under another judge's labels: swapped where `pChosenBetter` is below 1/2. `soft` keeps P(chosen is better), now at least 1/2, in
 * `preference`; without it a `preference` that the records had is dropped.
 *
 * @throws RangeError naming the record whose probability is missing or not in [0, 1]
 */
export function relabel(records: readonly PreferenceRecord[], pChosenBetter: ArrayLike<number>, { soft = false } = {}): PreferenceRecord[] {
  if (pChosenBetter.length !== records.length)
    throw new RangeError(`relabel: ${records.length} records, but ${pChosenBetter.length} probabilities`);
  return records.map((record, i) => {
    const p = pChosenBetter[i];
    if (!(p >= 0 && p <= 1)) throw new RangeError(`relabel: the probability of record ${record.id ?? i} must be in [0, 1], got ${p}`);
    const { preference: _, ...hard } = p < 0.5 ? swapSides(record) : record;
    return soft ? { ...hard, preference: Math.max(p, 1 - p) } : hard;
  });
}

export type MarginSplit = { easy: PreferenceRecord[]; hard: PreferenceRecord[]; margins: Float64Array; threshold: number };

/**
 * Easy pairs have a margin above the threshold, all others are hard. A margin is `chosen_score - rejected_score`, or what `marginOf` says;
 * `absolute` (the default) takes its size alone. `quantile` puts the threshold at that quantile of the margins, linearly interpolated.
 *
 * @throws RangeError unless exactly one of threshold and quantile is given, or where a record has no scores
 */
export function splitByMargin(
  records: readonly PreferenceRecord[],
  {
    threshold,
    quantile,
    absolute = true,
    marginOf = scoreDifference,
  }: { threshold?: number; quantile?: number; absolute?: boolean; marginOf?: (record: PreferenceRecord, index: number) => number },
): MarginSplit {
  if ((threshold === undefined) === (quantile === undefined))
    throw new RangeError('splitByMargin: give exactly one of threshold and quantile');
  if (records.length === 0) throw new RangeError('splitByMargin: there are no records');
  const margins = Float64Array.from(records, (record, i) => (absolute ? Math.abs(marginOf(record, i)) : marginOf(record, i)));
  const bad = margins.findIndex((margin) => !Number.isFinite(margin));
  if (bad >= 0) throw new RangeError(`splitByMargin: the margin of record ${records[bad].id ?? bad} is ${margins[bad]}`);
  const at = threshold ?? quantileOf(margins, quantile!);
  return {
    easy: records.filter((_, i) => margins[i] > at),
    hard: records.filter((_, i) => !(margins[i] > at)),
    margins,
    threshold: at,
  };
}

function scoreDifference({ chosen_score, rejected_score, id }: PreferenceRecord, index: number): number {
  if (chosen_score === undefined || rejected_score === undefined) {
    throw new RangeError(`splitByMargin: record ${id ?? index} has no ${chosen_score === undefined ? 'chosen_score' : 'rejected_score'}`);
  }
  return chosen_score - rejected_score;
}

/** Linear interpolation between order statistics, as numpy's default. */
export function quantileOf(values: ArrayLike<number>, q: number): number {
  if (!(q >= 0 && q <= 1)) throw new RangeError(`a quantile must be in [0, 1], got ${q}`);
  const sorted = Float64Array.from(values).sort();
  const at = q * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}
