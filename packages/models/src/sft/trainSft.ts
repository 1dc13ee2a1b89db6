import {
  adamW,
  ConfigError,
  clipScale,
  gradientSum,
  gradients,
  learningRateSchedule,
  type Run,
  ScheduleConfig,
  saveIfAborted,
} from '@plumbline/core';
import type { Batches, Decoder } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { SftBatch } from './batches.js';

export const SftConfig = z.strictObject({
  steps: z.int().positive().describe('Optimizer updates'),
  sequencesPerMicroBatch: z
    .int()
    .positive()
    .optional()
    .describe('Sequences in memory at once, all of a step by default; lower it when memory runs out'),
  learningRate: z.number().positive().default(2e-5).describe('Peak rate, after warm-up'),
  schedule: ScheduleConfig.prefault({ kind: 'cosine', warmupSteps: 0 }).describe('Warm-up and decay of the rate'),
  beta1: z.number().min(0).lt(1).default(0.9).describe('Decay of the mean of gradients'),
  beta2: z.number().min(0).lt(1).default(0.999).describe('Decay of the mean of squared gradients'),
  weightDecay: z.number().min(0).default(0).describe('Decoupled decay a step, of matrices alone'),
  maxGradNorm: z.number().positive().default(1).describe('Gradients are scaled down to this global L2 norm'),
});
export type SftConfig = z.input<typeof SftConfig>;

export type SftTraining = { policy: Decoder; batches: Batches<SftBatch>; run: Run };

/**
 * Trains `policy` on the completions of its batches by maximum likelihood; goes on from `run`'s last checkpoint if it has one.
 * With batches whose every token counts, it is pretraining.
 *
 * The loss is the mean negative log-probability over the step's counted tokens, so micro-batches do not change it. Logs `loss` (nats a
 * token), `gradNorm` (before clipping), `learningRate`, `tokens` and `tokensPerSecond`.
 *
 * @throws ConfigError naming the option that is wrong; InterruptedError, after saving, where the run's signal is aborted;
 *   NonFiniteError naming the step and the sequences, once the state before that step is saved
 */
export async function trainSft(config: SftConfig, { policy, batches, run }: SftTraining): Promise<void> {
  const { steps, sequencesPerMicroBatch = Infinity, learningRate: peak, schedule, maxGradNorm, ...adam } = parse(config);
  const rate = learningRateSchedule({ ...schedule, peak, steps });
  const optimizer = adamW({ ...adam, decays: isMatrix });
  const weights = policy.parameters.trainable();
  const state = { policy: policy.parameters, optimizer };
  try {
    for (let step = await run.restore(state); step < steps; step++) {
      const start = performance.now();
      await saveIfAborted(run, step, state);
      const batch = await batches.at(step);
      if (batch.countedTokens === 0)
        throw new ConfigError(`trainSft: no token of step ${step} counts in the loss (${batch.ids.slice(0, 4).join(', ')}, ...)`);
      const sum = gradientSum(weights);
      for (const micro of batch.split(Math.min(sequencesPerMicroBatch, batch.ids.length))) {
        if (!micro.packed.completionMask.includes(1)) continue;
        sum.add(
          gradients(() => {
            const { tokens } = policy.completionLogps(micro.packed);
            return { loss: tf.div(tf.neg(tf.sum(tokens)), batch.countedTokens) as tf.Scalar };
          }, weights),
        );
      }
      const values = await sum.read();
      if (!Number.isFinite(values.loss + values.gradNorm)) await run.fail(step, { rows: batch.ids, values }, state);
      const learningRate = rate(step);
      optimizer.apply(sum.grads, { scale: clipScale(values.gradNorm, maxGradNorm), learningRate });
      sum.dispose();
      const tokens = batch.packed.tokens.length;
      run.log(step, { ...values, learningRate, tokens, tokensPerSecond: (tokens * 1000) / (performance.now() - start) });
      if ((step + 1) % run.saveEvery === 0) await run.save(step + 1, state);
    }
  } finally {
    optimizer.dispose();
  }
}

function parse(config: SftConfig): z.infer<typeof SftConfig> {
  const parsed = SftConfig.safeParse(config);
  if (!parsed.success) throw new ConfigError(`trainSft: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** Norm weights and biases are not decayed (transformers' rule). */
const isMatrix = (name: string): boolean => !/norm|bias|\bln_/.test(name);
