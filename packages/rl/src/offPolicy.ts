/** What another policy would have earned, from recorded episodes; and sequences that are asked for a return. Plain numbers. */

/** An episode of the policy that acted: rewards of its steps, and `log π − log π_acted` of what was done. */
export type RecordedEpisode = { rewards: ArrayLike<number>; logRatios: ArrayLike<number> };

/**
 * Per-decision importance sampling: each reward counts by the ratios of the decisions up to it, `Σ_t γᵗ·r_t·Π_{s ≤ t} w_s`, averaged over episodes.
 *
 * Precup, Sutton and Singh 2000. Ordinary sampling is unbiased and may vary without bound. `weighted` divides each step by the sum of its weights over the episodes in place of their number
 * (an ended episode keeps its last weight and earns 0), which is biased, consistent, and within the range of the returns. `effective` is what the whole episodes' weights are worth.
 *
 * @throws RangeError for no episodes, lists of unlike lengths, or a number that is not finite
 */
export function perDecisionValue(
  episodes: readonly RecordedEpisode[],
  { gamma = 1, weighted = false }: { gamma?: number; weighted?: boolean } = {},
): { value: number; effective: number } {
  if (episodes.length === 0) throw new RangeError('perDecisionValue: there are no episodes');
  if (!(gamma >= 0 && gamma <= 1)) throw new RangeError(`perDecisionValue: gamma must be in [0, 1], got ${gamma}`);
  const logWeights = episodes.map(({ rewards, logRatios }, i) => {
    if (rewards.length !== logRatios.length)
      throw new RangeError(`perDecisionValue: episode ${i} has ${rewards.length} rewards and ${logRatios.length} log-ratios`);
    let total = 0;
    return Array.from(logRatios, (ratio, t) => {
      total += ratio;
      if (!Number.isFinite(rewards[t]) || Number.isNaN(total))
        throw new RangeError(`perDecisionValue: step ${t} of episode ${i} has the reward ${rewards[t]} and the log-ratio ${ratio}`);
      return total;
    });
  });
  const last = logWeights.map((own) => own.at(-1) ?? 0);
  let value = 0;
  for (let t = 0; t < Math.max(...logWeights.map(({ length }) => length)); t++) {
    const at = logWeights.map((own, i) => own[t] ?? last[i]);
    const largest = weighted ? Math.max(...at) : 0; // the weighted form is a ratio of sums
    const weights = at.map((w) => (largest === -Infinity ? 0 : Math.exp(w - largest)));
    const earned = episodes.reduce((sum, { rewards }, i) => sum + (t < rewards.length ? weights[i] * rewards[t] : 0), 0);
    const divisor = weighted ? weights.reduce((a, b) => a + b, 0) : episodes.length;
    value += divisor === 0 ? 0 : (gamma ** t * earned) / divisor;
  }
  const largest = Math.max(...last);
  return { value, effective: largest === -Infinity ? 0 : effectiveSampleSize(last.map((w) => Math.exp(w - largest))) };
}

/** `(Σw)² / Σw²`: how many samples importance weights are worth. */
export function effectiveSampleSize(weights: ArrayLike<number>): number {
  const sum = Array.from(weights).reduce((a, b) => a + b, 0);
  const squares = Array.from(weights).reduce((a, b) => a + b * b, 0);
  return squares === 0 ? 0 : (sum * sum) / squares;
}

/** What is still to come at each step, `Σ_{s ≥ t} r_s`: what a decision transformer is told. Chen et al. 2021, arXiv:2106.01345. */
export function returnsToGo(rewards: ArrayLike<number>): Float64Array {
  const out = new Float64Array(rewards.length);
  let total = 0;
  for (let t = rewards.length - 1; t >= 0; t--) {
    total += rewards[t];
    out[t] = total;
  }
  return out;
}

/** What it is told at test time: the return that is asked for, less what was earned so far, [steps + 1]. Same paper. */
export function targetReturns(target: number, rewards: ArrayLike<number>): Float64Array {
  const out = new Float64Array(rewards.length + 1);
  out[0] = target;
  for (let t = 0; t < rewards.length; t++) out[t + 1] = out[t] - rewards[t];
  return out;
}
