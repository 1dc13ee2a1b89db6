/** What each loss of a reward model learns from: the records that it takes, the head that it needs, its batches, and the numbers on what was held out. */
import { ConfigError, type Rng, readCopy } from '@plumbline/core';
import {
  type Batches,
  type Completion,
  conversionPath,
  convertRecord,
  encodePairs,
  isMessages,
  joinSequence,
  type MultiScoreRecord,
  openRecords,
  type PreferenceRecord,
  type Prompt,
  packSequences,
  type RecordKind,
  rewardBatches,
  type ScoredGroup,
  type Scorer,
  type StepwiseRecord,
  splitRecords,
  textOf,
  type UnpairedRecord,
} from '@plumbline/data';
import { auroc, pearson, spearman, wilsonInterval } from '@plumbline/data/statistics';
import type { LocalDecoder } from '@plumbline/models';
import {
  calibrationError,
  encodeSteps,
  encodeTargets,
  lengthBalancedAccuracy,
  presentPairs,
  type RewardModel,
  type RewardTraining,
  rewardAccuracy,
  rewardLoss,
  type StepItem,
  stepBatches,
  type TargetItem,
  type TargetRecord,
  targetBatches,
  withPairLabels,
} from '@plumbline/rewards';
import { refuseUnknownOptions } from '../settings.js';
import type { RewardSettings } from './rewardConfig.js';

type Interval = { mean: number; low: number; high: number };
/** On held-out records. Accuracy of completions and steps is at the threshold of 0, of grades the share of pairs of unlike grades that are ordered rightly. */
export type RewardMeasures = {
  accuracy?: Interval;
  /** In nats, of squares for a regression; left out where the loss has numbers of its own that are still being learned. */
  loss?: number;
  margin?: number;
  calibrationError?: number;
  longerChosen?: number;
  shorterChosen?: number;
  auroc?: number;
  /** Of each attribute: the root of the mean squared error, and the correlation of prediction and target. */
  attributes?: Record<string, { error: number; pearson?: number; spearman?: number }>;
};
/** One score, several with a name each, or one at the end of each step. */
export type HeadKind = { kind: 'score' } | { kind: 'attributes'; labels: readonly string[] } | { kind: 'steps' };
/** What is trained, as a task reads it: `scorer` gives the reward of heads that have one. */
export type Trained = { model: RewardModel; scorer?: Scorer };
export type RewardTask = {
  unit: 'pairs' | 'completions' | 'solutions';
  head: HeadKind;
  read: number;
  skipped: number;
  why?: string;
  train: number;
  heldOut: number;
  leftOut: number;
  lossOptions: Record<string, unknown>;
  training(steps: number): Pick<RewardTraining, 'batches' | 'loss'>;
  /** `right` of each held-out record, higher is better, for the change: 1 or 0, or minus the squared error. */
  measure(trained: Trained): Promise<RewardMeasures & { right: number[] }>;
  /** The first held-out records with what the model says of them, for the run folder. */
  scored(trained: Trained, most: number): Promise<object[]>;
};
type Setting = { settings: RewardSettings; decoder: LocalDecoder; rng: Rng; signal: AbortSignal };

/** @throws ConfigError where the records do not serve the loss, saying which do */
export async function rewardTask(source: string, o: Setting): Promise<RewardTask> {
  const { loss } = o.settings;
  refuseUnused(o.settings);
  switch (loss) {
    case 'bradley_terry':
    case 'pairwise_ordinal':
    case 'rao_kupper':
    case 'davidson':
    case 'odin':
      return pairTask(await readAs<PreferenceRecord>('preference', source, loss), o);
    case 'pairwise':
      return classifierTask(await readAs<PreferenceRecord>('preference', source, loss), o);
    case 'regression':
    case 'ordinal':
      return attributeTask(await readAs<MultiScoreRecord>('multiscore', source, loss), o);
    case 'outcome':
      return outcomeTask(await readAs<UnpairedRecord>('unpaired', source, loss), o);
    case 'step':
      return stepTask(await readAs<StepwiseRecord>('stepwise', source, loss), o);
    default:
      throw new ConfigError(`there is no loss "${loss satisfies never}"`);
  }
}

