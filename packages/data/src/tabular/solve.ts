/**
 * What is known in closed form of a finite process: optimal values, values and occupancies of a policy, and the soft optimum.
 *
 * At gamma 1 a value is a sum without end: it is defined where every policy ends (`everyPolicyEnds`), or, for the optimum, where no reward is negative.
 */
import { checkMdp, expectedReward, type TabularMdp, type TabularPolicy } from './mdp.js';

/** V is [S], Q and policy are [S·A]. */
export type Optimum = { V: Float64Array; Q: Float64Array; policy: TabularPolicy; sweeps: number };

/**
 * Bellman's optimality equation by repeated application from 0 on (Bellman 1957). The policy takes the best action, ties to the lowest index.
 *
 * @param tolerance the largest change of a value in the last sweep
 * @throws RangeError at gamma 1 where a policy need not end and a reward is negative, or where 1,000,000 sweeps do not suffice
 */
export function valueIteration(mdp: TabularMdp, tolerance = 1e-12): Optimum {
  checkMdp(mdp);
  const { states: S, actions: A, gamma } = mdp;
  const r = expectedReward(mdp);
  if (gamma === 1 && r.some((x) => x < 0) && !everyPolicyEnds(mdp))
    throw new RangeError('valueIteration: at gamma 1 a policy that never ends may lose without end; use gamma < 1');
  const V = new Float64Array(S);
  const Q = new Float64Array(S * A);
  for (let sweeps = 1; sweeps <= 1e6; sweeps++) {
    let change = 0;
    actionValues(mdp, r, V, Q);
    for (let s = 0; s < S; s++) {
      let best = -Infinity;
      for (let a = 0; a < A; a++) best = Math.max(best, Q[s * A + a]);
      change = Math.max(change, Math.abs(best - V[s]));
      V[s] = best;
    }
    if (change <= tolerance) return { V, Q, policy: greedy(mdp, Q), sweeps };
  }
  throw new RangeError('valueIteration: no convergence in 1,000,000 sweeps');
}

/** The policy that takes the action of the largest Q, ties to the lowest index; `slack` is how much less still counts as a tie. */
export function greedy({ states: S, actions: A }: TabularMdp, Q: Float64Array, slack = 1e-10): TabularPolicy {
  const policy = new Float64Array(S * A);
  for (let s = 0; s < S; s++) {
    const row = Q.subarray(s * A, (s + 1) * A);
    const best = Math.max(...row);
    policy[s * A + row.findIndex((q) => q >= best - slack)] = 1;
  }
  return policy;
}

export type Evaluation = {
  V: Float64Array;
  Q: Float64Array;
  /** [S·A]: `(1 - gamma) E sum gamma^t 1[s_t = s, a_t = a]`, which adds up to 1; at gamma 1 the expected number of visits before the end, 0 in terminal states. */
  occupancy: Float64Array;
  /** Expected discounted return from the initial states. */
  return: number;
};

/**
 * Values and occupancy of a policy, by solving the linear equations directly.
 *
 * @throws RangeError at gamma 1 where the policy need not end, or where a row of the policy does not add up to 1
 */
export function policyEvaluation(mdp: TabularMdp, policy: TabularPolicy): Evaluation {
  checkMdp(mdp);
  const { states: S, actions: A, gamma, initial } = mdp;
  const P = stateTransition(mdp, policy);
  const r = expectedReward(mdp);
  const rewards = new Float64Array(S);
  for (let s = 0; s < S; s++) for (let a = 0; a < A; a++) rewards[s] += policy[s * A + a] * r[s * A + a];
  const skip = (s: number) => gamma === 1 && mdp.terminal[s] === 1; // pays nothing and is visited for ever
  const system = new Float64Array(S * S);
  for (let s = 0; s < S; s++)
    for (let next = 0; next < S; next++) system[s * S + next] = (s === next ? 1 : 0) - (skip(s) ? 0 : gamma * P[s * S + next]);
  const V = solveLinear(system, rewards, S);
  const transposed = new Float64Array(S * S);
  for (let s = 0; s < S; s++) for (let next = 0; next < S; next++) transposed[next * S + s] = system[s * S + next];
  const start = initial.map((p, s) => (skip(s) ? 0 : p * (gamma === 1 ? 1 : 1 - gamma)));
  const visits = solveLinear(transposed, start, S);
  const occupancy = new Float64Array(S * A);
  for (let s = 0; s < S; s++) for (let a = 0; a < A; a++) occupancy[s * A + a] = skip(s) ? 0 : visits[s] * policy[s * A + a];
  const Q = new Float64Array(S * A);
  actionValues(mdp, r, V, Q);
  return { V, Q, occupancy, return: V.reduce((sum, v, s) => sum + initial[s] * v, 0) };
}

