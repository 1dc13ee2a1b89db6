import {
  adamW,
  type Checkpointable,
  ConfigError,
  clipScale,
  gradientSum,
  gradients,
  type Run,
  readScalars,
  saveIfAborted,
  saveIfDue,
} from '@plumbline/core';
import type { Transitions } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { type DynamicsEnsemble, inputsOf } from './ensemble.js';
import { gaussianNll, logVarBound } from './losses.js';

export const DynamicsConfig = z.strictObject({
  steps: z.int().positive().describe('Optimizer updates at most'),
  batchSize: z.int().positive().default(256).describe('Transitions of an update, for each member its own'),
  learningRate: z.number().positive().default(1e-3).describe("Adam's"),
  weightDecay: z.number().min(0).default(5e-5).describe('Added to the loss: this times the sum of the squared weights'),
  maxGradNorm: z.number().positive().default(100).describe('Gradients are scaled down to this global L2 norm'),
  heldOut: z.number().gt(0).lt(1).default(0.2).describe('Share of the transitions to measure by, 1,000 at most'),
  elites: z.int().positive().default(5).describe('Members, those of least held-out error, that next states are drawn from'),
  evaluateEvery: z.int().positive().optional().describe('Updates between measurements; once through the transitions by default'),
  patience: z.int().positive().default(5).describe('Measurements in a row without a gain for any member after which training stops'),
  minGain: z.number().min(0).default(0.01).describe('Share by which a held-out error must fall to be a gain'),
});
export type DynamicsConfig = z.infer<typeof DynamicsConfig>;

/**
 * Trains every member of `ensemble` by maximum likelihood, each on the transitions in an order of its own; measures their squared errors on held-out ones, gives each member back its best weights
 * and chooses the elites. Goes on from `run`'s last checkpoint if it has one. Yu et al. 2020 (MOPO), arXiv:2005.13239, appendix; as in MOREC, arXiv:2310.05422.
 *
 * Logs `loss` (summed over members), `gradNorm`, and `eval/loss`, the mean over members of the held-out squared error of a dimension.
 *
 * @returns each member's least held-out error, and the step at which training ended
 * @throws ConfigError for a wrong setting, or more elites than members
 */
export async function trainDynamics(
  settings: z.input<typeof DynamicsConfig>,
  { ensemble, transitions, run }: { ensemble: DynamicsEnsemble; transitions: Transitions; run: Run },
): Promise<{ errors: number[]; steps: number }> {
  const parsed = DynamicsConfig.safeParse(settings);
  if (!parsed.success) throw new ConfigError(`trainDynamics: ${z.prettifyError(parsed.error)}`);
  const config = parsed.data;
  const { members, stateWidth, actionWidth, parameters } = ensemble;
  if (config.elites > members)
    throw new ConfigError(`trainDynamics: ${config.elites} elites are asked for, and the ensemble has ${members} members`);
  const { training, heldOut } = split(transitions.count, config.heldOut, run);
  const perEpoch = Math.max(1, Math.floor(training.length / config.batchSize));
  const { evaluateEvery = perEpoch } = config;
  const weights = parameters.trainable();
  const decayed = weights.filter(({ name }) => name.endsWith('weight'));
  const optimizer = adamW();
  const best = bestMembers(ensemble, config);
  const state = { ensemble: parameters, optimizer, best };
  let step = await run.restore(state);
  try {
    for (; step < config.steps && !best.over(); step++) {
      await saveIfAborted(run, step, state);
      const sum = gradientSum(weights);
      for (let m = 0; m < members; m++) {
        const order = run.rng.fork('order', m, Math.floor(step / perEpoch)).permutation(training.length);
        const from = (step % perEpoch) * config.batchSize;
        const batch = rowsOf(
          transitions,
          Array.from(order.subarray(from, from + config.batchSize), (i) => training[i]),
        );
        sum.add(
          gradients(() => {
            const { mean, logVar } = ensemble.forward(m, inputsOf(batch, stateWidth, actionWidth));
            const nll = gaussianNll({ mean, logVar, target: tf.tensor2d(batch.targets, [batch.count, stateWidth + 1]) });
            return { loss: tf.mean(nll) as tf.Scalar };
          }, weights),
        );
      }
      sum.add(
        gradients(() => {
          const squares = decayed.map(({ value }) => tf.sum(tf.square(value)));
          const bounds = { min: parameters.get('logVar.min').value as tf.Tensor1D, max: parameters.get('logVar.max').value as tf.Tensor1D };
          return { loss: tf.add(tf.mul(config.weightDecay, tf.addN(squares)), logVarBound(bounds)) as tf.Scalar };
        }, weights),
      );
      const values = await sum.read();
      if (!Number.isFinite(values.loss + values.gradNorm)) await run.fail(step, { rows: [], values }, state);
      optimizer.apply(sum.grads, { scale: clipScale(values.gradNorm, config.maxGradNorm), learningRate: config.learningRate });
      sum.dispose();
      const last = step + 1 === config.steps;
      const due = (step + 1) % evaluateEvery === 0 || last;
      const errors = due ? await heldOutErrors(ensemble, transitions, heldOut) : [];
      if (due) await best.look(errors);
      run.log(step, {
        ...values,
        learningRate: config.learningRate,
        ...(due && { 'eval/loss': errors.reduce((a, b) => a + b, 0) / members }),
      });
      await saveIfDue(run, step + 1, state, last);
    }
    await best.goBack();
    const errors = best.errors();
    ensemble.elites = errors
      .map((_, m) => m)
      .sort((a, b) => errors[a] - errors[b] || a - b)
      .slice(0, config.elites)
      .sort((a, b) => a - b);
    return { errors, steps: step };
  } finally {
    optimizer.dispose();
  }
}

