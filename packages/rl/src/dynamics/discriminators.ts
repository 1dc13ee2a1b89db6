import {
  adamW,
  type Checkpointable,
  ConfigError,
  createParameters,
  gradientSum,
  gradients,
  logSigmoid,
  type ParameterTree,
  type Run,
  readCopy,
  readScalars,
  type SavedTensor,
  saveIfAborted,
  saveIfDue,
  type TensorTree,
} from '@plumbline/core';
import type { Transitions } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { mlpEntries, mlpOf } from '../control/mlp.js';
import type { DynamicsEnsemble } from './ensemble.js';
import type { TransitionReward } from './filteredRollout.js';
import { dynamicsRewardFromLogits } from './losses.js';

export const DiscriminatorConfig = z.strictObject({
  steps: z.int().positive().default(2000).describe('Optimizer updates'),
  batchSize: z.int().positive().default(256).describe('Real transitions of an update, and as many that are not'),
  hidden: z.array(z.int().positive()).min(1).default([256, 128]).describe('Widths of the hidden layers'),
  learningRate: z.number().positive().default(3e-4).describe("Adam's"),
  discriminators: z.int().positive().default(40).describe('How many are kept, at equal distances over the last half of the updates'),
  noise: z
    .number()
    .positive()
    .default(0.5)
    .describe('Deviation by which real next states are shifted for a part of the others, in deviations of the changes'),
  shifted: z
    .number()
    .min(0)
    .max(1)
    .default(0.5)
    .describe("Share of the others that are shifted ones; the rest are the ensemble's own samples"),
});
export type DiscriminatorConfig = z.infer<typeof DiscriminatorConfig>;

/** How plausible transitions are, and what the kept discriminators say on average of real and of other ones, [discriminators] each. */
export type DynamicsReward = { reward: TransitionReward; expert: number[]; learner: number[]; dispose(): void };

/**
 * Learns to tell the recorded transitions from an ensemble's samples and from shifted ones, and gives the reward of a transition that `filteredRollout` chooses by (`dynamicsRewardFromLogits` over the
 * discriminators of many moments of the training, so that none of their blind spots decides). Goes on from `run`'s last checkpoint if it has one.
 *
 * Luo et al. 2024 (MOREC), arXiv:2310.05422. The paper trains them against a dynamics policy by adversarial imitation, which is not released; this is the cheaper way, with the ensemble as the one to be
 * found out.
 *
 * Logs `loss` (binary cross-entropy, nats), `gradNorm`, `learningRate`, `accuracy`.
 *
 * @returns the caller disposes it
 * @throws ConfigError for a wrong setting, or where no discriminator tells anything apart
 */
export async function trainDynamicsReward(
  settings: z.input<typeof DiscriminatorConfig>,
  { ensemble, transitions, run }: { ensemble: DynamicsEnsemble; transitions: Transitions; run: Run },
): Promise<DynamicsReward> {
  const parsed = DiscriminatorConfig.safeParse(settings);
  if (!parsed.success) throw new ConfigError(`trainDynamicsReward: ${z.prettifyError(parsed.error)}`);
  const config = parsed.data;
  const { stateWidth: S, actionWidth: A } = transitions;
  const network = createParameters(mlpEntries('discriminator', [2 * S + A, ...config.hidden, 1], run.rng.fork('weights')));
  const inputs = inputsOf(transitions);
  const optimizer = adamW();
  const kept = keeper();
  const state = { network, optimizer, kept };
  const keepAt = momentsOf(config);
  try {
    for (let step = await run.restore(state); step < config.steps; step++) {
      await saveIfAborted(run, step, state);
      const { real, other } = await samplesOf({ ensemble, transitions, config, run, step, rows: config.batchSize });
      const sum = gradientSum(network.trainable());
      sum.add(
        gradients(() => {
          const [a, b] = [logitsOf(network, inputs(real)), logitsOf(network, inputs(other))];
          const right = tf.mean(tf.concat([tf.cast(tf.greater(a, 0), 'float32'), tf.cast(tf.less(b, 0), 'float32')])) as tf.Scalar;
          return {
            loss: tf.neg(tf.mean(tf.concat([logSigmoid(a), logSigmoid(tf.neg(b) as tf.Tensor1D)]))) as tf.Scalar,
            metrics: { accuracy: right },
          };
        }, network.trainable()),
      );
      const values = await sum.read();
      if (!Number.isFinite(values.loss + values.gradNorm)) await run.fail(step, { rows: [], values }, state);
      optimizer.apply(sum.grads, { scale: 1, learningRate: config.learningRate });
      sum.dispose();
      if (keepAt.has(step + 1)) kept.add((await network.save()).tensors);
      run.log(step, { ...values, learningRate: config.learningRate });
      await saveIfDue(run, step + 1, state, step + 1 === config.steps);
    }
    return await rewardOf(kept.all(), { ensemble, transitions, config, run, inputs });
  } finally {
    optimizer.dispose();
    network.dispose();
  }
}

