/** A reward model from a user's preferences, labels, scores or steps: an adapter by default, all weights on request; left behind as a classifier that transformers loads. */
import { basename, join } from 'node:path';
import { ConfigError, rng as newRng, type Rng, writeFileAtomic } from '@plumbline/core';
import { pairedDifference } from '@plumbline/data/statistics';
import {
  addLora,
  createAttributeScorer,
  createScorer,
  createStepScorer,
  isAdapted,
  type LocalDecoder,
  type LocalScorer,
  saveAdapter,
  saveHead,
  saveScorer,
} from '@plumbline/models';
import { type RewardTraining, trainReward } from '@plumbline/rewards';
import * as tf from '@tensorflow/tfjs-core';
import type { RewardSettings } from './rewardConfig.js';
import { type HeadKind, type RewardMeasures, rewardTask, type Trained } from './rewardTasks.js';
import { lookAt } from './samples.js';
import { about, type Interval, interval, type Job, kept, loadBase, type Spent, stepsOf, training, within } from './training.js';

export type RewardSummary = Spent & {
  seed: number;
  model: { name: string; parameters: number; trained: number; bytes: number };
  dataset: string;
  data: {
    unit: 'pairs' | 'completions' | 'solutions';
    read: number;
    skipped: number;
    why?: string;
    leftOut: number;
    train: number;
    heldOut: number;
  };
  steps: number;
  /** `change` is in accuracy; of a regression, in minus the squared error. */
  heldOut?: { before: RewardMeasures; after: RewardMeasures; change?: Interval };
  best?: { step: number; value: number };
  /** The sequence classifier, and the adapter where one was trained. */
  output: { model: string; adapter?: string };
  settings: RewardSettings;
};
export type RewardJob = Job<RewardSettings>;

export async function runReward(job: RewardJob): Promise<RewardSummary> {
  const { settings, model, dataset, seed, dir, signal } = job;
  const started = Date.now();
  const rng = newRng(seed);
  const { full } = settings;
  const decoder = await loadBase(job);
  const task = await rewardTask(dataset, { settings, decoder, rng, signal });
  if (task.train === 0)
    throw new ConfigError(
      `${dataset}: nothing of ${task.read} records fits into ${settings.maxTokens} tokens (or all was held out); raise maxTokens, up to ${decoder.contextLength}`,
    );
  const steps = stepsOf(settings, task.train, settings.recordsPerStep);
  const built = await headOn(decoder, task.head, settings, rng);

  const before = task.heldOut === 0 ? undefined : await kept(join(dir, 'before.json'), () => task.measure(built));
  const look = lookAt(dir, () => task.scored(built, settings.writtenSamples));
  await look(0);
  const { schedule, evaluateEvery, earlyStopping } = settings;
  const readings = (metrics: { loss?: number; accuracy?: number; 'eval/accuracy'?: number; 'eval/loss'?: number }) => {
    const [accuracy, loss] = [metrics['eval/accuracy'], metrics['eval/loss']];
    return [
      `loss ${metrics.loss?.toFixed(3)}`,
      metrics.accuracy !== undefined && `accuracy ${metrics.accuracy.toFixed(2)}`,
      accuracy !== undefined ? `held out ${accuracy.toFixed(3)}` : loss !== undefined && `held-out loss ${loss.toFixed(3)}`,
    ];
  };
  return training(job, { steps, label: 'Training the reward model', readings, started }, async ({ run, ended, spent }) => {
    const result = await trainReward(
      {
        steps,
        groupsPerMicroBatch: settings.recordsPerMicroBatch,
        tokensPerMicroBatch: settings.tokensPerMicroBatch,
        learningRate: settings.learningRate ?? (full ? 5e-6 : 1e-4),
        schedule: within(schedule, steps),
        weightDecay: settings.weightDecay,
        maxGradNorm: settings.maxGradNorm,
        lossOptions: task.lossOptions,
        evaluateEvery,
        earlyStopping,
      },
      {
        ...task.training(steps),
        scorer: built.model,
        run,
        ...(task.heldOut > 0 && {
          evaluate: async (_model: unknown, step: number) => {
            await look(step);
            const { accuracy, loss } = await task.measure(built);
            return { ...(accuracy && { 'eval/accuracy': accuracy.mean }), ...(loss !== undefined && { 'eval/loss': loss }) };
          },
        }),
      } as RewardTraining,
    );
    ended();
    await look(result.steps);
    const after = before && (await task.measure(built));
    const output = await built.save(dir, model);
    const own = Object.entries(result.lossParameters).map(([name, values]) => [name, Array.from(values)] as const);
    if (own.length > 0) await writeFileAtomic(join(output.model, 'loss.json'), `${JSON.stringify(Object.fromEntries(own))}\n`);
    return {
      seed,
      model: about(decoder, built.model),
      dataset: basename(dataset),
      data: {
        unit: task.unit,
        read: task.read,
        skipped: task.skipped,
        ...(task.why && { why: task.why }),
        leftOut: task.leftOut,
        train: task.train,
        heldOut: task.heldOut,
      },
      steps: result.steps,
      ...(before &&
        after && {
          heldOut: {
            before: measures(before),
            after: measures(after),
            ...(after.right.length > 1 && { change: interval(pairedDifference(after.right, before.right)) }),
          },
        }),
      ...(earlyStopping && result.best && { best: result.best }),
      ...spent(),
      output,
      settings,
    };
  });
}

