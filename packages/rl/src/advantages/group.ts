import { groupRows, nanMean, nanStd } from './statistics.js';

export type GroupAdvantageOptions = {
  /** What the centred reward is divided by: its group's deviation, that of all rewards, or nothing. */
  scale?: 'group' | 'batch' | 'none';
  /** Subtracted from the count in the deviation: 1 as in TRL and verl, 0 for the population's. */
  ddof?: 0 | 1;
  /** Added to the deviation: 1e-4 in TRL, 1e-6 in verl, 1e-8 in others. */
  eps?: number;
  /** A group of one gets advantage 0 (verl: its reward) instead of an error. */
  allowSingletons?: boolean;
};

/**
 * Group-relative advantages: `(r − mean of the group) / (deviation + eps)`.
 *
 * Shao et al. 2024 (DeepSeekMath, GRPO), arXiv:2402.03300, eq. 3; `scale: 'none'` is Dr. GRPO (Liu et al. 2025, arXiv:2503.20783), `'batch'`
 * divides by the deviation of ALL rewards while the mean stays the group's. A reward of NaN was not given: it leaves mean and deviation, and its
 * sample gets 0. Equal rewards give 0, never NaN.
 *
 * @param rewards points, [samples]
 * @param groups  which prompt each sample belongs to, [samples]
 * @returns advantages, [samples]
 * @throws RangeError for a group of one, unless allowed
 */
export function groupAdvantages(
  rewards: ArrayLike<number>,
  groups: ArrayLike<number>,
  { scale = 'group', ddof = 1, eps = 1e-4, allowSingletons = false }: GroupAdvantageOptions = {},
): Float64Array {
  if (!(eps >= 0)) throw new RangeError(`groupAdvantages: eps must be >= 0, got ${eps}`);
  const advantages = new Float64Array(rewards.length);
  const all = scale === 'batch' ? nanStd(rewards, ddof) : 0;
  for (const rows of groupRows('groupAdvantages', rewards, groups)) {
    if (rows.length < 2 && !allowSingletons)
      throw new RangeError(`groupAdvantages: group ${groups[rows[0]]} has one sample; a mean over the group needs at least 2`);
    const own = rows.map((i) => rewards[i]);
    const mean = nanMean(own);
    const deviation = scale === 'group' ? nanStd(own, ddof) : all;
    for (const i of rows) {
      const centred = rewards[i] - mean;
      if (Number.isNaN(centred) || centred === 0) continue;
      advantages[i] = scale === 'none' ? centred : centred / (deviation + eps);
    }
  }
  return advantages;
}

/** Share of groups whose given rewards are all equal: from these nothing is learned. */
export function groupsWithoutDeviation(rewards: ArrayLike<number>, groups: ArrayLike<number>): number {
  const rows = groupRows('groupsWithoutDeviation', rewards, groups);
  return rows.filter((own) => nanStd(own.map((i) => rewards[i])) === 0).length / rows.length;
}

/**
 * Several rewards, each normalized in its group before they are added with weights; the sum is normalized over the batch.
 *
 * GDPO, TRL `multi_objective_aggregation: normalize_then_sum`. A sample on which a reward abstains (NaN) gets nothing from that reward; one on
 * which all abstain gets 0 and leaves the batch's mean and deviation.
 *
 * @param rewards [functions][samples]
 * @param weights [functions]
 */
export function gdpoAdvantages(
  rewards: readonly ArrayLike<number>[],
  groups: ArrayLike<number>,
  weights: ArrayLike<number>,
  { ddof = 1, eps = 1e-4 }: { ddof?: 0 | 1; eps?: number } = {},
): Float64Array {
  if (rewards.length !== weights.length) throw new RangeError(`gdpoAdvantages: ${rewards.length} rewards and ${weights.length} weights`);
  const samples = rewards[0].length;
  const parts = rewards.map((own) => groupAdvantages(own, groups, { ddof, eps }));
  const sums = Float64Array.from({ length: samples }, (_, i) =>
    rewards.every((own) => Number.isNaN(own[i])) ? Number.NaN : parts.reduce((sum, part, f) => sum + weights[f] * part[i], 0),
  );
  const [mean, deviation] = [nanMean(sums), nanStd(sums, ddof)];
  return sums.map((sum) => (Number.isNaN(sum) || sum === mean ? 0 : (sum - mean) / (deviation + eps)));
}

/**
 * Weighted sum of several rewards, [samples]: a reward that abstains on a sample (NaN) is left out of its sum; where all abstain it is NaN.
 * @param rewards [functions][samples]
 */
export function weightedRewards(rewards: readonly ArrayLike<number>[], weights: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: rewards[0].length }, (_, i) => {
    const given = rewards.map((own, f) => weights[f] * own[i]).filter((x) => !Number.isNaN(x));
    return given.length === 0 ? Number.NaN : given.reduce((a, b) => a + b, 0);
  });
}
