/** A finite process that is stepped through. */
import { rng as newRng, type Rng } from '@plumbline/core';
import { checkMdp, type TabularMdp } from '@plumbline/data/tabular';

export type TabularStep = { obs: number; reward: number; terminated: boolean };
export interface TabularEnv {
  /** A new episode; its random numbers follow from the seed. */
  reset(seed: number): number;
  /** @throws Error after the end of an episode, before the next `reset` */
  step(action: number): TabularStep;
}

export function tabularEnv(mdp: TabularMdp): TabularEnv {
  checkMdp(mdp);
  const { states: S, actions: A, transition, reward, initial, terminal } = mdp;
  let state = -1;
  let random: Rng | undefined;
  return {
    reset(seed) {
      random = newRng(seed).fork('tabular');
      state = random.categorical(initial);
      return state;
    },
    step(action) {
      if (!random || state < 0 || terminal[state]) throw new Error('tabularEnv: the episode is over; call reset');
      if (!(Number.isInteger(action) && action >= 0 && action < A))
        throw new RangeError(`tabularEnv: actions are 0 to ${A - 1}, got ${action}`);
      const at = state * A + action;
      const next = random.categorical(transition.subarray(at * S, (at + 1) * S));
      state = next;
      return { obs: next, reward: reward.length === S * A ? reward[at] : reward[at * S + next], terminated: terminal[next] === 1 };
    },
  };
}
