import {
  adamW,
  ConfigError,
  clipScale,
  gradientSum,
  gradients,
  learningRateSchedule,
  type Run,
  readScalars,
  ScheduleConfig,
  saveIfAborted,
  saveIfDue,
  stopGradient,
} from '@plumbline/core';
import { type Batches, checkTrajectories, type Trajectory } from '@plumbline/data';
import type { SftBatch } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { DecisionTransformer } from './decisionTransformer.js';
import { sampleWindows } from './windows.js';

/**
 * What a predicted action costs: the mean over its dimensions of `(predicted − target)²`; of a `discrete` one the cross-entropy of its logits, in nats. Chen et al. 2021, arXiv:2106.01345.
 *
 * @param predicted, target [steps, width]; gradients flow through `predicted`
 * @param mask 1 on steps that count, [steps]; all unless given
 * @returns [steps], 0 where masked, of which the mean over the steps that count is the objective; the caller disposes it
 */
export function actionLoss(
  predicted: tf.Tensor2D,
  target: tf.Tensor2D,
  { discrete = false, mask }: { discrete?: boolean; mask?: tf.Tensor1D } = {},
): tf.Tensor1D {
  if (predicted.shape.join() !== target.shape.join())
    throw new RangeError(`actionLoss: predicted is [${predicted.shape}] and target [${target.shape}]`);
  return tf.tidy(() => {
    const wanted = stopGradient(target);
    const loss = (
      discrete ? tf.neg(tf.sum(tf.mul(wanted, tf.logSoftmax(predicted)), 1)) : tf.mean(tf.square(tf.sub(predicted, wanted)), 1)
    ) as tf.Tensor1D;
    return mask ? (tf.mul(loss, mask) as tf.Tensor1D) : loss;
  });
}

export const DecisionConfig = z.strictObject({
  steps: z.int().positive().describe('Optimizer updates'),
  windowsPerStep: z.int().positive().default(64).describe('Windows of an update, drawn by the length of their trajectories'),
  textWeight: z.number().min(0).default(0.1).describe('Weight of the language loss, in nats a token, where there are texts'),
  learningRate: z.number().positive().default(1e-4).describe('Peak rate, after warm-up'),
  schedule: ScheduleConfig.default({ kind: 'constant', warmupSteps: 0 }).describe(
    'Course of the learning rate; 10,000 warm-up steps of 100,000 in the paper',
  ),
  maxGradNorm: z.number().positive().default(0.25).describe('Gradients are scaled down to this global L2 norm'),
  weightDecay: z.number().min(0).default(1e-4).describe('AdamW: decoupled weight decay, on matrices only; 1e-5 in LaMo'),
  eps: z.number().positive().default(1e-8).describe('AdamW: added to the root of the second moment; 1e-6 in LaMo'),
});
export type DecisionConfig = z.infer<typeof DecisionConfig>;

/**
 * Trains a decision transformer to predict the actions of `trajectories`, and with `texts` its trunk on language beside it, so that a pretrained one does not forget: the loss is the actions' plus
 * `textWeight` times the mean negative log-probability of a token. Goes on from `run`'s last checkpoint if it has one. Chen et al. 2021, arXiv:2106.01345; Shi et al. 2024 (LaMo), arXiv:2310.20587.
 *
 * Logs `loss`, `gradNorm` (before clipping), `learningRate`.
 *
 * @returns the last step's two losses
 * @throws ConfigError for a wrong setting, texts without a weight or too few of them, or trajectories of other widths than the model's
 */
export async function trainDecisionTransformer(
  settings: z.input<typeof DecisionConfig>,
  {
    model,
    trajectories,
    texts,
    run,
  }: { model: DecisionTransformer; trajectories: readonly Trajectory[]; texts?: Batches<SftBatch>; run: Run },
): Promise<{ actionLoss: number; textLoss?: number }> {
  const parsed = DecisionConfig.safeParse(settings);
  if (!parsed.success) throw new ConfigError(`trainDecisionTransformer: ${z.prettifyError(parsed.error)}`);
  const config = parsed.data;
  const widths = checkTrajectories(trajectories);
  if (widths.stateWidth !== model.stateWidth || widths.actionWidth !== model.actionWidth)
    throw new ConfigError(
      `trainDecisionTransformer: trajectories have states of ${widths.stateWidth} and actions of ${widths.actionWidth}; the model ${model.stateWidth} and ${model.actionWidth}`,
    );
  if (texts && config.textWeight === 0) throw new ConfigError('trainDecisionTransformer: there are texts, and textWeight is 0');
  if (texts && texts.steps < config.steps)
    throw new ConfigError(`trainDecisionTransformer: ${config.steps} steps are asked for, and the texts are for ${texts.steps}`);
  const weights = model.parameters.trainable();
  const optimizer = adamW({ ...config, decays: (name) => model.parameters.get(name).shape.length > 1 });
  const rate = learningRateSchedule({ ...config.schedule, peak: config.learningRate, steps: config.steps });
  const state = { model: model.parameters, optimizer };
  let last: { actionLoss: number; textLoss?: number } = { actionLoss: Number.NaN };
  try {
    for (let step = await run.restore(state); step < config.steps; step++) {
      await saveIfAborted(run, step, state);
      const windows = sampleWindows(trajectories, {
        context: model.context,
        count: config.windowsPerStep,
        rng: run.rng.fork('windows', step),
      });
      const sum = gradientSum(weights);
      const actions = gradients(() => {
        const target = tf.tensor2d(windows.actions, [windows.timesteps.length, model.actionWidth]);
        return { loss: tf.mean(actionLoss(model.forward(windows), target, model)) as tf.Scalar };
      }, weights);
      const parts: Record<string, tf.Scalar> = { actionLoss: tf.clone(actions.loss) };
      sum.add(actions);
      if (texts) {
        const batch = await texts.at(step);
        const language = gradients(() => {
          const { tokens } = model.trunk.decoder.completionLogps(batch.packed);
          return { loss: tf.mul(-config.textWeight / batch.countedTokens, tf.sum(tokens)) as tf.Scalar };
        }, weights);
        parts.textLoss = tf.div(language.loss, config.textWeight);
        sum.add(language);
      }
      const values = await sum.read();
      last = (await readScalars(parts)) as typeof last;
      tf.dispose(parts);
      if (!Number.isFinite(values.loss + values.gradNorm)) await run.fail(step, { rows: [], values }, state);
      const learningRate = rate(step);
      optimizer.apply(sum.grads, { scale: clipScale(values.gradNorm, config.maxGradNorm), learningRate });
      sum.dispose();
      run.log(step, { ...values, learningRate });
      await saveIfDue(run, step + 1, state, step + 1 === config.steps);
    }
    return last;
  } finally {
    optimizer.dispose();
  }
}
