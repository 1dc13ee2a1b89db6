/**
 * Underspecification of reward models: members that agree on the data they were tested on, and not on what is optimised against one of them. Eisenstein et al. 2023, arXiv:2312.09244.
 * Plain numbers.
 */
import { mean, spearman } from '@plumbline/data/statistics';
import { bestOfNCurve } from '../select.js';

/** Scores of the same samples by each member, [members][prompts][samples]. */
export type MemberScores = readonly (readonly ArrayLike<number>[])[];

/**
 * Entry [i][j] is the expected score by member j of the best of n samples as member i chooses it, averaged over prompts and all n-subsets. A member flatters what it chose itself
 * by `diagonalGap` of this.
 *
 * @throws RangeError for no members or unlike shapes, or an n that is not in 1 to the number of samples
 */
export function crossEvaluation(scores: MemberScores, n: number): number[][] {
  checkShapes('crossEvaluation', scores);
  return scores.map((chooser) =>
    scores.map((judge) => mean(chooser.map((proxy, prompt) => bestOfNCurve(proxy, judge[prompt], [n])[0].gold))),
  );
}

/** Mean of the diagonal minus mean of all else: how much higher members score their own choices than others do; 0 for one member. */
export function diagonalGap(matrix: readonly (readonly number[])[]): number {
  const own = matrix.map((row, i) => row[i]);
  const other = matrix.flatMap((row, i) => row.filter((_, j) => j !== i));
  return other.length === 0 ? 0 : mean(own) - mean(other);
}

/**
 * Spearman correlation of two members' scores over the samples of a prompt, averaged over prompts and pairs of members. Prompts where a member gives every sample the same score
 * have no ranks and are passed over.
 *
 * @throws RangeError for fewer than two members, unlike shapes, or where no prompt has ranks
 */
export function memberRankCorrelation(scores: MemberScores): number {
  checkShapes('memberRankCorrelation', scores);
  if (scores.length < 2) throw new RangeError('memberRankCorrelation: needs at least two members');
  const all = scores.flatMap((a, i) =>
    scores.slice(i + 1).flatMap((b) => a.map((row, prompt) => spearman(Array.from(row), Array.from(b[prompt])).value)),
  );
  const known = all.filter(Number.isFinite);
  if (known.length === 0) throw new RangeError('memberRankCorrelation: no prompt has samples that two members rank');
  return mean(known);
}

function checkShapes(who: string, scores: MemberScores): void {
  if (scores.length === 0 || scores[0].length === 0)
    throw new RangeError(`${who}: there are no ${scores.length === 0 ? 'members' : 'prompts'}`);
  scores.forEach((member, m) => {
    const unlike = member.findIndex((row, prompt) => row.length !== scores[0][prompt]?.length);
    if (member.length !== scores[0].length || unlike >= 0)
      throw new RangeError(`${who}: member ${m} and the first have scores of unlike shapes${unlike >= 0 ? ` at prompt ${unlike}` : ''}`);
    member.forEach((row, prompt) => {
      const bad = Array.from(row).findIndex((score) => !Number.isFinite(score));
      if (bad >= 0) throw new RangeError(`${who}: score ${bad} of prompt ${prompt} by member ${m} is ${row[bad]}`);
    });
  });
}
