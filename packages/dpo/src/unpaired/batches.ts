/** Batches of single completions, as pure functions of (seed, step). */
import { ConfigError, type Rng } from '@plumbline/core';
import {
  type Batches,
  encodeCompletion,
  encodePrompt,
  joinSequence,
  type PackedBatch,
  packSequences,
  promptBatches,
  type Tokenizer,
  type UnpairedRecord,
} from '@plumbline/data';

export type EncodedRow = { id: string; prompt: Int32Array; completion: Int32Array; desirable: boolean };

export type UnpairedBatch = {
  ids: string[];
  rows: number;
  desirable: Uint8Array;
  packed: PackedBatch;
  /** Row i's prompt with row i − 1's completion, the first with the last: completions that answer something else. */
  mismatched: PackedBatch;
  split(rowsPerMicroBatch: number): UnpairedBatch[];
};

/** Rows in ids; those longer than `maxTokens` or empty are left out and named in `dropped`. */
export function encodeRows(
  tokenizer: Tokenizer,
  records: readonly UnpairedRecord[],
  { maxTokens = Infinity, appendEos }: { maxTokens?: number; appendEos?: boolean } = {},
): { rows: EncodedRow[]; dropped: { id: string; reason: 'too long' | 'empty completion' }[] } {
  const rows: EncodedRow[] = [];
  const dropped: { id: string; reason: 'too long' | 'empty completion' }[] = [];
  records.forEach((record, i) => {
    const id = record.id ?? String(i);
    const prompt = encodePrompt(tokenizer, record.prompt);
    const completion = encodeCompletion(tokenizer, record.prompt, record.completion, { appendEos });
    if (completion.length === 0) dropped.push({ id, reason: 'empty completion' });
    else if (prompt.length + completion.length > maxTokens) dropped.push({ id, reason: 'too long' });
    else rows.push({ id, prompt, completion, desirable: record.label });
  });
  return { rows, dropped };
}

/** Batches of `rowsPerStep` rows, epoch by epoch in a new order. */
export function unpairedBatches(
  rows: readonly EncodedRow[],
  { rowsPerStep, steps, rng }: { rowsPerStep: number; steps: number; rng: Rng },
): Batches<UnpairedBatch> {
  const order = promptBatches(rows, { promptsPerStep: rowsPerStep, steps, rng });
  return { steps, at: async (step) => unpairedBatch((await order.at(step)).prompts) };
}

/** One batch of all these rows, in their order. */
export function unpairedBatch(rows: readonly EncodedRow[]): UnpairedBatch {
  if (rows.length === 0) throw new ConfigError('unpairedBatch: there are no rows');
  const others = rows.map((_, i) => rows[(i + rows.length - 1) % rows.length]);
  return unpairedPart(rows, others);
}

function unpairedPart(rows: readonly EncodedRow[], others: readonly EncodedRow[]): UnpairedBatch {
  return {
    ids: rows.map(({ id }) => id),
    rows: rows.length,
    desirable: Uint8Array.from(rows, ({ desirable }) => Number(desirable)),
    packed: packSequences(rows.map(({ prompt, completion }, row) => ({ ...joinSequence(prompt, completion), row }))),
    mismatched: packSequences(rows.map(({ prompt }, row) => ({ ...joinSequence(prompt, others[row].completion), row }))),
    split: (size) => {
      if (!(Number.isInteger(size) && size > 0))
        throw new RangeError(`split: rowsPerMicroBatch must be a whole number above 0, got ${size}`);
      return Array.from({ length: Math.ceil(rows.length / size) }, (_, i) =>
        unpairedPart(rows.slice(i * size, (i + 1) * size), others.slice(i * size, (i + 1) * size)),
      );
    },
  };
}
