/** Direct alignment of a user's model: pairs under any pair loss, or single answers with a thumb up or down. An adapter by default, all weights on request. */
import { basename, dirname, join } from 'node:path';
import { ConfigError, type MetricName, makeFolder, rng as newRng, type Rng } from '@plumbline/core';
import {
  convertRecord,
  encodeCompletion,
  encodePairs,
  openRecords,
  type PreferenceRecord,
  pairBatches,
  splitRecords,
  type UnpairedRecord,
} from '@plumbline/data';
import { auroc, tInterval, wilsonInterval } from '@plumbline/data/statistics';
import {
  encodeRows,
  evaluatePairs,
  evaluateRows,
  fileLogpCache,
  type Reference,
  referenceLogps,
  referenceRowLogps,
  trainPairs,
  trainUnpaired,
  unpairedBatches,
  unpairedLoss,
  withGold,
  withoutIdentical,
} from '@plumbline/dpo';
import { hashOf, type LocalDecoder, loadDecoder } from '@plumbline/models';
import { getBackend } from '@tensorflow/tfjs-core';
import { withProgress } from '../progress.js';
import { type DpoSettings, type KtoSettings, pairLossOf } from './preferenceConfig.js';
import { meanOf } from './prompts.js';
import { type Look, lookAtAnswers } from './samples.js';
import {
  about,
  drawn,
  type Interval,
  interval,
  type Job,
  kept,
  loadPolicy,
  type Spent,
  saved,
  stepsOf,
  training,
  within,
} from './training.js';

/** On held-out records: of pairs the share whose chosen reward is higher; of single answers the area under the ROC curve. */
export type PreferenceMeasures = { loss: number; accuracy?: Interval; auroc?: number; margin: Interval };
export type PreferenceSummary<S> = Spent & {
  seed: number;
  model: { name: string; parameters: number; trained: number; bytes: number };
  dataset: string;
  data: {
    read: number;
    skipped: number;
    why?: string;
    tooLong: number;
    empty: number;
    identical: number;
    truncated: number;
    train: number;
    heldOut: number;
  };
  /** Where log-probabilities of the reference came from: computed now, or known from an earlier run by their content. */
  reference?: { computed: number; cached: number };
  steps: number;
  heldOut?: { before?: PreferenceMeasures; after: PreferenceMeasures };
  best?: { step: number; value: number };
  output: string;
  settings: S;
};

