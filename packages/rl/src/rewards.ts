/** What is added to a score before it becomes an advantage. Plain numbers. */
import type { RewardFunction } from '@plumbline/data';
import { type KlEstimator, klValue } from './kl.js';

/**
 * Rewards per token of one completion: `−klCoef·kl_t` on each, plus the score on the last. The form of PPO and RLOO: constants, no gradient.
 *
 * @param logps, refLogps of the completion's tokens, [tokens]
 * @returns points, [tokens]
 */
export function tokenRewards(
  score: number,
  logps: ArrayLike<number>,
  refLogps: ArrayLike<number>,
  { klCoef, estimator = 'k1' }: { klCoef: number; estimator?: KlEstimator },
): Float64Array {
  if (logps.length !== refLogps.length) throw new RangeError(`tokenRewards: ${logps.length} logps and ${refLogps.length} refLogps`);
  const rewards = Float64Array.from(logps, (logp, t) => -klCoef * klValue(logp, refLogps[t], estimator));
  if (rewards.length > 0) rewards[rewards.length - 1] += score;
  return rewards;
}

/** Subtracts `penalty` from the score of a completion that did not end by itself. */
export function missingEosPenalty(scores: ArrayLike<number>, finished: ArrayLike<number>, penalty: number): Float64Array {
  if (!(penalty >= 0)) throw new RangeError(`missingEosPenalty: penalty must be >= 0, got ${penalty}`);
  return Float64Array.from(scores, (score, i) => (finished[i] ? score : score - penalty));
}

/** Soft overlong punishment: 0 up to `maxTokens − cache` tokens, then linearly down to −1 at `maxTokens`. DAPO, arXiv:2503.14476, eq. 13. */
export function softOverlongPenalty(length: number, { maxTokens, cache }: { maxTokens: number; cache: number }): number {
  if (!(cache > 0 && cache <= maxTokens)) throw new RangeError(`softOverlongPenalty: cache must be in (0, maxTokens], got ${cache}`);
  return Math.max(-1, Math.min(0, (maxTokens - cache - length) / cache));
}

/** `(1 − distinct/all n-grams of the words)·maximum`, 0 where there are fewer than n words; `maximum` is −1 or so. TRL `get_repetition_penalty_reward`. */
export function repetitionPenalty(text: string, { n = 3, maximum = -1 } = {}): number {
  const words = text.split(/\s+/).filter((word) => word !== '');
  if (words.length < n) return 0;
  const grams = Array.from({ length: words.length - n + 1 }, (_, i) => words.slice(i, i + n).join(' '));
  return (1 - new Set(grams).size / grams.length) * maximum;
}

/**
 * Distinct n-grams / all n-grams of several completions together: how varied they are. Li et al. 2016, arXiv:1510.03055. 1 where nothing is said twice, NaN where none is as long as n.
 * @param completions ids, [completions][tokens]
 */
export function distinctNgrams(completions: readonly ArrayLike<number>[], n = 2): number {
  if (!(Number.isInteger(n) && n > 0)) throw new RangeError(`distinctNgrams: n must be a whole number above 0, got ${n}`);
  const seen = new Set<string>();
  let all = 0;
  for (const tokens of completions) {
    const ids = Array.from(tokens);
    for (let t = 0; t + n <= ids.length; t++, all++) seen.add(ids.slice(t, t + n).join(' '));
  }
  return seen.size / all;
}

/** Says nothing of any completion: for training that has no reward, such as distillation. */
export const noReward: RewardFunction = { name: 'none', score: async (batch) => ({ scores: new Float32Array(batch.length) }) };
