import { recordEpisode } from '@plumbline/data';
import { describe, expect, it } from 'vitest';
import { type ClassicControl, classicControl } from './classic.js';

/** State after these actions, and what they earned. */
function moved(id: ClassicControl, state: number[], actions: number[]) {
  const env = classicControl(id);
  env.setState(state);
  const rewards = actions.map((action) => env.step([action]).reward);
  return { state: [...env.getState()].slice(0, state.length), total: rewards.reduce((a, b) => a + b, 0) };
}
const close = (ours: number[], theirs: number[], digits = 10) =>
  theirs.forEach((value, i) => void expect(ours[i]).toBeCloseTo(value, digits));

describe('classicControl', () => {
  it("moves as Gymnasium's cartpole", () => {
    close(moved('cartpole', [0.01, -0.02, 0.03, 0.04], [1]).state, [0.0096, 0.174679195748, 0.0308, -0.24306871796]);
    close(
      moved('cartpole', [0.01, -0.02, 0.03, 0.04], [1, 0, 1, 1, 0]).state,
      [0.023525558663, 0.173162636926, 0.012433087822, -0.209501528681],
    );
    close(moved('cartpole-continuous', [0.01, -0.02, 0.03, 0.04], [5]).state, [0.0096, 0.174679195748, 0.0308, -0.24306871796]);
  });
  it('ends where the pole falls, after 9 pushes to the right from rest', async () => {
    const { length, terminated, rewards } = await recordEpisode(classicControl('cartpole', { noise: false }), { act: () => [1] }, 0);
    expect([length, terminated, rewards.at(-1)]).toEqual([9, true, 1]);
  });
  it("moves as Gymnasium's pendulum, its torque clipped", () => {
    const swung = moved('pendulum', [Math.PI, 0], [1.5, 1.5, 1.5, 1.5, 1.5]);
    close([...swung.state, swung.total], [3.296026303262, 0.962987957516, -48.149785615219]);
    const clipped = moved('pendulum', [1, -0.5], [3]);
    close([...clipped.state, clipped.total], [1.02155516193, 0.431103238606, -1.029]);
  });
  it("moves as Gymnasium's mountain car, which pushing along the velocity brings up", async () => {
    close(moved('mountain-car', [-0.5, 0], [2, 2, 2, 0, 0]).state, [-0.493851842767, 0.000008606234]);
    const steps = async (id: ClassicControl, act: (v: number) => number) => {
      const env = classicControl(id, { noise: false });
      return recordEpisode(env, { act: ([, v]) => [act(v)] }, 0);
    };
    expect((await steps('mountain-car', (v) => (v >= 0 ? 2 : 0))).length).toBe(124);
    const driven = await steps('mountain-car-continuous', (v) => (v >= 0 ? 1 : -1));
    expect(driven.length).toBe(106);
    expect(driven.rewards.reduce((a, b) => a + b, 0)).toBeCloseTo(89.4, 4);
  });
  it("moves as Gymnasium's acrobot", () => {
    close(
      moved('acrobot', [0.05, -0.05, 0.02, 0.01], [2, 0, 1]).state,
      [-0.002828626353, 0.059313307059, -0.054165082432, 0.02211087405],
      9,
    );
  });
  it('goes on from a state to the bit, begins by its seed, and stops at its limit', async () => {
    for (const id of ['cartpole-continuous', 'pendulum', 'mountain-car-continuous'] as const) {
      const env = classicControl(id);
      env.reset(3);
      env.step([0.3]);
      const state = env.getState();
      const first = env.step([-0.2]);
      env.setState(state);
      expect(env.step([-0.2])).toEqual(first);
      expect(classicControl(id).reset(3)).toEqual(classicControl(id).reset(3));
      expect(classicControl(id).reset(3)).not.toEqual(classicControl(id).reset(4));
    }
    const whole = await recordEpisode(classicControl('pendulum'), { act: () => [0] }, 0);
    expect([whole.length, whole.terminated]).toEqual([200, false]);
    expect((await recordEpisode(classicControl('pendulum', { maxEpisodeSteps: 7 }), { act: () => [0] }, 0)).length).toBe(7);
  });
  it('names what does not fit', () => {
    expect(() => classicControl('swing' as 'pendulum')).toThrow('there is no "swing"; there are cartpole, cartpole-continuous, pendulum');
    const env = classicControl('cartpole');
    expect(() => env.step([0])).toThrow('cartpole: the episode is over; call reset');
    env.reset(0);
    expect(() => env.step([2])).toThrow('the action is [2] at step 0; 0 to 1 is expected');
    expect(() => env.setState([1, 2])).toThrow('a state has 4 numbers, got 2');
    const pendulum = classicControl('pendulum');
    pendulum.reset(0);
    expect(() => pendulum.step([Number.NaN])).toThrow('the action is [NaN] at step 0; one finite number is expected');
  });
});