export async function runDpo(job: Job<DpoSettings>): Promise<PreferenceSummary<DpoSettings>> {
  const { settings, dataset, seed, dir, signal } = job;
  const started = Date.now();
  const loss = pairLossOf(settings);
  const rng = newRng(seed);
  await makeFolder(dir);
  const { base, policy } = await loadPolicy(job, rng);
  refuseOnlineSettings(settings);
  const gold = loss.needs.includes('gold') ? settings.goldColumn : undefined;
  const { records: read, skipped, why } = await readAs<PreferenceRecord>('preference', dataset, gold);
  const records = uniqueIds(read.map((record, i) => ({ ...record, id: record.id ?? String(i) })));
  const golden = new Map(gold === undefined ? [] : records.map((record) => [record.id, goldOf(base.tokenizer, record, gold)]));
  const encode = (some: readonly PreferenceRecord[]) => {
    const { pairs, dropped, truncated } = encodePairs(base.tokenizer, some, {
      maxTokens: Math.min(settings.maxTokens, base.contextLength),
      truncation: settings.truncation,
    });
    const fits = ({ id, prompt }: { id: string; prompt: Int32Array }) =>
      gold === undefined || prompt.length + golden.get(id)!.length <= Math.min(settings.maxTokens, base.contextLength);
    const tooLong = pairs.filter((pair) => !fits(pair)).map(({ id }) => ({ id, reason: 'too long' }));
    return { ...withoutIdentical(pairs.filter(fits)), dropped: [...dropped, ...tooLong], truncated };
  };
  const [heldOutRecords, trainRecords] = split(drawn(records, settings.records, rng), settings.heldOut, rng);
  const [train, heldOut] = [encode(trainRecords), encode(heldOutRecords)];
  const counts = {
    read: records.length,
    skipped,
    ...(why && { why }),
    ...leftOut([train, heldOut]),
    identical: train.identical.length + heldOut.identical.length,
    truncated: train.truncated + heldOut.truncated,
    train: train.pairs.length,
    heldOut: heldOut.pairs.length,
  };
  if (counts.train === 0) throw nothingFits(dataset, counts, settings.maxTokens, base.contextLength);

  const { sharePrompts, referenceSync, pairsPerMicroBatch } = settings;
  const needed = loss.needs.includes('reference');
  if (settings.reference && referenceSync)
    throw new ConfigError('setting referenceSync moves a copy of the policy; it cannot be combined with the setting reference');
  if (settings.earlyStopping && referenceSync)
    throw new ConfigError(
      'setting earlyStopping compares held-out losses of several steps, and under referenceSync each is against another reference',
    );
  const other = settings.reference ? await loadReference(settings.reference, base, settings) : undefined;
  const still: LocalDecoder = other ?? base; // under `full` the base is the policy, which has not moved yet
  let reference: { train?: Reference; heldOut?: Reference } = {};
  let known: { computed: number; cached: number } | undefined;
  if (needed && settings.precompute && !loss.needs.includes('tokens') && !referenceSync) {
    const { storage, products, full } = settings;
    const identity = {
      reference: await hashOf(still),
      products,
      sharePrompts,
      storage: full && !other ? 'f32' : storage,
      backend: getBackend(),
    };
    const cache = await fileLogpCache(join(dirname(dir), 'reference-logps'), identity);
    const all = train.pairs.length + heldOut.pairs.length;
    const [a, b] = await withProgress('Reading the reference', all, 'pairs', async (bar) => {
      const read = async (pairs: typeof train.pairs, from: number) =>
        referenceLogps(still, pairs, { cache, sharePrompts, signal, onProgress: (done) => bar.update(from + done) });
      return [await read(train.pairs, 0), await read(heldOut.pairs, train.pairs.length)];
    });
    reference = { train: a.logps, heldOut: b.logps };
    known = { computed: a.computed + b.computed, cached: a.cached + b.cached };
    other?.dispose();
  } else if (needed) {
    const moving = referenceSync || (settings.full && !other) ? policy.snapshot() : still;
    reference = { train: moving, heldOut: moving };
  }

  const third = (pairs: typeof train.pairs) => {
    const prompts = new Map(pairs.map(({ id, prompt }) => [id, prompt]));
    return (id: string) => ({ prompt: prompts.get(id)!, completion: golden.get(id)! });
  };
  const evaluate = async (): Promise<PreferenceMeasures> => {
    const { loss: value, margins } = await evaluatePairs({ policy, reference: reference.heldOut, loss }, heldOut.pairs, {
      pairsPerMicroBatch,
      sharePrompts,
      signal,
      ...(gold !== undefined && { goldOf: third(heldOut.pairs) }),
    });
    const right = margins.reduce((sum, margin) => sum + (margin > 0 ? 1 : 0), 0);
    return { loss: value, accuracy: interval(wilsonInterval(right, margins.length)), margin: interval(tInterval(Array.from(margins))) };
  };
  const { tokenizer } = base;
  const look = lookAtAnswers(
    dir,
    policy,
    heldOut.pairs.map(({ prompt, chosen, rejected }) => ({
      prompt,
      record: { chosen: tokenizer.decode(chosen), rejected: tokenizer.decode(rejected) },
    })),
    settings,
  );
  await look(0);
  const moved = !needed || settings.reference !== undefined; // else every margin is 0 before training
  const before = counts.heldOut > 0 && moved ? await kept(join(dir, 'before.json'), evaluate) : undefined;
  const pairsPerStep = Math.min(settings.pairsPerStep, counts.train);
  const steps = stepsOf(settings, counts.train, pairsPerStep);
  const batches = pairBatches(train.pairs, { pairsPerStep, steps, rng: rng.fork('batches'), sharePrompts });
  return training(job, { steps, label: 'Aligning', readings: pairReadings, started }, async ({ run, ended, spent }) => {
    const result = await trainPairs(
      {
        ...updateOf(settings, steps),
        steps,
        pairsPerStep,
        pairsPerMicroBatch: largestDivisor(pairsPerStep, pairsPerMicroBatch),
        referenceSync,
      },
      {
        policy,
        reference: reference.train,
        loss,
        run,
        batches: gold === undefined ? batches : withGold(batches, third(train.pairs)),
        ...(counts.heldOut > 0 && { evaluate: looking(look, evaluate) }),
      },
    );
    ended();
    await look(result.steps);
    const output = await saved(job, policy);
    return {
      seed,
      model: about(base, policy),
      dataset: basename(dataset),
      data: counts,
      ...(known && { reference: known }),
      steps: result.steps,
      ...(counts.heldOut > 0 && { heldOut: { ...(before && { before }), after: await evaluate() } }),
      ...(settings.earlyStopping && result.best && { best: result.best }),
      ...spent(),
      output,
      settings,
    };
  });
}

