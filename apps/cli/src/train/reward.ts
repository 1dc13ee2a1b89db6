/** A reward model from a user's preferences: an adapter by default, all weights on request; left behind as a sequence classifier that transformers loads. */
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ConfigError, rng as newRng, openRun, parameterCount, type Rng, writeFileAtomic } from '@plumbline/core';
import {
  convertRecord,
  type EncodedPair,
  encodePairs,
  openRecords,
  type PreferenceRecord,
  rewardBatches,
  splitRecords,
} from '@plumbline/data';
import { auroc, pairedDifference, wilsonInterval } from '@plumbline/data/statistics';
import {
  addLora,
  createScorer,
  isAdapted,
  type LocalScorer,
  loadDecoder,
  parameterBytes,
  saveAdapter,
  saveScorer,
} from '@plumbline/models';
import {
  calibrationError,
  encodeTargets,
  lengthBalancedAccuracy,
  modelReward,
  presentPairs,
  type RewardTraining,
  rewardAccuracy,
  rewardLosses,
  type TargetItem,
  type TargetRecord,
  targetBatches,
  trainReward,
} from '@plumbline/rewards';
import { progress } from '../progress.js';
import type { RewardSettings } from './rewardConfig.js';

type Interval = { mean: number; low: number; high: number };
/** On held-out records. Accuracy of a loss of outcomes is at the threshold of 0. */
export type RewardMeasures = {
  accuracy: Interval;
  loss: number;
  margin?: number;
  calibrationError?: number;
  longerChosen?: number;
  shorterChosen?: number;
  auroc?: number;
};
export type RewardSummary = {
  seed: number;
  model: { name: string; parameters: number; trained: number; bytes: number };
  dataset: string;
  data: { read: number; skipped: number; why?: string; leftOut: number; train: number; heldOut: number };
  steps: number;
  heldOut?: { before: RewardMeasures; after: RewardMeasures; change: Interval };
  best?: { step: number; value: number };
  seconds: number;
  tokensPerSecond: number;
  /** Of the whole process, at its largest. */
  peakBytes: number;
  /** The sequence classifier, and the adapter where one was trained. */
  output: { model: string; adapter?: string };
  settings: RewardSettings;
};
export type RewardJob = { settings: RewardSettings; model: string; dataset: string; seed: number; dir: string; signal: AbortSignal };

/** What one loss needs of the data: the training, and the numbers on what was held out. */
type Task = {
  train: number;
  heldOut: number;
  leftOut: number;
  training(steps: number): Pick<RewardTraining, 'batches' | 'loss'>;
  /** `right` of each held-out record, for the change. */
  measure(scorer: LocalScorer): Promise<RewardMeasures & { right: number[] }>;
};

