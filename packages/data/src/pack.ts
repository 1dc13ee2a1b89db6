/** Sequences packed on one [tokens] axis. */
import type { PackedBatch } from './interfaces.js';

/** A prompt and its completion; the completion begins at `completionStart`. Where only some tokens from there on count, `completionMask` [tokens] says which. */
export type Sequence = { tokens: Int32Array; completionStart: number; completionMask?: Uint8Array };

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
  items.forEach(({ tokens, completionStart, completionMask, row }, segment) => {
    if (tokens.length === 0) throw new RangeError(`packSequences: the sequence of row ${row} is empty`);
    if (!(completionStart >= 0 && completionStart <= tokens.length)) {
      throw new RangeError(`packSequences: row ${row} has ${tokens.length} tokens, but its completion starts at ${completionStart}`);
    }
    batch.tokens.set(tokens, at);
    for (let i = 0; i < tokens.length; i++) batch.positions[at + i] = i;
    if (completionMask && completionMask.length !== tokens.length)
      throw new RangeError(`packSequences: row ${row} has ${tokens.length} tokens and ${completionMask.length} mask entries`);
    for (let i = Math.max(1, completionStart); i < tokens.length; i++)
      batch.completionMask[at + i] = completionMask ? completionMask[i] : 1;
    at += tokens.length;
    batch.cuSeqlens[segment + 1] = at;
    batch.rows[segment] = row;
  });
  return batch;
}

/** A prompt and one of its completions, not yet joined. Where only some tokens of the completion count, `completionMask` [completion tokens] says which. */
export type PromptedSequence = { prompt: Int32Array; completion: Int32Array; completionMask?: Uint8Array; row: number };

/**
 * The same sequences with each prompt that several of them begin with laid down once: segment s holds the completion of item s alone and names its
 * prompt's segment in `prefixOf`; those prompts stand after all items, in the order in which they are first needed. Positions go on from the prompt. A
 * prompt of one item only, and an empty one, stays in front of its completion.
 *
 * A decoder gives each completion token what it has in the layout without sharing; the prompt segments count nothing and have `rows` -1.
 *
 * @throws RangeError for no sequences, or one with an empty completion, naming the row
 */
export function packShared(items: readonly PromptedSequence[]): PackedBatch {
  if (items.length === 0) throw new RangeError('packShared: there are no sequences');
  const prompts = groupPrompts(items.map(({ prompt }) => prompt));
  const shared = prompts.filter(({ items: users }) => users.length > 1);
  if (shared.length === 0)
    return packSequences(
      items.map(({ prompt, completion, completionMask, row }) => {
        refuseEmpty(completion, row);
        return {
          tokens: concat(prompt, completion),
          completionStart: prompt.length,
          ...(completionMask && { completionMask: behind(prompt, completionMask) }),
          row,
        };
      }),
    );
  const segmentOf = new Map<number, number>();
  shared.forEach(({ items: users }, i) => {
    for (const item of users) segmentOf.set(item, items.length + i);
  });
  const parts = items.map(({ prompt, completion, completionMask, row }, i) => {
    refuseEmpty(completion, row);
    if (completionMask && completionMask.length !== completion.length)
      throw new RangeError(
        `packShared: the completion of row ${row} has ${completion.length} tokens and ${completionMask.length} mask entries`,
      );
    const prefix = segmentOf.get(i);
    if (prefix !== undefined) return { tokens: completion, start: prompt.length, counted: 0, mask: completionMask, prefix, row };
    const mask = completionMask && behind(prompt, completionMask);
    return { tokens: concat(prompt, completion), start: 0, counted: Math.max(1, prompt.length), mask, prefix: -1, row };
  });
  for (const { prompt } of shared) parts.push({ tokens: prompt, start: 0, counted: prompt.length, mask: undefined, prefix: -1, row: -1 });
  const total = parts.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const batch = {
    tokens: new Int32Array(total),
    positions: new Int32Array(total),
    completionMask: new Uint8Array(total),
    cuSeqlens: new Int32Array(parts.length + 1),
    prefixOf: Int32Array.from(parts, ({ prefix }) => prefix),
    rows: Int32Array.from(parts, ({ row }) => row),
  };
  let at = 0;
  parts.forEach(({ tokens, start, counted, mask }, s) => {
    batch.tokens.set(tokens, at);
    for (let i = 0; i < tokens.length; i++) batch.positions[at + i] = start + i;
    batch.completionMask.fill(1, at + counted, at + tokens.length);
    for (let i = counted; mask && i < tokens.length; i++) batch.completionMask[at + i] = mask[i];
    at += tokens.length;
    batch.cuSeqlens[s + 1] = at;
  });
  return batch;
}

