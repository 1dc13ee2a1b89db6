/**
 * Distances between reward functions of one process. Skalse et al. 2024, arXiv:2309.15257 (STARC): take away what does not change the order of policies (potential
 * shaping, redistribution over next states), divide by the size, and take a norm of the difference. EPIC (Gleave et al. 2021, arXiv:2006.13900) and DARD (Wulfe et al.
 * 2022, arXiv:2201.10081) are the earlier recipes.
 *
 * Rewards are [S·A·S], as `TabularMdp` has them.
 */
import { policyEvaluation, solveLinear, type TabularMdp, type TabularPolicy, uniformPolicy, withReward } from '@plumbline/data/tabular';

type Process = TabularMdp;
export type Canonicalisation = 'none' | 'val' | 'valPotential' | 'minimalL2' | 'epic' | 'dard';
/** Norms over all transitions, or weighted by how likely they are. */
export type RewardNorm = 'l1' | 'l2' | 'lInf' | 'weighted1' | 'weighted2' | 'weightedInf' | 'none';
export type StarcOptions = {
  /** Default `val`: the advantage of a policy. */
  canon?: Canonicalisation;
  /** What a canonical reward is divided by; default `weighted2`. */
  norm?: RewardNorm;
  /** What measures the difference; default `l2`, of which the range is then [0, 2] where the norm is `l2` too. */
  metric?: Exclude<RewardNorm, 'none'>;
  /** Of `val` and `valPotential`; uniform by default. */
  policy?: TabularPolicy;
  /** Half of the distance: in [0, 1], as EPIC has it. */
  half?: boolean;
};

/** Canonical rewards smaller than this are trivial: they say nothing of the order of policies. */
const trivial = 1e-10;

/**
 * Rewards that differ by what a recipe takes away have the same canonical form: by potential shaping and redistribution over next states for `val` and `minimalL2`, by potential
 * shaping alone for `valPotential` and `epic`.
 *
 * - `val`: `E[R(s, a, S') + γ V(S')] − V(s)` with the value V of a policy
 * - `valPotential`: `R(s, a, s') + γ V(s') − V(s)`
 * - `minimalL2`: the member of the class with the smallest L2 norm
 * - `epic`: `R + γ Φ(s') − Φ(s) − γ E[R]`, with Φ(s) the mean over uniform actions and states
 * - `dard`: the same with next states from the process, `A` the same in both terms
 *
 * @returns [S·A·S]
 * @throws RangeError for a reward of another size, or one that is not finite
 */
export function canonicalise(
  reward: Float64Array,
  mdp: Process,
  how: Canonicalisation = 'val',
  policy: TabularPolicy = uniformPolicy(mdp),
): Float64Array {
  const { states: S, actions: A, gamma, transition } = mdp;
  if (reward.length !== S * A * S)
    throw new RangeError(`canonicalise: the reward has ${reward.length} numbers; ${S * A * S} were expected`);
  const bad = reward.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new RangeError(`canonicalise: reward ${bad} is ${reward[bad]}`);
  const shaped = (potential: (s: number) => number, offset: (s: number, a: number, next: number) => number) => {
    const out = new Float64Array(reward.length);
    each(mdp, (at, s, a, next) => {
      out[at] = reward[at] + gamma * potential(next) - potential(s) - offset(s, a, next);
    });
    return out;
  };
  const constantInNext = (value: (s: number, a: number) => number) => {
    const out = new Float64Array(reward.length);
    each(mdp, (at, s, a) => {
      out[at] = value(s, a);
    });
    return out;
  };
  if (how === 'none') return reward.slice();
  if (how === 'val' || how === 'valPotential') {
    const { V, Q } = policyEvaluation(unending(withReward(mdp, reward)), policy);
    // the value function is the potential with its sign turned: R + γ V(s') − V(s)
    return how === 'val'
      ? constantInNext((s, a) => Q[s * A + a] - V[s])
      : shaped(
          (s) => V[s],
          () => 0,
        );
  }
  if (how === 'minimalL2') return minimal(reward, mdp);
  if (how === 'epic') {
    const means = new Float64Array(S);
    each(mdp, (at, s) => {
      means[s] += reward[at] / (A * S);
    });
    const whole = means.reduce((sum, value) => sum + value, 0) / S;
    return shaped(
      (s) => means[s],
      () => gamma * whole,
    );
  }
  // DARD: Ψ(s) = E[R(s, A, S')] over uniform actions and the process; the last term is γ E[R(S', A, S'')] with S' after s, S'' after s', the same A
  const expected = new Float64Array(S * A);
  each(mdp, (at, s, a) => {
    expected[s * A + a] += transition[at] * reward[at];
  });
  const means = Float64Array.from(
    { length: S },
    (_, s) => expected.subarray(s * A, (s + 1) * A).reduce((sum, value) => sum + value, 0) / A,
  );
  const ahead = dardTerm(reward, mdp);
  return shaped(
    (s) => means[s],
    (s, _, next) => gamma * ahead[s * S + next],
  );
}

