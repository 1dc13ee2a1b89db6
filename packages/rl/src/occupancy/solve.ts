/**
 * The policy that gains most proxy reward at a price for leaving a base policy, exactly, in a finite process. The price is on the actions in each state or on the occupancy measure, by KL
 * or chi-squared divergence (Laidlaw et al. 2025, arXiv:2403.03185). With a chi-squared price the solutions for all weights are those of its square root too.
 */
import {
  expectedReward,
  type Optimum,
  policyEvaluation,
  policyOfOccupancy,
  softValueIteration,
  solveLinear,
  type TabularMdp,
  type TabularPolicy,
  withReward,
} from '@plumbline/data/tabular';

export type Regularisation = { over: 'action' | 'occupancy'; divergence: 'kl' | 'chi2' };

/** A policy with its occupancy measure, [S·A] both. */
export type Solution = { policy: TabularPolicy; occupancy: Float64Array };

/**
 * Maximises `Σ μ R − weight · D`, with `R` the mean reward per step under the occupancy μ: D is the divergence of the occupancies, or the mean over visited states of the divergence of
 * the actions. Where the base never acts the result does not either.
 *
 * @param weight above 0, in units of reward per step
 * @throws RangeError for a weight that is not above 0, gamma 1, or where the equations are not solved in 500 steps
 */
export const solveRegularised = (
  mdp: TabularMdp,
  reward: Float64Array,
  base: TabularPolicy,
  how: Regularisation,
  weight: number,
): Solution => regularisationPath(mdp, reward, base, how, [weight])[0];

/** The solutions for several weights, each found from the next larger one. @returns in the order of `weights` */
export function regularisationPath(
  mdp: TabularMdp,
  reward: Float64Array,
  base: TabularPolicy,
  { over, divergence }: Regularisation,
  weights: readonly number[],
): Solution[] {
  const bad = weights.find((weight) => !(weight > 0));
  if (bad !== undefined) throw new RangeError(`solveRegularised: weight must be > 0, got ${bad}`);
  if (mdp.gamma === 1) throw new RangeError('solveRegularised: needs gamma < 1');
  const process = withReward(mdp, reward);
  const solve =
    over === 'occupancy'
      ? occupancyOptimum(process, base, divergence)
      : (weight: number) => actionOptimum(process, base, divergence, weight).policy;
  const solutions = new Map<number, Solution>();
  for (const weight of [...weights].sort((x, y) => y - x)) {
    const policy = solve(weight);
    solutions.set(weight, { policy, occupancy: policyEvaluation(process, policy).occupancy });
  }
  return weights.map((weight) => solutions.get(weight)!);
}

function actionOptimum(mdp: TabularMdp, base: TabularPolicy, divergence: 'kl' | 'chi2', weight: number): Optimum {
  if (divergence === 'kl') return softValueIteration(mdp, weight, { prior: base });
  const { states: S, actions: A, gamma } = mdp;
  const r = expectedReward(mdp);
  const next = successors(mdp);
  const V = new Float64Array(S);
  const Q = new Float64Array(S * A);
  const policy = new Float64Array(S * A);
  for (let sweeps = 1; sweeps <= 1e5; sweeps++) {
    let change = 0;
    for (let at = 0; at < S * A; at++) Q[at] = r[at] + gamma * next.expected(at, V);
    for (let s = 0; s < S; s++) {
      const value = chiSquaredChoice(
        Q.subarray(s * A, (s + 1) * A),
        base.subarray(s * A, (s + 1) * A),
        weight,
        policy.subarray(s * A, (s + 1) * A),
      );
      change = Math.max(change, Math.abs(value - V[s]));
      V[s] = value;
    }
    if (change <= 1e-10) return { V, Q, policy, sweeps }; // rounding alone is a hundredth of this
  }
  throw new RangeError('solveRegularised: no convergence in 100,000 sweeps');
}