function split(count: number, share: number, run: Run): { training: Int32Array; heldOut: Int32Array } {
  const held = Math.max(1, Math.min(Math.floor(count * share), 1000));
  if (count - held < 1) throw new ConfigError(`trainDynamics: ${count} transitions leave none to train on`);
  const order = run.rng.fork('heldOut').permutation(count);
  return { heldOut: order.slice(0, held), training: order.slice(held) };
}

/** Rows of the transitions with what is to be predicted: the change of state and the reward. */
function rowsOf({ states, actions, rewards, nextStates, stateWidth: S, actionWidth: A }: Transitions, rows: ArrayLike<number>) {
  const count = rows.length;
  const batch = {
    count,
    states: new Float32Array(count * S),
    actions: new Float32Array(count * A),
    targets: new Float32Array(count * (S + 1)),
  };
  for (let i = 0; i < count; i++) {
    const row = rows[i];
    batch.states.set(states.subarray(row * S, (row + 1) * S), i * S);
    batch.actions.set(actions.subarray(row * A, (row + 1) * A), i * A);
    for (let k = 0; k < S; k++) batch.targets[i * (S + 1) + k] = nextStates[row * S + k] - states[row * S + k];
    batch.targets[i * (S + 1) + S] = rewards[row];
  }
  return batch;
}

/** Each member's mean squared error of a dimension. */
async function heldOutErrors(ensemble: DynamicsEnsemble, transitions: Transitions, rows: Int32Array): Promise<number[]> {
  const { members, stateWidth, actionWidth } = ensemble;
  const batch = rowsOf(transitions, rows);
  const scalars = tf.tidy(() => {
    const inputs = inputsOf(batch, stateWidth, actionWidth);
    const target = tf.tensor2d(batch.targets, [batch.count, stateWidth + 1]);
    return Object.fromEntries(
      Array.from({ length: members }, (_, m) => [m, tf.mean(tf.square(tf.sub(ensemble.forward(m, inputs).mean, target))) as tf.Scalar]),
    );
  });
  try {
    return Object.values(await readScalars(scalars));
  } finally {
    tf.dispose(scalars);
  }
}

/** The weights with which each member measured best. */
function bestMembers({ parameters, members }: DynamicsEnsemble, { patience, minGain }: DynamicsConfig) {
  const errors = new Array<number>(members).fill(Infinity);
  let without = 0;
  const kept: Awaited<ReturnType<Checkpointable['save']>>['tensors'] = {};
  const own = (name: string) => /^member\.(\d+)\./.exec(name)?.[1];
  const checkpointable: Checkpointable = {
    save: async () => ({ tensors: { ...kept }, json: { errors: errors.map((error) => (error === Infinity ? null : error)), without } }),
    async load({ tensors, json }) {
      const saved = json as { errors: (number | null)[]; without: number };
      saved.errors.forEach((error, m) => {
        errors[m] = error ?? Infinity;
      });
      without = saved.without;
      Object.assign(kept, tensors);
    },
  };
  return {
    ...checkpointable,
    errors: () => [...errors],
    over: () => without >= patience,
    async look(measured: readonly number[]) {
      const better = measured.map((error, m) => error < errors[m] * (1 - minGain));
      without = better.includes(true) ? 0 : without + 1;
      if (!better.includes(true)) return;
      const { tensors } = await parameters.save();
      for (const [name, tensor] of Object.entries(tensors)) if (better[Number(own(name) ?? -1)]) kept[name] = tensor;
      measured.forEach((error, m) => {
        if (better[m]) errors[m] = error;
      });
    },
    async goBack() {
      const { tensors, json } = await parameters.save();
      await parameters.load({ tensors: { ...tensors, ...kept }, json });
    },
  };
}
