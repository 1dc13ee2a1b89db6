import {
  adamW,
  ConfigError,
  clipScale,
  gatherRows,
  gradientSum,
  gradients,
  learningRateSchedule,
  type MetricName,
  type Run,
  ScheduleConfig,
  saveIfAborted,
} from '@plumbline/core';
import type { Batches, RewardBatch, Scorer } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { bradleyTerryLoss } from './losses/bradleyTerry.js';

export const RewardTrainConfig = z.strictObject({
  steps: z.int().positive().describe('Optimizer updates'),
  groupsPerMicroBatch: z
    .int()
    .positive()
    .optional()
    .describe('Groups (or pairs) in memory at once, all of a step by default; lower it when memory runs out'),
  learningRate: z
    .number()
    .positive()
    .default(5e-6)
    .describe('Peak rate, after warm-up; 5e-6 for a pretrained model of billions, 5e-4 for one of a million parameters'),
  schedule: ScheduleConfig.prefault({ kind: 'cosine', warmupSteps: 0 }).describe('Warm-up and decay of the rate'),
  beta1: z.number().min(0).lt(1).default(0.9).describe('Decay of the mean of gradients'),
  beta2: z.number().min(0).lt(1).default(0.999).describe('Decay of the mean of squared gradients'),
  weightDecay: z.number().min(0).default(0).describe('Decoupled decay a step, of matrices alone'),
  maxGradNorm: z.number().positive().default(1).describe('Gradients are scaled down to this global L2 norm'),
  labelSmoothing: z.number().min(0).lt(0.5).default(0).describe('Assumed share of flipped labels'),
  centerCoefficient: z
    .number()
    .min(0)
    .default(0)
    .describe('Weight of (chosen + rejected)²; 0.01 where scores of different prompts are compared'),
  normCoefficient: z.number().min(0).default(0).describe('Weight of chosen² + rejected²'),
  temperature: z.number().positive().default(1).describe('Score differences are divided by it'),
  evaluateEvery: z.int().positive().optional().describe('Steps between evaluations; at the end alone by default'),
});
export type RewardTrainConfig = z.input<typeof RewardTrainConfig>;

export type RewardTraining = {
  scorer: Scorer;
  batches: Batches<RewardBatch>;
  run: Run;
  /** Metrics on held-out pairs, such as `eval/accuracy`; logged with the step after which they hold. */
  evaluate?: (scorer: Scorer, step: number) => Promise<Partial<Record<MetricName, number>>>;
};

/**
 * Trains `scorer` on preferences by Bradley-Terry; goes on from `run`'s last checkpoint if it has one.
 *
 * Each candidate of a batch is scored once, however many pairs it is in. The loss is the weighted mean over the step's pairs plus the mean penalty, so
 * micro-batches do not change it. Logs `loss` (nats a pair), `gradNorm` (before clipping), `learningRate`, `accuracy` (a tie counts as wrong), `margin`,
 * `scores/chosen`, `scores/rejected` and `scores/mean` (means over pairs), `tokens` and `tokensPerSecond`.
 *
 * @throws ConfigError naming the option that is wrong; InterruptedError, after saving, where the run's signal is aborted;
 *   NonFiniteError naming the step and the groups, once the state before that step is saved
 */
export async function trainReward(config: RewardTrainConfig, { scorer, batches, run, evaluate }: RewardTraining): Promise<void> {
  const {
    steps,
    groupsPerMicroBatch = Infinity,
    learningRate: peak,
    schedule,
    maxGradNorm,
    evaluateEvery = steps,
    ...rest
  } = parse(config);
  if (batches.steps < steps) throw new ConfigError(`trainReward: ${steps} steps, but the batches end after ${batches.steps}`);
  const { beta1, beta2, weightDecay, ...lossOptions } = rest;
  const rate = learningRateSchedule({ ...schedule, peak, steps });
  const optimizer = adamW({ beta1, beta2, weightDecay, decays: isMatrix });
  const weights = scorer.parameters.trainable();
  const state = { scorer: scorer.parameters, optimizer };
  try {
    for (let step = await run.restore(state); step < steps; step++) {
      await saveIfAborted(run, step, state);
      const start = performance.now();
      const batch = await batches.at(step);
      const weight = batch.weights ? batch.weights.reduce((a, b) => a + b, 0) : batch.pairs;
      if (!(weight > 0))
        throw new ConfigError(`trainReward: the weights of step ${step} add up to ${weight} (${batch.ids.slice(0, 4).join(', ')}, ...)`);
      const sum = gradientSum(weights);
      for (const micro of batch.split(Math.min(groupsPerMicroBatch, batch.groups))) {
        if (micro.pairs === 0) continue;
        sum.add(
          gradients(() => {
            const pairs = pairScores(scorer, micro);
            const { loss, penalty } = bradleyTerryLoss(pairs, lossOptions);
            const objective = tf.add(tf.div(tf.sum(loss), weight), tf.div(tf.sum(penalty), batch.pairs));
            return { loss: objective as tf.Scalar, metrics: pairMetrics(pairs, batch.pairs) };
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
      const evaluated = evaluate && ((step + 1) % evaluateEvery === 0 || step + 1 === steps) ? await evaluate(scorer, step + 1) : {};
      run.log(step, { ...values, learningRate, tokens, tokensPerSecond, ...evaluated });
      if ((step + 1) % run.saveEvery === 0) await run.save(step + 1, state);
    }
  } finally {
    optimizer.dispose();
  }
}

/** Scores of both sides of each pair, [pairs], from one forward of each candidate. */
function pairScores(scorer: Scorer, batch: RewardBatch) {
  const scores = tf.reshape(scorer.scores(batch.packed), [-1, 1]);
  const side = (rows: Int32Array): tf.Tensor1D => tf.reshape(gatherRows({ x: scores as tf.Tensor2D }, { rows }).y, [-1]);
  return {
    chosen: side(batch.chosen),
    rejected: side(batch.rejected),
    ...(batch.margins && { margin: tf.tensor1d(batch.margins) }),
    ...(batch.weights && { weight: tf.tensor1d(batch.weights) }),
  };
}

function pairMetrics({ chosen, rejected }: { chosen: tf.Tensor1D; rejected: tf.Tensor1D }, pairs: number) {
  const mean = (x: tf.Tensor) => tf.div(tf.sum(x), pairs) as tf.Scalar;
  return {
    accuracy: mean(tf.cast(tf.greater(chosen, rejected), 'float32')),
    margin: mean(tf.sub(chosen, rejected)),
    'scores/chosen': mean(chosen),
    'scores/rejected': mean(rejected),
    'scores/mean': mean(tf.mul(0.5, tf.add(chosen, rejected))),
  };
}

function parse(config: RewardTrainConfig): z.infer<typeof RewardTrainConfig> {
  const parsed = RewardTrainConfig.safeParse(config);
  if (!parsed.success) throw new ConfigError(`trainReward: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** Norm weights and biases are not decayed. */
const isMatrix = (name: string): boolean => !/norm|bias/.test(name);
