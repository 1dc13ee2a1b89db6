/** Supervised finetuning of a user's model on conversations: an adapter by default, all weights on request. */
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ConfigError, makeFolder, rng as newRng, openRun, parameterCount, type Rng, writeFileAtomic } from '@plumbline/core';
import {
  addLora,
  isAdapted,
  type LocalDecoder,
  loadDecoder,
  parameterBytes,
  saveAdapter,
  saveDecoder,
  sftBatches,
  sftLoss,
  trainSft,
} from '@plumbline/models';
import { progress } from '../progress.js';
import { encodeChats, readChats, type TrainingSequence } from './chats.js';
import type { SftSettings } from './config.js';

export type SftSummary = {
  seed: number;
  model: { name: string; parameters: number; trained: number; bytes: number };
  dataset: string;
  data: { read: number; skipped: number; why?: string; leftOut: number; train: number; heldOut: number; tokens: number };
  steps: number;
  /** Mean negative log-probability of the held-out answers, in nats a token. */
  heldOutLoss?: { before: number; after: number };
  best?: { step: number; value: number };
  seconds: number;
  tokensPerSecond: number;
  /** Of the whole process, at its largest. */
  peakBytes: number;
  /** Folder of the adapter, or of the model. */
  output: string;
  settings: SftSettings;
};
export type SftJob = { settings: SftSettings; model: string; dataset: string; seed: number; dir: string; signal: AbortSignal };

export async function runSft({ settings, model, dataset, seed, dir, signal }: SftJob): Promise<SftSummary> {
  const started = Date.now();
  await makeFolder(dir);
  const rng = newRng(seed);
  const { products, gradientCheckpointing, full, maxTokens } = settings;
  const base = await loadDecoder(model, { products, gradientCheckpointing, ...(!full && { storage: settings.storage }) });
  const policy = full ? base : await addLora(base, settings.lora, { rng: rng.fork('adapter') });

  const { chats, skipped, why } = await readChats(dataset);
  const { sequences, dropped } = encodeChats(base, chosen(chats, settings.records, rng), maxTokens);
  const [heldOut, train] = split(sequences, settings.heldOut);
  if (train.length === 0)
    throw new ConfigError(
      `${dataset}: none of ${chats.length} conversations fits into ${maxTokens} tokens; raise maxTokens, up to ${base.contextLength}`,
    );
  const steps = settings.steps ?? Math.max(1, Math.round((settings.epochs * train.length) / settings.sequencesPerStep));

  const evaluate = async (decoder: LocalDecoder = policy) => sftLoss(decoder, heldOut, { signal });
  const before = heldOut.length === 0 ? undefined : await kept(join(dir, 'before.json'), () => evaluate(base));
  const bar = progress('Finetuning', steps, 'steps');
  let [tokens, seconds] = [0, 0];
  const run = await openRun({
    dir,
    config: { ...settings, model, dataset },
    seed,
    saveEvery: settings.saveEvery,
    keep: settings.keepCheckpoints,
    signal,
    onLog: (step, metrics) => {
      tokens += metrics.tokens ?? 0;
      seconds += (metrics.tokens ?? 0) / (metrics.tokensPerSecond ?? 1);
      const held = metrics['eval/loss'] === undefined ? '' : `  held out ${metrics['eval/loss'].toFixed(3)}`;
      bar.update(step + 1, `loss ${metrics.loss?.toFixed(3)}${held}  ${Math.round(metrics.tokensPerSecond ?? 0)} tokens/s`);
    },
  });
  const { evaluateEvery, earlyStopping, schedule, weightDecay, maxGradNorm } = settings;
  try {
    const result = await trainSft(
      {
        steps,
        loss: settings.loss,
        sequencesPerMicroBatch: settings.sequencesPerMicroBatch,
        tokensPerMicroBatch: settings.tokensPerMicroBatch,
        learningRate: settings.learningRate ?? (full ? 2e-5 : 2e-4),
        schedule: { ...schedule, ...('warmupSteps' in schedule && { warmupSteps: Math.min(schedule.warmupSteps, steps - 1) }) },
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
        ...(heldOut.length > 0 && { evaluate: async () => ({ 'eval/loss': await evaluate() }) }),
      },
    );
    bar.stop();
    const output = join(dir, full ? 'model' : 'adapter');
    if (isAdapted(policy)) await saveAdapter(output, policy, { base: model });
    else await saveDecoder(output, policy);
    return {
      seed,
      model: {
        name: base.name,
        parameters: parameterCount(base.parameters).total,
        trained: parameterCount(policy.parameters).trainable,
        bytes: parameterBytes(base.parameters),
      },
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
      seconds: (Date.now() - started) / 1000,
      tokensPerSecond: seconds > 0 ? tokens / seconds : 0,
      peakBytes: process.resourceUsage().maxRSS * 1024,
      output,
      settings,
    };
  } finally {
    bar.stop();
    await run.close();
  }
}

/** In an order of their own, so that a limit takes no beginning of a file. */
function chosen<T>(records: readonly T[], most: number | undefined, rng: Rng): T[] {
  return Array.from(rng.fork('records').permutation(records.length), (i) => records[i]).slice(0, most);
}

function split(sequences: readonly TrainingSequence[], share: number): [TrainingSequence[], TrainingSequence[]] {
  const held = share === 0 ? 0 : Math.min(sequences.length - 1, Math.max(1, Math.round(share * sequences.length)));
  return [sequences.slice(0, held), sequences.slice(held)];
}

/** A number that a resumed run reads instead of computing it again. */
async function kept(file: string, compute: () => Promise<number>): Promise<number> {
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as number;
  const value = await compute();
  await writeFileAtomic(file, JSON.stringify(value));
  return value;
}
