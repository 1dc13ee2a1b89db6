/** Advantages of episodes of several turns, and of samples judged within their group. Plain numbers. */
import { nanMean, nanStd } from './statistics.js';
import { discountedReturns } from './temporal.js';

/** A turn's reward on its last token: `stepEnds[k]` is the index of turn k's last token. @throws RangeError where the lists differ, or an end is outside */
export function stepRewardsToTokens(stepRewards: ArrayLike<number>, stepEnds: ArrayLike<number>, tokens: number): Float64Array {
  if (stepRewards.length !== stepEnds.length)
    throw new RangeError(`stepRewardsToTokens: ${stepRewards.length} rewards and ${stepEnds.length} ends`);
  const rewards = new Float64Array(tokens);
  for (let k = 0; k < stepEnds.length; k++) {
    if (!(stepEnds[k] >= 0 && stepEnds[k] < tokens))
      throw new RangeError(`stepRewardsToTokens: turn ${k} ends at token ${stepEnds[k]} of ${tokens}`);
    rewards[stepEnds[k]] += stepRewards[k];
  }
  return rewards;
}

/**
 * Reward to go of every turn, `G_k = Σ_{j≥k} γ^{j−k} r_j`, normalized over all turns of the group (deviation with n − 1, + eps).
 * @param turnRewards [samples][turns] of one group
 */
export function rewardToGo(turnRewards: readonly ArrayLike<number>[], { gamma = 1, normalize = true, eps = 1e-4 } = {}): Float64Array[] {
  const returns = turnRewards.map((own) => discountedReturns(own, gamma));
  if (!normalize) return returns;
  const all = returns.flatMap((own) => Array.from(own));
  const [mean, deviation] = [nanMean(all), nanStd(all)];
  return returns.map((own) => own.map((g) => (g === mean ? 0 : (g - mean) / (deviation + eps))));
}

/**
 * Group-in-group advantages: `A_episode + ω·A_step`; A_step compares turns of the group that start from the same anchor state.
 * Feng et al. 2025 (GiGPO), arXiv:2505.10978. An anchor seen once gives 0.
 *
 * @param episodeReturns [samples] of one group
 * @param turnReturns    discounted returns of every turn, [samples][turns]
 * @param anchors        a name of the state that each turn starts from
 */
export function gigpoAdvantages(
  episodeReturns: ArrayLike<number>,
  turnReturns: readonly ArrayLike<number>[],
  anchors: readonly (readonly string[])[],
  { omega = 1, scale = true }: { omega?: number; scale?: boolean } = {},
): Float64Array[] {
  const normalized = (values: ArrayLike<number>) => {
    const [mean, deviation] = [nanMean(values), nanStd(values)];
    return Float64Array.from(values, (x) => (values.length < 2 || deviation === 0 ? 0 : (x - mean) / (scale ? deviation : 1)));
  };
  const episodes = normalized(episodeReturns);
  const states = new Map<string, [sample: number, turn: number][]>();
  anchors.forEach((own, i) => {
    own.forEach((name, k) => {
      states.set(name, [...(states.get(name) ?? []), [i, k]]);
    });
  });
  const advantages = turnReturns.map((own, i) => new Float64Array(own.length).fill(episodes[i]));
  for (const turns of states.values()) {
    const steps = normalized(turns.map(([i, k]) => turnReturns[i][k]));
    turns.forEach(([i, k], j) => {
      advantages[i][k] += omega * steps[j];
    });
  }
  return advantages;
}

/**
 * Bootstrapped relative policy optimization (Writing-Zero, arXiv:2506.00103): every sample of a group is judged against one random member, which gets
 * 0; the verdict, ±1, is the advantage itself, without mean and deviation.
 *
 * @param verdicts +1 or −1 against the reference member, 0 at the reference, [samples] of one group
 * @returns undefined where the group is too lopsided: `|Σ verdicts| / G > tau`
 */
export function brpoAdvantages(verdicts: ArrayLike<number>, { tau = 0.6 } = {}): Float64Array | undefined {
  const sum = Array.from(verdicts).reduce((a, b) => a + b, 0);
  return Math.abs(sum) / verdicts.length > tau ? undefined : Float64Array.from(verdicts);
}
