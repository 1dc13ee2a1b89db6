/** The networks of offline learning: an actor, two critics, a value, over normalised states and actions in [−1, 1]. */
import { createParameters, type ParameterTree, type Rng, readCopy, type TensorTree } from '@plumbline/core';
import type { ControlPolicy, Transitions } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { mlpEntries, mlpOf } from '../control/mlp.js';

export type Bounds = { low: readonly number[]; high: readonly number[] };
/** Rows of a batch on the backend; actions are in [−1, 1]. */
export type Batch = { states: tf.Tensor2D; actions: tf.Tensor2D; rewards: tf.Tensor1D; nextStates: tf.Tensor2D; done: tf.Tensor1D };

export interface Actor {
  readonly parameters: TensorTree;
  /** What the network says of normalised states, [rows, width] or for `gaussian` [rows, 2 · width]: before tanh. */
  raw(states: tf.Tensor2D, tree?: ParameterTree): tf.Tensor2D;
  /** The action in [−1, 1] that it would take, [rows, width]. */
  action(states: tf.Tensor2D, tree?: ParameterTree): tf.Tensor2D;
  /** Acts greedily in the environment's own units. */
  policy(): ControlPolicy;
}

/** `logStd` [width] is there for a Gaussian whose deviation does not depend on the state. */
export function createActor(
  transitions: Transitions,
  { hidden, bounds, gaussian, rng }: { hidden: readonly number[]; bounds: Bounds; gaussian: boolean; rng: Rng },
): Actor {
  const { stateWidth: S, actionWidth: A } = transitions;
  const moments = stateMoments(transitions);
  const parameters = createParameters({
    'actor.logStd': { shape: [A], data: new Float32Array(A), trainable: !gaussian },
    ...mlpEntries('actor', [S, ...hidden, gaussian ? 2 * A : A], rng),
  });
  const raw: Actor['raw'] = (states, tree = parameters) => mlpOf(tree, 'actor', 'relu')(states);
  const action: Actor['action'] = (states, tree) => tf.tidy(() => tf.tanh(tf.slice(raw(states, tree), [0, 0], [-1, A])) as tf.Tensor2D);
  return {
    parameters,
    raw,
    action,
    policy: () => ({
      async act(observation) {
        const out = tf.tidy(() =>
          action(
            tf.tensor2d(
              Float32Array.from(observation, (x, k) => (x - moments.mean[k]) / moments.deviation[k]),
              [1, S],
            ),
          ),
        );
        const unit = await readCopy(out);
        out.dispose();
        return Array.from(unit, (x, k) => fromUnit(x, bounds, k));
      },
    }),
  };
}

/** Two critics of states and actions, `q.0` and `q.1`, and with `value` one of states alone, `v`. */
export function createCritics(
  { stateWidth: S, actionWidth: A }: Transitions,
  { hidden, value, rng }: { hidden: readonly number[]; value: boolean; rng: Rng },
): TensorTree {
  return createParameters({
    ...mlpEntries('q.0', [S + A, ...hidden, 1], rng),
    ...mlpEntries('q.1', [S + A, ...hidden, 1], rng),
    ...(value ? mlpEntries('v', [S, ...hidden, 1], rng) : {}),
  });
}

/** Both critics' values, [rows] each, of normalised states. */
export function criticsOf(tree: ParameterTree, states: tf.Tensor2D, actions: tf.Tensor2D): [tf.Tensor1D, tf.Tensor1D] {
  const joint = tf.concat([states, actions], 1) as tf.Tensor2D;
  return ['q.0', 'q.1'].map((name) => tf.reshape(mlpOf(tree, name, 'relu')(joint), [-1])) as [tf.Tensor1D, tf.Tensor1D];
}
export const stateValue = (tree: ParameterTree, states: tf.Tensor2D): tf.Tensor1D =>
  tf.reshape(mlpOf(tree, 'v', 'relu')(states), [-1]) as tf.Tensor1D;

const fromUnit = (x: number, { low, high }: Bounds, k: number) => (low[k] + high[k]) / 2 + (x * (high[k] - low[k])) / 2;

/** Transitions with their actions in [−1, 1]. @throws RangeError for bounds that do not fit, or an action outside of them, with its row */
export function unitActions(transitions: Transitions, { low, high }: Bounds): Float32Array {
  const { actions, actionWidth: A } = transitions;
  if (low.length !== A || high.length !== A || !low.every((value, k) => value < high[k] && Number.isFinite(high[k] - value)))
    throw new RangeError(`trainOffline: bounds go from [${low}] to [${high}]; actions have ${A} numbers within finite bounds`);
  return actions.map((value, i) => {
    const unit = (2 * (value - low[i % A])) / (high[i % A] - low[i % A]) - 1;
    if (Math.abs(unit) > 1 + 1e-5)
      throw new RangeError(
        `trainOffline: the action of transition ${Math.floor(i / A)} is ${value}, outside of ${low[i % A]} to ${high[i % A]}`,
      );
    return Math.min(1, Math.max(-1, unit));
  });
}

/** Mean and deviation (+ 1e-3, as in TD3+BC) of each state dimension. */
export function stateMoments({ states, stateWidth: S, count }: Transitions): { mean: Float32Array; deviation: Float32Array } {
  const mean = Float32Array.from({ length: S }, (_, k) => {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += states[i * S + k];
    return sum / count;
  });
  const deviation = mean.map((m, k) => {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += (states[i * S + k] - m) ** 2;
    return Math.sqrt(sum / count) + 1e-3;
  });
  return { mean, deviation };
}
