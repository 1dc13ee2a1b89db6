/** A model of the world that knows how sure it is: several probabilistic networks that agree where there were data. */
import { createParameters, type Parameter, type Rng, readCopy, type TensorTree } from '@plumbline/core';
import type { Transitions } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { mlpEntries, mlpOf } from '../control/mlp.js';
import { boundedLogVar } from './losses.js';

/** Rows of states [rows · stateWidth] and actions [rows · actionWidth]. */
export type StateActions = { states: Float32Array; actions: Float32Array };
export interface DynamicsEnsemble {
  readonly parameters: TensorTree;
  readonly members: number;
  /** Members from which next states are drawn: all until `trainDynamics` has chosen the best. */
  elites: readonly number[];
  readonly stateWidth: number;
  readonly actionWidth: number;
  /** Mean and log-variance of one member's change of state and reward, [rows, stateWidth + 1] each; for training. The caller disposes them. */
  forward(member: number, inputs: tf.Tensor2D): { mean: tf.Tensor2D; logVar: tf.Tensor2D };
  /** Means and standard deviations of every member, [members][rows · (stateWidth + 1)]: the change of state, then the reward. */
  predict(rows: StateActions): Promise<{ means: Float32Array[]; deviations: Float32Array[] }>;
  dispose(): void;
}
export type DynamicsOptions = {
  /** Networks; 7 unless given. */
  members?: number;
  /** Widths of the hidden layers; four of 200 unless given. */
  hidden?: readonly number[];
  rng: Rng;
};

/**
 * New networks from (state, action), each input normalised by its mean and deviation in `transitions`, to a Gaussian over (change of state, reward). Swish between layers; log-variances within
 * learned bounds that begin at −10 and 0.5. Chua et al. 2018, arXiv:1805.12114; Yu et al. 2020 (MOPO), arXiv:2005.13239.
 *
 * The caller disposes it.
 * @throws RangeError for fewer than 2 members or transitions, naming the number
 */
export function createDynamicsEnsemble(
  transitions: Transitions,
  { members = 7, hidden = [200, 200, 200, 200], rng }: DynamicsOptions,
): DynamicsEnsemble {
  const { stateWidth, actionWidth, count } = transitions;
  if (!(Number.isInteger(members) && members >= 2))
    throw new RangeError(`createDynamicsEnsemble: members must be a whole number from 2 on, got ${members}`);
  if (count < 2) throw new RangeError(`createDynamicsEnsemble: there are ${count} transitions`);
  const outputs = stateWidth + 1;
  const inputs = stateWidth + actionWidth;
  const moments = [momentsOf(transitions.states, stateWidth), momentsOf(transitions.actions, actionWidth)];
  const fixed = (data: number[]) => ({ shape: [data.length], data: Float32Array.from(data), trainable: false });
  const parameters = createParameters({
    'inputs.mean': fixed(moments.flatMap(({ mean }) => mean)),
    'inputs.deviation': fixed(moments.flatMap(({ deviation }) => deviation)),
    'logVar.min': { shape: [outputs], data: new Float32Array(outputs).fill(-10) },
    'logVar.max': { shape: [outputs], data: new Float32Array(outputs).fill(0.5) },
    ...Object.assign({}, ...Array.from({ length: members }, (_, m) => mlpEntries(`member.${m}`, [inputs, ...hidden, 2 * outputs], rng))),
  });
  const value = <T extends tf.Tensor>(name: string) => (parameters.get(name) as Parameter).value as T;
  const networks = Array.from({ length: members }, (_, m) => mlpOf(parameters, `member.${m}`, 'swish'));
  const forward: DynamicsEnsemble['forward'] = (member, x) =>
    tf.tidy(() => {
      const normal: tf.Tensor2D = tf.div(tf.sub(x, value('inputs.mean')), value('inputs.deviation'));
      const [mean, raw] = tf.split(networks[member](normal), 2, 1);
      return { mean, logVar: boundedLogVar(raw as tf.Tensor2D, { min: value('logVar.min'), max: value('logVar.max') }) };
    }) as { mean: tf.Tensor2D; logVar: tf.Tensor2D };
  return {
    parameters,
    members,
    elites: networks.map((_, m) => m),
    stateWidth,
    actionWidth,
    forward,
    async predict(rows) {
      const means: Float32Array[] = [];
      const deviations: Float32Array[] = [];
      for (let m = 0; m < members; m++) {
        const { mean, deviation } = tf.tidy(() => {
          const { mean, logVar } = forward(m, inputsOf(rows, stateWidth, actionWidth));
          return { mean, deviation: tf.exp(tf.mul(0.5, logVar)) };
        });
        means.push((await readCopy(mean)) as Float32Array);
        deviations.push((await readCopy(deviation)) as Float32Array);
        tf.dispose([mean, deviation]);
      }
      return { means, deviations };
    },
    dispose: () => parameters.dispose(),
  };
}

/** [rows, stateWidth + actionWidth]. */
export function inputsOf({ states, actions }: StateActions, stateWidth: number, actionWidth: number): tf.Tensor2D {
  if (states.length / stateWidth !== actions.length / actionWidth)
    throw new RangeError(`dynamics: ${states.length / stateWidth} states and ${actions.length / actionWidth} actions`);
  return tf.tidy(
    () =>
      tf.concat(
        [tf.tensor2d(states, [states.length / stateWidth, stateWidth]), tf.tensor2d(actions, [actions.length / actionWidth, actionWidth])],
        1,
      ) as tf.Tensor2D,
  );
}

/** Mean and standard deviation of each column; the deviation of one that never changes is 1. */
function momentsOf(values: Float32Array, width: number): { mean: number[]; deviation: number[] } {
  const rows = values.length / width;
  const column = (k: number) => Array.from({ length: rows }, (_, row) => values[row * width + k]);
  const mean = Array.from({ length: width }, (_, k) => column(k).reduce((a, b) => a + b, 0) / rows);
  const deviation = mean.map((m, k) => Math.sqrt(column(k).reduce((sum, x) => sum + (x - m) ** 2, 0) / rows));
  return { mean, deviation: deviation.map((d) => (d > 1e-6 ? d : 1)) };
}