/** E over uniform A, S' ~ τ(s, A), S'' ~ τ(s', A) of R(S', A, S''), [S·S]. */
function dardTerm(reward: Float64Array, { states: S, actions: A, transition }: Process): Float64Array {
  const out = new Float64Array(S * S);
  // for each action and each s': what R(·, a, S'') is on average, [S·S] from the middle state to s'
  const middle = new Float64Array(S);
  for (let a = 0; a < A; a++)
    for (let next = 0; next < S; next++) {
      const after = transition.subarray((next * A + a) * S, (next * A + a + 1) * S);
      for (let m = 0; m < S; m++) {
        const row = (m * A + a) * S;
        let sum = 0;
        for (let end = 0; end < S; end++) sum += after[end] * reward[row + end];
        middle[m] = sum;
      }
      for (let s = 0; s < S; s++) {
        const row = (s * A + a) * S;
        let sum = 0;
        for (let m = 0; m < S; m++) sum += transition[row + m] * middle[m];
        out[s * S + next] += sum / A;
      }
    }
  return out;
}

/**
 * The member of a reward's class with the smallest L2 norm. For each s and a the smallest x with τ·x = c is c τ / |τ|²; the potential then solves weighted least squares
 * `min Σ (R̄ + γ E φ(s') − φ(s))² / |τ(s, a)|²`.
 */
function minimal(reward: Float64Array, { states: S, actions: A, gamma, transition }: Process): Float64Array {
  const system = new Float64Array(S * S);
  const right = new Float64Array(S);
  const mean = new Float64Array(S * A);
  const size = new Float64Array(S * A);
  const design = new Float64Array(S);
  for (let s = 0; s < S; s++)
    for (let a = 0; a < A; a++) {
      const at = s * A + a;
      const row = transition.subarray(at * S, (at + 1) * S);
      for (let next = 0; next < S; next++) {
        mean[at] += row[next] * reward[at * S + next];
        size[at] += row[next] ** 2;
        design[next] = gamma * row[next] - (next === s ? 1 : 0);
      }
      for (let i = 0; i < S; i++) {
        right[i] -= (design[i] * mean[at]) / size[at];
        for (let j = 0; j < S; j++) system[i * S + j] += (design[i] * design[j]) / size[at];
      }
    }
  const potential = solveLinear(system, right, S);
  const out = new Float64Array(reward.length);
  for (let s = 0; s < S; s++)
    for (let a = 0; a < A; a++) {
      const at = s * A + a;
      const row = transition.subarray(at * S, (at + 1) * S);
      let value = mean[at] - potential[s];
      for (let next = 0; next < S; next++) value += gamma * row[next] * potential[next];
      for (let next = 0; next < S; next++) out[at * S + next] = (value * row[next]) / size[at];
    }
  return out;
}

/** The size of a reward. Weighted norms are blind to transitions that cannot happen: `(Σ τ |R|^p)^(1/p)`, and `max τ |R|`. */
export function rewardNorm(reward: Float64Array, { transition }: Pick<Process, 'transition'>, how: Exclude<RewardNorm, 'none'>): number {
  const weight = how.startsWith('weighted') ? (at: number) => transition[at] : () => 1;
  if (how === 'lInf' || how === 'weightedInf') return reward.reduce((most, value, at) => Math.max(most, weight(at) * Math.abs(value)), 0);
  const p = how.endsWith('1') ? 1 : 2;
  return reward.reduce((sum, value, at) => sum + weight(at) * Math.abs(value) ** p, 0) ** (1 / p);
}

/** The canonical form divided by its size; zero everywhere where it is trivial. */
export function standardise(
  reward: Float64Array,
  mdp: Process,
  { canon = 'val', norm = 'weighted2', policy }: StarcOptions = {},
): Float64Array {
  const canonical = canonicalise(reward, mdp, canon, policy);
  if (norm === 'none') return canonical;
  const size = rewardNorm(canonical, mdp, norm);
  return size < trivial ? canonical.fill(0) : canonical.map((value) => value / size);
}

/**
 * How differently two rewards order the policies of a process: 0 for the same order. A pseudometric; with `val` it also bounds the regret of optimising one where the other counts
 * from both sides.
 */
export function starcDistance(a: Float64Array, b: Float64Array, mdp: Process, options: StarcOptions = {}): number {
  return distance(standardise(a, mdp, options), standardise(b, mdp, options), mdp, options);
}

/** Distances of each reward to each other, [n][n]. */
export function distanceMatrix(rewards: readonly Float64Array[], mdp: Process, options: StarcOptions = {}): number[][] {
  const standard = rewards.map((reward) => standardise(reward, mdp, options));
  return standard.map((a) => standard.map((b) => distance(a, b, mdp, options)));
}

function distance(a: Float64Array, b: Float64Array, mdp: Process, { metric = 'l2', half = false }: StarcOptions): number {
  const far = rewardNorm(
    a.map((value, at) => value - b[at]),
    mdp,
    metric,
  );
  return half ? far / 2 : far;
}

/** Canonical forms are defined by the process alone: an end is a state that one stays in. */
const unending = (mdp: Process): Process => (mdp.terminal.includes(1) ? { ...mdp, terminal: new Uint8Array(mdp.states) } : mdp);

function each({ states: S, actions: A }: Process, visit: (at: number, s: number, a: number, next: number) => void): void {
  for (let s = 0, at = 0; s < S; s++) for (let a = 0; a < A; a++) for (let next = 0; next < S; next++, at++) visit(at, s, a, next);
}