export async function runKto(job: Job<KtoSettings>): Promise<PreferenceSummary<KtoSettings>> {
  const { settings, dataset, seed, dir, signal } = job;
  const started = Date.now();
  const rng = newRng(seed);
  await makeFolder(dir);
  const loss = unpairedLoss(settings.loss);
  const { beta, desirableWeight, undesirableWeight } = settings;
  if (settings.loss === 'bco' && (desirableWeight !== undefined || undesirableWeight !== undefined))
    throw new ConfigError('bco has no weights of desirable and undesirable rows; leave desirableWeight and undesirableWeight out');
  const lossOptions = {
    beta,
    ...(desirableWeight !== undefined && { desirableWeight }),
    ...(undesirableWeight !== undefined && { undesirableWeight }),
  };
  const { base, policy } = await loadPolicy(job, rng);
  const { records, skipped, why } = await readAs<UnpairedRecord>('unpaired', dataset);
  const encode = (some: readonly UnpairedRecord[]) =>
    encodeRows(base.tokenizer, some, { maxTokens: Math.min(settings.maxTokens, base.contextLength) });
  const [heldOutRecords, trainRecords] = split(drawn(records, settings.records, rng), settings.heldOut, rng);
  const [train, heldOut] = [encode(trainRecords), encode(heldOutRecords)];
  const counts = {
    read: records.length,
    skipped,
    ...(why && { why }),
    ...leftOut([train, heldOut]),
    identical: 0,
    truncated: 0,
    train: train.rows.length,
    heldOut: heldOut.rows.length,
  };
  if (counts.train < 2) throw nothingFits(dataset, counts, settings.maxTokens, base.contextLength);
  const ups = train.rows.filter(({ desirable }) => desirable).length;
  const downs = counts.train - ups;
  if (ups === 0 || downs === 0) throw new ConfigError(`every label is ${ups === 0 ? 'false' : 'true'}; ${settings.loss} learns from both`);
  const balance = ((desirableWeight ?? 1) * ups) / ((undesirableWeight ?? 1) * downs);
  const unbalanced =
    settings.loss === 'kto' && !(balance >= 0.99 && balance <= 1.34)
      ? [
          `desirable answers count ${balance.toFixed(2)} times as much as undesirable ones (${ups} and ${downs}); KTO works best between 1 and 4/3: set desirableWeight to ${((7 / 6) * (downs / ups)).toFixed(2)}`,
        ]
      : [];
  const other = settings.reference ? await loadReference(settings.reference, base, settings) : undefined;
  const reference = other ?? (settings.full ? policy.snapshot() : base);
  const rows = uniqueIds(train.rows);
  const known = settings.precompute ? await knownRows(job, reference, rows, settings.full && !other ? 'f32' : settings.storage) : undefined;
  const rowsPerStep = Math.min(settings.rowsPerStep, counts.train);
  const steps = stepsOf(settings, counts.train, rowsPerStep);
  const rowsPerMicroBatch = largestDivisor(rowsPerStep, settings.rowsPerMicroBatch);
  const labels = heldOut.rows.map(({ desirable }) => (desirable ? 1 : 0));
  const evaluate = async (): Promise<PreferenceMeasures> => {
    const { loss: value, rewards } = await evaluateRows({ policy, reference, loss, lossOptions }, heldOut.rows, {
      rowsPerMicroBatch,
      signal,
    });
    const of = (label: number) => Array.from(rewards).filter((__, i) => labels[i] === label);
    const both = labels.includes(0) && labels.includes(1);
    const mean = both ? meanOf(of(1)) - meanOf(of(0)) : Number.NaN;
    return { loss: value, ...(both && { auroc: auroc(labels, rewards) }), margin: { mean, low: Number.NaN, high: Number.NaN } };
  };
  const { tokenizer } = base;
  const look = lookAtAnswers(
    dir,
    policy,
    heldOut.rows.map(({ prompt, completion, desirable }) => ({ prompt, record: { rated: tokenizer.decode(completion), desirable } })),
    settings,
  );
  await look(0);
  return training(job, { steps, label: 'Aligning', readings: pairReadings, said: unbalanced, started }, async ({ run, ended, spent }) => {
    const result = await trainUnpaired(
      { ...updateOf(settings, steps), steps, rowsPerStep, rowsPerMicroBatch, lossOptions },
      {
        policy,
        reference,
        ...(known && { known: known.logps }),
        loss,
        run,
        batches: unpairedBatches(rows, { rowsPerStep, steps, rng: rng.fork('batches') }),
        ...(counts.heldOut > 1 && { evaluate: looking(look, evaluate) }),
      },
    );
    ended();
    await look(result.steps);
    const output = await saved(job, policy);
    return {
      seed,
      model: about(base, policy),
      dataset: basename(dataset),
      data: counts,
      ...(known && { reference: { computed: known.computed, cached: known.cached } }),
      steps: result.steps,
      ...(counts.heldOut > 1 && { heldOut: { after: await evaluate() } }),
      ...(settings.earlyStopping && result.best && { best: result.best }),
      ...spent(),
      output,
      settings,
    };
  });
}

