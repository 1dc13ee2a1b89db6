/** Advantages that subtract a baseline from the reward. Plain numbers, [samples]; NaN rewards were not given, and get 0. */
import type { Checkpointable, Saved } from '@plumbline/core';
import { groupRows, isScored, nanMean, nanStd } from './statistics.js';

/**
 * REINFORCE leave-one-out: `r_i −` the mean of the other samples of its prompt.
 *
 * Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740. It is G/(G−1) times the unscaled group advantage. `normalize` then
 * centres and divides by the deviation (+ 1e-4) over the batch, as TRL's RLOO does on request.
 *
 * @throws RangeError for a group of one
 */
export function rlooAdvantages(
  rewards: ArrayLike<number>,
  groups: ArrayLike<number>,
  { normalize = false, eps = 1e-4 } = {},
): Float64Array {
  const advantages = new Float64Array(rewards.length).fill(Number.NaN);
  for (const rows of groupRows('rlooAdvantages', rewards, groups)) {
    if (rows.length < 2) throw new RangeError(`rlooAdvantages: group ${groups[rows[0]]} has one sample; leaving it out leaves none`);
    const given = rows.filter((i) => isScored(rewards[i]));
    const sum = given.reduce((total, i) => total + rewards[i], 0);
    for (const i of given) advantages[i] = given.length < 2 ? 0 : rewards[i] - (sum - rewards[i]) / (given.length - 1);
  }
  if (normalize) {
    const [mean, deviation] = [nanMean(advantages), nanStd(advantages)];
    return advantages.map((a) => (isScored(a) ? (a - mean) / (deviation + eps) : 0));
  }
  return advantages.map((a) => (isScored(a) ? a : 0));
}

/**
 * ReMax: the reward of the sample minus the reward of the greedy completion of the same prompt, both shaped alike.
 *
 * Li et al. 2023, arXiv:2310.10505, algorithm 1: one greedy rollout a prompt, no value model.
 *
 * @param rewards       of the samples, [samples]
 * @param greedyRewards of the greedy completion of each group, [groups]
 * @param groups        index into `greedyRewards` of each sample
 */
export function remaxAdvantages(rewards: ArrayLike<number>, greedyRewards: ArrayLike<number>, groups: ArrayLike<number>): Float64Array {
  groupRows('remaxAdvantages', rewards, groups);
  return Float64Array.from(rewards, (reward, i) => {
    const baseline = greedyRewards[groups[i]];
    if (baseline === undefined)
      throw new RangeError(`remaxAdvantages: sample ${i} is of group ${groups[i]}, and there are ${greedyRewards.length} greedy rewards`);
    const advantage = reward - baseline;
    return isScored(advantage) ? advantage : 0;
  });
}

/** REINFORCE with no baseline, the batch's mean, or a value from outside (`emaBaseline`). Williams 1992. */
export function reinforceAdvantages(
  rewards: ArrayLike<number>,
  { baseline = 'none' }: { baseline?: 'none' | 'batchMean' | number } = {},
): Float64Array {
  const value = baseline === 'none' ? 0 : baseline === 'batchMean' ? nanMean(rewards) : baseline;
  return Float64Array.from(rewards, (reward) => (isScored(reward) ? reward - value : 0));
}

/**
 * Running mean of batch means: the first batch's mean, then `b ← decay·b + (1 − decay)·mean`. Used before it is updated, so that it is 0 for the first batch. Its state is in
 * the checkpoint.
 */
export function emaBaseline({ decay = 0.9 } = {}): Checkpointable & { readonly value: number; update(rewards: ArrayLike<number>): void } {
  if (!(decay >= 0 && decay < 1)) throw new RangeError(`emaBaseline: decay must be in [0, 1), got ${decay}`);
  let value: number | null = null;
  return {
    get value() {
      return value ?? 0;
    },
    update: (rewards) => {
      const mean = nanMean(rewards);
      if (isScored(mean)) value = value === null ? mean : decay * value + (1 - decay) * mean;
    },
    save: async () => ({ tensors: {}, json: { value } }),
    load: async (saved: Saved) => {
      const loaded = (saved.json as { value?: unknown } | null)?.value;
      if (typeof loaded !== 'number' && loaded !== null) throw new TypeError('emaBaseline: the checkpoint holds no value');
      value = loaded;
    },
  };
}

