import {
  adamW,
  bestWeights,
  ConfigError,
  checkSynchronisable,
  clipScale,
  createParameters,
  type GradientSum,
  gradientSum,
  gradients,
  learningRateSchedule,
  type MetricName,
  type ParameterTree,
  ReferenceSync,
  type Run,
  readCopy,
  saveIfAborted,
  saveIfDue,
  synchroniseReference,
} from '@plumbline/core';
import { affordableTokens, type Batches, type Decoder, microBatches } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { PairInputs, PairLossSpec } from './losses/types.js';
import {
  joinInputs,
  pairConstants,
  pairMetrics,
  policyInputs,
  type Reference,
  type StepTotals,
  stepTotals,
  type TrainingPairs,
  withNll,
} from './pairInputs.js';
import { tokensPerMicroBatch, updateSettings } from './updateSettings.js';

/** Settings of `trainPairs`. */
export const PairTrainConfig = z
  .strictObject({
    steps: z.int().positive().describe('Optimizer updates'),
    pairsPerStep: z.int().positive().default(8).describe('Pairs whose gradient makes one update'),
    pairsPerMicroBatch: z.int().positive().default(8).describe('Pairs in memory at once at most'),
    tokensPerMicroBatch,
    referenceSync: ReferenceSync.optional().describe(
      'Moves the reference towards the policy (TR-DPO); the reference is a snapshot of the policy',
    ),
    ...updateSettings,
  })
  .refine((c) => c.pairsPerStep % c.pairsPerMicroBatch === 0, { path: ['pairsPerMicroBatch'], error: 'must divide pairsPerStep' });
export type PairTrainConfig = z.infer<typeof PairTrainConfig>;

export type PairTraining = {
  /** Its trainable parameters are changed in place. */
  policy: Decoder;
  /** A frozen model, or log-probabilities known beforehand (`precomputeReference`). Losses that need none ignore it. */
  reference?: Reference;
  /** Of the data set, or drawn from the policy as it is (`onlinePairs`, `opponentPairs`). */
  batches: Batches<TrainingPairs>;
  loss: PairLossSpec<unknown>;
  run: Run;
  /** What it answers is logged with the step, under the names of core's `metrics`. */
  evaluate?: (policy: Decoder, step: number) => Promise<Partial<Record<MetricName, number>>>;
};

export type PairResult = {
  /** Updates that were made; fewer than asked for where it stopped early. */
  steps: number;
  /** The lowest `eval/loss`, and the step after which it was measured; with early stopping the policy has these weights. */
  best?: { step: number; value: number };
};

/**
 * Trains `policy` on preference pairs under any pair loss; goes on from `run`'s last checkpoint if it has one.
 *
 * Logs `loss` (nats per pair), `gradNorm` (before clipping), `learningRate` and the pair metrics of core's `metrics`. The loss is the sum over
 * the step's pairs, times their weights where they have some, divided by the number of pairs.
 *
 * @throws ConfigError for a wrong setting; NonFiniteError naming the step and the pairs, once the state before that step is saved;
 * InterruptedError once the run's signal has fired and the state is saved
 */
