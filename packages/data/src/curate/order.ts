/** Shuffling and splitting, also of streams. */
import type { Rng } from '@plumbline/core';
import type { Prompt } from '../interfaces.js';
import { hash2 } from './words.js';

/** A new list in an order drawn from `rng`. */
export function shuffleRecords<R>(records: readonly R[], rng: Rng): R[] {
  return Array.from(rng.permutation(records.length), (i) => records[i]);
}

/**
 * A stream in an order that is random within a buffer: each record is drawn from `buffer` records that wait. A stream that is sorted by something stays so
 * roughly where it is much longer than the buffer; shuffle a file once instead.
 */
export async function* shuffleStream<R>(
  records: AsyncIterable<R> | Iterable<R>,
  { buffer, rng }: { buffer: number; rng: Rng },
): AsyncGenerator<R> {
  if (!(Number.isInteger(buffer) && buffer > 0))
    throw new RangeError(`shuffleStream: buffer must be a whole number above 0, got ${buffer}`);
  const waiting: R[] = [];
  for await (const record of records) {
    if (waiting.length < buffer) {
      waiting.push(record);
      continue;
    }
    const at = rng.below(buffer);
    yield waiting[at];
    waiting[at] = record;
  }
  for (const at of rng.permutation(waiting.length)) yield waiting[at];
}

/**
 * The side of a record by a hash of its prompt and the seed: the same on every machine, whatever comes before, and the same for all records of one prompt. Shares
 * are met on average.
 *
 * @param shares of each side, by name; they add up to 1
 * @throws RangeError for shares that do not
 */
export function hashSplit(
  shares: Readonly<Record<string, number>>,
  { seed = 0, keyOf = promptKey }: { seed?: number; keyOf?: (record: object) => string } = {},
): (record: object) => string {
  const names = Object.keys(shares);
  const total = names.reduce((sum, name) => sum + shares[name], 0);
  if (names.length === 0 || names.some((name) => !(shares[name] >= 0)) || Math.abs(total - 1) > 1e-6)
    throw new RangeError(`hashSplit: shares must be 0 or more and add up to 1, got ${JSON.stringify(shares)}`);
  return (record) => {
    const [a, b] = hash2(keyOf(record), seed);
    let left = (a * 2 ** 21 + (b >>> 11)) / 2 ** 53;
    for (const name of names) {
      if (left < shares[name]) return name;
      left -= shares[name];
    }
    return names.at(-1)!;
  };
}

/** The prompt; of records without one, their messages or text. */
function promptKey(record: object): string {
  const { prompt, messages, text } = record as { prompt?: Prompt; messages?: unknown[]; text?: string };
  return JSON.stringify(prompt ?? messages?.slice(0, 2) ?? text ?? record);
}
