import {
  adamW,
  bestWeights,
  ConfigError,
  clipScale,
  gradientSum,
  gradients,
  learningRateSchedule,
  type MetricName,
  type Run,
  readCopy,
  saveIfAborted,
  saveIfDue,
} from '@plumbline/core';
import { affordableTokens, type Batches, type Decoder, microBatches } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { UnpairedBatch } from './unpaired/batches.js';
import { runningShift } from './unpaired/bco.js';
import type { UnpairedInputs, UnpairedLossSpec } from './unpaired/types.js';
import { tokensPerMicroBatch, updateSettings } from './updateSettings.js';

/** Settings of `trainUnpaired`. */
export const UnpairedTrainConfig = z
  .strictObject({
    steps: z.int().positive().describe('Optimizer updates'),
    rowsPerStep: z
      .int()
      .positive()
      .default(8)
      .describe('Completions whose gradient makes one update; KTO estimates its reference point from them'),
    rowsPerMicroBatch: z.int().positive().default(8).describe('Completions in memory at once at most'),
    tokensPerMicroBatch,
    ...updateSettings,
  })
  .refine((c) => c.rowsPerStep % c.rowsPerMicroBatch === 0, { path: ['rowsPerMicroBatch'], error: 'must divide rowsPerStep' });
export type UnpairedTrainConfig = z.infer<typeof UnpairedTrainConfig>;

export type UnpairedTraining = {
  /** Its trainable parameters are changed in place. */
  policy: Decoder;
  reference: Decoder;
  /** Log-probabilities of the rows' completions under the reference, by id, where they are known (`referenceRowLogps`): it then reads mismatched completions alone, which KTO pairs anew in each step. */
  known?: ReadonlyMap<string, number>;
  batches: Batches<UnpairedBatch>;
  loss: UnpairedLossSpec<unknown>;
  run: Run;
  /** What it answers is logged with the step, under the names of core's `metrics`. */
  evaluate?: (policy: Decoder, step: number) => Promise<Partial<Record<MetricName, number>>>;
};

export type UnpairedResult = {
  /** Updates that were made; fewer than asked for where it stopped early. */
  steps: number;
  /** The lowest `eval/loss`, and the step after which it was measured; with early stopping the policy has these weights. */
  best?: { step: number; value: number };
};

/**
 * Trains `policy` on completions with a thumb up or down (KTO, BCO, APO-zero); goes on from `run`'s last checkpoint if it has one.
 *
 * KTO's reference point and BCO's running shift are numbers of the whole step, computed without gradient before it: the split into micro-batches
 * cannot matter. Logs `loss`, `gradNorm`, `learningRate`, and rewards and log-probabilities of desirable (`chosen`) and undesirable (`rejected`) rows.
 *
 * @throws ConfigError for a wrong setting; NonFiniteError naming the step and the rows, once the state before that step is saved;
 * InterruptedError once the run's signal has fired and the state is saved
 */
