/** How far a judge agrees with people, and where it leans. */
import { rng as rngOf } from '@plumbline/core/light';
import {
  type Completion,
  type Context,
  type PairwiseJudge,
  type Prompt,
  type RewardFunction,
  type Rubric,
  textOf,
} from '@plumbline/data/light';
import { auroc, calibration, cohenKappaInterval, type Estimate, spearman, wilsonInterval } from '@plumbline/data/statistics';

/** Which answer people preferred. */
export type PairLabel = { prompt: Prompt; a: Completion; b: Completion; label: 'a' | 'b' | 'tie'; rubric?: Rubric };
/** Whether people accepted an answer. */
export type PointLabel = { prompt: Prompt; completion: Completion; label: boolean; meta?: Record<string, unknown> };
export type Share = { value: number; low: number; high: number; n: number };

type Common = {
  /** Labels, those the judge could not be had for, and those that were compared. */
  labels: number;
  unparsed: number;
  compared: number;
  /** Cohen's kappa between judge and people: 0 is chance, 1 agreement. */
  kappa: { value: number; low: number; high: number };
  accuracy: Share;
  /** What a reader should know before believing the numbers. */
  warnings: string[];
};
export type PairCalibration = Common & {
  /**
   * Where people preferred the first of the two as shown, how often the judge did; and the same for the second. Half of the pairs, drawn by seed, are shown swapped, so that both exist whatever the
   * order of the file. Ties of the judge count against it; pairs that people call ties leave both.
   */
  truePositiveRate: Share;
  trueNegativeRate: Share;
  ties: { people: number; judge: number };
  position: {
    /** Share of the pairs whose two orders name the same winner. */
    consistency: Share;
    /** Among the verdicts with a winner, over both orders, how often it stood first: 0.5 is no bias. */
    firstWins: Share;
  };
  length: {
    /** Among the pairs with a longer answer (by 1% or more) and a winner: how often the longer one won, by the judge and by people. */
    longerWins: { judge: Share; people: Share };
    /** Agreement where people preferred the longer answer, and where they preferred the shorter one. */
    accuracyWhenLonger: Share;
    accuracyWhenShorter: Share;
  };
};
export type PointCalibration = Common & {
  threshold: number;
  /** Of the answers that people accepted, how many the judge did; of those they refused, how many it refused. */
  truePositiveRate: Share;
  trueNegativeRate: Share;
  /** How often an accepted answer scores above a refused one. */
  auroc: number;
  /** Expected calibration error over 10 bins, where all scores are in [0, 1]. */
  ece?: number;
  length: {
    /** Spearman's correlation of score and length in characters, and of people's labels and length. */
    judge: number;
    people: number;
  };
};
export type CalibrateOptions = {
  ctx?: Context;
  /** Of intervals. */
  level?: number;
  /** A score at least this high accepts. */
  threshold?: number;
};

/**
 * Measures a judge against human labels: kappa with its interval, rates, and its leaning to position and length. A judge of pairs is asked in both orders; the judge's verdict is that of
 * the order shown (so give it `debiased` to measure that), and position bias is over both.
 *
 * @throws RangeError where there are fewer than two labels, people's labels are all of one class, or the judge answered none
 */
export function calibrateJudge(judge: PairwiseJudge, labels: readonly PairLabel[], options?: CalibrateOptions): Promise<PairCalibration>;
export function calibrateJudge(judge: RewardFunction, labels: readonly PointLabel[], options?: CalibrateOptions): Promise<PointCalibration>;
export async function calibrateJudge(
  judge: PairwiseJudge | RewardFunction,
  labels: readonly PairLabel[] | readonly PointLabel[],
  { ctx = { rng: rngOf(0) }, level = 0.95, threshold = 0.5 }: CalibrateOptions = {},
): Promise<PairCalibration | PointCalibration> {
  if (labels.length < 2)
    throw new RangeError(`calibrateJudge: ${labels.length} labels; at least 2 are needed, and 50 or more to say anything`);
  return 'compare' in judge
    ? calibratePairs(judge, labels as readonly PairLabel[], ctx, level)
    : calibratePoints(judge, labels as readonly PointLabel[], ctx, level, threshold);
}

