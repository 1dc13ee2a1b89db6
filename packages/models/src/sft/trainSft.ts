import {
  adamW,
  bestWeights,
  ConfigError,
  clipScale,
  EarlyStopping,
  gradientSum,
  gradients,
  learningRateSchedule,
  type MetricName,
  type ParameterTree,
  type Run,
  readCopy,
  ScheduleConfig,
  saveIfAborted,
  saveIfDue,
} from '@plumbline/core';
import { affordableTokens, type Batches, type Decoder, microBatches, packSequences, type Sequence } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { SftBatch } from './batches.js';
import { sftLosses } from './losses.js';

export const SftConfig = z.strictObject({
  steps: z.int().positive().describe('Optimizer updates'),
  loss: z
    .enum(['nll', 'dft'])
    .default('nll')
    .describe('Maximum likelihood, or dynamic fine-tuning, where unlikely tokens pull no harder than others'),
  sequencesPerMicroBatch: z.int().positive().optional().describe('Sequences in memory at once at most'),
  tokensPerMicroBatch: z
    .int()
    .positive()
    .optional()
    .describe(
      'Tokens in memory at once, though one sequence at least; as many as 256 MB hold the activations of unless given; lower it when memory runs out',
    ),
  learningRate: z.number().positive().default(2e-5).describe('Peak rate, after warm-up'),
  schedule: ScheduleConfig.prefault({ kind: 'cosine', warmupSteps: 0 }).describe('Warm-up and decay of the rate'),
  beta1: z.number().min(0).lt(1).default(0.9).describe('Decay of the mean of gradients'),
  beta2: z.number().min(0).lt(1).default(0.999).describe('Decay of the mean of squared gradients'),
  weightDecay: z.number().min(0).default(0).describe('Decoupled decay a step, of matrices alone'),
  maxGradNorm: z.number().positive().default(1).describe('Gradients are scaled down to this global L2 norm'),
  evaluateEvery: z.int().positive().optional().describe('Steps between evaluations; at the end alone by default'),
  earlyStopping: EarlyStopping.optional().describe('Stop where eval/loss no longer falls, and go back to the weights that had the lowest'),
});
export type SftConfig = z.input<typeof SftConfig>;

export type SftTraining = {
  policy: Decoder;
  batches: Batches<SftBatch>;
  run: Run;
  /** Metrics of held-out rows, such as `eval/loss` (`sftLoss`); logged with the step after which they hold. */
  evaluate?: (policy: Decoder, step: number) => Promise<Partial<Record<MetricName, number>>>;
};
export type SftResult = {
  /** Updates that were made; fewer than asked for where it stopped early. */
  steps: number;
  /** The lowest `eval/loss`, and the step after which it was measured; the policy has these weights where early stopping was asked for. */
  best?: { step: number; value: number };
};

/**
 * Trains `policy` on the completions of its batches by maximum likelihood, or by another of `sftLosses`; goes on from `run`'s last checkpoint if it has one.
 * With batches whose every token counts, it is pretraining.
 *
 * The loss is the mean over the step's counted tokens, so micro-batches do not change it. Logs `loss` (nats a
 * token), `gradNorm` (before clipping), `learningRate`, `tokens`, `tokensPerSecond`, and what `evaluate` answers. With early stopping the best weights so
 * far are part of each checkpoint.
 *
 * @throws ConfigError naming the option that is wrong; InterruptedError, after saving, where the run's signal is aborted;
 *   NonFiniteError naming the step and the sequences, once the state before that step is saved
 */
