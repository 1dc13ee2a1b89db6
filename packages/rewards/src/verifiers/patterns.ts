/** Verifiers of what stands in the text: patterns, words, tags. */
import { ConfigError } from '@plumbline/core/light';
import { checkRange, type Verifier, verifier } from './verifier.js';

/**
 * 1 where the pattern is found (with `whole`, where it is the whole text), else 0; `absent` turns it around. A pattern given as text may not hold flags `g` or `y`.
 *
 * A pattern from a stranger can take exponential time: give only your own.
 */
export function regexMatch({
  pattern,
  flags = '',
  whole = false,
  absent = false,
}: {
  pattern: string | RegExp;
  flags?: string;
  whole?: boolean;
  absent?: boolean;
}): Verifier {
  const source = typeof pattern === 'string' ? pattern : pattern.source;
  const given = typeof pattern === 'string' ? flags : pattern.flags;
  if (/[gy]/.test(given)) throw new ConfigError(`regexMatch: the flags are "${given}"; g and y keep a position between texts`);
  let compiled: RegExp;
  try {
    compiled = new RegExp(whole ? `^(?:${source})$` : source, given);
  } catch (error) {
    throw new ConfigError(`regexMatch: ${(error as Error).message}`);
  }
  return verifier(`${absent ? 'no ' : ''}/${source}/`, 'binary', (text) => compiled.test(text) !== absent);
}

/**
 * Share of the conditions that hold: each of `include` occurs (as a whole word, whatever its case), none of `exclude` does, and each of `counts` occurs at least `min` and at
 * most `max` times.
 */
export function keywords({
  include = [],
  exclude = [],
  counts = [],
}: {
  include?: readonly string[];
  exclude?: readonly string[];
  counts?: readonly { word: string; min?: number; max?: number }[];
}): Verifier {
  const total = include.length + exclude.length + counts.length;
  if (total === 0) throw new ConfigError('keywords: there is nothing to look for; give include, exclude or counts');
  return verifier('keywords', 'score', (text) => {
    let held = 0;
    for (const word of include) if (occurrences(text, word) > 0) held++;
    for (const word of exclude) if (occurrences(text, word) === 0) held++;
    for (const { word, min = 0, max = Infinity } of counts) {
      const n = occurrences(text, word);
      if (n >= min && n <= max) held++;
    }
    return held / total;
  });
}

/** How often a word or phrase stands alone in the text, whatever its case. */
function occurrences(text: string, word: string): number {
  const escaped = word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return [...text.matchAll(new RegExp(`(?<![\\p{L}\\p{N}_])${escaped}(?![\\p{L}\\p{N}_])`, 'giu'))].length;
}

/**
 * How far a text keeps to `<a>...</a><b>...</b>`: each tag once, in order, with something in it, and nothing but white space between and around them.
 * All or nothing by default; `partial` gives each tag that stands once and closed its share, halved where their order or what is around them is wrong.
 */
export function tagFormat({ tags, partial = false }: { tags: readonly string[]; partial?: boolean }): Verifier {
  if (tags.length === 0) throw new ConfigError('tagFormat: there are no tags');
  for (const tag of tags) if (!/^[A-Za-z][\w-]*$/.test(tag)) throw new ConfigError(`tagFormat: "${tag}" is no name of a tag`);
  const whole = new RegExp(`^\\s*${tags.map((tag) => `<${tag}>([\\s\\S]*?)</${tag}>`).join('\\s*')}\\s*$`);
  return verifier(`<${tags.join('>, <')}>`, partial ? 'score' : 'binary', (text) => {
    const once = tags.map((tag) => {
      const [open, close] = [text.split(`<${tag}>`).length - 1, text.split(`</${tag}>`).length - 1];
      return open === 1 && close === 1 && text.indexOf(`<${tag}>`) + tag.length + 2 < text.indexOf(`</${tag}>`);
    });
    const inside = whole.exec(text)?.slice(1) ?? [''];
    const exact = once.every(Boolean) && inside.every((inner) => inner.trim() !== '');
    if (exact || !partial) return exact;
    return (0.5 * once.filter(Boolean).length) / tags.length;
  });
}

const units = {
  characters: (text: string) => [...text].length,
  words: (text: string) => text.match(/[\p{L}\p{N}][\p{L}\p{N}'’_-]*/gu)?.length ?? 0,
  sentences: (text: string) => text.split(/(?<=[.!?。！？]["'”’)]*)\s+|\n+/u).filter((piece) => /[\p{L}\p{N}]/u.test(piece)).length,
  paragraphs: (text: string) => text.split(/\n\s*\n/).filter((piece) => piece.trim() !== '').length,
  lines: (text: string) => text.split('\n').filter((line) => line.trim() !== '').length,
};
export type LengthUnit = keyof typeof units;

/** How long a text is. */
export const lengthOf = (text: string, unit: LengthUnit): number => units[unit](text);

/**
 * 1 from `min` to `max` (both included), and outside of it 1 less than that for each `slack` units of distance, down to 0; 0 at once by default.
 */
export function lengthWithin({
  unit = 'words',
  min = 0,
  max = Infinity,
  slack = 0,
}: {
  unit?: LengthUnit;
  min?: number;
  max?: number;
  slack?: number;
}): Verifier {
  if (!Object.hasOwn(units, unit)) throw new ConfigError(`lengthWithin: unit is "${unit}"; there are ${Object.keys(units).join(', ')}`);
  if (!(min <= max)) throw new ConfigError(`lengthWithin: min is ${min} and max ${max}`);
  checkRange('lengthWithin', 'slack', slack, 0);
  return verifier(
    [unit, ...(min > 0 ? [`from ${min}`] : []), ...(max < Infinity ? [`to ${max}`] : [])].join(' '),
    slack > 0 ? 'score' : 'binary',
    (text) => {
      const n = lengthOf(text, unit);
      const distance = n < min ? min - n : n > max ? n - max : 0;
      return distance === 0 ? 1 : slack > 0 ? Math.max(0, 1 - distance / slack) : 0;
    },
  );
}