async function calibratePairs(judge: PairwiseJudge, labels: readonly PairLabel[], ctx: Context, level: number): Promise<PairCalibration> {
  const decided = labels.filter(({ label }) => label !== 'tie').length;
  if (decided === 0) throw new RangeError('calibrateJudge: people call every pair a tie; there is nothing to agree on');
  const draws = ctx.rng.fork('shown').uniform(labels.length);
  const swapped = Array.from(draws, (u) => u < 0.5);
  const flip = { a: 'b', b: 'a', tie: 'tie' } as const;
  const shown = labels.map(({ prompt, a, b, rubric }, i) => (swapped[i] ? { prompt, a: b, b: a, rubric } : { prompt, a, b, rubric }));
  const people = labels.map(({ label }, i) => (swapped[i] ? flip[label] : label));
  const first = await judge.compare(shown, { ...ctx, rng: ctx.rng.fork('shown order') });
  const second = await judge.compare(
    shown.map((pair) => ({ ...pair, a: pair.b, b: pair.a })),
    { ...ctx, rng: ctx.rng.fork('other order') },
  );
  const parsed = labels.flatMap((_, i) => (first[i].parsed ? [i] : []));
  if (parsed.length === 0) throw new RangeError(`calibrateJudge: ${judge.name} answered none of ${labels.length} pairs`);
  const share = shareAt(level);
  const verdict = (i: number) => first[i].winner;
  const against = (side: 'a' | 'b') => {
    const rows = parsed.filter((i) => people[i] === side);
    return share(rows.filter((i) => verdict(i) === side).length, rows.length);
  };
  const both = parsed.filter((i) => second[i].parsed);
  const winners = both.flatMap((i) => [first[i].winner, second[i].winner]).filter((winner) => winner !== 'tie');
  const longer = shown.map(({ a, b }) => {
    const [x, y] = [textOf(a).length, textOf(b).length];
    return Math.abs(x - y) < 0.01 * Math.max(x, y) || x === y ? 'tie' : x > y ? 'a' : 'b';
  });
  const sized = parsed.filter((i) => longer[i] !== 'tie');
  const wins = (by: (i: number) => string) => {
    const rows = sized.filter((i) => by(i) !== 'tie');
    return share(rows.filter((i) => by(i) === longer[i]).length, rows.length);
  };
  const accuracyWhere = (rows: number[]) => share(rows.filter((i) => verdict(i) === people[i]).length, rows.length);
  const { kappa, low, high } = cohenKappaInterval(
    parsed.map(verdict),
    parsed.map((i) => people[i]),
    { level },
  );
  return {
    labels: labels.length,
    unparsed: labels.length - parsed.length,
    compared: parsed.length,
    kappa: { value: kappa, low, high },
    accuracy: accuracyWhere(parsed),
    truePositiveRate: against('a'),
    trueNegativeRate: against('b'),
    ties: { people: parsed.filter((i) => people[i] === 'tie').length, judge: parsed.filter((i) => verdict(i) === 'tie').length },
    position: {
      consistency: share(both.filter((i) => first[i].winner === flip[second[i].winner]).length, both.length),
      firstWins: share(winners.filter((winner) => winner === 'a').length, winners.length),
    },
    length: {
      longerWins: { judge: wins(verdict), people: wins((i) => people[i]) },
      accuracyWhenLonger: accuracyWhere(sized.filter((i) => people[i] === longer[i])),
      accuracyWhenShorter: accuracyWhere(sized.filter((i) => people[i] !== 'tie' && people[i] !== longer[i])),
    },
    warnings: warningsOf(labels.length, parsed.length),
  };
}

async function calibratePoints(
  judge: RewardFunction,
  labels: readonly PointLabel[],
  ctx: Context,
  level: number,
  threshold: number,
): Promise<PointCalibration> {
  const positives = labels.filter(({ label }) => label).length;
  if (positives === 0 || positives === labels.length)
    throw new RangeError(
      `calibrateJudge: people ${positives === 0 ? 'refuse' : 'accept'} all ${labels.length} answers; agreement needs both outcomes`,
    );
  const { scores, abstained } = await judge.score(
    labels.map(({ prompt, completion, meta }) => ({ prompt, completion, ...(meta && { meta }) })),
    ctx,
  );
  const kept = labels.flatMap((_, i) => (abstained?.[i] === 1 ? [] : [i]));
  const truth = kept.map((i) => (labels[i].label ? 1 : 0));
  if (new Set(truth).size < 2)
    throw new RangeError(
      `calibrateJudge: of the ${kept.length} answers that ${judge.name} judged, people accept ${truth.filter(Boolean).length}; agreement needs both outcomes`,
    );
  const values = kept.map((i) => scores[i]);
  const accepted = values.map((value) => (value >= threshold ? 1 : 0));
  const share = shareAt(level);
  const rate = (side: number) => {
    const rows = truth.flatMap((label, i) => (label === side ? [i] : []));
    return share(rows.filter((i) => accepted[i] === side).length, rows.length);
  };
  const lengths = kept.map((i) => textOf(labels[i].completion).length);
  const { kappa, low, high } = cohenKappaInterval(accepted, truth, { level });
  return {
    labels: labels.length,
    unparsed: labels.length - kept.length,
    compared: kept.length,
    threshold,
    kappa: { value: kappa, low, high },
    accuracy: share(truth.filter((label, i) => label === accepted[i]).length, truth.length),
    truePositiveRate: rate(1),
    trueNegativeRate: rate(0),
    auroc: auroc(truth, values),
    ...(values.every((value) => value >= 0 && value <= 1) && { ece: calibration(truth, values).ece }),
    length: { judge: spearman(values, lengths).value, people: spearman(truth, lengths).value },
    warnings: [
      ...warningsOf(labels.length, kept.length),
      ...(new Set(accepted).size < 2
        ? [`the judge ${accepted[0] ? 'accepts' : 'refuses'} every answer at the threshold of ${threshold}`]
        : []),
    ],
  };
}

/** Wilson's interval; NaN with [0, 1] where there is nothing to count. */
const shareAt =
  (level: number) =>
  (successes: number, trials: number): Share => {
    if (trials === 0) return { value: Number.NaN, low: 0, high: 1, n: 0 };
    const { mean, low, high }: Estimate = wilsonInterval(successes, trials, { level });
    return { value: mean, low, high, n: trials };
  };

function warningsOf(labels: number, compared: number): string[] {
  return [
    ...(compared < labels ? [`${labels - compared} of ${labels} could not be judged and are left out of every number`] : []),
    ...(compared < 50 ? [`only ${compared} labels were compared: the intervals are wide, and 50 or more say much more`] : []),
  ];
}