type Settings = DpoSettings | KtoSettings;

/** Reference log-probabilities of single answers: computed now, or known from an earlier run by their content. */
async function knownRows(
  { settings: { products }, dir, signal }: Job<Settings>,
  reference: LocalDecoder,
  rows: Parameters<typeof referenceRowLogps>[1],
  storage: string,
) {
  const identity = { reference: await hashOf(reference), products, sharePrompts: false, storage, backend: getBackend() };
  const cache = await fileLogpCache(join(dirname(dir), 'reference-logps'), identity);
  return withProgress('Reading the reference', rows.length, 'answers', (bar) =>
    referenceRowLogps(reference, rows, { cache, signal, onProgress: (done) => bar.update(done) }),
  );
}

export async function loadReference(name: string, base: LocalDecoder, { storage, products }: Settings): Promise<LocalDecoder> {
  const reference = await loadDecoder(name, { storage, products });
  const [ours, theirs] = [base.tokenizer.vocabSize, reference.tokenizer.vocabSize];
  if (ours !== theirs)
    throw new ConfigError(
      `the reference ${name} has a vocabulary of ${theirs} tokens and the model one of ${ours}; they must have the same tokenizer`,
    );
  return reference;
}

export function updateOf(settings: Settings, steps: number) {
  const { schedule, weightDecay, maxGradNorm, evaluateEvery, earlyStopping, full, tokensPerMicroBatch } = settings;
  return {
    tokensPerMicroBatch,
    learningRate: settings.learningRate ?? (full ? 1e-6 : 5e-5),
    schedule: within(schedule, steps),
    weightDecay,
    maxGradNorm,
    evaluateEvery,
    earlyStopping,
  };
}

/** What stands beside the bar. */
export const pairReadings = (metrics: { loss?: number; 'rewards/margin'?: number; 'rewards/accuracy'?: number; 'eval/loss'?: number }) => [
  `loss ${metrics.loss?.toFixed(3)}`,
  metrics['rewards/margin'] !== undefined && `margin ${metrics['rewards/margin'].toFixed(2)}`,
  metrics['rewards/accuracy'] !== undefined && `accuracy ${metrics['rewards/accuracy'].toFixed(2)}`,
  metrics['eval/loss'] !== undefined && `held out ${metrics['eval/loss'].toFixed(3)}`,
];

/** What is logged of an evaluation, and samples of it. */
const looking = (look: Look, evaluate: () => Promise<PreferenceMeasures>) => async (_policy: unknown, step: number) => {
  await look(step);
  return logged(await evaluate());
};

function logged({ loss, accuracy, margin }: PreferenceMeasures): Partial<Record<MetricName, number>> {
  return {
    'eval/loss': loss,
    ...(accuracy && { 'eval/accuracy': accuracy.mean }),
    ...(Number.isFinite(margin.mean) && { 'eval/margin': margin.mean }),
  };
}