export async function trainPairs(
  settings: z.input<typeof PairTrainConfig>,
  { policy, reference, batches, loss, run, evaluate }: PairTraining,
): Promise<PairResult> {
  const config = parse(settings);
  const options = lossOptions(loss, config.lossOptions);
  if (batches.steps < config.steps)
    throw new ConfigError(`trainPairs: ${config.steps} steps are asked for, and the batches are for ${batches.steps}`);
  const weights = policy.parameters.trainable();
  const optimizer = adamW({ ...config, decays: matricesOf(policy.parameters) });
  const schedule = learningRateSchedule({ ...config.schedule, peak: config.learningRate, steps: config.steps });
  const { referenceSync, earlyStopping } = config;
  if (earlyStopping && !(evaluate && config.evaluateEvery))
    throw new ConfigError('trainPairs: earlyStopping looks at eval/loss; give evaluateEvery and a function that evaluates');
  const moving = referenceSync ? movingReference(policy, reference) : undefined;
  const stopping = bestWeights(policy.parameters, {
    trainer: 'trainPairs',
    watch: { 'eval/loss': 'lower', 'eval/reward': 'higher' },
    stop: earlyStopping,
  });
  // All that a step changes: saved and restored as one.
  const state = {
    policy: policy.parameters,
    optimizer,
    ...(moving && { reference: moving.parameters }),
    ...(evaluate && { stopping }),
  };
  try {
    let step = await run.restore(state);
    for (; step < config.steps && !stopping.over(); step++) {
      await saveIfAborted(run, step, state);
      const started = performance.now();
      const batch = await batches.at(step).catch(async (error) => {
        await saveIfAborted(run, step, state); // sampling that was cut short is an interruption
        if (step > 0) await run.save(step, state); // a judge that fails in hour nine loses nothing
        throw error;
      }); // a function of seed and step: nothing to save, nothing to rewind
      if (batch.pairs !== config.pairsPerStep)
        throw new ConfigError(`trainPairs: pairsPerStep is ${config.pairsPerStep}, and the batches have ${batch.pairs} pairs`);
      const totals = stepTotals(batch);
      const micros = microBatches(batch, {
        rows: config.pairsPerMicroBatch,
        tokens: config.tokensPerMicroBatch ?? affordableTokens(policy),
      });
      const sum = gradientSum(weights);
      if (loss.scope === 'batch') await addBatchLoss(sum, { policy, reference, loss, options, micros, totals });
      else
        for (const micro of micros) {
          const constants = pairConstants(loss.needs, reference, micro); // reference log-probabilities and the like, off the tape
          sum.add(
            gradients(() => {
              const inputs = policyInputs(loss.needs, policy, micro, totals, constants);
              const pairs = loss.apply(inputs, options);
              return { loss: meanLoss(pairs.loss, micro.weights, totals), metrics: pairMetrics(pairs, inputs.policy, totals) };
            }, weights),
          );
          tf.dispose(constants);
        }
      const values = await sum.read(); // loss, gradNorm and metrics, in one transfer
      if (!Number.isFinite(values.loss + values.gradNorm)) {
        const lossOf = (micro: TrainingPairs) =>
          loss.apply(policyInputs(loss.needs, policy, micro, totals, pairConstants(loss.needs, reference, micro)), options).loss;
        const rows = loss.scope === 'pair' ? await notFinite(micros, lossOf) : [];
        await run.fail(step, { rows: rows.length > 0 ? rows : batch.ids, values }, state);
      }
      const learningRate = schedule(step);
      optimizer.apply(sum.grads, { scale: clipScale(values.gradNorm, config.maxGradNorm), learningRate });
      sum.dispose();
      const seconds = (performance.now() - started) / 1000;
      const last = step + 1 === config.steps;
      if (moving && referenceSync && (step + 1) % referenceSync.every === 0)
        await synchroniseReference(policy, moving, referenceSync.mixup);
      const due = config.evaluateEvery && evaluate && ((step + 1) % config.evaluateEvery === 0 || last);
      const evaluation = due ? await evaluate(policy, step + 1) : {};
      if (due) await stopping.look(step + 1, evaluation);
      const tokens = batch.packed.tokens.length + (batch.gold?.tokens.length ?? 0);
      const counts = batch.dropped && { 'pairs/identical': batch.dropped.identical, 'pairs/ties': batch.dropped.ties };
      run.log(step, { ...values, learningRate, tokens, tokensPerSecond: tokens / seconds, ...counts, ...evaluation });
      await saveIfDue(run, step + 1, state, last || stopping.over());
    }
    await stopping.goBack();
    return { steps: step, ...(stopping.best() && { best: stopping.best() }) };
  } finally {
    optimizer.dispose();
  }
}

function movingReference(policy: Decoder, reference: Reference | undefined): Decoder {
  if (!reference || !('completionLogps' in reference))
    throw new ConfigError('trainPairs: referenceSync moves a model; known log-probabilities stay what they are');
  checkSynchronisable(policy, reference);
  return reference;
}

