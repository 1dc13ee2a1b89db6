/** Classic control, with Gymnasium's dynamics (Towers et al. 2024, arXiv:2407.17032): small enough to learn in seconds, known well enough to compare. */
import { rng as newRng } from '@plumbline/core';
import type { Env, Space } from '@plumbline/data';

/** One step of a process without memory but its state. */
type Dynamics = {
  observation: Space;
  action: Space;
  steps: number;
  seconds: number;
  /** A first state from numbers in [0, 1). */
  begin(uniform: Float32Array): number[];
  move(state: readonly number[], action: number): { state: number[]; reward: number; terminated: boolean };
  observe(state: readonly number[]): number[];
};
const clip = (x: number, low: number, high: number) => Math.min(high, Math.max(low, x));
const within = (uniform: number, low: number, high: number) => low + (high - low) * uniform;
const box = (...bounds: number[]): Space => ({ kind: 'box', low: bounds.map((b) => -b), high: bounds });

/** A cart that is pushed left or right (or by a force in [−1, 1] times 10 N) under a pole that must not fall. Barto, Sutton and Anderson 1983. */
function cartpole(continuous: boolean): Dynamics {
  return {
    observation: box(4.8, Infinity, (24 * Math.PI) / 180, Infinity),
    action: continuous ? box(1) : { kind: 'discrete', n: 2 },
    steps: 500,
    seconds: 0.02,
    begin: (u) => [0, 1, 2, 3].map((k) => within(u[k], -0.05, 0.05)),
    move([x, v, angle, w], action) {
      const force = continuous ? 10 * clip(action, -1, 1) : action === 1 ? 10 : -10;
      const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
      const push = (force + 0.05 * w * w * sin) / 1.1;
      const turn = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - (0.1 * cos * cos) / 1.1));
      const pull = push - (0.05 * turn * cos) / 1.1;
      const state = [x + 0.02 * v, v + 0.02 * pull, angle + 0.02 * w, w + 0.02 * turn];
      return { state, reward: 1, terminated: Math.abs(state[0]) > 2.4 || Math.abs(state[2]) > (12 * 2 * Math.PI) / 360 };
    },
    observe: (state) => [...state],
  };
}

/** A pendulum that a motor too weak to lift it must swing up. State: angle (0 is up) and speed; the action is a torque in [−2, 2]. */
const pendulum: Dynamics = {
  observation: box(1, 1, 8),
  action: box(2),
  steps: 200,
  seconds: 0.05,
  begin: (u) => [within(u[0], -Math.PI, Math.PI), within(u[1], -1, 1)],
  move([angle, speed], action) {
    const torque = clip(action, -2, 2);
    const turned = ((((angle + Math.PI) % (2 * Math.PI)) + 2 * Math.PI) % (2 * Math.PI)) - Math.PI;
    const faster = clip(speed + (15 * Math.sin(angle) + 3 * torque) * 0.05, -8, 8);
    return { state: [angle + faster * 0.05, faster], reward: -(turned ** 2 + 0.1 * speed ** 2 + 0.001 * torque ** 2), terminated: false };
  },
  observe: ([angle, speed]) => [Math.cos(angle), Math.sin(angle), speed],
};

/** A car too weak to climb its hill but by swinging. Moore 1990. The action is left, none or right, or a force in [−1, 1]. */
function mountainCar(continuous: boolean): Dynamics {
  return {
    observation: { kind: 'box', low: [-1.2, -0.07], high: [0.6, 0.07] },
    action: continuous ? box(1) : { kind: 'discrete', n: 3 },
    steps: continuous ? 999 : 200,
    seconds: 1,
    begin: (u) => [within(u[0], -0.6, -0.4), 0],
    move([x, v], action) {
      const push = continuous ? 0.0015 * clip(action, -1, 1) : 0.001 * (action - 1);
      let faster = clip(v + push - 0.0025 * Math.cos(3 * x), -0.07, 0.07);
      const place = clip(x + faster, -1.2, 0.6);
      if (place === -1.2 && faster < 0) faster = 0;
      const terminated = place >= (continuous ? 0.45 : 0.5) && faster >= 0;
      return { state: [place, faster], reward: continuous ? (terminated ? 100 : 0) - 0.1 * action ** 2 : -1, terminated };
    },
    observe: (state) => [...state],
  };
}

/** Two links of which only the joint between them is driven, by a torque of −1, 0 or 1, to swing their end above the bar. Sutton 1996. */
const acrobot: Dynamics = {
  observation: box(1, 1, 1, 1, 4 * Math.PI, 9 * Math.PI),
  action: { kind: 'discrete', n: 3 },
  steps: 500,
  seconds: 0.2,
  begin: (u) => [0, 1, 2, 3].map((k) => within(u[k], -0.1, 0.1)),
  move(state, action) {
    const [a, b, va, vb] = rungeKutta([...state], (s) => acrobotDerivative(s, action - 1), 0.2);
    const next = [wrap(a), wrap(b), clip(va, -4 * Math.PI, 4 * Math.PI), clip(vb, -9 * Math.PI, 9 * Math.PI)];
    const terminated = -Math.cos(next[0]) - Math.cos(next[0] + next[1]) > 1;
    return { state: next, reward: terminated ? 0 : -1, terminated };
  },
  observe: ([a, b, va, vb]) => [Math.cos(a), Math.sin(a), Math.cos(b), Math.sin(b), va, vb],
};