/** @throws ConfigError for settings of runs whose pairs the policy writes */
function refuseOnlineSettings(settings: DpoSettings): void {
  const given = (
    ['judge', 'judgeModel', 'temperature', 'missingEosPenalty', 'samplesPerPrompt', 'stepsPerRound', 'mixtureCoef'] as const
  ).filter((name) => settings[name] !== undefined);
  if (given.length > 0) throw new ConfigError(`setting ${given.join(', ')}: of runs whose pairs the policy writes; say how with --online`);
}

/** The third answer of a record, in ids. */
function goldOf(tokenizer: LocalDecoder['tokenizer'], { id, prompt, meta }: PreferenceRecord, column: string): Int32Array {
  const { gold } = meta as { gold?: unknown };
  const isText = typeof gold === 'string' && typeof prompt === 'string';
  if (!isText && !Array.isArray(gold))
    throw new ConfigError(
      `record ${id}: its column "${column}" holds ${JSON.stringify(gold) ?? 'nothing'}; the loss tpo learns a third answer, a gold one, of the same form as chosen and rejected (setting goldColumn)`,
    );
  const ids = encodeCompletion(tokenizer, prompt, gold as PreferenceRecord['chosen'], {});
  if (ids.length === 0) throw new ConfigError(`record ${id}: its gold answer is empty`);
  return ids;
}

/** @param gold a column that comes along as `meta.gold` */
async function readAs<R>(
  kind: 'preference' | 'unpaired',
  source: string,
  gold?: string,
): Promise<{ records: R[]; skipped: number; why?: string }> {
  const { kind: held, rows } = await openRecords(source);
  const accepted = kind === 'unpaired' ? ['unpaired', 'preference'] : ['preference'];
  if (!accepted.includes(held))
    throw new ConfigError(
      `${source} holds ${held} records; this trains on ${accepted.join(' or ')} records${held === 'unpaired' ? ' (plumb train kto takes single answers with a label)' : ''}`,
    );
  const records: object[] = [];
  let [skipped, why]: [number, string | undefined] = [0, undefined];
  for await (const row of rows) {
    if (row.records)
      for (const record of row.records)
        records.push(
          ...(held !== kind
            ? convertRecord(record as never, held as never, kind as never)
            : [gold === undefined ? record : { ...(record as object), meta: { gold: row.row?.[gold] } }]),
        );
    else {
      skipped++;
      why ??= `line ${row.line}: ${row.problem}`;
    }
  }
  if (records.length === 0) throw new ConfigError(`${source}: nothing to learn from${why ? ` (${why})` : ''}`);
  return { records: records as R[], skipped, why };
}

const split = <R extends { prompt: PreferenceRecord['prompt'] }>(
  records: readonly R[],
  share: number,
  rng: Rng,
): [readonly R[], readonly R[]] => (share === 0 ? [[], records] : splitRecords(records, share, rng.fork('split')));

function leftOut(parts: readonly { dropped: readonly { reason: string }[] }[]): { tooLong: number; empty: number } {
  const reasons = parts.flatMap(({ dropped }) => dropped.map(({ reason }) => reason));
  return {
    tooLong: reasons.filter((reason) => reason === 'too long').length,
    empty: reasons.filter((reason) => reason === 'empty completion').length,
  };
}

const nothingFits = (
  dataset: string,
  { read, tooLong, empty, identical }: PreferenceSummary<unknown>['data'],
  maxTokens: number,
  most: number,
) =>
  new ConfigError(
    `${dataset}: of ${read} records too few are left to train on (${tooLong} longer than ${maxTokens} tokens, ${empty} empty, ${identical} with two answers that are the same); raise maxTokens, up to ${most}, or lower heldOut`,
  );

/** Records may share an id; log-probabilities that are known are known by it. */
function uniqueIds<T extends { id: string }>(items: readonly T[]): T[] {
  const seen = new Set<string>();
  return items.map((item, i) => {
    const id = seen.has(item.id) ? `${item.id}#${i}` : item.id;
    seen.add(id);
    return id === item.id ? item : { ...item, id };
  });
}

/** The largest divisor of `n` that is at most `most`. */
export function largestDivisor(n: number, most: number): number {
  for (let d = Math.min(n, most); d > 1; d--) if (n % d === 0) return d;
  return 1;
}
