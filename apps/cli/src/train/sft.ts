/** Supervised finetuning of a user's model on conversations: an adapter by default, all weights on request. */
import { basename, join } from 'node:path';
import { ConfigError, makeFolder, rng as newRng } from '@plumbline/core';
import { type LocalDecoder, sftBatches, sftLoss, trainSft } from '@plumbline/models';
import { encodeChats, readChats, type TrainingSequence } from './chats.js';
import { type Asked, lookAtAnswers } from './samples.js';
import type { SftSettings } from './sftConfig.js';
import { about, drawn, type Job, kept, loadPolicy, type Spent, saved, stepsOf, training, within } from './training.js';

export type SftSummary = Spent & {
  seed: number;
  model: { name: string; parameters: number; trained: number; bytes: number };
  dataset: string;
  data: { read: number; skipped: number; why?: string; leftOut: number; train: number; heldOut: number; tokens: number };
  steps: number;
  /** Mean negative log-probability of the held-out answers, in nats a token. */
  heldOutLoss?: { before: number; after: number };
  best?: { step: number; value: number };
  /** Folder of the adapter, or of the model. */
  output: string;
  settings: SftSettings;
};
export type SftJob = Job<SftSettings>;

export async function runSft(job: SftJob): Promise<SftSummary> {
  const { settings, dataset, seed, dir, signal } = job;
  const started = Date.now();
  await makeFolder(dir);
  const rng = newRng(seed);
  const { full, maxTokens } = settings;
  const { base, policy } = await loadPolicy(job, rng);

  const { chats, skipped, why } = await readChats(dataset);
  const { sequences, dropped } = encodeChats(base, drawn(chats, settings.records, rng), maxTokens);
  const [heldOut, train] = split(sequences, settings.heldOut);
  if (train.length === 0)
    throw new ConfigError(
      `${dataset}: none of ${chats.length} conversations fits into ${maxTokens} tokens; raise maxTokens, up to ${base.contextLength}`,
    );
  const steps = stepsOf(settings, train.length, settings.sequencesPerStep);

  const evaluate = async (decoder: LocalDecoder = policy) => sftLoss(decoder, heldOut, { signal });
  const before = heldOut.length === 0 ? undefined : await kept(join(dir, 'before.json'), () => evaluate(base));
  const look = lookAtAnswers(
    dir,
    policy,
    heldOut.map((sequence) => lastTurn(policy, sequence)),
    settings,
  );
  await look(0);
  const { evaluateEvery, earlyStopping, schedule, weightDecay, maxGradNorm } = settings;
  const readings = (metrics: { loss?: number; 'eval/loss'?: number }) => [
    `loss ${metrics.loss?.toFixed(3)}`,
    metrics['eval/loss'] !== undefined && `held out ${metrics['eval/loss'].toFixed(3)}`,
  ];
  return training(job, { steps, label: 'Finetuning', readings, started }, async ({ run, ended, spent }) => {
    const result = await trainSft(
      {
        steps,
        loss: settings.loss,
        sequencesPerMicroBatch: settings.sequencesPerMicroBatch,
        tokensPerMicroBatch: settings.tokensPerMicroBatch,
        learningRate: settings.learningRate ?? (full ? 2e-5 : 2e-4),
        schedule: within(schedule, steps),
        weightDecay,
        maxGradNorm,
        evaluateEvery,
        earlyStopping,
      },
      {
        policy,
        batches: sftBatches(train, {
          sequencesPerStep: Math.min(settings.sequencesPerStep, train.length),
          steps,
          rng: rng.fork('batches'),
        }),
        run,
        ...(heldOut.length > 0 && {
          evaluate: async (_policy: unknown, step: number) => {
            await look(step);
            return { 'eval/loss': await evaluate() };
          },
        }),
      },
    );
    ended();
    await look(result.steps);
    const output = await saved(job, policy);
    return {
      seed,
      model: about(base, policy),
      dataset: basename(dataset),
      data: {
        read: chats.length,
        skipped,
        ...(why && { why }),
        leftOut: dropped,
        train: train.length,
        heldOut: heldOut.length,
        tokens: train.reduce((sum, sequence) => sum + sequence.tokens.length, 0),
      },
      steps: result.steps,
      ...(before !== undefined && { heldOutLoss: { before, after: await evaluate() } }),
      ...(earlyStopping && result.best && { best: result.best }),
      ...spent(),
      output,
      settings,
    };
  });
}

function split(sequences: readonly TrainingSequence[], share: number): [TrainingSequence[], TrainingSequence[]] {
  const held = share === 0 ? 0 : Math.min(sequences.length - 1, Math.max(1, Math.round(share * sequences.length)));
  return [sequences.slice(0, held), sequences.slice(held)];
}

/** A conversation up to its last answer; of plain text the first half. */
function lastTurn({ tokenizer }: LocalDecoder, { tokens, completionStart, completionMask }: TrainingSequence): Asked {
  const end = (completionMask?.lastIndexOf(1) ?? tokens.length - 1) + 1;
  const start = completionMask ? completionMask.lastIndexOf(0, end - 1) + 1 : completionStart;
  const from = start > 0 ? start : Math.ceil(tokens.length / 2);
  return { prompt: tokens.slice(0, from), record: { answer: tokenizer.decode(tokens.subarray(from, end)) } };
}