/**
 * The distribution that maximises `Σ p q − weight (Σ p² / base − 1)`: `p = base (1 + (q − m) / (2 weight))` where that is above 0, with m such that p adds up to 1. Written to `into`.
 * @returns the maximum
 */
export function chiSquaredChoice(q: Float64Array, base: ArrayLike<number>, weight: number, into: Float64Array): number {
  const order = Array.from(q, (_, i) => i).sort((i, j) => q[j] - q[i]);
  let [mass, sum] = [0, 0];
  let m = 0;
  for (const [k, i] of order.entries()) {
    mass += base[i];
    sum += base[i] * q[i];
    if (mass === 0) continue;
    // Σ base (1 + (q − m) / 2w) = 1 over the ones kept
    m = (sum - 2 * weight * (1 - mass)) / mass;
    const following = order[k + 1];
    if (following === undefined || 1 + (q[following] - m) / (2 * weight) <= 0) break;
  }
  let value = weight;
  for (let i = 0; i < q.length; i++) {
    into[i] = Math.max(0, base[i] * (1 + (q[i] - m) / (2 * weight)));
    if (into[i] > 0) value += into[i] * q[i] - (weight * into[i] ** 2) / base[i];
  }
  return value;
}

/**
 * By the dual: with a value V(s) for each state and `δ = r + γ E V − V`, the best occupancy is `base · δ₊ / (2 weight)` for chi-squared and proportional to `base · exp(δ / weight)` for KL,
 * and V minimises a convex function, found by damped Newton steps from the last weight on, or from a larger one. Ask for weights in falling order.
 */
function occupancyOptimum(mdp: TabularMdp, base: TabularPolicy, divergence: 'kl' | 'chi2'): (weight: number) => TabularPolicy {
  const start = policyEvaluation(mdp, base);
  const r = expectedReward(mdp);
  const dual = occupancyDual(mdp, r, start.occupancy, divergence);
  // at the base, δ is its advantage, and with chi-squared 2 weights more
  const shift = (w: number) => (divergence === 'chi2' ? (2 * w) / (1 - mdp.gamma) : 0);
  let at = Math.max(...r) - Math.min(...r);
  let V: Float64Array = start.V.map((value) => value - shift(at));
  const go = (w: number) => {
    V = minimise(
      dual,
      V.map((value) => value + shift(at) - shift(w)),
      w,
    );
    at = w;
  };
  return (weight) => {
    while (at > 4 * weight) go(at / 4);
    go(weight);
    dual.value(V, weight);
    return policyOfOccupancy(mdp, dual.mu);
  };
}

type Dual = {
  readonly states: number;
  /** The occupancy at the last `value`. */
  readonly mu: Float64Array;
  value(V: Float64Array, weight: number): number;
  /** At the last `value`; the second derivative in units of `1 / weight`. */
  derivatives(weight: number): { gradient: Float64Array; hessian: Float64Array };
};

