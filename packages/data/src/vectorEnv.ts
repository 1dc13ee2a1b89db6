import { rng } from '@plumbline/core';
import type { Env } from './control.js';

/** What n environments answer to n actions, row by row. Where an episode ended, `observations` holds the first one of the next, and `finalObservations` the last one of the old; elsewhere both are the same. */
export type VectorStep = {
  observations: Float32Array;
  finalObservations: Float32Array;
  rewards: Float32Array;
  terminated: Uint8Array;
  truncated: Uint8Array;
};
/** Several environments of one kind that are stepped together, and begin anew by themselves. */
export interface VectorEnv {
  readonly n: number;
  /** Begins all, [n · width]. */
  reset(seed: number): Promise<Float32Array>;
  /** Actions [n · width]; of a discrete space one index each. */
  step(actions: ArrayLike<number>): Promise<VectorStep>;
}

/**
 * Environments in this process, one after another. Episode e of environment i begins from a seed that follows from (seed, i, e) alone, so that what happens in one does not depend on how many there are.
 *
 * @param make a new environment, n of which are made
 * @throws RangeError for n that is not a whole number above 0; from `step`: for another number of actions, or before `reset`; an environment's own error, with its number
 */
export function vectorEnv(make: (index: number) => Env, n: number): VectorEnv {
  if (!(Number.isInteger(n) && n > 0)) throw new RangeError(`vectorEnv: n must be a whole number above 0, got ${n}`);
  const envs = Array.from({ length: n }, (_, i) => make(i));
  const { actionSpace, observationSpace } = envs[0];
  if (observationSpace.kind !== 'box') throw new RangeError(`vectorEnv: observations of ${envs[0].id} are no numbers`);
  const width = observationSpace.low.length;
  const taken = actionSpace.kind === 'box' ? actionSpace.low.length : 1;
  const episodes = new Int32Array(n);
  let root: number | undefined;
  const begin = (i: number) => envs[i].reset(rng(root!).fork('env', i, episodes[i]++).seed32);
  const numbered = <T>(i: number, act: () => T): T => {
    try {
      return act();
    } catch (error) {
      throw new RangeError(`vectorEnv: environment ${i}: ${(error as Error).message}`, { cause: error });
    }
  };
  return {
    n,
    async reset(seed) {
      root = seed;
      episodes.fill(0);
      const observations = new Float32Array(n * width);
      for (let i = 0; i < n; i++) observations.set(begin(i), i * width);
      return observations;
    },
    async step(actions) {
      if (root === undefined) throw new RangeError('vectorEnv: step comes before reset');
      if (actions.length !== n * taken)
        throw new RangeError(`vectorEnv: ${actions.length} numbers of actions; ${n} environments take ${n * taken}`);
      const step: VectorStep = {
        observations: new Float32Array(n * width),
        finalObservations: new Float32Array(n * width),
        rewards: new Float32Array(n),
        terminated: new Uint8Array(n),
        truncated: new Uint8Array(n),
      };
      for (let i = 0; i < n; i++) {
        const own = Array.from({ length: taken }, (_, k) => actions[i * taken + k]);
        const { observation, reward, terminated, truncated } = numbered(i, () => envs[i].step(own));
        step.finalObservations.set(observation, i * width);
        step.observations.set(terminated || truncated ? begin(i) : observation, i * width);
        step.rewards[i] = reward;
        step.terminated[i] = Number(terminated);
        step.truncated[i] = Number(truncated);
      }
      return step;
    },
  };
}