/** Expected discounted return of a policy from the initial states. */
export const returnOf = (mdp: TabularMdp, policy: TabularPolicy): number => policyEvaluation(mdp, policy).return;

/** The policy that has an occupancy; uniform in states that it never visits. */
export function policyOfOccupancy({ states: S, actions: A }: TabularMdp, occupancy: Float64Array): TabularPolicy {
  const policy = new Float64Array(S * A);
  for (let s = 0; s < S; s++) {
    const visits = occupancy.subarray(s * A, (s + 1) * A).reduce((a, b) => a + b, 0);
    for (let a = 0; a < A; a++) policy[s * A + a] = visits > 0 ? occupancy[s * A + a] / visits : 1 / A;
  }
  return policy;
}

/**
 * The best policy by repeated exact evaluation and improvement (Howard 1960): for processes whose optimum is asked for again and again.
 * @param from where to begin; the uniform policy by default
 */
export function policyIteration(mdp: TabularMdp, from?: TabularPolicy): Evaluation & { policy: TabularPolicy; rounds: number } {
  const { states: S, actions: A } = mdp;
  let policy = from ?? new Float64Array(S * A).fill(1 / A);
  for (let rounds = 1; rounds <= 1000; rounds++) {
    const evaluation = policyEvaluation(mdp, policy);
    const { Q, V } = evaluation;
    const tolerance = 1e-11 * (Math.max(...V.map(Math.abs)) || 1);
    const better = policy.slice();
    let settled = true;
    for (let s = 0; s < S; s++) {
      const row = Q.subarray(s * A, (s + 1) * A);
      const best = Math.max(...row);
      // what is as good as the best stays, so that ties do not go round in circles
      if (best - V[s] <= tolerance) continue;
      settled = false;
      better.fill(0, s * A, (s + 1) * A);
      better[s * A + row.indexOf(best)] = 1;
    }
    if (settled) return { ...evaluation, policy: deterministic(policy, Q, A, tolerance), rounds };
    policy = better;
  }
  throw new RangeError('policyIteration: no convergence in 1,000 rounds');
}

/** A policy that mixes actions of one value, as one that takes the first of them. */
function deterministic(policy: TabularPolicy, Q: Float64Array, A: number, slack: number): TabularPolicy {
  const taken = new Float64Array(policy.length);
  for (let s = 0; s < policy.length / A; s++) {
    const used = Array.from({ length: A }, (_, a) => a).filter((a) => policy[s * A + a] > 0);
    const best = Math.max(...used.map((a) => Q[s * A + a]));
    taken[s * A + used.find((a) => Q[s * A + a] >= best - slack)!] = 1;
  }
  return taken;
}

/**
 * The optimum with an entropy bonus: `V = tau · log sum_a exp(Q / tau)`, π proportional to `exp(Q / tau)`. With a `prior`, the optimum under a KL penalty:
 * `V = tau · log sum_a prior(a | s) exp(Q / tau)`, π proportional to `prior · exp(Q / tau)`; at `tau` 0 in the limit the optimum itself.
 *
 * @throws RangeError if tau is not above 0, or at gamma 1 where a policy need not end
 */
