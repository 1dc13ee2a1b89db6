/** Sequences packed on one [tokens] axis. */
import { ShapeError } from '@plumbline/core';
import type { PackedBatch } from './interfaces.js';

/** A prompt and its completion; the completion begins at `completionStart`. */
export type Sequence = { tokens: Int32Array; completionStart: number };

/**
 * Lays sequences one after another, in their order, without padding. The first token of a segment never counts in a loss, since no token before
 * it gives its probability.
 *
 * @throws RangeError for no sequences, an empty one, or a completion that starts outside of its sequence, naming the row
 */
export function packSequences(items: readonly (Sequence & { row: number })[]): PackedBatch {
  if (items.length === 0) throw new RangeError('packSequences: there are no sequences');
  const total = items.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const batch = {
    tokens: new Int32Array(total),
    positions: new Int32Array(total),
    completionMask: new Uint8Array(total),
    cuSeqlens: new Int32Array(items.length + 1),
    rows: new Int32Array(items.length),
  };
  let at = 0;
  items.forEach(({ tokens, completionStart, row }, segment) => {
    if (tokens.length === 0) throw new RangeError(`packSequences: the sequence of row ${row} is empty`);
    if (!(completionStart >= 0 && completionStart <= tokens.length)) {
      throw new RangeError(`packSequences: row ${row} has ${tokens.length} tokens, but its completion starts at ${completionStart}`);
    }
    batch.tokens.set(tokens, at);
    for (let i = 0; i < tokens.length; i++) batch.positions[at + i] = i;
    batch.completionMask.fill(1, at + Math.max(1, completionStart), at + tokens.length);
    at += tokens.length;
    batch.cuSeqlens[segment + 1] = at;
    batch.rows[segment] = row;
  });
  return batch;
}

/** The named segments of a batch, in that order, as a batch. Their `rows` come along. */
export function takeSegments(batch: PackedBatch, segments: ArrayLike<number>): PackedBatch {
  if (batch.prefixOf) throw new ShapeError('takeSegments: segments that share a prefix cannot be taken apart');
  const ranges = Array.from(segments, (segment) => [batch.cuSeqlens[segment], batch.cuSeqlens[segment + 1]] as const);
  const total = ranges.reduce((sum, [from, to]) => sum + to - from, 0);
  const taken = {
    tokens: new Int32Array(total),
    positions: new Int32Array(total),
    completionMask: new Uint8Array(total),
    cuSeqlens: new Int32Array(ranges.length + 1),
    rows: Int32Array.from(segments, (segment) => batch.rows[segment]),
  };
  let at = 0;
  ranges.forEach(([from, to], i) => {
    taken.tokens.set(batch.tokens.subarray(from, to), at);
    taken.positions.set(batch.positions.subarray(from, to), at);
    taken.completionMask.set(batch.completionMask.subarray(from, to), at);
    at += to - from;
    taken.cuSeqlens[i + 1] = at;
  });
  return taken;
}

/** How many tokens of the batch count in a loss. */
export function completionTokens(batch: PackedBatch): number {
  return batch.completionMask.reduce((sum, counts) => sum + counts, 0);
}
