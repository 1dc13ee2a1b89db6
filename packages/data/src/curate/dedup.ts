/** Records that are there more than once, exactly or nearly. */

import { recordKey, wholeText } from './text.js';
import { finish, hash2, hash53, wordsOf } from './words.js';

/** Remembers the records that it was shown, as hashes of 53 bits. */
export interface Deduplicator<R> {
  /** The index (of all that were shown) of an earlier record like this one; -1 if there is none, and it is remembered. */
  seen(record: R): number;
}

/** Finds records that say exactly the same: about 40 bytes a record. `keyOf` says what is compared; default prompt, answers, messages and text. */
export function exactDeduplicator<R extends object>(keyOf: (record: R) => string = recordKey): Deduplicator<R> {
  const first = new Map<number, number>();
  let shown = 0;
  return {
    seen(record) {
      const key = hash53(keyOf(record));
      const known = first.get(key);
      if (known === undefined) first.set(key, shown);
      shown++;
      return known ?? -1;
    },
  };
}

export type NearOptions<R> = {
  /** Records whose sets of n-grams overlap at least so far (Jaccard index, estimated) are the same. Default 0.8. */
  threshold?: number;
  /** Words in a row that are compared. Default 5; 3 for texts of a sentence. */
  ngram?: number;
  /** Hash functions: the estimate's standard deviation is √(J(1 − J) / hashes), 0.035 at the defaults. Default 128, a multiple of 16. */
  hashes?: number;
  /** The text that is compared; default prompt and answers in one. */
  textOf?: (record: R) => string;
};

/**
 * Finds near-duplicates by MinHash (Broder 1997) with banding: candidates agree in all hashes of some band, and are then compared in all. Bands are chosen so that
 * a pair at the threshold is found with a probability of at least 0.95. About 4 · hashes bytes a record.
 *
 * @throws RangeError for a threshold outside of (0, 1] or hashes that are no multiple of 16
 */
export function nearDeduplicator<R extends object>({
  threshold = 0.8,
  ngram = 5,
  hashes = 128,
  textOf = wholeText,
}: NearOptions<R> = {}): Deduplicator<R> {
  if (!(threshold > 0 && threshold <= 1)) throw new RangeError(`nearDeduplicator: threshold must be in (0, 1], got ${threshold}`);
  if (!(Number.isInteger(ngram) && ngram > 0)) throw new RangeError(`nearDeduplicator: ngram must be a whole number above 0, got ${ngram}`);
  if (!(Number.isInteger(hashes) && hashes > 0 && hashes % 16 === 0))
    throw new RangeError(`nearDeduplicator: hashes must be a multiple of 16, got ${hashes}`);
  const rows = [16, 8, 4, 2, 1].find((r) => 1 - (1 - threshold ** r) ** (hashes / r) >= 0.95) ?? 1;
  const signatures: Uint32Array[] = [];
  const shownAs: number[] = [];
  const bands = Array.from({ length: hashes / rows }, () => new Map<number, number[]>());
  let shown = 0;
  return {
    seen(record) {
      const at = shown++;
      const signature = minHash(shingles(textOf(record), ngram), hashes);
      const keys = bands.map((_, band) => bandKey(signature, band * rows, rows));
      const candidates = new Set(bands.flatMap((band, b) => band.get(keys[b]) ?? []));
      for (const candidate of candidates) if (agreement(signature, signatures[candidate]) >= threshold) return shownAs[candidate];
      const index = signatures.push(signature) - 1;
      shownAs.push(at);
      bands.forEach((band, b) => {
        const there = band.get(keys[b]);
        if (there) there.push(index);
        else band.set(keys[b], [index]);
      });
      return -1;
    },
  };
}

/** Share of n-grams that two texts have in common, of those that either has: exactly what `nearDeduplicator` estimates. */
export function jaccard(a: string, b: string, ngram = 5): number {
  const [x, y] = [new Set(shingles(a, ngram)), new Set(shingles(b, ngram))];
  let common = 0;
  for (const one of x) if (y.has(one)) common++;
  return x.size + y.size === 0 ? 1 : common / (x.size + y.size - common);
}

/** Hashes of every n words in a row; of a shorter text, of all its words. */
export function shingles(text: string, ngram: number): Uint32Array {
  const words = wordsOf(text).map((one) => hash2(one)[0]);
  const n = Math.max(1, Math.min(ngram, words.length));
  const count = words.length === 0 ? 0 : words.length - n + 1;
  const found = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    let hash = n;
    for (let j = 0; j < n; j++) hash = Math.imul(hash ^ words[i + j], 0x9e3779b1) + 0x7f4a7c15;
    found[i] = finish(hash);
  }
  return found;
}

/** The smallest of each hash function's values: `a·x + b` mod 2^32, with odd a, of a mixed x. */
function minHash(grams: Uint32Array, hashes: number): Uint32Array {
  const least = new Uint32Array(hashes).fill(0xffffffff);
  for (const gram of grams) {
    for (let h = 0; h < hashes; h++) {
      let x = Math.imul(gram ^ (h * 0x3c6ef35f), (h * 0x5bd1e995) | 1);
      x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d);
      x = (x ^ (x >>> 13)) >>> 0;
      if (x < least[h]) least[h] = x;
    }
  }
  return least;
}

function bandKey(signature: Uint32Array, from: number, rows: number): number {
  let [a, b] = [from, rows];
  for (let i = from; i < from + rows; i++) {
    a = Math.imul(a ^ signature[i], 0x85ebca6b);
    a ^= a >>> 16;
    b = Math.imul(b + signature[i], 0xc2b2ae35);
    b ^= b >>> 13;
  }
  return (finish(a) & 0x1fffff) * 2 ** 32 + finish(b);
}

function agreement(a: Uint32Array, b: Uint32Array): number {
  let equal = 0;
  for (let i = 0; i < a.length; i++) if (a[i] === b[i]) equal++;
  return equal / a.length;
}

/** The records that are not like an earlier one, in their order. */
export function* withoutDuplicates<R extends object>(
  records: Iterable<R>,
  deduplicator: Deduplicator<R> = exactDeduplicator(),
): Generator<R> {
  for (const record of records) if (deduplicator.seen(record) < 0) yield record;
}