/** Tokens of sequences that share their prompts, and of the same sequences side by side. */
export function sharedTokens(items: readonly Omit<PromptedSequence, 'row'>[]): { shared: number; apart: number } {
  const completions = items.reduce((sum, { completion }) => sum + completion.length, 0);
  const prompts = groupPrompts(items.map(({ prompt }) => prompt));
  return {
    shared: completions + prompts.reduce((sum, { prompt }) => sum + prompt.length, 0),
    apart: completions + items.reduce((sum, { prompt }) => sum + prompt.length, 0),
  };
}

/** Which items begin with the same tokens, in order of appearance. Empty prompts are nobody's. */
function groupPrompts(prompts: readonly Int32Array[]): { prompt: Int32Array; items: number[] }[] {
  const byHash = new Map<number, { prompt: Int32Array; items: number[] }[]>();
  const groups: { prompt: Int32Array; items: number[] }[] = [];
  prompts.forEach((prompt, i) => {
    if (prompt.length === 0) return;
    let hash = prompt.length;
    for (const token of prompt) hash = Math.imul(hash ^ token, 0x9e3779b1) ^ (hash >>> 15);
    const bucket = byHash.get(hash) ?? [];
    const known = bucket.find((group) => sameTokens(group.prompt, prompt));
    if (known) known.items.push(i);
    else {
      const group = { prompt, items: [i] };
      groups.push(group);
      byHash.set(hash, [...bucket, group]);
    }
  });
  return groups;
}

const sameTokens = (a: Int32Array, b: Int32Array): boolean => a === b || (a.length === b.length && a.every((token, i) => token === b[i]));

function concat(a: Int32Array, b: Int32Array): Int32Array {
  const both = new Int32Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

/** A completion's mask with nothing of the prompt counting. */
function behind(prompt: Int32Array, mask: Uint8Array): Uint8Array {
  const both = new Uint8Array(prompt.length + mask.length);
  both.set(mask, prompt.length);
  return both;
}

function refuseEmpty(completion: Int32Array, row: number): void {
  if (completion.length === 0) throw new RangeError(`packShared: the completion of row ${row} is empty`);
}

/** The named segments of a batch, in that order, as a batch; prefixes that they share and that are not named follow them. Their `rows` come along. */
export function takeSegments(batch: PackedBatch, segments: ArrayLike<number>): PackedBatch {
  const { prefixOf } = batch;
  const taken = Array.from(segments);
  const place = new Map(taken.map((segment, i) => [segment, i]));
  for (const segment of [...taken]) {
    const prefix = prefixOf?.[segment] ?? -1;
    if (prefix < 0 || place.has(prefix)) continue;
    place.set(prefix, taken.length);
    taken.push(prefix);
  }
  const prefixes = taken.map((segment) => (prefixOf && prefixOf[segment] >= 0 ? place.get(prefixOf[segment])! : -1));
  const ranges = taken.map((segment) => [batch.cuSeqlens[segment], batch.cuSeqlens[segment + 1]] as const);
  const total = ranges.reduce((sum, [from, to]) => sum + to - from, 0);
  const part: PackedBatch = {
    tokens: new Int32Array(total),
    positions: new Int32Array(total),
    completionMask: new Uint8Array(total),
    cuSeqlens: new Int32Array(ranges.length + 1),
    ...(prefixes.some((prefix) => prefix >= 0) && { prefixOf: Int32Array.from(prefixes) }),
    rows: Int32Array.from(taken, (segment) => batch.rows[segment]),
  };
  let at = 0;
  ranges.forEach(([from, to], i) => {
    part.tokens.set(batch.tokens.subarray(from, to), at);
    part.positions.set(batch.positions.subarray(from, to), at);
    part.completionMask.set(batch.completionMask.subarray(from, to), at);
    at += to - from;
    part.cuSeqlens[i + 1] = at;
  });
  return part;
}

/** How many tokens of the batch count in a loss. */
export function completionTokens(batch: PackedBatch): number {
  return batch.completionMask.reduce((sum, counts) => sum + counts, 0);
}