function occupancyDual(
  { states: S, actions: A, gamma, initial, ...mdp }: TabularMdp,
  r: Float64Array,
  nu: Float64Array,
  divergence: 'kl' | 'chi2',
): Dual {
  const next = successors({ states: S, actions: A, gamma, initial, ...mdp });
  const used = Array.from(nu, (_, at) => at).filter((at) => nu[at] > 0);
  // how δ changes with V: γ P, and −1 at the state itself
  const slopes = Array.from(nu, (_, at) => [...next.of(at).map(([s, p]) => [s, gamma * p] as const), [Math.floor(at / A), -1] as const]);
  const mu = new Float64Array(S * A);
  return {
    states: S,
    mu,
    value(V, weight) {
      const own = initial.reduce((sum, p, s) => sum + (1 - gamma) * p * V[s], 0);
      const delta = (at: number) => r[at] + gamma * next.expected(at, V) - V[Math.floor(at / A)];
      if (divergence === 'chi2') {
        let sum = own;
        for (const at of used) {
          const d = Math.max(0, delta(at));
          mu[at] = (nu[at] * d) / (2 * weight);
          sum += (nu[at] * d * d) / (4 * weight);
        }
        return sum;
      }
      let top = -Infinity;
      for (const at of used) {
        mu[at] = delta(at);
        top = Math.max(top, mu[at]);
      }
      let total = 0;
      for (const at of used) {
        mu[at] = nu[at] * Math.exp((mu[at] - top) / weight);
        total += mu[at];
      }
      for (const at of used) mu[at] /= total;
      return own + top + weight * Math.log(total);
    },
    derivatives() {
      const gradient = Float64Array.from(initial, (p) => (1 - gamma) * p);
      const hessian = new Float64Array(S * S);
      const mean = new Float64Array(S);
      for (const at of used) {
        if (mu[at] === 0) continue;
        const curvature = divergence === 'chi2' ? nu[at] / 2 : mu[at];
        for (const [i, x] of slopes[at]) {
          gradient[i] += mu[at] * x;
          mean[i] += mu[at] * x;
          for (const [j, y] of slopes[at]) hessian[i * S + j] += curvature * x * y;
        }
      }
      if (divergence === 'kl') for (let i = 0; i < S; i++) for (let j = 0; j < S; j++) hessian[i * S + j] -= mean[i] * mean[j];
      return { gradient, hessian };
    },
  };
}

function minimise(dual: Dual, from: Float64Array, weight: number): Float64Array {
  let V = from;
  let value = dual.value(V, weight);
  let damping = 1e-9;
  for (let step = 0; step < 500; step++) {
    const { gradient, hessian } = dual.derivatives(weight);
    const slope = Math.max(...gradient.map(Math.abs));
    if (slope < 1e-11) return V;
    const moved = dampedStep(dual, { V, value, weight, gradient, hessian, damping });
    if (!moved) {
      // no step gains any more: rounding, if the flow is as good as balanced
      if (slope < 1e-6) return V;
      throw new RangeError(`solveRegularised: stuck with a flow that is off by ${slope.toExponential(1)}`);
    }
    V = moved.V;
    value = moved.value;
    damping = Math.max(1e-12, moved.damping / 10);
  }
  throw new RangeError('solveRegularised: the occupancy was not found in 500 steps');
}

type NewtonState = { V: Float64Array; value: number; weight: number; gradient: Float64Array; hessian: Float64Array; damping: number };
/** A Newton step that lowers the dual, with as much damping as that takes; nothing where none does. */
function dampedStep(dual: Dual, { V, value, weight, gradient, hessian, damping: from }: NewtonState) {
  const S = dual.states;
  for (let damping = from; damping < 1e6; damping *= 10) {
    const damped = hessian.slice();
    for (let i = 0; i < S; i++) damped[i * S + i] += damping;
    const move = solveLinear(
      damped,
      gradient.map((g) => -g * weight),
      S,
    );
    const descent = move.reduce((sum, m, i) => sum + m * gradient[i], 0);
    for (let length = 1; length > 0.05; length /= 2) {
      const moved = V.map((v, i) => v + length * move[i]);
      const tried = dual.value(moved, weight);
      if (tried < value && tried <= value + 1e-4 * length * descent) return { V: moved, value: tried, damping };
    }
  }
  dual.value(V, weight);
  return undefined;
}

/** Where each state and action lead, without the zeros. */
function successors({ states: S, actions: A, transition }: TabularMdp) {
  const lists = Array.from({ length: S * A }, (_, at) => {
    const row = transition.subarray(at * S, (at + 1) * S);
    return Array.from(row, (p, s) => [s, p] as const).filter(([, p]) => p > 0);
  });
  return {
    of: (at: number) => lists[at],
    expected(at: number, values: Float64Array): number {
      let sum = 0;
      for (const [s, p] of lists[at]) sum += p * values[s];
      return sum;
    },
  };
}