export async function trainUnpaired(
  settings: z.input<typeof UnpairedTrainConfig>,
  { policy, reference, known, batches, loss, run, evaluate }: UnpairedTraining,
): Promise<UnpairedResult> {
  const parsed = UnpairedTrainConfig.safeParse(settings);
  if (!parsed.success) throw new ConfigError(`trainUnpaired: ${z.prettifyError(parsed.error)}`);
  const config = parsed.data;
  const options = loss.options.safeParse(config.lossOptions);
  if (!options.success) throw new ConfigError(`trainUnpaired: lossOptions: ${z.prettifyError(options.error)}`);
  if (batches.steps < config.steps)
    throw new ConfigError(`trainUnpaired: ${config.steps} steps are asked for, and the batches are for ${batches.steps}`);
  const weights = policy.parameters.trainable();
  const optimizer = adamW({ ...config, decays: (name) => policy.parameters.get(name).shape.length > 1 });
  const schedule = learningRateSchedule({ ...config.schedule, peak: config.learningRate, steps: config.steps });
  const shift = runningShift();
  const { earlyStopping } = config;
  if (earlyStopping && !(evaluate && config.evaluateEvery))
    throw new ConfigError('trainUnpaired: earlyStopping looks at eval/loss; give evaluateEvery and a function that evaluates');
  const stopping = bestWeights(policy.parameters, { trainer: 'trainUnpaired', watch: { 'eval/loss': 'lower' }, stop: earlyStopping });
  // All that a step changes: saved and restored as one.
  const state = { policy: policy.parameters, optimizer, shift, ...(evaluate && { stopping }) };
  try {
    let step = await run.restore(state);
    for (; step < config.steps && !stopping.over(); step++) {
      await saveIfAborted(run, step, state);
      const started = performance.now();
      const batch = await batches.at(step);
      if (batch.rows !== config.rowsPerStep)
        throw new ConfigError(`trainUnpaired: rowsPerStep is ${config.rowsPerStep}, and the batches have ${batch.rows} rows`);
      const micros = microBatches(batch, {
        rows: config.rowsPerMicroBatch,
        tokens: config.tokensPerMicroBatch ?? affordableTokens(policy),
      });
      const before = await shift.save();
      const mismatched = loss.needs.includes('mismatched') ? await mismatchedLogps(policy, reference, micros) : undefined;
      const of = (micro: UnpairedBatch) => referenceSums(reference, known, micro);
      if (loss.needs.includes('shift')) shift.update(await rewardsOf(policy, of, loss, options.data, micros));
      const counts = { rows: batch.rows, desirable: batch.desirable.reduce((a, b) => a + b, 0) };
      const sum = gradientSum(weights);
      for (const micro of micros) {
        const constants = tf.tidy(() => ({
          reference: tf.clone(of(micro)),
          desirable: tf.tensor1d(Float32Array.from(micro.desirable)),
        }));
        sum.add(
          gradients(() => {
            const logps = policy.completionLogps(micro.packed).sums;
            const { loss: losses, rewards } = loss.apply({ policy: logps, ...constants, mismatched, shift: shift.value }, options.data);
            return {
              loss: tf.div(tf.sum(losses), batch.rows) as tf.Scalar,
              metrics: rowMetrics(rewards, logps, constants.desirable, counts),
            };
          }, weights),
        );
        tf.dispose(constants);
      }
      tf.dispose(mismatched ?? {});
      const values = await sum.read(); // loss, gradNorm and metrics, in one transfer
      if (!Number.isFinite(values.loss + values.gradNorm)) {
        await shift.load(before);
        await run.fail(step, { rows: batch.ids, values }, state);
      }
      const learningRate = schedule(step);
      optimizer.apply(sum.grads, { scale: clipScale(values.gradNorm, config.maxGradNorm), learningRate });
      sum.dispose();
      const seconds = (performance.now() - started) / 1000;
      const last = step + 1 === config.steps;
      const due = config.evaluateEvery && evaluate && ((step + 1) % config.evaluateEvery === 0 || last);
      const evaluation = due ? await evaluate(policy, step + 1) : {};
      if (due) await stopping.look(step + 1, evaluation);
      const tokens = batch.packed.tokens.length;
      run.log(step, { ...values, learningRate, tokens, tokensPerSecond: tokens / seconds, ...evaluation });
      await saveIfDue(run, step + 1, state, last || stopping.over());
    }
    await stopping.goBack();
    return { steps: step, ...(stopping.best() && { best: stopping.best() }) };
  } finally {
    optimizer.dispose();
  }
}

/** Of the whole step, off the tape. The caller disposes them. */
async function mismatchedLogps(
  policy: Decoder,
  reference: Decoder,
  micros: readonly UnpairedBatch[],
): Promise<NonNullable<UnpairedInputs['mismatched']>> {
  const sums = (decoder: Decoder) => tf.tidy(() => tf.concat(micros.map((micro) => decoder.completionLogps(micro.mismatched).sums)));
  return { policy: sums(policy), reference: sums(reference) };
}

/** Of the rows' own completions. @throws ConfigError naming the row that is not among the known */
function referenceSums(reference: Decoder, known: ReadonlyMap<string, number> | undefined, { packed, ids }: UnpairedBatch): tf.Tensor1D {
  if (!known) return reference.completionLogps(packed).sums;
  return tf.tensor1d(
    ids.map((id) => {
      const logp = known.get(id);
      if (logp === undefined)
        throw new ConfigError(`row ${id}: its reference log-probability is not known; was it computed for other rows?`);
      return logp;
    }),
  );
}

/** Rewards of the whole step before the update, on the host. */
async function rewardsOf(
  policy: Decoder,
  referenceOf: (micro: UnpairedBatch) => tf.Tensor1D,
  loss: UnpairedLossSpec<unknown>,
  options: unknown,
  micros: readonly UnpairedBatch[],
) {
  const rewards = tf.tidy(() =>
    tf.concat(
      micros.map((micro) => {
        return loss.apply(
          {
            policy: policy.completionLogps(micro.packed).sums,
            reference: referenceOf(micro),
            desirable: tf.tensor1d(Float32Array.from(micro.desirable)),
          },
          options,
        ).rewards;
      }),
    ),
  );
  try {
    return await readCopy(rewards);
  } finally {
    rewards.dispose();
  }
}

/** Means over the step's rows of either kind; where a kind has none, its metrics are left out. */
function rowMetrics(
  rewards: tf.Tensor1D,
  logps: tf.Tensor1D,
  desirable: tf.Tensor1D,
  { rows, desirable: ups }: { rows: number; desirable: number },
) {
  const side = (x: tf.Tensor1D, mask: tf.Tensor, count: number): tf.Scalar => tf.div(tf.sum(tf.mul(x, mask)), count);
  const downs = rows - ups;
  return tf.tidy(() => {
    const other = tf.sub(1, desirable);
    const metrics: Record<string, tf.Scalar> = {
      ...(ups > 0 && { 'rewards/chosen': side(rewards, desirable, ups), 'logps/chosen': side(logps, desirable, ups) }),
      ...(downs > 0 && { 'rewards/rejected': side(rewards, other, downs), 'logps/rejected': side(logps, other, downs) }),
    };
    if (ups > 0 && downs > 0) metrics['rewards/margin'] = tf.sub(metrics['rewards/chosen'], metrics['rewards/rejected']);
    return metrics;
  });
}
