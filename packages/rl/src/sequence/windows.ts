/** Pieces of trajectories for models that read them as sequences. Plain numbers. */
import type { Rng } from '@plumbline/core';
import { checkTrajectories, type Trajectory } from '@plumbline/data';
import { returnsToGo } from '../offPolicy.js';

/** Steps of several windows, one window after another without padding: window w holds steps `cuSeqlens[w]` to `cuSeqlens[w + 1]`. */
export type DecisionWindows = {
  cuSeqlens: Int32Array;
  /** What is still to come, [steps], in points. */
  returns: Float32Array;
  /** [steps · stateWidth] and [steps · actionWidth]. */
  states: Float32Array;
  actions: Float32Array;
  /** Places in their episode, [steps]. */
  timesteps: Int32Array;
};

/**
 * Windows of at most `context` steps: a trajectory is drawn with probability proportional to its length, then a start in it with equal ones, as Decision Transformer trains. A start near the end gives
 * a shorter window.
 */
export function sampleWindows(
  trajectories: readonly Trajectory[],
  { context, count, rng }: { context: number; count: number; rng: Rng },
): DecisionWindows {
  if (!(Number.isInteger(context) && context > 0))
    throw new RangeError(`sampleWindows: context must be a whole number above 0, got ${context}`);
  const lengths = trajectories.map(({ length }) => length);
  return windowsOf(
    trajectories,
    Array.from({ length: count }, () => {
      const trajectory = rng.categorical(lengths);
      const start = rng.below(lengths[trajectory]);
      return { trajectory, start, end: Math.min(lengths[trajectory], start + context) };
    }),
  );
}

/** The windows that are named, in order. */
export function windowsOf(
  trajectories: readonly Trajectory[],
  pieces: readonly { trajectory: number; start: number; end: number }[],
): DecisionWindows {
  const { stateWidth: S, actionWidth: A } = checkTrajectories([trajectories[pieces[0]?.trajectory ?? 0]]);
  const cuSeqlens = new Int32Array(pieces.length + 1);
  pieces.forEach(({ start, end }, w) => {
    cuSeqlens[w + 1] = cuSeqlens[w] + end - start;
  });
  const steps = cuSeqlens[pieces.length];
  const windows: DecisionWindows = {
    cuSeqlens,
    returns: new Float32Array(steps),
    states: new Float32Array(steps * S),
    actions: new Float32Array(steps * A),
    timesteps: new Int32Array(steps),
  };
  pieces.forEach(({ trajectory, start, end }, w) => {
    const { observations, actions, rewards } = trajectories[trajectory];
    const at = cuSeqlens[w];
    windows.returns.set(returnsToGo(rewards).subarray(start, end), at);
    windows.states.set(observations.subarray(start * S, end * S), at * S);
    windows.actions.set(actions.subarray(start * A, end * A), at * A);
    for (let t = start; t < end; t++) windows.timesteps[at + t - start] = t;
  });
  return windows;
}

/** The same episode with its whole return at its last step: sparse rewards from dense ones. */
export function delayRewards(trajectory: Trajectory): Trajectory {
  const rewards = new Float32Array(trajectory.length);
  rewards[trajectory.length - 1] = trajectory.rewards.reduce((a, b) => a + b, 0);
  return { ...trajectory, rewards };
}

/** A share of the trajectories, at random, in their order. @throws RangeError where that is none */
export function subsampleTrajectories(trajectories: readonly Trajectory[], share: number, rng: Rng): Trajectory[] {
  const count = Math.round(share * trajectories.length);
  if (!(share > 0 && share <= 1) || count === 0)
    throw new RangeError(`subsampleTrajectories: a share of ${share} of ${trajectories.length} trajectories is ${count}`);
  return [...rng.permutation(trajectories.length).subarray(0, count)].sort((a, b) => a - b).map((i) => trajectories[i]);
}
