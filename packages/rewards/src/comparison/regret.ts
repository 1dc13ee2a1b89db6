/** What it costs to optimise one reward where another counts, by solving the process. Arrays are as in `TabularMdp`. */
import { deterministicPolicy, policyIteration, returnOf, type TabularMdp, withReward } from '@plumbline/data/tabular';

/** Largest number of deterministic policies that are tried one by one. */
const most = 4096;

/** Best and worst return that any policy has under a reward. */
export function returnRange(reward: Float64Array, mdp: TabularMdp): { best: number; worst: number } {
  const best = policyIteration(withReward(mdp, reward)).return;
  const worst = -policyIteration(
    withReward(
      mdp,
      reward.map((value) => -value),
    ),
  ).return;
  return { best, worst };
}

/**
 * Regret under `a` of the policy that is best for `b`, over the range of returns under `a`; 0 where all policies are alike.
 *
 * @returns in [0, 1]
 */
export function normalisedRegret(a: Float64Array, b: Float64Array, mdp: TabularMdp): number {
  const { best, worst } = returnRange(a, mdp);
  if (best - worst < 1e-12) return 0;
  const { policy } = policyIteration(withReward(mdp, b));
  return (best - returnOf(withReward(mdp, a), policy)) / (best - worst);
}

/** The mean of the two regrets. */
export const averageRegret = (a: Float64Array, b: Float64Array, mdp: TabularMdp): number =>
  (normalisedRegret(a, b, mdp) + normalisedRegret(b, a, mdp)) / 2;

/**
 * The most that can be lost under `a` by going from a policy to another that is no worse under `b`, over deterministic policies, in units of the range of returns under `a`.
 *
 * @throws RangeError where there are more than 4,096 deterministic policies
 */
export function worstCaseRegret(a: Float64Array, b: Float64Array, mdp: TabularMdp): number {
  const { states: S, actions: A } = mdp;
  const count = A ** S;
  if (count > most)
    throw new RangeError(`worstCaseRegret: ${A} actions in ${S} states make ${count} deterministic policies; at most ${most} are tried`);
  const { best, worst } = returnRange(a, mdp);
  if (best - worst < 1e-12) return 0;
  const returns = Array.from({ length: count }, (_, code) => {
    const taken = Int32Array.from({ length: S }, (__, s) => Math.floor(code / A ** s) % A);
    const policy = deterministicPolicy(A, taken);
    return { a: returnOf(withReward(mdp, a), policy), b: returnOf(withReward(mdp, b), policy) };
  }).sort((x, y) => x.b - y.b);
  // from any policy to one that b likes as much or better: policies alike under b may be exchanged either way
  let lost = 0;
  let high = -Infinity;
  for (let from = 0; from < count; ) {
    let to = from;
    while (to < count && returns[to].b - returns[from].b <= 1e-12) to++;
    const alike = returns.slice(from, to);
    high = Math.max(high, ...alike.map((one) => one.a));
    lost = Math.max(lost, high - Math.min(...alike.map((one) => one.a)));
    from = to;
  }
  return lost / (best - worst);
}
