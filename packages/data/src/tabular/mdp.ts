/** Finite Markov decision processes as flat arrays. */

/**
 * `transition[(s·A + a)·S + s']` is P(s' | s, a). `reward` is [S·A], or [S·A·S] where it depends on where a step leads. A terminal state absorbs: it leads to
 * itself and pays nothing. Nothing here draws random numbers or holds tensors.
 */
export type TabularMdp = {
  readonly states: number;
  readonly actions: number;
  /** Discount, in [0, 1]. */
  readonly gamma: number;
  /** [S·A·S] */
  readonly transition: Float64Array;
  /** [S·A] or [S·A·S] */
  readonly reward: Float64Array;
  /** Where an episode begins, [S]. */
  readonly initial: Float64Array;
  /** 1 where an episode ends, [S]. */
  readonly terminal: Uint8Array;
};

/** π(a | s), [S·A]. */
export type TabularPolicy = Float64Array;

/** @throws RangeError naming the state and action whose probabilities do not add up to 1, or the field that does not fit */
export function checkMdp(mdp: TabularMdp): void {
  const { states: S, actions: A, gamma, transition, reward, initial, terminal } = mdp;
  if (!(Number.isInteger(S) && S > 0 && Number.isInteger(A) && A > 0))
    throw new RangeError(`tabular: states and actions must be whole numbers above 0, got ${S} and ${A}`);
  if (!(gamma >= 0 && gamma <= 1)) throw new RangeError(`tabular: gamma must be in [0, 1], got ${gamma}`);
  const sized = (name: string, x: ArrayLike<number>, ...sizes: number[]) => {
    if (!sizes.includes(x.length)) throw new RangeError(`tabular: ${name} has ${x.length} numbers; ${sizes.join(' or ')} were expected`);
  };
  sized('transition', transition, S * A * S);
  sized('reward', reward, S * A, S * A * S);
  sized('initial', initial, S);
  sized('terminal', terminal, S);
  if (!reward.every(Number.isFinite)) throw new RangeError(`tabular: reward ${reward.findIndex((x) => !Number.isFinite(x))} is not finite`);
  const isDistribution = (x: Float64Array) => x.every((p) => p >= -1e-12) && Math.abs(x.reduce((a, b) => a + b, 0) - 1) < 1e-9;
  if (!isDistribution(initial)) throw new RangeError('tabular: the initial probabilities do not add up to 1');
  for (let s = 0; s < S; s++)
    for (let a = 0; a < A; a++) {
      const row = transition.subarray((s * A + a) * S, (s * A + a + 1) * S);
      if (!isDistribution(row)) throw new RangeError(`tabular: the probabilities of state ${s}, action ${a} do not add up to 1`);
      if (terminal[s] && (row[s] !== 1 || expectedRewardAt(mdp, s, a) !== 0))
        throw new RangeError(`tabular: terminal state ${s} must lead to itself and pay nothing`);
    }
}

function expectedRewardAt({ states: S, actions: A, transition, reward }: TabularMdp, s: number, a: number): number {
  const at = s * A + a;
  if (reward.length === S * A) return reward[at];
  let sum = 0;
  for (let next = 0; next < S; next++) sum += transition[at * S + next] * reward[at * S + next];
  return sum;
}

/** E[r | s, a], [S·A]. */
export function expectedReward(mdp: TabularMdp): Float64Array {
  const { states: S, actions: A } = mdp;
  return Float64Array.from({ length: S * A }, (_, at) => expectedRewardAt(mdp, Math.floor(at / A), at % A));
}

/** The same process with another reward. */
export const withReward = (mdp: TabularMdp, reward: Float64Array): TabularMdp => ({ ...mdp, reward });

export const uniformPolicy = ({ states, actions }: TabularMdp): TabularPolicy => new Float64Array(states * actions).fill(1 / actions);

/** The policy that takes action `a[s]`. */
export function deterministicPolicy(actions: number, taken: ArrayLike<number>): TabularPolicy {
  const policy = new Float64Array(taken.length * actions);
  for (let s = 0; s < taken.length; s++) policy[s * actions + taken[s]] = 1;
  return policy;
}

/** `(1 - share) · a + share · b`, state by state. */
export const mixPolicies = (a: TabularPolicy, b: TabularPolicy, share: number): TabularPolicy =>
  a.map((p, i) => (1 - share) * p + share * b[i]);
