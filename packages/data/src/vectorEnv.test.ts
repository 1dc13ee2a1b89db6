import { describe, expect, it } from 'vitest';
import type { Env } from './control.js';
import { vectorEnv } from './vectorEnv.js';

/** Begins at a number that its seed gives, and ends after two steps. */
const twoSteps = (): Env => {
  let [x, steps] = [0, 0];
  return {
    id: 'two-steps',
    observationSpace: { kind: 'box', low: [0], high: [1] },
    actionSpace: { kind: 'box', low: [-1], high: [1] },
    maxEpisodeSteps: 2,
    seconds: 1,
    reset(seed) {
      [x, steps] = [(seed % 1000) / 1000, 0];
      return Float64Array.of(x);
    },
    step(action) {
      if (!Number.isFinite(action[0])) throw new RangeError(`the action is ${action[0]}`);
      x += action[0];
      steps++;
      return { observation: Float64Array.of(x), reward: action[0], terminated: false, truncated: steps === 2 };
    },
    getState: () => Float64Array.of(x, steps),
    setState(state) {
      [x, steps] = [state[0], state[1]];
      return Float64Array.of(x);
    },
  };
};

describe('vectorEnv', () => {
  it('begins anew in the step that ends an episode, and keeps the last observation', async () => {
    const envs = vectorEnv(twoSteps, 2);
    const first = await envs.reset(0);
    const one = await envs.step([1, 2]);
    expect([...one.rewards]).toEqual([1, 2]);
    expect(one.observations).toEqual(one.finalObservations);
    const two = await envs.step([1, 2]);
    expect([...two.truncated]).toEqual([1, 1]);
    expect([...two.terminated]).toEqual([0, 0]);
    [2, 4].forEach((by, i) => void expect(two.finalObservations[i]).toBeCloseTo(first[i] + by, 5));
    expect(Math.max(...two.observations)).toBeLessThan(1);
    expect([...two.observations]).not.toEqual([...first]);
  });
  it('does not let an environment depend on how many there are', async () => {
    const [alone, many] = [vectorEnv(twoSteps, 1), vectorEnv(twoSteps, 3)];
    expect((await many.reset(7))[0]).toBe((await alone.reset(7))[0]);
    for (let t = 0; t < 5; t++) {
      const [a, b] = [await alone.step([0.5]), await many.step([0.5, 0, 0])];
      expect(b.observations[0]).toBe(a.observations[0]);
    }
    expect((await vectorEnv(twoSteps, 1).reset(7))[0]).not.toBe((await vectorEnv(twoSteps, 1).reset(8))[0]);
  });
  it('says what does not fit, and which environment it was', async () => {
    expect(() => vectorEnv(twoSteps, 0)).toThrow('n must be a whole number above 0, got 0');
    const envs = vectorEnv(twoSteps, 2);
    await expect(envs.step([1, 1])).rejects.toThrow('step comes before reset');
    await envs.reset(0);
    await expect(envs.step([1])).rejects.toThrow('1 numbers of actions; 2 environments take 2');
    await expect(envs.step([1, Number.NaN])).rejects.toThrow('environment 1: the action is NaN');
  });
});
