/** Score against KL: what a method reaches for what it costs. Gao et al. 2023, arXiv:2210.10760; Tang et al. 2024, arXiv:2405.08448. */
import { type Estimate, mean, tInterval } from './metrics/index.js';

/** One checkpoint: KL to the start in nats a sequence, and its score. */
export type FrontierPoint = { kl: number; score: number };

/**
 * The best score reached at no more than each KL: points in ascending order of KL, those left out that cost more than a better one. Checkpoints of several runs of one method, such as a
 * sweep of learning rates, give the method's frontier.
 *
 * @throws RangeError for fewer than two points, or one that is not finite
 */
export function frontier(points: readonly FrontierPoint[]): FrontierPoint[] {
  if (points.length < 2) throw new RangeError(`frontier: ${points.length} checkpoints; needs at least 2`);
  const bad = points.find(({ kl, score }) => !(Number.isFinite(kl) && Number.isFinite(score)));
  if (bad) throw new RangeError(`frontier: a checkpoint has KL ${bad.kl} and score ${bad.score}`);
  const ordered = [...points].sort((a, b) => a.kl - b.kl || b.score - a.score);
  let best = Number.NEGATIVE_INFINITY;
  return ordered.filter(({ score }) => {
    if (score <= best) return false;
    best = score;
    return true;
  });
}

/** The checkpoint with the highest score, the one of less KL among equals. */
export const peak = (points: readonly FrontierPoint[]): FrontierPoint => frontier(points).at(-1)!;

/**
 * How far the frontier of one method lies above another's: the mean vertical gap over the KL that both reached, at `klGrid` points evenly spaced in √KL. Between
 * checkpoints a frontier is a straight line, past its last it stays level.
 *
 * @param a, b checkpoints of each run, [runs][checkpoints]; run i of both belongs together, such as by seed
 * @returns the mean over runs with a t interval; none for one run
 * @throws RangeError where a pair of runs shares no KL, naming both ranges
 */
export function frontierGap(
  a: readonly (readonly FrontierPoint[])[],
  b: readonly (readonly FrontierPoint[])[],
  { klGrid = 64 }: { klGrid?: number } = {},
): Estimate & { perRun: number[] } {
  if (a.length !== b.length || a.length === 0)
    throw new RangeError(`frontierGap: ${a.length} and ${b.length} runs; needs as many of each, at least one`);
  const perRun = a.map((points, run) => gapOf(points, b[run], klGrid));
  return { ...tInterval(perRun), perRun };
}

function gapOf(a: readonly FrontierPoint[], b: readonly FrontierPoint[], klGrid: number): number {
  const range = (points: readonly FrontierPoint[]) =>
    [Math.min(...points.map(({ kl }) => kl)), Math.max(...points.map(({ kl }) => kl))] as const;
  const [ranges, best] = [
    [range(a), range(b)],
    [frontier(a), frontier(b)],
  ];
  const low = Math.max(0, ranges[0][0], ranges[1][0]);
  const high = Math.min(ranges[0][1], ranges[1][1]);
  if (!(high > low)) {
    const [one, other] = ranges.map(([from, to]) => `${from.toPrecision(3)} to ${to.toPrecision(3)}`);
    throw new RangeError(`frontierGap: the frontiers share no KL: ${one} nats, and ${other}`);
  }
  const kls = Array.from({ length: klGrid }, (_, i) => (Math.sqrt(low) + ((i + 0.5) / klGrid) * (Math.sqrt(high) - Math.sqrt(low))) ** 2);
  return mean(kls.map((kl) => scoreAt(best[0], kl) - scoreAt(best[1], kl)));
}

function scoreAt(points: readonly FrontierPoint[], kl: number): number {
  const after = points.findIndex((point) => point.kl >= kl);
  if (after < 0) return points.at(-1)!.score;
  if (after === 0) return points[0].score;
  const [from, to] = [points[after - 1], points[after]];
  return from.score + ((kl - from.kl) / (to.kl - from.kl)) * (to.score - from.score);
}
