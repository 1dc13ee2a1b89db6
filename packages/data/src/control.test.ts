import { describe, expect, it } from 'vitest';
import { type Env, normalisedScore, recordEpisode, transitionsOf } from './control.js';

/** Counts down from 3 by its action. */
const countdown = (kind: 'box' | 'discrete'): Env => {
  let left = 0;
  return {
    id: 'countdown',
    observationSpace: { kind: 'box', low: [0], high: [3] },
    actionSpace: kind === 'box' ? { kind, low: [0], high: [2] } : { kind, n: 3 },
    maxEpisodeSteps: 9,
    seconds: 1,
    reset: () => {
      left = 3;
      return Float64Array.of(left);
    },
    step: (action) => {
      const by = action[0];
      left -= by;
      return { observation: Float64Array.of(left), reward: by, terminated: left <= 0, truncated: false };
    },
    getState: () => Float64Array.of(left),
    setState: (state) => {
      left = state[0];
      return Float64Array.of(left);
    },
  };
};

describe('trajectories', () => {
  it('are recorded with the observation after the last action, discrete actions one-hot', async () => {
    const box = await recordEpisode(countdown('box'), { act: () => [2] }, 0);
    expect(box).toEqual({
      observations: Float32Array.of(3, 1, -1),
      actions: Float32Array.of(2, 2),
      rewards: Float32Array.of(2, 2),
      length: 2,
      terminated: true,
    });
    const { actions } = await recordEpisode(countdown('discrete'), { act: () => [2] }, 0);
    expect(actions).toEqual(Float32Array.of(0, 0, 1, 0, 0, 1));
  });
  it('become transitions, of which the last is done where the process ended', async () => {
    const episode = await recordEpisode(countdown('box'), { act: () => [2] }, 0);
    const all = transitionsOf([episode, { ...episode, terminated: false }]);
    expect(all).toMatchObject({ count: 4, stateWidth: 1, actionWidth: 1 });
    expect([...all.states]).toEqual([3, 1, 3, 1]);
    expect([...all.nextStates]).toEqual([1, -1, 1, -1]);
    expect([...all.done]).toEqual([0, 1, 0, 0]);
  });
  it('name what does not fit', async () => {
    const episode = await recordEpisode(countdown('box'), { act: () => [2] }, 0);
    expect(() => transitionsOf([])).toThrow('there are none');
    expect(() => transitionsOf([episode, { ...episode, rewards: Float32Array.of(1) }])).toThrow(
      'rewards of number 1 holds 1 numbers; 2 steps have 2',
    );
    expect(() => transitionsOf([{ ...episode, rewards: Float32Array.of(1, Number.NaN) }])).toThrow('rewards of number 0 is NaN at 1');
  });
});

describe('normalisedScore', () => {
  it('has the values of D4RL', () => {
    expect(normalisedScore(1800, { random: -20.272305, expert: 3234.3 })).toBeCloseTo(55.9296932, 6);
    expect(normalisedScore(1000, { random: -280.178953, expert: 12135 })).toBeCloseTo(10.3114, 4);
    expect(normalisedScore(3000, { random: 1.629008, expert: 4592.3 })).toBeCloseTo(65.3144, 4);
    expect(() => normalisedScore(1, { random: 2, expert: 2 })).toThrow('random and expert must differ, got 2 and 2');
  });
});
