/** For tests: a mass on a line that is pushed, without friction. */
import { rng } from '@plumbline/core';
import type { Env } from '@plumbline/data';

/** State and observation: position in metres and velocity in m/s. Force of at most 1 N on 1 kg, 20 Hz; the reward of a step is `−x² − 0.1·v²`. Episodes begin within 1 m of the origin. */
export function pointMass({ maxEpisodeSteps = 60 } = {}): Env {
  const seconds = 0.05;
  let [x, v, steps] = [0, 0, 0];
  const observation = () => Float64Array.of(x, v);
  return {
    id: 'point-mass',
    observationSpace: { kind: 'box', low: [-Infinity, -Infinity], high: [Infinity, Infinity] },
    actionSpace: { kind: 'box', low: [-1], high: [1] },
    maxEpisodeSteps,
    seconds,
    reset(seed) {
      const [a, b] = rng(seed).fork('point-mass').uniform(2);
      [x, v, steps] = [2 * a - 1, b - 0.5, 0];
      return observation();
    },
    step(action) {
      const force = action[0];
      if (!Number.isFinite(force)) throw new RangeError(`point-mass: the force is ${force}`);
      v += Math.min(1, Math.max(-1, force)) * seconds;
      x += v * seconds;
      steps++;
      return { observation: observation(), reward: -x * x - 0.1 * v * v, terminated: false, truncated: steps >= maxEpisodeSteps };
    },
    getState: () => Float64Array.of(x, v, steps),
    setState(state) {
      [x, v, steps] = [state[0], state[1], state[2] ?? 0];
      return observation();
    },
  };
}
