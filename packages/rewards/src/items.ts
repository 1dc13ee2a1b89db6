/** What losses other than pairs' learn from: completions with targets, and solutions with a label at the end of each step. */
import { ConfigError, type Rng } from '@plumbline/core';
import {
  type Batches,
  type Completion,
  type Duration,
  encodePrompt,
  encodeSequence,
  type PackedBatch,
  type Prompt,
  packSequences,
  promptBatches,
  type RewardBatch,
  type StepwiseRecord,
  type Tokenizer,
} from '@plumbline/data';
import { isLabelled } from './losses/step.js';

/** Targets of one completion, in the order of the columns; NaN where it has none. */
export type TargetItem = { id: string; tokens: Int32Array; completionStart: number; targets: Float32Array; weight?: number };
export type TargetBatch = {
  ids: string[];
  items: number;
  /** A segment an item. */
  packed: PackedBatch;
  /** [items, columns], row by row. */
  targets: Float32Array;
  columns: number;
  weights?: Float32Array;
  split(itemsPerMicroBatch: number): TargetBatch[];
};
/** A solution: `ends` are the tokens at which its steps end, with a label each (NaN for none). */
export type StepItem = { id: string; tokens: Int32Array; ends: Int32Array; labels: Float32Array };
export type StepBatch = {
  ids: string[];
  items: number;
  packed: PackedBatch;
  /** Tokens of `packed` at which the steps end, [steps]. */
  rows: Int32Array;
  labels: Float32Array;
  split(itemsPerMicroBatch: number): StepBatch[];
};

export type TargetRecord = {
  id?: string;
  prompt: Prompt;
  completion: Completion;
  targets: readonly (number | null | undefined)[] | number;
  weight?: number;
};

/** Completions with their targets in ids. Empty and too long ones are dropped and counted, and so are those without any target. */
export function encodeTargets(
  tokenizer: Tokenizer,
  records: readonly TargetRecord[],
  { maxTokens, appendEos }: { maxTokens?: number; appendEos?: boolean } = {},
): { items: TargetItem[]; dropped: { id: string; reason: string }[] } {
  const items: TargetItem[] = [];
  const dropped: { id: string; reason: string }[] = [];
  let columns: number | undefined;
  records.forEach((record, i) => {
    const id = record.id ?? String(i);
    const targets = Float32Array.from(
      typeof record.targets === 'number' ? [record.targets] : record.targets,
      (target) => target ?? Number.NaN,
    );
    columns ??= targets.length;
    if (targets.length !== columns)
      throw new ConfigError(`encodeTargets: ${id} has ${targets.length} targets and the first record ${columns}`);
    const sequence = encodeSequence(tokenizer, record.prompt, record.completion, { maxTokens, appendEos });
    if (targets.every(Number.isNaN)) dropped.push({ id, reason: 'no target' });
    else if (!sequence) dropped.push({ id, reason: 'empty or too long' });
    else items.push({ id, tokens: sequence.tokens, completionStart: sequence.completionStart, targets, weight: record.weight });
  });
  return { items, dropped };
}

/** Batches of scored answers for `trainReward`: `itemsPerStep` at a time, in an order drawn anew each epoch from `rng`. */
export function targetBatches(
  items: readonly TargetItem[],
  { itemsPerStep, ...order }: { itemsPerStep: number; rng: Rng } & Duration,
): Batches<TargetBatch> {
  const batches = promptBatches(items, { promptsPerStep: itemsPerStep, ...order });
  return { steps: batches.steps, at: async (step) => targetBatch((await batches.at(step)).prompts) };
}

/** One batch of all these items, in their order. */
export function targetBatch(items: readonly TargetItem[]): TargetBatch {
  const columns = items[0].targets.length;
  const targets = new Float32Array(items.length * columns);
  items.forEach((item, i) => void targets.set(item.targets, i * columns));
  return {
    ids: items.map(({ id }) => id),
    items: items.length,
    packed: packSequences(items.map(({ tokens, completionStart }, row) => ({ tokens, completionStart, row }))),
    targets,
    columns,
    ...(items.some(({ weight }) => weight !== undefined) && { weights: Float32Array.from(items, ({ weight }) => weight ?? 1) }),
    split: (size) => pieces(items, size).map(targetBatch),
  };
}

