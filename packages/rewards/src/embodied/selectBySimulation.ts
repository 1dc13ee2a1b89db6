/** Choosing a plan by what a model of the world says would come of it. */
import type { Rng } from '@plumbline/core/light';
import { bestOfN } from '../select.js';

/**
 * Predicts each plan's future, scores the futures and chooses the best: a plan is judged by its consequences, not by itself. Of equal scores the first plan.
 *
 * Yang et al. 2025 (ReSim), arXiv:2506.09981: the future is a video from a world model, the score a reward read from it. Any best-of-n over imagined futures is one of these.
 *
 * @param plans   candidates
 * @param predict what would come of a plan; its random numbers come from `rng` alone
 * @param score   the reward of all futures, [plans], finite
 * @param noise   `shared` (the default) gives every prediction the same stream, so that plans differ by themselves alone; `independent` one of its own
 * @param dispose frees a future once it was scored
 * @returns the chosen plan's index, the scores [plans], and whether another plan scored the same
 * @throws RangeError for no plans, another number of scores, or a score that is not finite, with its plan
 */
export async function selectBySimulation<P, F>(
  {
    plans,
    predict,
    score,
    dispose,
  }: {
    plans: readonly P[];
    predict: (plan: P, rng: Rng) => F | Promise<F>;
    score: (futures: readonly F[]) => ArrayLike<number> | Promise<ArrayLike<number>>;
    dispose?: (future: F) => void;
  },
  { rng, noise = 'shared' }: { rng: Rng; noise?: 'shared' | 'independent' },
): Promise<{ index: number; plan: P; scores: number[]; tie: boolean }> {
  if (plans.length === 0) throw new RangeError('selectBySimulation: there are no plans');
  const futures: F[] = [];
  try {
    for (const [i, plan] of plans.entries())
      futures.push(await predict(plan, noise === 'shared' ? rng.fork('future') : rng.fork('future', i)));
    const scores = Array.from(await score(futures));
    if (scores.length !== plans.length) throw new RangeError(`selectBySimulation: ${plans.length} plans and ${scores.length} scores`);
    const bad = scores.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) throw new RangeError(`selectBySimulation: the score of plan ${bad} is ${scores[bad]}`);
    const { index, item } = bestOfN(plans, scores);
    return { index, plan: item, scores, tie: scores.filter((value) => value === scores[index]).length > 1 };
  } finally {
    if (dispose) for (const future of futures) dispose(future);
  }
}

/** What a choice was worth beside the best that there was: `regret` is the best value less the chosen one. */
export function selectionRegret(values: ArrayLike<number>, chosen: number): { chosen: number; mean: number; best: number; regret: number } {
  const all = Array.from(values);
  if (!(chosen >= 0 && chosen < all.length))
    throw new RangeError(`selectionRegret: there are ${all.length} values, and ${chosen} is chosen`);
  const best = Math.max(...all);
  return { chosen: all[chosen], mean: all.reduce((a, b) => a + b, 0) / all.length, best, regret: best - all[chosen] };
}