/** @throws ConfigError for a setting that the loss does not look at, and an option that it does not have */
function refuseUnused(settings: RewardSettings): void {
  const { loss, labelSmoothing, centerCoefficient, margin, labelColumn, attributes, grades, lowestGrade } = settings;
  refuseUnknownOptions(loss, rewardLoss(loss), settings.lossOptions);
  const of = (names: readonly string[]) => names.includes(loss);
  const unused = [
    labelSmoothing !== 0 && !of(['bradley_terry']) && 'labelSmoothing',
    centerCoefficient !== 0 && !of(['bradley_terry']) && 'centerCoefficient',
    margin !== 'column' && !of(['bradley_terry']) && 'margin',
    labelColumn !== undefined && !of(['pairwise_ordinal', 'rao_kupper', 'davidson']) && 'labelColumn',
    attributes !== undefined && !of(['regression', 'ordinal']) && 'attributes',
    grades !== 5 && !of(['ordinal', 'pairwise_ordinal']) && 'grades',
    lowestGrade !== 0 && !of(['ordinal']) && 'lowestGrade',
    settings.stepSeparator !== '\n' && !of(['step']) && 'stepSeparator',
    settings.pooling !== 'last' && of(['step']) && 'pooling',
    Object.hasOwn(settings.lossOptions, 'heads') && of(['step']) && 'lossOptions.heads',
  ].filter(Boolean);
  if (unused.length > 0) throw new ConfigError(`--loss ${loss} does not look at the setting ${unused.join(', ')}; leave it out`);
}

/** A record, and the columns of its row. */
type Read<R> = { records: { record: R; row: Readonly<Record<string, unknown>> }[]; skipped: number; why?: string };

const takes: Partial<Record<RecordKind, readonly RecordKind[]>> = {
  preference: ['preference', 'ranked'],
  unpaired: ['unpaired', 'preference', 'stepwise', 'trajectory'],
  multiscore: ['multiscore', 'ranked'],
  stepwise: ['stepwise'],
};

async function readAs<R extends { id?: string }>(into: RecordKind, source: string, loss: string): Promise<Read<R>> {
  const { kind, rows } = await openRecords(source);
  const accepted = takes[into]!;
  if (!accepted.includes(kind)) {
    const others = {
      unpaired: 'outcome',
      multiscore: 'regression',
      stepwise: 'step',
      preference: 'bradley_terry',
      ranked: 'bradley_terry',
    };
    const fits = others[kind as keyof typeof others];
    throw new ConfigError(
      `${source} holds ${kind} records; --loss ${loss} learns from ${accepted.join(' or ')} records${fits ? ` (try --loss ${fits})` : ''}`,
    );
  }
  const records: Read<R>['records'] = [];
  const seen = new Set<string>();
  let [skipped, why]: [number, string | undefined] = [0, undefined];
  for await (const row of rows) {
    if (!row.records) {
      skipped++;
      why ??= `line ${row.line}: ${row.problem}`;
      continue;
    }
    for (const record of row.records) {
      const made =
        kind === into
          ? [record]
          : into === 'multiscore'
            ? scored(record as ScoredGroup)
            : conversionPath(kind, into) && convertRecord(record as never, kind as never, into as never);
      for (const one of (made || []) as unknown as R[]) {
        const id = one.id === undefined || seen.has(one.id) ? `${one.id ?? ''}#${records.length}` : one.id;
        seen.add(id);
        records.push({ record: { ...one, id }, row: row.row ?? {} });
      }
    }
  }
  if (records.length === 0) throw new ConfigError(`${source}: nothing to learn from${why ? ` (${why})` : ''}`);
  return { records, skipped, ...(why && { why }) };
}

/** Each completion of a ranked group with its score as the one attribute. */
const scored = ({ id, prompt, completions, scores }: ScoredGroup): MultiScoreRecord[] =>
  completions.map((completion, i) => ({ ...(id && { id: `${id}:${i}` }), prompt, completion, scores: { score: scores[i] } }));

