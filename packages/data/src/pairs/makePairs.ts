/** Preference pairs from scored groups of completions. */
import type { Rng } from '@plumbline/core';
import { type PreferenceRecord, type ScoredGroup, textOf } from '../records.js';

/**
 * - `all`: every two whose scores differ by more than `minGap`; `allMargin`: the same, with the difference as `margin`
 * - `bestWorst`, `bestSecond`; `bestRandom`: the best against a random one of those that are worse by more than `minGap`
 * - `bestWorstLengthPenalised`: best and worst by score minus `lengthPenalty` times the length (RLHF Workflow, arXiv:2405.07863)
 * - `firstTwo`: the first two, ordered by score, as when two samples are drawn for a judge
 */
export type PairStrategy = 'all' | 'allMargin' | 'bestWorst' | 'bestSecond' | 'bestRandom' | 'bestWorstLengthPenalised' | 'firstTwo';

export type MakePairsOptions = {
  /** Only pairs whose scores differ by more than this. */
  minGap?: number;
  /** Score taken off per unit of length; for `bestWorstLengthPenalised`. */
  lengthPenalty?: number;
  /** Length of a completion; default its characters. */
  lengthOf?: (completion: ScoredGroup['completions'][number]) => number;
  /** Which of the two counts as chosen: by penalised score, or, as the published script has it, by the raw one. */
  orderBy?: 'selection' | 'raw';
  /** `margin` is this times the difference of the raw scores; for `allMargin` 1 unless given, otherwise only if given. */
  marginScale?: number;
};

/**
 * Pairs of each group under one strategy; `chosen_score` and `rejected_score` are the raw scores. Of equal scores the first counts as the best,
 * and the first as the worst; a group whose scores do not differ gives no pair.
 *
 * @throws RangeError for groups of different lengths, scores that are not finite, a negative penalty, and where no group gives a pair
 */
export function makePairs(
  groups: readonly ScoredGroup[],
  strategy: PairStrategy,
  rng: Rng,
  options: MakePairsOptions = {},
): PreferenceRecord[] {
  const { minGap = 0, lengthPenalty, lengthOf = (completion) => textOf(completion).length, orderBy = 'selection' } = options;
  const marginScale = options.marginScale ?? (strategy === 'allMargin' ? 1 : undefined);
  if (groups.length === 0) throw new RangeError('makePairs: there are no groups');
  if (strategy === 'bestWorstLengthPenalised' ? !(lengthPenalty! >= 0) : lengthPenalty !== undefined) {
    throw new RangeError(
      `makePairs: lengthPenalty must be >= 0 and belongs to bestWorstLengthPenalised, got ${lengthPenalty} with ${strategy}`,
    );
  }
  const records = groups.flatMap((group, g) => {
    const id = group.id ?? String(g);
    const scores = Array.from(group.scores);
    if (scores.length !== group.completions.length) {
      throw new RangeError(`makePairs: group ${id} has ${group.completions.length} completions and ${scores.length} scores`);
    }
    const bad = scores.findIndex((score) => !Number.isFinite(score));
    if (bad >= 0) throw new RangeError(`makePairs: group ${id} has the score ${scores[bad]} at ${bad}`);
    const selection =
      lengthPenalty === undefined ? scores : scores.map((score, i) => score - lengthPenalty * lengthOf(group.completions[i]));
    return pick(strategy, scores, selection, minGap, () => rng.fork('pairs', g))
      .map(([a, b]) => (orderBy === 'raw' && scores[b] > scores[a] ? [b, a] : [a, b]))
      .filter(([a, b]) => (orderBy === 'raw' ? scores[a] : selection[a]) - (orderBy === 'raw' ? scores[b] : selection[b]) > minGap)
      .map(
        ([a, b]): PreferenceRecord => ({
          id: `${id}:${a}>${b}`,
          prompt: group.prompt,
          chosen: group.completions[a],
          rejected: group.completions[b],
          chosen_score: scores[a],
          rejected_score: scores[b],
          ...(marginScale !== undefined && { margin: marginScale * (scores[a] - scores[b]) }),
          ...(group.meta && { meta: group.meta }),
        }),
      );
  });
  if (records.length === 0)
    throw new RangeError('makePairs: no group has two completions whose scores differ enough; does the scorer give equal scores?');
  return records;
}

/** Indices of [chosen, rejected]. */
function pick(strategy: PairStrategy, scores: number[], selection: number[], minGap: number, rng: () => Rng): [number, number][] {
  if (scores.length < 2) return [];
  const best = selection.indexOf(Math.max(...selection));
  const others = selection.map((_, i) => i).filter((i) => i !== best);
  switch (strategy) {
    case 'all':
    case 'allMargin':
      return scores.flatMap((a, i) => scores.flatMap((b, j): [number, number][] => (a > b ? [[i, j]] : [])));
    case 'bestWorst':
    case 'bestWorstLengthPenalised':
      return [[best, selection.indexOf(Math.min(...selection))]];
    case 'bestSecond':
      return [[best, others.reduce((second, i) => (scores[i] > scores[second] ? i : second))]];
    case 'bestRandom': {
      const worse = others.filter((i) => scores[best] - scores[i] > minGap);
      return worse.length > 0 ? [[best, worse[rng().below(worse.length)]]] : [];
    }
    case 'firstTwo':
      return [scores[1] > scores[0] ? [1, 0] : [0, 1]];
    default:
      throw new RangeError(`makePairs: there is no strategy ${JSON.stringify(strategy satisfies never)}`);
  }
}