export async function trainSft(config: SftConfig, { policy, batches, run, evaluate }: SftTraining): Promise<SftResult> {
  const parsed = parse(config);
  const {
    steps,
    loss,
    sequencesPerMicroBatch: rows,
    tokensPerMicroBatch = affordableTokens(policy),
    learningRate: peak,
    schedule,
    maxGradNorm,
    evaluateEvery,
    earlyStopping,
    ...adam
  } = parsed;
  if (earlyStopping && !(evaluate && evaluateEvery))
    throw new ConfigError('trainSft: earlyStopping looks at eval/loss; give evaluateEvery and a function that evaluates');
  const rate = learningRateSchedule({ ...schedule, peak, steps });
  const optimizer = adamW({ ...adam, decays: matricesOf(policy.parameters) });
  const weights = policy.parameters.trainable();
  if (weights.length === 0)
    throw new ConfigError(
      `trainSft: ${policy.name} has nothing to train: its weights are frozen; put an adapter on it, or load it without storage`,
    );
  const stopping = bestWeights(policy.parameters, { trainer: 'trainSft', watch: { 'eval/loss': 'lower' }, stop: earlyStopping });
  const state = { policy: policy.parameters, optimizer, ...(evaluate && { stopping }) };
  try {
    let step = await run.restore(state);
    for (; step < steps && !stopping.over(); step++) {
      const start = performance.now();
      await saveIfAborted(run, step, state);
      const batch = await batches.at(step);
      if (batch.countedTokens === 0)
        throw new ConfigError(`trainSft: no token of step ${step} counts in the loss (${batch.ids.slice(0, 4).join(', ')}, ...)`);
      const sum = gradientSum(weights);
      for (const micro of microBatches(batch, { rows, tokens: tokensPerMicroBatch })) {
        if (!micro.packed.completionMask.includes(1)) continue;
        sum.add(
          gradients(() => {
            const { tokens } = policy.completionLogps(micro.packed);
            return { loss: tf.div(tf.sum(sftLosses[loss](tokens)), batch.countedTokens) as tf.Scalar };
          }, weights),
        );
      }
      const values = await sum.read();
      if (!Number.isFinite(values.loss + values.gradNorm)) await run.fail(step, { rows: batch.ids, values }, state);
      const learningRate = rate(step);
      optimizer.apply(sum.grads, { scale: clipScale(values.gradNorm, maxGradNorm), learningRate });
      sum.dispose();
      const tokens = batch.packed.tokens.length;
      const tokensPerSecond = (tokens * 1000) / (performance.now() - start);
      const last = step + 1 === steps;
      const due = evaluate && (last || (evaluateEvery !== undefined && (step + 1) % evaluateEvery === 0));
      const evaluated = due ? await evaluate(policy, step + 1) : {};
      if (due) await stopping.look(step + 1, evaluated);
      run.log(step, { ...values, learningRate, tokens, tokensPerSecond, ...evaluated });
      await saveIfDue(run, step + 1, state, last || stopping.over());
    }
    await stopping.goBack();
    return { steps: step, ...(stopping.best() && { best: stopping.best() }) };
  } finally {
    optimizer.dispose();
  }
}

/**
 * The mean negative log-probability of the counted tokens of `sequences`, in nats a token: what `eval/loss` is.
 * @param options.batchTokens about how many tokens go through the model at once
 */
export async function sftLoss(
  policy: Decoder,
  sequences: readonly Sequence[],
  { batchTokens = 2048, signal }: { batchTokens?: number; signal?: AbortSignal } = {},
): Promise<number> {
  let [sum, count] = [0, 0];
  for (let from = 0; from < sequences.length; ) {
    signal?.throwIfAborted();
    let [to, size] = [from, 0];
    while (to < sequences.length && (to === from || size + sequences[to].tokens.length <= batchTokens))
      size += sequences[to++].tokens.length;
    const packed = packSequences(sequences.slice(from, to).map((sequence, row) => ({ ...sequence, row })));
    const logps = tf.tidy(() => policy.completionLogps(packed).tokens);
    for (const logp of await readCopy(logps)) sum -= logp;
    count += logps.size;
    logps.dispose();
    from = to;
  }
  if (count === 0) throw new ConfigError('sftLoss: no token of these sequences counts');
  return sum / count;
}

function parse(config: SftConfig): z.infer<typeof SftConfig> {
  const parsed = SftConfig.safeParse(config);
  if (!parsed.success) throw new ConfigError(`trainSft: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** Norm weights, biases and all that has one axis are not decayed (transformers' rule). */
const matricesOf =
  (parameters: ParameterTree) =>
  (name: string): boolean =>
    !/norm|bias|\bln_/.test(name) && parameters.get(name).shape.length > 1;
