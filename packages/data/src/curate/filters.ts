/** What a text looks like, in any language, and what of a data set should not be trained on. */
import { shingles } from './dedup.js';
import { textsOf, wholeText } from './text.js';
import { wordsOf } from './words.js';

export type TextFeatures = {
  characters: number;
  words: number;
  lines: number;
  /** Share of lines, of those that are not empty, that were there before in the text. */
  repeatedLines: number;
  /** Share of characters that are neither letters, marks, digits, punctuation nor space. */
  symbols: number;
  mojibake: boolean;
};

/** Numbers to filter by. */
export function textFeatures(text: string): TextFeatures {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const symbols = text.match(/[^\p{L}\p{M}\p{N}\p{P}\s]/gu)?.length ?? 0;
  return {
    characters: text.length,
    words: wordsOf(text).length,
    lines: lines.length,
    repeatedLines: lines.length === 0 ? 0 : 1 - new Set(lines).size / lines.length,
    symbols: text.length === 0 ? 0 : symbols / text.length,
    mojibake: looksGarbled(text),
  };
}

/**
 * Whether characters were lost or read in the wrong encoding: U+FFFD, control characters, halves of surrogate pairs, or UTF-8 that was read as
 * Latin-1 or Windows-1252 ("â€™" for an apostrophe, "Ã©" for é).
 */
export function looksGarbled(text: string): boolean {
  return lost.test(text) || misread.test(text) || hasControls(text);
}

const lost = /\ufffd|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
const misread = new RegExp(
  [
    '\u00e2\u20ac[\u2122\u02dc\u0153\u009d\u201c\u201d\u00a2\u00a6]', // quotes, dashes, dots
    '\u00e2\u0080[\u0090-\u00bf]',
    '\u00c3[\u0080-\u00bf](?![A-Z])', // accented letters
  ].join('|'),
);

function hasControls(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 32 && (unit < 8 || unit === 11 || (unit > 13 && unit !== 27))) return true;
  }
  return false;
}

export type LengthLimits = {
  /** Of the prompt and of each answer, in characters. */
  minCharacters?: number;
  maxCharacters?: number;
};

/** Whether every text of a record has a length within limits. */
export function lengthFilter({ minCharacters = 0, maxCharacters = Infinity }: LengthLimits): (record: object) => boolean {
  return (record) => textsOf(record).every(({ text }) => text.length >= minCharacters && text.length <= maxCharacters);
}

/** Why a record was left out, by the name of the filter, with how many. */
export type Dropped = Record<string, number>;

/** The records that pass every filter, in their order; `dropped` counts each of the others at the first that refuses it. */
export async function* filterRecords<R>(
  records: AsyncIterable<R> | Iterable<R>,
  filters: Readonly<Record<string, (record: R) => boolean>>,
  dropped: Dropped = {},
): AsyncGenerator<R> {
  for await (const record of records) {
    const refused = Object.keys(filters).find((name) => !filters[name](record));
    if (refused === undefined) yield record;
    else dropped[refused] = (dropped[refused] ?? 0) + 1;
  }
}

/**
 * Whether a record shares no run of `ngram` words with a benchmark, as a filter. A benchmark's text of fewer words must be there as a whole; texts of
 * fewer than `minWords` words are too common to tell anything and are left aside.
 *
 * 13 words and more are what GPT-3 took (Brown et al. 2020, arXiv:2005.14165, appendix C); 8 is stricter. `tolerated` is the share of a record's runs that may be
 * in the benchmark, 0 by default.
 */
export function decontaminate(
  benchmark: Iterable<object | string>,
  { ngram = 13, minWords = 8, tolerated = 0 }: { ngram?: number; minWords?: number; tolerated?: number } = {},
): (record: object) => boolean {
  if (!(Number.isInteger(ngram) && ngram > 0)) throw new RangeError(`decontaminate: ngram must be a whole number above 0, got ${ngram}`);
  if (!(tolerated >= 0 && tolerated < 1)) throw new RangeError(`decontaminate: tolerated must be in [0, 1), got ${tolerated}`);
  const runs = new Set<number>();
  const short = new Map<number, Set<number>>();
  for (const one of benchmark) {
    for (const text of typeof one === 'string' ? [one] : textsOf(one).map((part) => part.text)) {
      const count = wordsOf(text).length;
      if (count >= ngram) for (const run of shingles(text, ngram)) runs.add(run);
      else if (count >= minWords) {
        if (!short.has(count)) short.set(count, new Set());
        for (const run of shingles(text, count)) short.get(count)!.add(run);
      }
    }
  }
  return (record) => {
    const text = wholeText(record);
    const words = wordsOf(text).length;
    for (const [length, known] of short) if (words >= length && shingles(text, length).some((run) => known.has(run))) return false;
    if (words < ngram) return true;
    const own = shingles(text, ngram);
    return own.reduce((hits, run) => hits + Number(runs.has(run)), 0) <= tolerated * own.length;
  };
}
