/** Environments that are acted in with numbers, and what was recorded in them: what rl learns from and envs implements. */

/** What an observation or an action is: numbers within bounds, or one of n choices. */
export type Space = { kind: 'box'; low: readonly number[]; high: readonly number[] } | { kind: 'discrete'; n: number };

/** `terminated`: the process ended and nothing more will come. `truncated`: a limit of time alone; what would have come still counts. */
export type EnvStep = { observation: Float64Array; reward: number; terminated: boolean; truncated: boolean };

/** A process that is stepped through. A `box` action is [width] numbers, a `discrete` one its index in an array of one. Everything random follows from the seed of `reset`. */
export interface Env {
  readonly id: string;
  readonly observationSpace: Space;
  readonly actionSpace: Space;
  /** Steps after which an episode is truncated. */
  readonly maxEpisodeSteps: number;
  /** Seconds between two actions. */
  readonly seconds: number;
  reset(seed: number): Float64Array;
  /** @throws RangeError for an action that is not finite or of another width; Error after the end of an episode */
  step(action: ArrayLike<number>): EnvStep;
  /** All that the next steps depend on, but for what is random. */
  getState(): Float64Array;
  /** Goes on from a state; answers its observation. */
  setState(state: ArrayLike<number>): Float64Array;
}

/**
 * An episode as it was recorded: `observations` [steps + 1, width] row by row, the last one after the last action; `actions` [steps, width], one-hot for a discrete space; `rewards` [steps].
 * `terminated` says that it ended by itself, and not by a limit of time.
 */
export type Trajectory = {
  observations: Float32Array;
  actions: Float32Array;
  rewards: Float32Array;
  length: number;
  terminated: boolean;
};

/** Single steps of trajectories, row by row: `done` is 1 where the process ended, and nothing is to be expected after it. */
export type Transitions = {
  count: number;
  stateWidth: number;
  actionWidth: number;
  states: Float32Array;
  actions: Float32Array;
  rewards: Float32Array;
  nextStates: Float32Array;
  done: Uint8Array;
};

/** @throws RangeError naming the trajectory and the field that does not fit or is not finite */
export function checkTrajectories(trajectories: readonly Trajectory[]): { stateWidth: number; actionWidth: number } {
  if (trajectories.length === 0) throw new RangeError('trajectories: there are none');
  const widths = { stateWidth: 0, actionWidth: 0 };
  trajectories.forEach(({ observations, actions, rewards, length }, i) => {
    if (!(Number.isInteger(length) && length > 0)) throw new RangeError(`trajectories: number ${i} has ${length} steps`);
    if (i === 0) Object.assign(widths, { stateWidth: observations.length / (length + 1), actionWidth: actions.length / length });
    const expected = { observations: (length + 1) * widths.stateWidth, actions: length * widths.actionWidth, rewards: length };
    for (const [field, values] of Object.entries({ observations, actions, rewards })) {
      const size = expected[field as keyof typeof expected];
      if (values.length !== size || size === 0)
        throw new RangeError(`trajectories: ${field} of number ${i} holds ${values.length} numbers; ${length} steps have ${size}`);
      const bad = values.findIndex((value) => !Number.isFinite(value));
      if (bad >= 0) throw new RangeError(`trajectories: ${field} of number ${i} is ${values[bad]} at ${bad}`);
    }
  });
  return widths;
}

/** All steps of all trajectories, in order. */
export function transitionsOf(trajectories: readonly Trajectory[]): Transitions {
  const { stateWidth, actionWidth } = checkTrajectories(trajectories);
  const count = trajectories.reduce((n, { length }) => n + length, 0);
  const all: Transitions = {
    count,
    stateWidth,
    actionWidth,
    states: new Float32Array(count * stateWidth),
    actions: new Float32Array(count * actionWidth),
    rewards: new Float32Array(count),
    nextStates: new Float32Array(count * stateWidth),
    done: new Uint8Array(count),
  };
  let at = 0;
  for (const { observations, actions, rewards, length, terminated } of trajectories) {
    all.states.set(observations.subarray(0, length * stateWidth), at * stateWidth);
    all.nextStates.set(observations.subarray(stateWidth), at * stateWidth);
    all.actions.set(actions, at * actionWidth);
    all.rewards.set(rewards, at);
    at += length;
    all.done[at - 1] = terminated ? 1 : 0;
  }
  return all;
}

/** What acts: an action for an observation; `reset` before each episode, `earned` after each step. */
export interface ControlPolicy {
  reset?(): void;
  act(observation: Float64Array): ArrayLike<number> | Promise<ArrayLike<number>>;
  earned?(reward: number): void;
}

/** One episode of a policy in an environment, as it went. A discrete action is recorded one-hot. */
export async function recordEpisode(env: Env, policy: ControlPolicy, seed: number): Promise<Trajectory> {
  const observations: number[] = [];
  const actions: number[] = [];
  const rewards: number[] = [];
  policy.reset?.();
  let observation = env.reset(seed);
  observations.push(...observation);
  for (;;) {
    const action = Array.from(await policy.act(observation));
    const step = env.step(action);
    policy.earned?.(step.reward);
    ({ observation } = step);
    observations.push(...observation);
    actions.push(
      ...(env.actionSpace.kind === 'box' ? action : Array.from({ length: env.actionSpace.n }, (_, k) => Number(k === action[0]))),
    );
    rewards.push(step.reward);
    if (step.terminated || step.truncated)
      return {
        observations: Float32Array.from(observations),
        actions: Float32Array.from(actions),
        rewards: Float32Array.from(rewards),
        length: rewards.length,
        terminated: step.terminated,
      };
  }
}

/** `100 · (return − random) / (expert − random)`: 0 is a random policy, 100 the expert. Fu et al. 2020 (D4RL), arXiv:2004.07219. */
export function normalisedScore(achieved: number, { random, expert }: { random: number; expert: number }): number {
  if (!Number.isFinite(random) || !Number.isFinite(expert) || random === expert)
    throw new RangeError(`normalisedScore: random and expert must differ, got ${random} and ${expert}`);
  return (100 * (achieved - random)) / (expert - random);
}