type Built = Trained & { save(dir: string, base: string): Promise<RewardSummary['output']> };

/** The head that a task needs, on an adapter or on all weights. */
async function headOn(decoder: LocalDecoder, head: HeadKind, { full, lora, pooling }: RewardSettings, rng: Rng): Promise<Built> {
  const { padId } = decoder.tokenizer;
  const adapter = { rng: rng.fork('adapter') };
  const name = `${decoder.name}-reward`;
  if (head.kind === 'score') {
    const base = createScorer(decoder, { pooling, padId, rng: rng.fork('head'), name, shareBackbone: !full });
    const scorer: LocalScorer = full ? base : await addLora(base, lora, adapter);
    return {
      model: scorer,
      scorer,
      async save(dir, from) {
        const output = { model: join(dir, 'model'), ...(!full && { adapter: join(dir, 'adapter') }) };
        await saveScorer(output.model, scorer);
        if (isAdapted(scorer)) await saveAdapter(output.adapter!, scorer, { base: from });
        return output;
      },
    };
  }
  const backbone = full ? decoder : await addLora(decoder, lora, adapter);
  const options = { rng: rng.fork('head'), name, shareBackbone: true };
  const { tokenizer, contextLength, activationBytes } = backbone;
  const shared = { name, tokenizer, contextLength, ...(activationBytes !== undefined && { activationBytes }) };
  if (head.kind === 'steps') {
    const steps = createStepScorer(backbone, options);
    const model = {
      ...shared,
      parameters: steps.parameters,
      stepOutputs: (...of: Parameters<typeof steps.logits>) => tf.tidy(() => tf.reshape(steps.logits(...of), [-1, 1]) as tf.Tensor2D),
    };
    return { model, save: async (dir) => saved(join(dir, 'model'), steps) };
  }
  const attributes = createAttributeScorer(backbone, { ...options, attributes: head.labels, pooling, padId });
  const model = { ...shared, parameters: attributes.parameters, outputs: attributes.scores };
  return { model, scorer: attributes.weighted({ [head.labels[0]]: 1 }), save: async (dir) => saved(join(dir, 'model'), attributes) };
}

async function saved(folder: string, head: Parameters<typeof saveHead>[1]): Promise<{ model: string }> {
  await saveHead(folder, head); // an adapter is merged into it: PEFT has no place for such a head
  return { model: folder };
}

const measures = ({ right: _, ...rest }: RewardMeasures & { right: number[] }): RewardMeasures => rest;