export async function runReward({ settings, model, dataset, seed, dir, signal }: RewardJob): Promise<RewardSummary> {
  const started = Date.now();
  const rng = newRng(seed);
  const { products, gradientCheckpointing, full, loss } = settings;
  const decoder = await loadDecoder(model, { products, gradientCheckpointing, ...(!full && { storage: settings.storage }) });
  const { padId } = decoder.tokenizer;
  const base = createScorer(decoder, {
    pooling: settings.pooling,
    padId,
    rng: rng.fork('head'),
    name: `${decoder.name}-reward`,
    shareBackbone: !full,
  });
  const scorer: LocalScorer = full ? base : await addLora(base, settings.lora, { rng: rng.fork('adapter') });
  const { records, skipped, why } = await readRecordsFor(loss, dataset);
  const task = (loss === 'outcome' ? outcomeTask : pairTask)(records, settings, scorer, rng, signal);
  if (task.train === 0)
    throw new ConfigError(
      `${dataset}: nothing of ${records.length} records fits into ${settings.maxTokens} tokens (or all was held out); raise maxTokens, up to ${scorer.contextLength}`,
    );
  const steps = settings.steps ?? Math.max(1, Math.round((settings.epochs * task.train) / settings.recordsPerStep));

  const before = task.heldOut === 0 ? undefined : await kept(join(dir, 'before.json'), () => task.measure(scorer));
  const bar = progress('Training the reward model', steps, 'steps');
  let [tokens, seconds] = [0, 0];
  const run = await openRun({
    dir,
    config: { ...settings, model, dataset },
    seed,
    saveEvery: settings.saveEvery,
    signal,
    onLog: (step, metrics) => {
      tokens += metrics.tokens ?? 0;
      seconds += (metrics.tokens ?? 0) / (metrics.tokensPerSecond ?? 1);
      const right = metrics.accuracy === undefined ? '' : `  accuracy ${metrics.accuracy.toFixed(2)}`;
      const held = metrics['eval/accuracy'] === undefined ? '' : `  held out ${metrics['eval/accuracy'].toFixed(3)}`;
      bar.update(step + 1, `loss ${metrics.loss?.toFixed(3)}${right}${held}  ${Math.round(metrics.tokensPerSecond ?? 0)} tokens/s`);
    },
  });
  const { schedule, evaluateEvery, earlyStopping } = settings;
  try {
    const pairs = loss === 'bradley_terry';
    const result = await trainReward(
      {
        steps,
        groupsPerMicroBatch: settings.recordsPerMicroBatch,
        learningRate: settings.learningRate ?? (full ? 5e-6 : 1e-4),
        schedule: { ...schedule, ...('warmupSteps' in schedule && { warmupSteps: Math.min(schedule.warmupSteps, steps - 1) }) },
        weightDecay: settings.weightDecay,
        maxGradNorm: settings.maxGradNorm,
        ...(pairs && { labelSmoothing: settings.labelSmoothing, centerCoefficient: settings.centerCoefficient }),
        evaluateEvery,
        earlyStopping,
      },
      {
        ...task.training(steps),
        scorer,
        run,
        ...(task.heldOut > 0 && {
          evaluate: async () => {
            const { accuracy, loss } = await task.measure(scorer);
            return { 'eval/accuracy': accuracy.mean, 'eval/loss': loss };
          },
        }),
      } as RewardTraining,
    );
    bar.stop();
    const after = before && (await task.measure(scorer));
    const output = { model: join(dir, 'model'), ...(!full && { adapter: join(dir, 'adapter') }) };
    await saveScorer(output.model, scorer);
    if (isAdapted(scorer)) await saveAdapter(output.adapter!, scorer, { base: model });
    return {
      seed,
      model: {
        name: decoder.name,
        parameters: parameterCount(decoder.parameters).total,
        trained: parameterCount(scorer.parameters).trainable,
        bytes: parameterBytes(decoder.parameters),
      },
      dataset: basename(dataset),
      data: { read: records.length, skipped, ...(why && { why }), leftOut: task.leftOut, train: task.train, heldOut: task.heldOut },
      steps: result.steps,
      ...(before &&
        after && {
          heldOut: { before: measures(before), after: measures(after), change: interval(pairedDifference(after.right, before.right)) },
        }),
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

const interval = ({ mean, low, high }: Interval): Interval => ({ mean, low, high });
const share = (right: readonly number[]): Interval => interval(wilsonInterval(right.filter((x) => x === 1).length, right.length));
const measures = ({ right: _, ...rest }: RewardMeasures & { right: number[] }): RewardMeasures => rest;
const meanOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
/** -log σ(x), in nats. */
const pairLoss = (margin: number): number => Math.max(-margin, 0) + Math.log1p(Math.exp(-Math.abs(margin)));

function pairTask(
  records: readonly PreferenceRecord[],
  settings: RewardSettings,
  scorer: LocalScorer,
  rng: Rng,
  signal: AbortSignal,
): Task {
  const { tokenizer, contextLength } = scorer;
  const maxTokens = Math.min(settings.maxTokens, contextLength);
  const used = chosen(records, settings.records, rng);
  const [heldOutRecords, trainRecords] = settings.heldOut === 0 ? [[], used] : splitRecords(used, settings.heldOut, rng.fork('split'));
  const encode = (some: readonly PreferenceRecord[]) => encodePairs(tokenizer, some, { maxTokens });
  const [train, heldOut] = [encode(trainRecords), encode(heldOutRecords)];
  const lengths = (side: 'chosen' | 'rejected') => heldOut.pairs.map((pair: EncodedPair) => pair[side].length);
  return {
    train: train.pairs.length,
    heldOut: heldOut.pairs.length,
    leftOut: train.dropped.length + heldOut.dropped.length,
    training: (steps) => ({
      batches: rewardBatches(train.pairs, {
        groupsPerStep: Math.min(settings.recordsPerStep, train.pairs.length),
        steps,
        rng: rng.fork('batches'),
      }),
    }),
    async measure(model) {
      const { margins, margin } = await rewardAccuracy(model, heldOut.pairs, { batchTokens: 2048, signal });
      const right = Array.from(margins, (d) => (d > 0 ? 1 : 0));
      const { longerChosen, shorterChosen } = lengthBalancedAccuracy(margins, lengths('chosen'), lengths('rejected'));
      const { probability, outcome } = presentPairs(margins, rng.fork('presented'));
      const both = outcome.includes(0) && outcome.includes(1);
      return {
        accuracy: share(right),
        loss: meanOf(Array.from(margins, pairLoss)),
        margin,
        ...(both && { calibrationError: calibrationError(probability, outcome).ece }),
        longerChosen,
        shorterChosen,
        right,
      };
    },
  };
}

function outcomeTask(
  records: readonly PreferenceRecord[],
  settings: RewardSettings,
  scorer: LocalScorer,
  rng: Rng,
  signal: AbortSignal,
): Task {
  const maxTokens = Math.min(settings.maxTokens, scorer.contextLength);
  const used = chosen(
    records as readonly (PreferenceRecord & { completion?: never; label?: never })[],
    settings.records,
    rng,
  ) as unknown as Labelled[];
  const [heldOutRecords, trainRecords] = settings.heldOut === 0 ? [[], used] : splitRecords(used, settings.heldOut, rng.fork('split'));
  const encode = (some: readonly Labelled[]) =>
    encodeTargets(
      scorer.tokenizer,
      some.map(({ id, prompt, completion, label }): TargetRecord => ({ id, prompt, completion, targets: label ? 1 : 0 })),
      { maxTokens },
    );
  const [train, heldOut] = [encode(trainRecords), encode(heldOutRecords)];
  const classes = new Set(train.items.map(({ targets }) => targets[0]));
  if (train.items.length > 0 && classes.size < 2)
    throw new ConfigError(`every label is ${classes.has(1) ? 'true' : 'false'}; an outcome model learns from both`);
  const kept = new Set(heldOut.items.map(({ id }: TargetItem) => id));
  const measured = heldOutRecords.filter(({ id }, i) => kept.has(id ?? String(i)));
  const labels = measured.map(({ label }) => (label ? 1 : 0));
  return {
    train: train.items.length,
    heldOut: measured.length,
    leftOut: train.dropped.length + heldOut.dropped.length,
    training: (steps) => ({
      loss: rewardLosses.outcome as never,
      batches: targetBatches(train.items, {
        itemsPerStep: Math.min(settings.recordsPerStep, train.items.length),
        steps,
        rng: rng.fork('batches'),
      }) as never,
    }),
    async measure(model) {
      const { scores } = await modelReward(model, { batchTokens: 2048, maxTokens }).score(measured, { rng, signal });
      const right = Array.from(scores, (score, i) => (score > 0 === (labels[i] === 1) ? 1 : 0));
      const probability = Array.from(scores, (score) => 1 / (1 + Math.exp(-score)));
      const both = labels.includes(0) && labels.includes(1);
      return {
        accuracy: share(right),
        loss: meanOf(Array.from(scores, (score, i) => pairLoss(labels[i] === 1 ? score : -score))),
        ...(both && { auroc: auroc(labels, scores), calibrationError: calibrationError(probability, labels).ece }),
        right,
      };
    },
  };
}

type Labelled = { id?: string; prompt: PreferenceRecord['prompt']; completion: PreferenceRecord['chosen']; label: boolean };

/** Preference pairs, or for outcomes completions with a label; pairs are taken apart where needed. */
async function readRecordsFor(
  loss: RewardSettings['loss'],
  source: string,
): Promise<{ records: PreferenceRecord[]; skipped: number; why?: string }> {
  const { kind, rows } = await openRecords(source);
  const accepted = loss === 'outcome' ? ['unpaired', 'preference'] : ['preference'];
  if (!accepted.includes(kind))
    throw new ConfigError(
      `${source} holds ${kind} records; --loss ${loss} learns from ${accepted.join(' or ')} records${kind === 'unpaired' ? ' (try --loss outcome)' : ''}`,
    );
  const records: object[] = [];
  let [skipped, why]: [number, string | undefined] = [0, undefined];
  for await (const row of rows) {
    if (row.records)
      for (const record of row.records) records.push(...(loss === 'outcome' ? convertRecord(record, kind, 'unpaired') : [record]));
    else {
      skipped++;
      why ??= `line ${row.line}: ${row.problem}`;
    }
  }
  if (records.length === 0) throw new ConfigError(`${source}: nothing to learn from${why ? ` (${why})` : ''}`);
  return { records: records as PreferenceRecord[], skipped, why };
}

/** In an order of their own, so that a limit takes no beginning of a file. */
function chosen<T>(records: readonly T[], most: number | undefined, rng: Rng): T[] {
  return Array.from(rng.fork('records').permutation(records.length), (i) => records[i]).slice(0, most);
}

/** What a resumed run reads instead of computing it again. */
async function kept<T>(file: string, compute: () => Promise<T>): Promise<T> {
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as T;
  const value = await compute();
  await writeFileAtomic(file, JSON.stringify(value));
  return value;
}
