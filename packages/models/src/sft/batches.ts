import type { Rng } from '@plumbline/core';
import { type Batches, completionTokens, type PackedBatch, packSequences, takeSegments } from '@plumbline/data';

/** Sequences of one optimizer step; those tokens count whose `completionMask` is 1. */
export type SftBatch = {
  ids: string[];
  packed: PackedBatch;
  /** Completion tokens of the whole step, of which a part of it knows too. */
  countedTokens: number;
  split(sequencesPerMicroBatch: number): SftBatch[];
};

/** Batches of `sequencesPerStep` sequences; each epoch is a new permutation, and a batch may reach over the border of two. */
export function sftBatches(
  sequences: readonly { id?: string; tokens: Int32Array; completionStart: number }[],
  { sequencesPerStep, steps, rng }: { sequencesPerStep: number; steps: number; rng: Rng },
): Batches<SftBatch> {
  const order = epochOrder(sequences.length, rng);
  return {
    steps,
    async at(step) {
      checkStep('sftBatches', step, steps);
      const picked = Array.from({ length: sequencesPerStep }, (_, i) => order(step * sequencesPerStep + i));
      return sftBatch(
        picked.map((i) => sequences[i].id ?? String(i)),
        packSequences(picked.map((i, row) => ({ ...sequences[i], row }))),
      );
    },
  };
}

/**
 * Pretraining batches: `blocksPerStep` windows of `blockTokens` tokens, each begun at a random place of one long text's ids.
 * Every token but a window's first counts.
 */
export function blockBatches(
  tokens: Int32Array | Uint16Array,
  { blockTokens, blocksPerStep, steps, rng }: { blockTokens: number; blocksPerStep: number; steps: number; rng: Rng },
): Batches<SftBatch> {
  if (tokens.length <= blockTokens)
    throw new RangeError(`blockBatches: ${tokens.length} tokens do not fill a block of ${blockTokens} and one more`);
  return {
    steps,
    async at(step) {
      checkStep('blockBatches', step, steps);
      const places = rng.fork('blocks', step);
      const starts = Array.from({ length: blocksPerStep }, () => places.below(tokens.length - blockTokens));
      return sftBatch(
        starts.map((start) => `tokens ${start} to ${start + blockTokens - 1}`),
        packSequences(
          starts.map((start, row) => ({ tokens: Int32Array.from(tokens.subarray(start, start + blockTokens)), completionStart: 0, row })),
        ),
      );
    },
  };
}

/** A batch of what is packed, whose parts divide by the whole's counted tokens. */
export function sftBatch(ids: string[], packed: PackedBatch, countedTokens = completionTokens(packed)): SftBatch {
  return {
    ids,
    packed,
    countedTokens,
    split(size) {
      if (!(Number.isInteger(size) && size > 0))
        throw new RangeError(`split: sequencesPerMicroBatch must be a whole number above 0, got ${size}`);
      if (size >= ids.length) return [this];
      return Array.from({ length: Math.ceil(ids.length / size) }, (_, i) => {
        const segments = Array.from({ length: Math.min(size, ids.length - i * size) }, (_, s) => i * size + s);
        return sftBatch(
          segments.map((s) => ids[s]),
          takeSegments(packed, segments),
          countedTokens,
        );
      });
    },
  };
}

function checkStep(who: string, step: number, steps: number): void {
  if (!(Number.isInteger(step) && step >= 0 && step < steps)) throw new RangeError(`${who}: step ${step} is not in 0 to ${steps - 1}`);
}

function epochOrder(items: number, rng: Rng): (position: number) => number {
  if (items === 0) throw new RangeError('sftBatches: there are no sequences');
  const orders = new Map<number, Int32Array>();
  return (position) => {
    const epoch = Math.floor(position / items);
    let order = orders.get(epoch);
    if (!order) {
      order = rng.fork('epoch', epoch).permutation(items);
      if (orders.size >= 2) orders.delete(orders.keys().next().value!);
      orders.set(epoch, order);
    }
    return order[position % items];
  };
}
