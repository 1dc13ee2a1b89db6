/** Advantages from rewards per token: generalized advantage estimation, V-trace, discounted returns, whitening. One trajectory a call. */

const unit = (who: string, name: string, value: number) => {
  if (!(value >= 0 && value <= 1)) throw new RangeError(`${who}: ${name} must be in [0, 1], got ${value}`);
};
const sameLength = (who: string, lengths: Record<string, number | undefined>) => {
  const given = Object.entries(lengths).filter((entry): entry is [string, number] => entry[1] !== undefined);
  for (const [name, length] of given)
    if (length !== given[0][1]) throw new RangeError(`${who}: ${given[0][0]} has ${given[0][1]} entries and ${name} ${length}`);
};

/**
 * Generalized advantage estimation: `δ_t = r_t + γ·V_{t+1} − V_t`, `A_t = δ_t + γλ·A_{t+1}`; returns are `A + V`.
 *
 * Schulman et al. 2015, arXiv:1506.02438, eq. 16. Tokens with mask 0 (of an environment) are skipped: value and advantage pass over them
 * unchanged, so that their own values never matter.
 *
 * @param rewards, values [tokens]
 * @param lastValue value after the last token: 0 where the episode ended, the estimate where it was cut
 * @returns advantages and returns, [tokens], 0 where masked
 * @throws RangeError for gamma or lambda outside [0, 1] or different lengths
 */
export function gae(
  rewards: ArrayLike<number>,
  values: ArrayLike<number>,
  { gamma = 1, lambda = 0.95, mask, lastValue = 0 }: { gamma?: number; lambda?: number; mask?: ArrayLike<number>; lastValue?: number } = {},
): { advantages: Float64Array; returns: Float64Array } {
  unit('gae', 'gamma', gamma);
  unit('gae', 'lambda', lambda);
  sameLength('gae', { rewards: rewards.length, values: values.length, mask: mask?.length });
  const advantages = new Float64Array(rewards.length);
  const returns = new Float64Array(rewards.length);
  let next = { value: lastValue, advantage: 0 };
  for (let t = rewards.length - 1; t >= 0; t--) {
    if (mask && !mask[t]) continue;
    const delta = rewards[t] + gamma * next.value - values[t];
    next = { value: values[t], advantage: delta + gamma * lambda * next.advantage };
    advantages[t] = next.advantage;
    returns[t] = next.advantage + values[t];
  }
  return { advantages, returns };
}

/**
 * V-trace: `δ_t = min(ρ̄, w_t)(r_t + γV_{t+1} − V_t)`, `v_t = V_t + δ_t + γ·min(c̄, w_t)(v_{t+1} − V_{t+1})`,
 * `A_t = min(ρ̄, w_t)(r_t + γ·v_{t+1} − V_t)`. Espeholt et al. 2018 (IMPALA), arXiv:1802.01561, eq. 1.
 *
 * @param weights importance ratios π/μ of the sampled actions, [steps]
 * @returns targets v and advantages, [steps]
 */
export function vtrace(
  rewards: ArrayLike<number>,
  values: ArrayLike<number>,
  weights: ArrayLike<number>,
  { gamma = 0.99, rhoBar = 1, cBar = 1, lastValue = 0 } = {},
): { targets: Float64Array; advantages: Float64Array } {
  unit('vtrace', 'gamma', gamma);
  sameLength('vtrace', { rewards: rewards.length, values: values.length, weights: weights.length });
  const targets = new Float64Array(rewards.length);
  const advantages = new Float64Array(rewards.length);
  let [nextTarget, nextValue] = [lastValue, lastValue];
  for (let t = rewards.length - 1; t >= 0; t--) {
    const rho = Math.min(rhoBar, weights[t]);
    advantages[t] = rho * (rewards[t] + gamma * nextTarget - values[t]);
    const delta = rho * (rewards[t] + gamma * nextValue - values[t]);
    targets[t] = values[t] + delta + gamma * Math.min(cBar, weights[t]) * (nextTarget - nextValue);
    [nextTarget, nextValue] = [targets[t], values[t]];
  }
  return { targets, advantages };
}

/** `G_t = Σ_{s≥t} γ^{s−t} r_s`, [tokens]. */
export function discountedReturns(rewards: ArrayLike<number>, gamma = 1): Float64Array {
  unit('discountedReturns', 'gamma', gamma);
  const returns = new Float64Array(rewards.length);
  let next = 0;
  for (let t = rewards.length - 1; t >= 0; t--) returns[t] = next = rewards[t] + gamma * next;
  return returns;
}

/**
 * `(x − mean) / sqrt(var + 1e-8)` over the entries with mask 1, variance with n − 1; `shift: false` adds the mean back. Masked entries are 0.
 * @throws RangeError where fewer than two entries count
 */
export function whiten(x: ArrayLike<number>, mask?: ArrayLike<number>, { shift = true } = {}): Float64Array {
  sameLength('whiten', { x: x.length, mask: mask?.length });
  const kept = Array.from(x, (_, i) => i).filter((i) => !mask || mask[i]);
  if (kept.length < 2) throw new RangeError(`whiten: a variance needs at least 2 entries, and ${kept.length} count`);
  const mean = kept.reduce((sum, i) => sum + x[i], 0) / kept.length;
  const variance = kept.reduce((sum, i) => sum + (x[i] - mean) ** 2, 0) / (kept.length - 1);
  const whitened = new Float64Array(x.length);
  for (const i of kept) whitened[i] = (x[i] - mean) / Math.sqrt(variance + 1e-8) + (shift ? 0 : mean);
  return whitened;
}

/**
 * REINFORCE++: discounted returns of KL-penalized token rewards, whitened over all tokens of the batch.
 * Hu 2025, arXiv:2501.03262. For its baseline form subtract the group's mean from the scores first.
 *
 * @param tokenRewards [samples][tokens]
 * @returns [samples][tokens]
 */
export function reinforcePlusPlus(tokenRewards: readonly ArrayLike<number>[], { gamma = 1 } = {}): Float64Array[] {
  const returns = tokenRewards.map((own) => discountedReturns(own, gamma));
  const flat = whiten(returns.flatMap((own) => Array.from(own)));
  let at = 0;
  return returns.map((own) => {
    at += own.length;
    return flat.slice(at - own.length, at);
  });
}