/** On-policy RL with optimal baseline: the baseline is the mean reward weighted by length, `Σ len·r / Σ len`. Hao et al. 2025, arXiv:2505.23585. */
export function opoAdvantages(rewards: ArrayLike<number>, groups: ArrayLike<number>, lengths: ArrayLike<number>): Float64Array {
  const advantages = new Float64Array(rewards.length);
  for (const rows of groupRows('opoAdvantages', rewards, groups)) {
    const given = rows.filter((i) => isScored(rewards[i]));
    const total = given.reduce((sum, i) => sum + lengths[i], 0);
    const baseline = given.reduce((sum, i) => sum + lengths[i] * rewards[i], 0) / total;
    for (const i of given) advantages[i] = rewards[i] - baseline;
  }
  return advantages;
}

/**
 * Pass@k: only the best sample of a group learns, by how much it beats the second best; of equal best ones the first, by 0.
 * verl `grpo_passk`; `scale` divides by the group's deviation + eps.
 */
export function passKAdvantages(rewards: ArrayLike<number>, groups: ArrayLike<number>, { scale = false, eps = 1e-6 } = {}): Float64Array {
  const advantages = new Float64Array(rewards.length);
  for (const rows of groupRows('passKAdvantages', rewards, groups)) {
    const given = rows.filter((i) => isScored(rewards[i])).sort((a, b) => rewards[b] - rewards[a]);
    if (given.length < 2) continue;
    const gap = rewards[given[0]] - rewards[given[1]];
    advantages[given[0]] = scale ? gap / (nanStd(given.map((i) => rewards[i])) + eps) : gap;
  }
  return advantages;
}

/**
 * Group policy gradient: `(r − mean)·α / fNorm`, α = samples of the batch / samples whose advantage is not 0, or `alpha`. Chu et al. 2025, arXiv:2504.02546. (verl counts the samples whose
 * reward is not 0.)
 */
export function gpgAdvantages(
  rewards: ArrayLike<number>,
  groups: ArrayLike<number>,
  { fNorm = 1, alpha }: { fNorm?: number; alpha?: number } = {},
): Float64Array {
  const advantages = new Float64Array(rewards.length);
  for (const rows of groupRows('gpgAdvantages', rewards, groups)) {
    const mean = nanMean(rows.map((i) => rewards[i]));
    for (const i of rows) advantages[i] = isScored(rewards[i]) ? rewards[i] - mean : 0;
  }
  const nonZero = advantages.filter((a) => a !== 0).length;
  const scale = alpha ?? (nonZero === 0 ? 0 : advantages.length / nonZero);
  return advantages.map((a) => (a * scale) / fNorm);
}

/**
 * Optimal token baseline: at position t over the group, `B_t = Σ_i G_i·W_it / Σ_i W_it`, where `W_it` sums `1 − 2π + Σ_v π_v²` over the first t
 * tokens; the advantage is `G − B`. verl `optimal_token_baseline`.
 *
 * @param returns      [samples] of one group
 * @param probabilities of the sampled tokens, [samples][tokens]
 * @param squaredSums  Σ_v π_v² there
 * @returns [samples][tokens]
 */
export function optimalTokenBaseline(
  returns: ArrayLike<number>,
  probabilities: readonly ArrayLike<number>[],
  squaredSums: readonly ArrayLike<number>[],
): Float64Array[] {
  const weights = probabilities.map((own, i) => {
    let total = 0;
    return Float64Array.from(own, (p, t) => {
      total += 1 - 2 * p + squaredSums[i][t];
      return total;
    });
  });
  return weights.map((own, i) =>
    Float64Array.from(own, (_, t) => {
      const alive = weights.map((w, j) => (t < w.length ? j : -1)).filter((j) => j >= 0);
      const total = alive.reduce((sum, j) => sum + weights[j][t], 0);
      return returns[i] - (total === 0 ? 0 : alive.reduce((sum, j) => sum + returns[j] * weights[j][t], 0) / total);
    }),
  );
}