function parse(settings: z.input<typeof PairTrainConfig>): PairTrainConfig {
  const parsed = PairTrainConfig.safeParse(settings);
  if (!parsed.success) throw new ConfigError(`trainPairs: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

function lossOptions(loss: PairLossSpec<unknown>, given: Record<string, unknown>): unknown {
  const parsed = loss.options.safeParse(given);
  if (!parsed.success) throw new ConfigError(`trainPairs: lossOptions: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** Norm weights and biases, which have one axis, are not decayed. */
function matricesOf(parameters: ParameterTree): (name: string) => boolean {
  return (name) => parameters.get(name).shape.length > 1;
}

/** Ids of the pairs whose own loss is not finite; none where only the gradient is not. */
async function notFinite(micros: readonly TrainingPairs[], losses: (micro: TrainingPairs) => tf.Tensor1D): Promise<string[]> {
  const bad: string[] = [];
  for (const micro of micros) {
    const tensor = tf.tidy(() => losses(micro));
    const values = await readCopy(tensor);
    tensor.dispose();
    bad.push(...micro.ids.filter((_, i) => !Number.isFinite(values[i])));
  }
  return bad;
}

/** By the step's pairs, so that the split cannot matter. */
function meanLoss(losses: tf.Tensor1D, weights: Float32Array | undefined, { pairs }: StepTotals): tf.Scalar {
  return tf.tidy(() => tf.div(tf.sum(weights ? tf.mul(losses, tf.tensor1d(weights.slice())) : losses), pairs));
}

/**
 * A loss that is not a sum over pairs: one pass without gradients gives the whole step's log-probabilities, the loss is differentiated with
 * respect to these, and each micro-batch then carries its part of that gradient back: `Σ (dL/dlogp) · logp`.
 */
async function addBatchLoss(
  sum: GradientSum,
  {
    policy,
    reference,
    loss,
    options,
    micros,
    totals,
  }: Pick<PairTraining, 'policy' | 'reference' | 'loss'> & { options: unknown; micros: TrainingPairs[]; totals: StepTotals },
): Promise<void> {
  const { needs } = loss;
  if (needs.includes('gold')) throw new ConfigError('trainPairs: a loss of gold completions cannot be mixed with one of whole batches');
  if (micros.some((micro) => micro.weights))
    throw new ConfigError('trainPairs: the rows of a batch loss are not pairs, so that pairs cannot be weighted');
  const parts = micros.map((micro) => tf.tidy(() => policyInputs(needs, policy, micro, totals, pairConstants(needs, reference, micro))));
  const step = tf.tidy(() => joinInputs(parts));
  tf.dispose(parts);
  const leaves = createParameters(await leafEntries(step));
  const whole = gradients(() => {
    const inputs = withNll(withLeaves(step, leaves), needs, totals);
    const pairs = loss.apply(inputs, options);
    return { loss: meanLoss(pairs.loss, undefined, totals), metrics: pairMetrics(pairs, inputs.policy, totals) };
  }, leaves.trainable());
  tf.dispose(step);
  let pair = 0;
  const token = { chosen: 0, rejected: 0 };
  micros.forEach((micro, i) => {
    const surrogate = gradients(() => {
      const { policy: logps, tokens } = policyInputs(needs, policy, micro, totals, {});
      const terms = (['chosen', 'rejected'] as const).flatMap((side) => {
        const own = along(whole.grads.get(leaves.get(side)), logps[side], pair);
        return tokens ? [own, along(whole.grads.get(leaves.get(`${side}Tokens`)), tokens[side].policy, token[side])] : [own];
      });
      for (const side of ['chosen', 'rejected'] as const) if (tokens) token[side] += tokens[side].policy.size;
      return { loss: tf.addN(terms) as tf.Scalar };
    }, policy.parameters.trainable());
    pair += micro.pairs;
    surrogate.loss.dispose();
    sum.add(i === 0 ? { ...whole, grads: surrogate.grads } : { loss: tf.scalar(0), grads: surrogate.grads });
  });
  tf.dispose([...whole.grads.values()]);
  leaves.dispose();
}

/** The policy's log-probabilities as parameters of their own. */
async function leafEntries({ policy, tokens }: PairInputs): Promise<Record<string, { shape: number[]; data: Float32Array }>> {
  const tensors: Record<string, tf.Tensor> = {
    ...policy,
    ...(tokens && { chosenTokens: tokens.chosen.policy, rejectedTokens: tokens.rejected.policy }),
  };
  const entries = Object.entries(tensors).map(
    async ([name, x]) => [name, { shape: x.shape, data: (await readCopy(x)) as Float32Array }] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

function withLeaves(inputs: PairInputs, leaves: ReturnType<typeof createParameters>): PairInputs {
  const leaf = (name: string) => leaves.get(name).value as tf.Tensor1D;
  const { tokens } = inputs;
  return {
    ...inputs,
    policy: { chosen: leaf('chosen'), rejected: leaf('rejected') },
    ...(tokens && {
      tokens: {
        chosen: { ...tokens.chosen, policy: leaf('chosenTokens') },
        rejected: { ...tokens.rejected, policy: leaf('rejectedTokens') },
      },
    }),
  };
}

/** `Σ grad[from ...]·x`; 0 where the loss does not reach. */
function along(grad: tf.Tensor | undefined, x: tf.Tensor1D, from: number): tf.Tensor {
  return tf.tidy(() => (grad ? tf.sum(tf.mul(tf.slice(grad as tf.Tensor1D, from, x.size), x)) : tf.scalar(0)));
}