type Rows = { states: Float32Array; actions: Float32Array; nextStates: Float32Array; count: number };
type Sampling = { ensemble: DynamicsEnsemble; transitions: Transitions; config: DiscriminatorConfig; run: Run };

/** After which updates a discriminator is kept: evenly over the last half, the last one among them. */
function momentsOf({ steps, discriminators }: DiscriminatorConfig): Set<number> {
  const half = Math.ceil(steps / 2);
  return new Set(
    Array.from({ length: Math.min(discriminators, half) }, (_, i) => steps - Math.floor((i * half) / Math.min(discriminators, half))),
  );
}

/** Recorded transitions, and as many that are not: the ensemble's for the same states and actions, or the recorded ones shifted. */
async function samplesOf({
  ensemble,
  transitions,
  config,
  run,
  step,
  rows,
}: Sampling & { step: number | string; rows: number }): Promise<{ real: Rows; other: Rows }> {
  const { stateWidth: S, actionWidth: A, count } = transitions;
  const rng = run.rng.fork('samples', step);
  const picked = Int32Array.from({ length: rows }, () => rng.below(count));
  const take = (values: Float32Array, width: number) =>
    Float32Array.from({ length: rows * width }, (_, i) => values[picked[Math.floor(i / width)] * width + (i % width)]);
  const real: Rows = {
    states: take(transitions.states, S),
    actions: take(transitions.actions, A),
    nextStates: take(transitions.nextStates, S),
    count: rows,
  };
  const { means, deviations } = await ensemble.predict(real);
  const { deviation } = changesOf(transitions);
  const [z, shift] = [rng.fork('model').normal(rows * (S + 1)), rng.fork('shift').normal(rows * S)];
  const nextStates = new Float32Array(rows * S);
  for (let row = 0; row < rows; row++) {
    const member = ensemble.elites[rng.below(ensemble.elites.length)];
    const shifted = rng.uniform(1)[0] < config.shifted;
    for (let k = 0; k < S; k++) {
      const at = row * (S + 1) + k;
      nextStates[row * S + k] = shifted
        ? real.nextStates[row * S + k] + config.noise * deviation[k] * shift[row * S + k]
        : real.states[row * S + k] + means[member][at] + deviations[member][at] * z[at];
    }
  }
  return { real, other: { ...real, nextStates } };
}

/** Mean and deviation of the changes of state. */
function changesOf({ states, nextStates, stateWidth: S, count }: Transitions): { mean: Float32Array; deviation: Float32Array } {
  const column = (k: number) => Array.from({ length: count }, (_, i) => nextStates[i * S + k] - states[i * S + k]);
  const mean = Float32Array.from({ length: S }, (_, k) => column(k).reduce((a, b) => a + b, 0) / count);
  const deviation = mean.map((m, k) => Math.sqrt(column(k).reduce((sum, x) => sum + (x - m) ** 2, 0) / count) || 1);
  return { mean, deviation };
}

