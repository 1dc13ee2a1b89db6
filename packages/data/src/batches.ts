/**
 * Batches as pure functions of (seed, step). Step s takes items s·n to s·n + n - 1 of an endless sequence in which epoch e is a permutation
 * drawn from `rng.fork('epoch', e)`: each item comes once an epoch, in a new order, and a batch may reach over the border of two epochs.
 */
import type { Rng } from '@plumbline/core';
import type { EncodedGroup, EncodedPair } from './encode.js';
import { joinSequence } from './encode.js';
import type { Batches, PackedBatch } from './interfaces.js';
import { type PromptedSequence, packSequences, packShared, takeSegments } from './pack.js';

/** How long: a number of steps, or of epochs, whose last step is filled up from the next one. */
export type Duration = { steps: number; epochs?: undefined } | { epochs: number; steps?: undefined };

export type PairBatch = {
  ids: string[];
  pairs: number;
  /** Segments: chosen 0 to pairs - 1, then rejected 0 to pairs - 1, then prompts that they share, if asked to. `rows` are positions in this step. */
  packed: PackedBatch;
  weights?: Float32Array;
  scores?: { chosen: Float32Array; rejected: Float32Array };
  split(pairsPerMicroBatch: number): PairBatch[];
};

export type RewardBatch = {
  /** Of each group. */
  ids: string[];
  groups: number;
  pairs: number;
  /** Each candidate once, then prompts that they share, if asked to. `rows` are the groups' positions in this step. */
  packed: PackedBatch;
  /** Segment of each pair's chosen and rejected side. */
  chosen: Int32Array;
  rejected: Int32Array;
  margins?: Float32Array;
  weights?: Float32Array;
  split(groupsPerMicroBatch: number): RewardBatch[];
};

export type Layout = {
  /**
   * Whether the two sides of a pair, or the candidates of a group, compute their prompt once (`packShared`). The same log-probabilities and gradients up
   * to rounding, and fewer tokens: the longer the prompts, the fewer. Default: no.
   */
  sharePrompts?: boolean;
};

export type PromptBatch<P> = { ids: string[]; prompts: P[]; indices: Int32Array };

/** Batches of `pairsPerStep` preference pairs. */
export function pairBatches(
  pairs: readonly EncodedPair[],
  { pairsPerStep, rng, sharePrompts, ...duration }: { pairsPerStep: number; rng: Rng } & Layout & Duration,
): Batches<PairBatch> {
  const order = epochs('pairBatches', 'pairsPerStep', pairs.length, pairsPerStep, duration, rng);
  return {
    steps: order.steps,
    at: async (step) =>
      pairBatch(
        order.at(step).map((i) => pairs[i]),
        { sharePrompts },
      ),
  };
}

/** Batches of `groupsPerStep` groups (or pairs, which are groups of two): a group's pairs stay together and each candidate is there once. */
export function rewardBatches(
  groups: readonly (EncodedGroup | EncodedPair)[],
  { groupsPerStep, rng, sharePrompts, ...duration }: { groupsPerStep: number; rng: Rng } & Layout & Duration,
): Batches<RewardBatch> {
  const order = epochs('rewardBatches', 'groupsPerStep', groups.length, groupsPerStep, duration, rng);
  return {
    steps: order.steps,
    at: async (step) =>
      rewardBatch(
        order.at(step).map((i) => groups[i]),
        { sharePrompts },
      ),
  };
}

/** Batches of prompts, or of records that hold them; `indices` into the list given. */
export function promptBatches<P extends { id?: string } | string>(
  prompts: readonly P[],
  { promptsPerStep, rng, ...duration }: { promptsPerStep: number; rng: Rng } & Duration,
): Batches<PromptBatch<P>> {
  const order = epochs('promptBatches', 'promptsPerStep', prompts.length, promptsPerStep, duration, rng);
  return {
    steps: order.steps,
    at: async (step) => {
      const indices = order.at(step);
      const chosen = indices.map((i) => prompts[i]);
      const ids = chosen.map((prompt, i) => (typeof prompt === 'string' ? undefined : prompt.id) ?? String(indices[i]));
      return { ids, prompts: chosen, indices: Int32Array.from(indices) };
    },
  };
}

/** One batch of all these pairs, in their order. */
export function pairBatch(pairs: readonly EncodedPair[], layout: Layout = {}): PairBatch {
  const n = pairs.length;
  const packed = pack(
    [
      ...pairs.map(({ prompt, chosen }, row) => ({ prompt, completion: chosen, row })),
      ...pairs.map(({ prompt, rejected }, row) => ({ prompt, completion: rejected, row })),
    ],
    layout,
  );
  return {
    ids: pairs.map(({ id }) => id),
    pairs: n,
    packed,
    ...(pairs.some(({ weight }) => weight !== undefined) && { weights: Float32Array.from(pairs, ({ weight }) => weight ?? 1) }),
    ...(pairs.every(({ scores }) => scores !== undefined) && {
      scores: {
        chosen: Float32Array.from(pairs, ({ scores }) => scores!.chosen),
        rejected: Float32Array.from(pairs, ({ scores }) => scores!.rejected),
      },
    }),
    split(perMicro) {
      return slices('pairsPerMicroBatch', n, perMicro).map(([from, to]) => {
        const micro = pairBatch(pairs.slice(from, to), layout);
        const segments = Array.from({ length: 2 * (to - from) }, (_, i) => (i < to - from ? from + i : n + 2 * from - to + i));
        return { ...micro, packed: takeSegments(packed, segments) };
      });
    },
  };
}

