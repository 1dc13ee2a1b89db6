/** What a judge or a reward prefers apart from quality: length, position, its own writing. */
import { bootstrapInterval, type Draws, type Estimate, mean, spearman } from '@plumbline/data/statistics';

/** One judged pair of answers: the lengths of both, and the probability (or 0, 0.5, 1) that the first is preferred; `gold` is the same of people. */
export type LengthPair = { lengths: readonly [number, number]; prefersFirst: number; gold?: number };

/**
 * How much a judge goes by length. `longer` is the mean preference for the longer answer (0.5 without a bias), `goldLonger` the people's; `accuracyLonger` and
 * `accuracyShorter` are the agreement with people where their better answer is the longer or the shorter one. Pairs of equal length are left out.
 */
export function lengthBias(pairs: readonly LengthPair[]): {
  longer: number;
  goldLonger?: number;
  accuracyLonger?: number;
  accuracyShorter?: number;
  n: number;
} {
  const uneven = pairs
    .filter(({ lengths: [a, b] }) => a !== b)
    .map((pair) => {
      const first = pair.lengths[0] > pair.lengths[1];
      const towards = (p: number) => (first ? p : 1 - p);
      return { longer: towards(pair.prefersFirst), gold: pair.gold === undefined ? undefined : towards(pair.gold) };
    });
  const labelled = uneven.filter((one): one is { longer: number; gold: number } => one.gold !== undefined && one.gold !== 0.5);
  const agreement = (some: readonly { longer: number; gold: number }[]) =>
    some.length > 0 ? mean(some.map(({ longer, gold }) => (gold > 0.5 ? longer : 1 - longer))) : undefined;
  const golds = uneven.flatMap(({ gold }) => (gold === undefined ? [] : [gold]));
  return {
    longer: mean(uneven.map(({ longer }) => longer)),
    ...(golds.length > 0 && { goldLonger: mean(golds) }),
    accuracyLonger: agreement(labelled.filter(({ gold }) => gold > 0.5)),
    accuracyShorter: agreement(labelled.filter(({ gold }) => gold < 0.5)),
    n: uneven.length,
  };
}

/** Rank correlation of scores with lengths: near 1, a reward that counts words. */
export const lengthCorrelation = (scores: ArrayLike<number>, lengths: ArrayLike<number>): number => spearman(scores, lengths).value;

/**
 * Pairs judged in both orders. `firstShown` is how often the answer shown first is taken (0.5 without a bias), `consistency` how often both orders choose the same answer.
 *
 * @param verdicts [n][2] probability (or 0, 0.5, 1) that the answer shown first is preferred: of a pair as it is, then with its answers swapped
 */
export function positionBias(verdicts: readonly (readonly [number, number])[]): { firstShown: number; consistency: number; n: number } {
  const chosen = (p: number) => Math.sign(p - 0.5);
  return {
    firstShown: mean(verdicts.flat()),
    consistency: mean(verdicts.map(([as, swapped]) => (chosen(as) === -chosen(swapped) ? 1 : 0))),
    n: verdicts.length,
  };
}

/**
 * How much more a judge prefers its own answers than the gold judge does, on the same pairs: 0 without self-preference.
 *
 * @param ownPreferred  [n] probability that the judge prefers its own answer to another's
 * @param goldPreferred [n] what people, or another judge, say of the same pairs
 */
export function selfPreference(ownPreferred: ArrayLike<number>, goldPreferred: ArrayLike<number>, draws: Draws): Estimate {
  if (ownPreferred.length !== goldPreferred.length || ownPreferred.length === 0)
    throw new RangeError(
      `selfPreference: ${ownPreferred.length} judgements and ${goldPreferred.length} gold ones; needs as many of each, at least one`,
    );
  return bootstrapInterval(
    Array.from(ownPreferred, (own, i) => own - goldPreferred[i]),
    draws,
  );
}
