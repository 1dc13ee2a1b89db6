/** Whether a reward is a ruler: its relation to length. Plain numbers. */
import { kendallTau, pearson, spearman } from '@plumbline/data/statistics';

type Numbers = ArrayLike<number>;

/**
 * Pearson, Spearman and Kendall (tau-b) of reward with length, and the slope of reward a unit of length by least squares. With `gold`, `partial` is the correlation of reward and length with
 * what gold explains of both taken off: what length alone is paid.
 *
 * @throws RangeError where all lengths or all rewards agree
 */
export function lengthBias(
  rewards: Numbers,
  lengths: Numbers,
  gold?: Numbers,
): { pearson: number; spearman: number; kendall: number; slope: number; partial?: number } {
  for (const [name, values] of Object.entries({ rewards, lengths, ...(gold && { gold }) })) {
    if (values.length !== rewards.length) throw new RangeError(`lengthBias: ${values.length} ${name} for ${rewards.length} rewards`);
    if (new Set(Array.from(values)).size < 2) throw new RangeError(`lengthBias: all ${name} agree, so that there is no correlation`);
  }
  const n = rewards.length;
  const mean = (values: Numbers) => Array.from(values).reduce((a, b) => a + b, 0) / n;
  const [mr, ml] = [mean(rewards), mean(lengths)];
  let [xy, xx] = [0, 0];
  for (let i = 0; i < n; i++) {
    xy += (lengths[i] - ml) * (rewards[i] - mr);
    xx += (lengths[i] - ml) ** 2;
  }
  const r = pearson(rewards, lengths).value;
  let partial: number | undefined;
  if (gold) {
    const [rg, lg] = [pearson(rewards, gold).value, pearson(lengths, gold).value];
    partial = (r - rg * lg) / Math.sqrt((1 - rg * rg) * (1 - lg * lg));
  }
  return {
    pearson: r,
    spearman: spearman(rewards, lengths).value,
    kendall: kendallTau(rewards, lengths),
    slope: xy / xx,
    ...(partial !== undefined && { partial }),
  };
}

/**
 * Accuracy on the pairs whose chosen side is longer, on those where it is shorter, and their mean, which a reward that only counts words holds at 0.5. NaN where there are none of a
 * kind; ties in score are wrong.
 */
export function lengthBalancedAccuracy(
  margins: Numbers,
  chosenLengths: Numbers,
  rejectedLengths: Numbers,
): { longerChosen: number; shorterChosen: number; balanced: number; pairs: { longer: number; shorter: number; equal: number } } {
  if (margins.length !== chosenLengths.length || margins.length !== rejectedLengths.length)
    throw new RangeError(
      `lengthBalancedAccuracy: ${margins.length} margins, ${chosenLengths.length} and ${rejectedLengths.length} lengths`,
    );
  const kinds = { longer: [0, 0], shorter: [0, 0], equal: [0, 0] };
  for (let i = 0; i < margins.length; i++) {
    const kind = chosenLengths[i] > rejectedLengths[i] ? kinds.longer : chosenLengths[i] < rejectedLengths[i] ? kinds.shorter : kinds.equal;
    kind[0] += margins[i] > 0 ? 1 : 0;
    kind[1]++;
  }
  const rate = ([right, all]: number[]) => (all === 0 ? Number.NaN : right / all);
  const [longerChosen, shorterChosen] = [rate(kinds.longer), rate(kinds.shorter)];
  return {
    longerChosen,
    shorterChosen,
    balanced: (longerChosen + shorterChosen) / 2,
    pairs: { longer: kinds.longer[1], shorter: kinds.shorter[1], equal: kinds.equal[1] },
  };
}

/** Where gold reward peaked along a run of growing proxy or KL, what it is at the end, and the gap between: what over-optimisation cost. */
export function hackingGap(gold: Numbers): { peakGold: number; peakAt: number; goldAtEnd: number; gap: number } {
  if (gold.length === 0) throw new RangeError('hackingGap: there are no gold rewards');
  let peakAt = 0;
  for (let i = 0; i < gold.length; i++) {
    if (!Number.isFinite(gold[i])) throw new RangeError(`hackingGap: gold reward ${i} is ${gold[i]}`);
    if (gold[i] > gold[peakAt]) peakAt = i;
  }
  const goldAtEnd = gold[gold.length - 1];
  return { peakGold: gold[peakAt], peakAt, goldAtEnd, gap: gold[peakAt] - goldAtEnd };
}
