/**
 * Distances between reward functions of texts: STARC (Skalse et al. 2024, arXiv:2309.15257) where an episode is one answer to a prompt. There potential shaping is a constant for each
 * prompt and no transition follows, so that the canonical reward, the advantage of the policy that wrote the candidates, is the reward minus its mean over each prompt's candidates.
 * That form is ours; the paper's experiments are on finite processes and in control.
 *
 * Plain numbers. Scores are [prompts][candidates], prompts and candidates the same for all rewards.
 */
import { mean } from '@plumbline/data/statistics';

type Scores = readonly ArrayLike<number>[];

/** Canonical rewards smaller than this, per candidate, say nothing of what is better. */
const trivial = 1e-10;

/**
 * The L2 norm of the difference of two standardised rewards, in [0, 2]: 0 where they differ by scale and a constant for each prompt alone (the same best answers, and the same trade between
 * prompts), 2 where one is the other's opposite, 1 to a reward that likes everything alike. `none` takes away nothing before dividing by the size.
 *
 * @throws RangeError for unlike shapes, or a score that is not finite
 */
export function answerDistance(a: Scores, b: Scores, { canon = 'val' }: { canon?: 'val' | 'none' } = {}): number {
  checkShapes('answerDistance', a, b);
  const [x, y] = [standardised(a, canon), standardised(b, canon)];
  return Math.sqrt(x.reduce((sum, value, i) => sum + (value - y[i]) ** 2, 0));
}

/** Distances of each reward to each other, [n][n]. */
export function answerDistances(rewards: readonly Scores[], options: { canon?: 'val' | 'none' } = {}): number[][] {
  return rewards.map((a) => rewards.map((b) => answerDistance(a, b, options)));
}

/**
 * What choosing the best candidate by one reward loses by the other, as a share of the distance from its worst choice to its best, averaged over both directions: in [0, 1]. 0 where a reward
 * likes everything alike.
 */
export function answerRegret(a: Scores, b: Scores): number {
  checkShapes('answerRegret', a, b);
  const lost = (chooser: Scores, judge: Scores) => {
    const [best, worst, got] = [Math.max, Math.min]
      .map((of) => mean(judge.map((row) => of(...Array.from(row)))))
      .concat(mean(judge.map((row, p) => row[indexOfBest(chooser[p])])));
    return best > worst ? (best - got) / (best - worst) : 0;
  };
  return (lost(a, b) + lost(b, a)) / 2;
}

function standardised(scores: Scores, canon: 'val' | 'none'): Float64Array {
  const flat = Float64Array.from(
    scores.flatMap((row) => {
      const values = Array.from(row);
      const baseline = canon === 'val' ? mean(values) : 0;
      return values.map((value) => value - baseline);
    }),
  );
  const size = Math.sqrt(flat.reduce((sum, value) => sum + value * value, 0));
  return size < trivial * Math.sqrt(flat.length) ? flat.fill(0) : flat.map((value) => value / size);
}

function indexOfBest(row: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < row.length; i++) if (row[i] > row[best]) best = i;
  return best;
}

function checkShapes(who: string, a: Scores, b: Scores): void {
  if (a.length === 0 || a.length !== b.length) throw new RangeError(`${who}: scores of ${a.length} prompts against ${b.length}`);
  a.forEach((row, p) => {
    if (row.length === 0 || row.length !== b[p].length)
      throw new RangeError(`${who}: ${row.length} candidates against ${b[p].length} at prompt ${p}`);
    for (const [name, own] of [
      ['first', row],
      ['second', b[p]],
    ] as const) {
      const bad = Array.from(own).findIndex((value) => !Number.isFinite(value));
      if (bad >= 0) throw new RangeError(`${who}: score ${bad} of prompt ${p} by the ${name} reward is ${own[bad]}`);
    }
  });
}