/** Links of 1 m and 1 kg with their mass in the middle and inertia 1; Sutton and Barto's equations. */
function acrobotDerivative([a, b, va, vb]: readonly number[], torque: number): number[] {
  const [m, l, c, I, g] = [1, 1, 0.5, 1, 9.8];
  const d1 = m * c * c + m * (l * l + c * c + 2 * l * c * Math.cos(b)) + 2 * I;
  const d2 = m * (c * c + l * c * Math.cos(b)) + I;
  const phi2 = m * c * g * Math.cos(a + b - Math.PI / 2);
  const phi1 =
    -m * l * c * vb * vb * Math.sin(b) - 2 * m * l * c * vb * va * Math.sin(b) + (m * c + m * l) * g * Math.cos(a - Math.PI / 2) + phi2;
  const wb = (torque + (d2 / d1) * phi1 - m * l * c * va * va * Math.sin(b) - phi2) / (m * c * c + I - (d2 * d2) / d1);
  return [va, vb, -(d2 * wb + phi1) / d1, wb];
}

function rungeKutta(state: number[], f: (state: readonly number[]) => number[], dt: number): number[] {
  const moved = (k: readonly number[], by: number) => state.map((x, i) => x + by * k[i]);
  const k1 = f(state);
  const k2 = f(moved(k1, dt / 2));
  const k3 = f(moved(k2, dt / 2));
  const k4 = f(moved(k3, dt));
  return state.map((x, i) => x + (dt / 6) * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]));
}

function wrap(angle: number): number {
  let wrapped = angle;
  while (wrapped > Math.PI) wrapped -= 2 * Math.PI;
  while (wrapped < -Math.PI) wrapped += 2 * Math.PI;
  return wrapped;
}

const beds = {
  cartpole: () => cartpole(false),
  'cartpole-continuous': () => cartpole(true),
  pendulum: () => pendulum,
  'mountain-car': () => mountainCar(false),
  'mountain-car-continuous': () => mountainCar(true),
  acrobot: () => acrobot,
} as const;
export type ClassicControl = keyof typeof beds;

/**
 * A bed of classic control. Float64 throughout. `getState` is the state and the number of steps taken; `setState` takes both, or the state alone. Continuous actions are used as they are given and
 * clipped by the dynamics, as in Gymnasium.
 *
 * @param noise a standing start of fixed numbers in place of a random one where false: every draw is its middle
 * @param maxEpisodeSteps in place of Gymnasium's limit; Infinity for a model that a planner looks ahead in
 * @throws RangeError for an unknown id, with those that there are
 */
export function classicControl(id: ClassicControl, options: { noise?: boolean; maxEpisodeSteps?: number } = {}): Env {
  if (!Object.hasOwn(beds, id)) throw new RangeError(`classicControl: there is no "${id}"; there are ${Object.keys(beds).join(', ')}`);
  const { observation, action: space, seconds, begin, move, observe, ...bed } = beds[id]();
  const { noise = true, maxEpisodeSteps: limit = bed.steps } = options;
  let state = begin(new Float32Array(4).fill(0.5)); // until it is reset, a model to plan in stands still
  let [steps, over] = [0, true];
  return {
    id,
    observationSpace: observation,
    actionSpace: space,
    maxEpisodeSteps: limit,
    seconds,
    reset(seed) {
      state = begin(noise ? newRng(seed).fork(id).uniform(4) : new Float32Array(4).fill(0.5));
      [steps, over] = [0, false];
      return Float64Array.from(observe(state));
    },
    step(action) {
      if (over) throw new Error(`${id}: the episode is over; call reset`);
      const allowed =
        action.length === 1 &&
        (space.kind === 'box' ? Number.isFinite(action[0]) : Number.isInteger(action[0]) && action[0] >= 0 && action[0] < space.n);
      if (!allowed)
        throw new RangeError(
          `${id}: the action is [${Array.from(action).join(', ')}] at step ${steps}; ${space.kind === 'box' ? 'one finite number' : `0 to ${space.n - 1}`} is expected`,
        );
      const { reward, terminated, ...next } = move(state, action[0]);
      ({ state } = next);
      steps++;
      const truncated = steps >= limit;
      over = terminated || truncated;
      return { observation: Float64Array.from(observe(state)), reward, terminated, truncated };
    },
    getState: () => Float64Array.of(...state, steps),
    setState(to) {
      const all = Array.from(to);
      const width = begin(new Float32Array(4)).length;
      if (all.length !== width && all.length !== width + 1) throw new RangeError(`${id}: a state has ${width} numbers, got ${all.length}`);
      state = all.slice(0, width);
      steps = all[width] ?? 0;
      over = steps >= limit;
      return Float64Array.from(observe(state));
    },
  };
}