/**
 * Solutions in ids: the prompt, then each step and the separator, with the step's label on the separator's last token (TRL's PRM trainer). Longer ones than `maxTokens` are cut, labels with
 * them; one that is left without a label is dropped. `lastStepOnly` trains on the last step's label alone.
 */
export function encodeSteps(
  tokenizer: Tokenizer,
  records: readonly (Omit<StepwiseRecord, 'labels'> & { labels: readonly (boolean | number)[] })[],
  { separator = '\n', maxTokens = Infinity, lastStepOnly = false }: { separator?: string; maxTokens?: number; lastStepOnly?: boolean } = {},
): { items: StepItem[]; dropped: { id: string; reason: string }[] } {
  const between = tokenizer.encode(separator);
  if (between.length === 0) throw new ConfigError(`encodeSteps: the separator ${JSON.stringify(separator)} has no tokens`);
  const items: StepItem[] = [];
  const dropped: { id: string; reason: string }[] = [];
  records.forEach((record, i) => {
    const id = record.id ?? String(i);
    if (record.completions.length !== record.labels.length)
      throw new ConfigError(`encodeSteps: ${id} has ${record.completions.length} steps and ${record.labels.length} labels`);
    const tokens: number[] = [...encodePrompt(tokenizer, record.prompt)];
    const [ends, labels]: [number[], number[]] = [[], []];
    record.completions.forEach((step, s) => {
      tokens.push(...tokenizer.encode(step), ...between);
      ends.push(tokens.length - 1);
      labels.push(lastStepOnly && s + 1 < record.labels.length ? Number.NaN : Number(record.labels[s]));
    });
    const kept = ends.filter((end) => end < maxTokens).length;
    if (!labels.slice(0, kept).some(isLabelled))
      dropped.push({ id, reason: record.completions.length === 0 ? 'no steps' : 'no label within the limit' });
    else
      items.push({
        id,
        tokens: Int32Array.from(tokens.slice(0, Math.min(tokens.length, maxTokens))),
        ends: Int32Array.from(ends.slice(0, kept)),
        labels: Float32Array.from(labels.slice(0, kept)),
      });
  });
  return { items, dropped };
}

/** Batches of solutions for `trainReward`: `itemsPerStep` at a time, in an order drawn anew each epoch from `rng`. */
export function stepBatches(
  items: readonly StepItem[],
  { itemsPerStep, ...order }: { itemsPerStep: number; rng: Rng } & Duration,
): Batches<StepBatch> {
  const batches = promptBatches(items, { promptsPerStep: itemsPerStep, ...order });
  return { steps: batches.steps, at: async (step) => stepBatch((await batches.at(step)).prompts) };
}

/** One batch of all these solutions, in their order. */
export function stepBatch(items: readonly StepItem[]): StepBatch {
  const packed = packSequences(items.map(({ tokens }, row) => ({ tokens, completionStart: Math.min(1, tokens.length), row })));
  return {
    ids: items.map(({ id }) => id),
    items: items.length,
    packed,
    rows: Int32Array.from(items.flatMap(({ ends }, i) => Array.from(ends, (end) => packed.cuSeqlens[i] + end))),
    labels: Float32Array.from(items.flatMap(({ labels }) => [...labels])),
    split: (size) => pieces(items, size).map(stepBatch),
  };
}

/** Pairs that carry a label, such as a grade or whether it is a tie. */
export type LabelledRewardBatch = RewardBatch & { labels?: Int32Array };
/** Labels beside the pairs of `batches`, each by the id of its group of one pair. @throws ConfigError for a group of several pairs */
export function withPairLabels(batches: Batches<RewardBatch>, labelOf: (id: string) => number): Batches<LabelledRewardBatch> {
  const labelled = (batch: RewardBatch): LabelledRewardBatch => {
    if (batch.pairs !== batch.groups)
      throw new ConfigError(`withPairLabels: ${batch.groups} groups have ${batch.pairs} pairs; a label belongs to one pair`);
    return { ...batch, labels: Int32Array.from(batch.ids, labelOf), split: (size) => batch.split(size).map(labelled) };
  };
  return { steps: batches.steps, at: async (step) => labelled(await batches.at(step)) };
}

function pieces<T>(items: readonly T[], size: number): T[][] {
  if (!(Number.isInteger(size) && size > 0))
    throw new RangeError(`split: the size of a micro-batch must be a whole number above 0, got ${size}`);
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}