export function softValueIteration(
  mdp: TabularMdp,
  tau: number,
  { prior, tolerance = 1e-12 }: { prior?: TabularPolicy; tolerance?: number } = {},
): Optimum {
  checkMdp(mdp);
  if (!(tau > 0)) throw new RangeError(`softValueIteration: tau must be > 0, got ${tau}`);
  const { states: S, actions: A, gamma, terminal } = mdp;
  if (gamma === 1 && !everyPolicyEnds(mdp)) throw new RangeError('softValueIteration: at gamma 1 every policy must end');
  const r = expectedReward(mdp);
  const V = new Float64Array(S);
  const Q = new Float64Array(S * A);
  const policy = new Float64Array(S * A);
  const weight = (at: number) => prior?.[at] ?? 1;
  for (let sweeps = 1; sweeps <= 1e6; sweeps++) {
    let change = 0;
    actionValues(mdp, r, V, Q);
    for (let s = 0; s < S; s++) {
      let top = -Infinity;
      for (let a = 0; a < A; a++) if (weight(s * A + a) > 0) top = Math.max(top, Q[s * A + a]);
      let total = 0;
      for (let a = 0; a < A; a++) {
        policy[s * A + a] = weight(s * A + a) === 0 ? 0 : weight(s * A + a) * Math.exp((Q[s * A + a] - top) / tau);
        total += policy[s * A + a];
      }
      for (let a = 0; a < A; a++) policy[s * A + a] /= total;
      const value = terminal[s] ? 0 : top + tau * Math.log(total); // no bonus where nothing is decided any more
      change = Math.max(change, Math.abs(value - V[s]));
      V[s] = value;
    }
    if (change <= tolerance) return { V, Q, policy, sweeps };
  }
  throw new RangeError('softValueIteration: no convergence in 1,000,000 sweeps');
}

/** Whether an episode ends with probability 1 whatever is done: no set of states can be kept to for ever. */
export function everyPolicyEnds({ states: S, actions: A, transition, terminal }: TabularMdp): boolean {
  const kept = Uint8Array.from(terminal, (t) => (t ? 0 : 1));
  for (let changed = true; changed; ) {
    changed = false;
    for (let s = 0; s < S; s++) {
      if (!kept[s]) continue;
      const canStay = Array.from({ length: A }, (_, a) => a).some((a) => {
        for (let next = 0; next < S; next++) if (transition[(s * A + a) * S + next] > 0 && !kept[next]) return false;
        return true;
      });
      if (!canStay) {
        kept[s] = 0;
        changed = true;
      }
    }
  }
  return !kept.includes(1);
}

/** `r + gamma · P V`, into `Q`. */
function actionValues({ states: S, actions: A, gamma, transition }: TabularMdp, r: Float64Array, V: Float64Array, Q: Float64Array): void {
  for (let at = 0; at < S * A; at++) {
    let next = 0;
    const row = at * S;
    for (let s = 0; s < S; s++) next += transition[row + s] * V[s];
    Q[at] = r[at] + gamma * next;
  }
}

/** P(s' | s) under a policy, [S·S]. */
function stateTransition({ states: S, actions: A, transition }: TabularMdp, policy: TabularPolicy): Float64Array {
  if (policy.length !== S * A) throw new RangeError(`tabular: the policy has ${policy.length} numbers; ${S * A} were expected`);
  const P = new Float64Array(S * S);
  for (let s = 0; s < S; s++) {
    let sum = 0;
    for (let a = 0; a < A; a++) {
      const p = policy[s * A + a];
      sum += p;
      if (p === 0) continue;
      for (let next = 0; next < S; next++) P[s * S + next] += p * transition[(s * A + a) * S + next];
    }
    if (!(Math.abs(sum - 1) < 1e-9)) throw new RangeError(`tabular: the policy's probabilities in state ${s} add up to ${sum}`);
  }
  return P;
}

/**
 * Solves `matrix · x = right` by Gaussian elimination with row exchange; both stay as they are.
 * @throws RangeError where the matrix is singular
 */
export function solveLinear(matrix: Float64Array, right: ArrayLike<number>, n: number): Float64Array {
  const m = matrix.slice();
  const x = Float64Array.from(right);
  const row = Int32Array.from({ length: n }, (_, i) => i);
  for (let k = 0; k < n; k++) {
    let pivot = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(m[row[i] * n + k]) > Math.abs(m[row[pivot] * n + k])) pivot = i;
    [row[k], row[pivot]] = [row[pivot], row[k]];
    const at = row[k] * n;
    if (!(Math.abs(m[at + k]) > 1e-13))
      throw new RangeError('tabular: the equations have no single solution; at gamma 1 the policy must end');
    for (let i = k + 1; i < n; i++) {
      const other = row[i] * n;
      const factor = m[other + k] / m[at + k];
      if (factor === 0) continue;
      for (let j = k; j < n; j++) m[other + j] -= factor * m[at + j];
      x[row[i]] -= factor * x[row[k]];
    }
  }
  const out = new Float64Array(n);
  for (let k = n - 1; k >= 0; k--) {
    let sum = x[row[k]];
    for (let j = k + 1; j < n; j++) sum -= m[row[k] * n + j] * out[j];
    out[k] = sum / m[row[k] * n + k];
  }
  return out;
}