/** [rows, 2 · stateWidth + actionWidth]: states, actions and changes, each normalised. */
function inputsOf(transitions: Transitions): (rows: Rows) => tf.Tensor2D {
  const { stateWidth: S, actionWidth: A, count } = transitions;
  const moments = (values: Float32Array, width: number) =>
    changesOf({ ...transitions, stateWidth: width, count, states: new Float32Array(values.length), nextStates: values });
  const [state, action, change] = [moments(transitions.states, S), moments(transitions.actions, A), changesOf(transitions)];
  return ({ states, actions, nextStates, count: rows }) => {
    const data = new Float32Array(rows * (2 * S + A));
    for (let row = 0; row < rows; row++) {
      const at = row * (2 * S + A);
      for (let k = 0; k < S; k++) data[at + k] = (states[row * S + k] - state.mean[k]) / state.deviation[k];
      for (let k = 0; k < A; k++) data[at + S + k] = (actions[row * A + k] - action.mean[k]) / action.deviation[k];
      for (let k = 0; k < S; k++)
        data[at + S + A + k] = (nextStates[row * S + k] - states[row * S + k] - change.mean[k]) / change.deviation[k];
    }
    return tf.tensor2d(data, [rows, 2 * S + A]);
  };
}

const logitsOf = (tree: ParameterTree, inputs: tf.Tensor2D): tf.Tensor1D =>
  tf.reshape(mlpOf(tree, 'discriminator', 'relu')(inputs), [-1]) as tf.Tensor1D;

/** Discriminators of many moments, with what they say on average of 1,000 real transitions and of as many others. */
async function rewardOf(
  weights: Record<string, SavedTensor>[],
  { inputs, ...sampling }: Sampling & { inputs: (rows: Rows) => tf.Tensor2D },
): Promise<DynamicsReward> {
  const { real, other } = await samplesOf({ ...sampling, step: 'measure', rows: Math.min(1000, sampling.transitions.count) });
  const all: { tree: TensorTree; expert: number; learner: number }[] = [];
  for (const tensors of weights) {
    const tree = createParameters(
      Object.fromEntries(
        Object.entries(tensors).map(([name, { shape, data }]) => [name, { shape, data: data as Float32Array, trainable: false }]),
      ),
    );
    const means = tf.tidy(() => ({
      expert: tf.mean(logitsOf(tree, inputs(real))) as tf.Scalar,
      learner: tf.mean(logitsOf(tree, inputs(other))) as tf.Scalar,
    }));
    const { expert, learner } = await readScalars(means);
    tf.dispose(means);
    if (expert > learner) all.push({ tree, expert, learner });
    else tree.dispose();
  }
  if (all.length === 0)
    throw new ConfigError(
      `trainDynamicsReward: none of ${weights.length} discriminators tells real transitions from others; train for more steps`,
    );
  const [expert, learner] = [all.map((own) => own.expert), all.map((own) => own.learner)];
  return {
    expert,
    learner,
    async reward(rows) {
      const logits = tf.tidy(() => tf.stack(all.map(({ tree }) => logitsOf(tree, inputs(rows)))));
      const flat = await readCopy(logits);
      logits.dispose();
      return dynamicsRewardFromLogits(
        all.map((_, m) => flat.subarray(m * rows.count, (m + 1) * rows.count)),
        expert,
        learner,
      );
    },
    dispose: () => {
      for (const { tree } of all) tree.dispose();
    },
  };
}

/** Weights that were kept, as a part of the run's state. */
function keeper(): Checkpointable & { add(tensors: Record<string, SavedTensor>): void; all(): Record<string, SavedTensor>[] } {
  let kept: Record<string, SavedTensor>[] = [];
  return {
    add: (tensors) => void kept.push(tensors),
    all: () => kept,
    save: async () => ({
      tensors: Object.fromEntries(kept.flatMap((tensors, i) => Object.entries(tensors).map(([name, tensor]) => [`${i}/${name}`, tensor]))),
      json: { kept: kept.length },
    }),
    async load({ tensors, json }) {
      kept = Array.from({ length: (json as { kept: number }).kept }, () => ({}));
      for (const [name, tensor] of Object.entries(tensors)) {
        const cut = name.indexOf('/');
        kept[Number(name.slice(0, cut))][name.slice(cut + 1)] = tensor;
      }
    },
  };
}
