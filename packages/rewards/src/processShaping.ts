/** What a process reward model says of steps, made into rewards that a policy cannot gather by writing more of them. Plain numbers. */
import { quantile } from '@plumbline/data/statistics';

/** `raw`: the scores. `clip`: what a step lacks to `eta`, never more than 0. `delta`: what the next step loses, so that all of them add up to the first. `clip-delta`: the second of the first. */
export type ProcessRefinement = 'raw' | 'clip' | 'delta' | 'clip-delta';

/**
 * Rewards of steps from their scores r_1 ... r_K: `clip` is `min(r_t − eta, 0)`; `delta` is `r_t − r_{t+1}` for t < K − 1, `r_{K−1}` for the last but one and 0 for the last, which the reward for success
 * covers, so that the return from step t is r_t and from the first r_1 however many steps there are. Gao et al. 2024, arXiv:2410.15115; how the last two steps are treated was not checked against the
 * paper.
 *
 * @param eta threshold of `clip` and `clip-delta`, such as `etaFromQuantile` gives
 * @returns [steps]
 * @throws RangeError for no steps, a score that is not finite with its step, or clipping without a finite eta
 */
export function refineProcess(scores: ArrayLike<number>, how: ProcessRefinement, { eta }: { eta?: number } = {}): Float64Array {
  const bad = Array.from(scores).findIndex((score) => !Number.isFinite(score));
  if (bad >= 0 || scores.length === 0)
    throw new RangeError(bad >= 0 ? `refineProcess: the score of step ${bad} is ${scores[bad]}` : 'refineProcess: there are no steps');
  switch (how) {
    case 'raw':
      return Float64Array.from(scores);
    case 'delta': {
      const last = scores.length - 1;
      return Float64Array.from(scores, (score, t) => (t === last ? 0 : t === last - 1 ? score : score - scores[t + 1]));
    }
    case 'clip':
    case 'clip-delta': {
      if (eta === undefined || !Number.isFinite(eta)) throw new RangeError(`refineProcess: ${how} needs a finite eta, got ${eta}`);
      const clipped = Float64Array.from(scores, (score) => Math.min(score - eta, 0));
      return how === 'clip' ? clipped : refineProcess(clipped, 'delta');
    }
    default:
      throw new RangeError(`refineProcess: there is no "${how satisfies never}"; there are raw, clip, delta, clip-delta`);
  }
}

/** The threshold below which a share `q` (0.3 unless given) of all steps' scores lies, [solutions][steps]: most steps then get 0. Same paper. */
export function etaFromQuantile(scores: readonly ArrayLike<number>[], q = 0.3): number {
  const all = scores.flatMap((own) => Array.from(own));
  if (all.length === 0) throw new RangeError('etaFromQuantile: there are no scores');
  return quantile(all, q);
}

/** The rewards of a solution's steps: `alpha` times the refined process rewards, and on the last step what its success is worth. Same paper. `stepRewardsToTokens` of rl places them on tokens. */
export function combineStepRewards(process: ArrayLike<number>, success: number, { alpha = 1 } = {}): Float64Array {
  if (process.length === 0) throw new RangeError('combineStepRewards: there are no steps');
  if (!Number.isFinite(success) || !Number.isFinite(alpha))
    throw new RangeError(`combineStepRewards: success is ${success} and alpha ${alpha}`);
  return Float64Array.from(process, (reward, t) => alpha * reward + (t === process.length - 1 ? success : 0));
}