/** In an order of their own, so that a limit takes no beginning of a file; those of one prompt stay on one side. */
function halves<R extends { prompt: Prompt }>(
  read: Read<R>,
  { settings, rng }: Setting,
): { heldOut: Read<R>['records']; train: Read<R>['records'] } {
  const order = Array.from(rng.fork('records').permutation(read.records.length), (i) => read.records[i]).slice(0, settings.records);
  if (settings.heldOut === 0) return { heldOut: [], train: order };
  const [heldOut, train] = splitRecords(
    order.map((one) => ({ prompt: one.record.prompt, one })),
    settings.heldOut,
    rng.fork('split'),
  );
  return { heldOut: heldOut.map(({ one }) => one), train: train.map(({ one }) => one) };
}

const interval = ({ mean, low, high }: Interval): Interval => ({ mean, low, high });
const share = (right: readonly number[]): Interval => interval(wilsonInterval(right.filter((x) => x === 1).length, right.length));
const meanOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
/** -log σ(x), in nats. */
const surprise = (x: number): number => Math.max(-x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const batchTokens = 2048;

function pairTask(read: Read<PreferenceRecord>, o: Setting): RewardTask {
  const { settings, decoder, rng, signal } = o;
  const { loss, labelSmoothing, centerCoefficient, lossOptions, grades } = settings;
  const labelled = loss === 'pairwise_ordinal' || loss === 'rao_kupper' || loss === 'davidson';
  const column = settings.labelColumn ?? (loss === 'pairwise_ordinal' ? 'grade' : 'tie');
  const labels = new Map(
    labelled ? read.records.map(({ record, row }) => [record.id!, pairLabel(loss, row[column], column, record.id!)]) : [],
  );
  const { heldOut: kept, train: rest } = halves(read, o);
  const encode = (some: Read<PreferenceRecord>['records']) => {
    const { pairs, dropped } = encodePairs(
      decoder.tokenizer,
      some.map(({ record }) => record),
      { maxTokens: Math.min(settings.maxTokens, decoder.contextLength) },
    );
    const margined = pairs.map(({ margin, scores, ...pair }) => ({
      ...pair,
      ...(settings.margin === 'column' && margin !== undefined && { margin }),
      ...(settings.margin === 'scores' && scores && { margin: scores.chosen - scores.rejected }),
    }));
    return { pairs: margined, dropped };
  };
  const [train, all] = [encode(rest), encode(kept)];
  if (settings.margin === 'scores' && !train.pairs.every((pair) => 'margin' in pair))
    throw new ConfigError('setting margin scores: some records have no chosen_score and rejected_score');
  const heldOut = {
    ...all,
    pairs: labels.size > 0 && loss !== 'pairwise_ordinal' ? all.pairs.filter(({ id }) => labels.get(id) === 0) : all.pairs,
  };
  const lengths = (side: 'chosen' | 'rejected') => heldOut.pairs.map((pair) => pair[side].length);
  return {
    unit: 'pairs',
    head: loss === 'odin' ? { kind: 'attributes', labels: ['quality', 'length'] } : { kind: 'score' },
    ...counted(read),
    train: train.pairs.length,
    heldOut: heldOut.pairs.length,
    leftOut: train.dropped.length + all.dropped.length,
    lossOptions: {
      ...(loss === 'bradley_terry' && { labelSmoothing, centerCoefficient }),
      ...(loss === 'pairwise_ordinal' && { grades }),
      ...lossOptions,
    },
    training: (steps) => {
      const batches = rewardBatches(train.pairs, {
        groupsPerStep: Math.min(settings.recordsPerStep, train.pairs.length),
        steps,
        rng: rng.fork('batches'),
      });
      return { loss: rewardLoss(loss) as never, batches: (labelled ? withPairLabels(batches, (id) => labels.get(id)!) : batches) as never };
    },
    async measure({ scorer }) {
      const { margins, margin } = await rewardAccuracy(scorer!, heldOut.pairs, { batchTokens, signal });
      const right = Array.from(margins, (d) => (d > 0 ? 1 : 0));
      const { longerChosen, shorterChosen } = lengthBalancedAccuracy(margins, lengths('chosen'), lengths('rejected'));
      const { probability, outcome } = presentPairs(margins, rng.fork('presented'));
      const both = outcome.includes(0) && outcome.includes(1);
      return {
        accuracy: share(right),
        loss: meanOf(Array.from(margins, surprise)),
        margin,
        ...(both && { calibrationError: calibrationError(probability, outcome).ece }),
        longerChosen,
        shorterChosen,
        right,
      };
    },
    async scored({ scorer }, most) {
      const shown = heldOut.pairs.slice(0, most);
      const sides = shown.flatMap(({ prompt, chosen, rejected }) => [joinSequence(prompt, chosen), joinSequence(prompt, rejected)]);
      const scores = (await outputsOf(scorer!, sides, signal)).map(([score]) => score);
      const text = (ids: Int32Array) => decoder.tokenizer.decode(ids);
      return shown.map(({ prompt, chosen, rejected }, i) => {
        const [chosenScore, rejectedScore] = [scores[2 * i], scores[2 * i + 1]];
        const texts = { prompt: text(prompt), chosen: text(chosen), rejected: text(rejected) };
        return { ...texts, chosenScore, rejectedScore, margin: chosenScore - rejectedScore };
      });
    },
  };
}

/** A grade, or whether it is a tie. @throws ConfigError naming the record and what its column holds */
function pairLabel(loss: string, value: unknown, column: string, id: string): number {
  if (loss === 'pairwise_ordinal') {
    if (typeof value === 'number' && Number.isInteger(value)) return value;
    throw new ConfigError(
      `record ${id}: its column "${column}" holds ${JSON.stringify(value) ?? 'nothing'}; --loss ${loss} needs a grade from 0, much worse, to grades - 1, much better (setting labelColumn)`,
    );
  }
  if (value === undefined || value === null) return 0;
  if (value === true || value === 1 || value === 'tie') return 1;
  if (value === false || value === 0 || value === '') return 0;
  throw new ConfigError(
    `record ${id}: its column "${column}" holds ${JSON.stringify(value)}; --loss ${loss} needs true for a tie (setting labelColumn)`,
  );
}

/** One text holds both answers; which stands first is drawn. The other order is asked as well where it is measured. */
function classifierTask(read: Read<PreferenceRecord>, o: Setting): RewardTask {
  const { settings, decoder, rng, signal } = o;
  const { heldOut: kept, train: rest } = halves(read, o);
  const items = (some: Read<PreferenceRecord>['records'], orders: (id: string) => readonly boolean[]) =>
    encodeTargets(
      decoder.tokenizer,
      some.flatMap(({ record: { id, prompt, chosen, rejected, weight } }) =>
        orders(id!).map((chosenFirst): TargetRecord => {
          const completion = chosenFirst ? bothAnswers(prompt, chosen, rejected) : bothAnswers(prompt, rejected, chosen);
          return { id: `${id}:${chosenFirst ? 1 : 2}`, prompt, completion, targets: chosenFirst ? 0 : 1, weight };
        }),
      ),
      { maxTokens: Math.min(settings.maxTokens, decoder.contextLength) },
    );
  const train = items(rest, (id) => [rng.fork('order', id).below(2) === 0]);
  const measured = items(kept, () => [true, false]);
  const inBoth = new Set(measured.items.map(({ id }) => id));
  const heldOut = measured.items.filter(({ id }) => inBoth.has(id.replace(/:[12]$/, ':1')) && inBoth.has(id.replace(/:[12]$/, ':2')));
  return {
    ...targetTask(read, o, train.items, 'pairs'),
    head: { kind: 'attributes', labels: ['first', 'second'] },
    heldOut: heldOut.length / 2,
    leftOut: train.dropped.length + kept.length - heldOut.length / 2,
    async measure({ model }) {
      const outputs = await outputsOf(model, heldOut, signal);
      const logits = outputs.map(([first, second]) => first - second);
      const margins = Array.from({ length: logits.length / 2 }, (_, i) => (logits[2 * i] - logits[2 * i + 1]) / 2);
      const right = margins.map((margin) => (margin > 0 ? 1 : 0));
      return { accuracy: share(right), loss: meanOf(logits.map((z, i) => surprise(i % 2 === 0 ? z : -z))), margin: meanOf(margins), right };
    },
    scored: ({ model }, most) =>
      scoredItems(model, heldOut.slice(0, 2 * most), o, ([first, second], [better]) => ({
        first,
        second,
        better: better === 0 ? 'A' : 'B',
      })),
  };
}

/** How a classifier of pairs is shown two answers. */
export function bothAnswers(prompt: Prompt, first: Completion, second: Completion): Completion {
  const content = `A: ${textOf(first)}\n\nB: ${textOf(second)}`;
  return isMessages(prompt) ? [{ role: 'assistant', content }] : content;
}

function attributeTask(read: Read<MultiScoreRecord>, o: Setting): RewardTask {
  const { settings, decoder, signal } = o;
  const { loss, grades, lowestGrade, lossOptions } = settings;
  const known = [...new Set(read.records.flatMap(({ record }) => Object.keys(record.scores)))];
  const attributes = settings.attributes === undefined ? known : [settings.attributes].flat();
  const unknown = attributes.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new ConfigError(`setting attributes: no record has ${unknown.join(', ')}; there are ${known.join(', ')}`);
  if (loss === 'ordinal' && attributes.length !== 1)
    throw new ConfigError(`--loss ordinal learns one attribute; choose one of ${attributes.join(', ')} (setting attributes)`);
  const { heldOut: kept, train: rest } = halves(read, o);
  const encode = (some: Read<MultiScoreRecord>['records']) =>
    encodeTargets(
      decoder.tokenizer,
      some.map(({ record: { id, prompt, completion, scores } }): TargetRecord => {
        const targets = attributes.map((name) =>
          scores[name] === undefined ? null : scores[name] - (loss === 'ordinal' ? lowestGrade : 0),
        );
        const grade = targets[0];
        if (loss === 'ordinal' && grade !== null && !(Number.isInteger(grade) && grade >= 0 && grade < grades))
          throw new ConfigError(
            `record ${id}: ${attributes[0]} is ${scores[attributes[0]]}; --loss ordinal learns whole grades from ${lowestGrade} to ${lowestGrade + grades - 1} (settings grades, lowestGrade)`,
          );
        return { id, prompt, completion, targets };
      }),
      { maxTokens: Math.min(settings.maxTokens, decoder.contextLength) },
    );
  const [train, heldOut] = [encode(rest), encode(kept)];
  return {
    ...targetTask(read, o, train.items, 'completions'),
    head: attributes.length === 1 ? { kind: 'score' } : { kind: 'attributes', labels: attributes },
    heldOut: heldOut.items.length,
    leftOut: train.dropped.length + heldOut.dropped.length,
    lossOptions: { ...(loss === 'ordinal' && { grades }), ...lossOptions },
    async measure({ model }) {
      const outputs = await outputsOf(model, heldOut.items, signal);
      const targets = heldOut.items.map((item) => item.targets);
      if (loss === 'ordinal') {
        const right: number[] = [];
        for (let i = 0; i < outputs.length; i++)
          for (let j = 0; j < i; j++)
            if (targets[i][0] !== targets[j][0]) right.push(targets[i][0] > targets[j][0] === outputs[i][0] > outputs[j][0] ? 1 : 0);
        return { ...(right.length > 0 && { accuracy: share(right) }), right };
      }
      const errors = outputs.map((own, i) => {
        const squares = Array.from(own, (x, k) => (x - targets[i][k]) ** 2).filter((x) => !Number.isNaN(x));
        return meanOf(squares);
      });
      const named = attributes.map((name, k) => {
        const rows = targets.flatMap((own, i) => (Number.isNaN(own[k]) ? [] : [i]));
        const [x, y] = [rows.map((i) => outputs[i][k]), rows.map((i) => targets[i][k])];
        const error = Math.sqrt(meanOf(x.map((value, i) => (value - y[i]) ** 2)));
        return [name, { error, ...(x.length > 2 && { pearson: pearson(x, y).value, spearman: spearman(x, y).value }) }] as const;
      });
      return {
        loss: meanOf(errors),
        attributes: Object.fromEntries(named.filter(([, { error }]) => !Number.isNaN(error))),
        right: errors.map((x) => -x),
      };
    },
    scored: ({ model }, most) =>
      scoredItems(model, heldOut.items.slice(0, most), o, (outputs, targets) => ({
        scores: Object.fromEntries(attributes.map((name, k) => [name, outputs[k]])),
        targets: Object.fromEntries(attributes.map((name, k) => [name, targets[k] + (loss === 'ordinal' ? lowestGrade : 0)])), // NaN becomes null
      })),
  };
}

function outcomeTask(read: Read<UnpairedRecord>, o: Setting): RewardTask {
  const { settings, decoder, signal } = o;
  const { heldOut: kept, train: rest } = halves(read, o);
  const encode = (some: Read<UnpairedRecord>['records']) =>
    encodeTargets(
      decoder.tokenizer,
      some.map(({ record: { id, prompt, completion, label } }): TargetRecord => ({ id, prompt, completion, targets: label ? 1 : 0 })),
      { maxTokens: Math.min(settings.maxTokens, decoder.contextLength) },
    );
  const [train, heldOut] = [encode(rest), encode(kept)];
  bothClasses(
    train.items.map(({ targets }) => targets[0]),
    'an outcome model',
  );
  const labels = heldOut.items.map(({ targets }) => targets[0]);
  return {
    ...targetTask(read, o, train.items, 'completions'),
    head: { kind: 'score' },
    heldOut: heldOut.items.length,
    leftOut: train.dropped.length + heldOut.dropped.length,
    async measure({ model }) {
      return binary(
        (await outputsOf(model, heldOut.items, signal)).map(([score]) => score),
        labels,
      );
    },
    scored: ({ model }, most) => scoredItems(model, heldOut.items.slice(0, most), o, ([score], [label]) => ({ score, label: label === 1 })),
  };
}

function stepTask(read: Read<StepwiseRecord>, o: Setting): RewardTask {
  const { settings, decoder, rng, signal } = o;
  const { heldOut: kept, train: rest } = halves(read, o);
  const encode = (some: Read<StepwiseRecord>['records']) =>
    encodeSteps(
      decoder.tokenizer,
      some.map(({ record }) => record),
      { separator: settings.stepSeparator, maxTokens: Math.min(settings.maxTokens, decoder.contextLength) },
    );
  const [train, heldOut] = [encode(rest), encode(kept)];
  bothClasses(
    train.items.flatMap((item) => Array.from(item.labels)),
    'a process model',
  );
  const labels = heldOut.items.flatMap((item) => Array.from(item.labels));
  return {
    unit: 'solutions',
    head: { kind: 'steps' },
    ...counted(read),
    train: train.items.length,
    heldOut: heldOut.items.length,
    leftOut: train.dropped.length + heldOut.dropped.length,
    lossOptions: { ...settings.lossOptions, heads: 1 }, // the difference of its two numbers: the cross-entropy of both is that of their difference
    training: (steps) => ({
      loss: rewardLoss('step') as never,
      batches: stepBatches(train.items, {
        itemsPerStep: Math.min(settings.recordsPerStep, train.items.length),
        steps,
        rng: rng.fork('batches'),
      }) as never,
    }),
    async measure({ model }) {
      const scores: number[] = [];
      for (const item of heldOut.items) scores.push(...(await stepScores(model, item, signal)));
      const usable = labels.flatMap((label, i) => (Number.isNaN(label) ? [] : [i]));
      return binary(
        usable.map((i) => scores[i]),
        usable.map((i) => (labels[i] >= 0.5 ? 1 : 0)),
      );
    },
    scored: ({ model }, most) =>
      Promise.all(
        heldOut.items.slice(0, most).map(async (item) => ({
          solution: decoder.tokenizer.decode(item.tokens),
          scores: await stepScores(model, item, signal),
          labels: Array.from(item.labels), // NaN becomes null
        })),
      ),
  };
}

/** One score a step. */
async function stepScores(model: RewardModel, { tokens, ends }: StepItem, signal: AbortSignal): Promise<number[]> {
  signal.throwIfAborted();
  const outputs = model.stepOutputs!(packSequences([{ tokens, completionStart: Math.min(1, tokens.length), row: 0 }]), ends);
  const scores = Array.from(await readCopy(outputs));
  outputs.dispose();
  return scores;
}

/** What tasks of completions with targets have in common. */
const counted = ({ records, skipped, why }: Read<unknown>) => ({ read: records.length, skipped, ...(why && { why }) });

function targetTask(
  read: Read<unknown>,
  { settings, rng }: Setting,
  items: readonly TargetItem[],
  unit: RewardTask['unit'],
): Pick<RewardTask, 'unit' | 'read' | 'skipped' | 'why' | 'train' | 'lossOptions' | 'training'> {
  return {
    unit,
    ...counted(read),
    train: items.length,
    lossOptions: settings.lossOptions,
    training: (steps) => ({
      loss: rewardLoss(settings.loss) as never,
      batches: targetBatches(items, {
        itemsPerStep: Math.min(settings.recordsPerStep, items.length),
        steps,
        rng: rng.fork('batches'),
      }) as Batches<never>,
    }),
  };
}

type Outputs = Pick<RewardModel, 'outputs' | 'scores'>;

/** [items][heads] */
async function outputsOf(
  model: Outputs,
  items: readonly Pick<TargetItem, 'tokens' | 'completionStart'>[],
  signal: AbortSignal,
): Promise<Float32Array[]> {
  const out: Float32Array[] = [];
  for (let from = 0; from < items.length; ) {
    signal.throwIfAborted();
    let [to, size] = [from, 0];
    while (to < items.length && (to === from || size + items[to].tokens.length <= batchTokens)) size += items[to++].tokens.length;
    const packed = packSequences(items.slice(from, to).map(({ tokens, completionStart }, row) => ({ tokens, completionStart, row })));
    const outputs = model.outputs ? model.outputs(packed) : model.scores!(packed);
    const values = (await readCopy(outputs)) as Float32Array;
    outputs.dispose();
    const heads = values.length / (to - from);
    for (let i = 0; i < to - from; i++) out.push(values.slice(i * heads, (i + 1) * heads));
    from = to;
  }
  return out;
}

/** @param say what the outputs come to, beside the targets */
async function scoredItems(
  model: Outputs,
  items: readonly TargetItem[],
  { decoder: { tokenizer }, signal }: Setting,
  say: (outputs: Float32Array, targets: Float32Array) => object,
): Promise<object[]> {
  const outputs = await outputsOf(model, items, signal);
  return items.map(({ tokens, completionStart, targets }, i) => ({
    prompt: tokenizer.decode(tokens.subarray(0, completionStart)),
    completion: tokenizer.decode(tokens.subarray(completionStart)),
    ...say(outputs[i], targets),
  }));
}

function binary(scores: readonly number[], labels: readonly number[]): RewardMeasures & { right: number[] } {
  const right = scores.map((score, i) => (score > 0 === (labels[i] === 1) ? 1 : 0));
  const both = labels.includes(0) && labels.includes(1);
  return {
    accuracy: share(right),
    loss: meanOf(scores.map((score, i) => surprise(labels[i] === 1 ? score : -score))),
    ...(both && { auroc: auroc(labels, scores), calibrationError: calibrationError(scores.map(sigmoid), labels).ece }),
    right,
  };
}

function bothClasses(labels: readonly number[], who: string): void {
  const known = labels.filter((label) => !Number.isNaN(label));
  const classes = new Set(known.map((label) => label >= 0.5));
  if (known.length > 0 && classes.size < 2) throw new ConfigError(`every label is ${classes.has(true)}; ${who} learns from both`);
}