/** One batch of all these groups, in their order. */
export function rewardBatch(items: readonly (EncodedGroup | EncodedPair)[], layout: Layout = {}): RewardBatch {
  const groups = items.map(asGroup);
  const starts = [0];
  for (const { completions } of groups) starts.push(starts.at(-1)! + completions.length);
  const pairs = groups.flatMap((group, g) =>
    group.pairs.map((pair) => ({ ...pair, chosen: starts[g] + pair.chosen, rejected: starts[g] + pair.rejected })),
  );
  const packed = pack(
    groups.flatMap(({ prompt, completions }, row) => completions.map((completion) => ({ prompt, completion, row }))),
    layout,
  );
  return {
    ids: groups.map(({ id }) => id),
    groups: groups.length,
    pairs: pairs.length,
    packed,
    chosen: Int32Array.from(pairs, ({ chosen }) => chosen),
    rejected: Int32Array.from(pairs, ({ rejected }) => rejected),
    ...(pairs.some(({ margin }) => margin !== undefined) && { margins: Float32Array.from(pairs, ({ margin }) => margin ?? 0) }),
    ...(pairs.some(({ weight }) => weight !== undefined) && { weights: Float32Array.from(pairs, ({ weight }) => weight ?? 1) }),
    split(perMicro) {
      return slices('groupsPerMicroBatch', groups.length, perMicro).map(([from, to]) => {
        const micro = rewardBatch(groups.slice(from, to), layout);
        const segments = Array.from({ length: starts[to] - starts[from] }, (_, i) => starts[from] + i);
        return { ...micro, packed: takeSegments(packed, segments) };
      });
    },
  };
}

/** What a batch is cut into for memory's sake: so many rows, and so many tokens, at once at most. */
export type MicroBatchSize = { rows?: number; tokens: number };

/**
 * The parts of a batch, equal numbers of rows each, as many as `size` allows: the largest part has at most `size.tokens` tokens, or a single row.
 * How a step is cut changes nothing but rounding, so that this is a question of memory alone.
 */
export function microBatches<B extends { packed: PackedBatch; ids: readonly string[]; split(rows: number): B[] }>(
  batch: B,
  { rows: most = Infinity, tokens }: MicroBatchSize,
): B[] {
  for (let rows = Math.min(most, batch.ids.length); ; ) {
    const parts = batch.split(rows);
    const largest = Math.max(...parts.map(({ packed }) => packed.tokens.length));
    if (rows <= 1 || !(largest > tokens)) return parts;
    rows = Math.max(1, Math.min(rows - 1, Math.floor((rows * tokens) / largest)));
  }
}

/** How many tokens' activations about 256 MB hold: what is in memory at once unless a setting says otherwise. Infinity where the model does not tell. */
export function affordableTokens({ activationBytes }: { readonly activationBytes?: number }): number {
  return activationBytes ? Math.max(1, Math.floor(2 ** 28 / activationBytes)) : Infinity;
}

function pack(items: readonly PromptedSequence[], { sharePrompts = false }: Layout): PackedBatch {
  if (sharePrompts) return packShared(items);
  return packSequences(items.map(({ prompt, completion, row }) => ({ ...joinSequence(prompt, completion), row })));
}

function asGroup(item: EncodedGroup | EncodedPair): EncodedGroup {
  if ('completions' in item) return item;
  const { id, prompt, chosen, rejected, margin, weight } = item;
  return { id, prompt, completions: [chosen, rejected], pairs: [{ chosen: 0, rejected: 1, margin, weight }] };
}

function slices(option: string, n: number, size: number): [from: number, to: number][] {
  if (!(Number.isInteger(size) && size > 0)) throw new RangeError(`split: ${option} must be a whole number above 0, got ${size}`);
  return Array.from({ length: Math.ceil(n / size) }, (_, i) => [i * size, Math.min(n, (i + 1) * size)]);
}

/** Which items each step takes. Remembers two permutations, those of a step at the border of two epochs. */
function epochs(
  who: string,
  option: string,
  items: number,
  perStep: number,
  duration: Duration,
  rng: Rng,
): { steps: number; at(step: number): number[] } {
  if (items === 0) throw new RangeError(`${who}: there is nothing to take batches from`);
  if (!(Number.isInteger(perStep) && perStep > 0)) throw new RangeError(`${who}: ${option} must be a whole number above 0, got ${perStep}`);
  const steps = duration.steps ?? Math.ceil((items * duration.epochs!) / perStep);
  if (!(Number.isInteger(steps) && steps > 0)) throw new RangeError(`${who}: steps must be a whole number above 0, got ${steps}`);
  const orders = new Map<number, Int32Array>();
  const orderOf = (epoch: number): Int32Array => {
    const known = orders.get(epoch);
    if (known) return known;
    const order = rng.fork('epoch', epoch).permutation(items);
    if (orders.size >= 2) orders.delete(orders.keys().next().value!);
    orders.set(epoch, order);
    return order;
  };
  return {
    steps,
    at(step) {
      if (!(Number.isInteger(step) && step >= 0 && step < steps)) throw new RangeError(`${who}: step ${step} is not in 0 to ${steps - 1}`);
      return Array.from({ length: perStep }, (_, i) => {
        const position = step * perStep + i;
        return orderOf(Math.floor(position / items))[position % items];
      });
    },
  };
}
