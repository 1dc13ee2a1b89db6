/**
 * Where in a text its tokens come from. @huggingface/tokenizers gives ids alone, so the stages that it runs (added tokens, normalizer,
 * pre-tokenizer, model) are run here one by one, each time noting which part of the text the outcome stands for.
 */
import type { Tokenizer } from '@huggingface/tokenizers';
import { byteAlphabet } from './trainByteBpe.js';

/** Tokens of a text, and for each the UTF-16 units from and to which it stands for; a token inside a character has the whole character's. */
export type Aligned = { tokens: string[]; spans: [number, number][] };

type Splitter = { split(text: string): string[] };
type AddedToken = { lstrip: boolean; rstrip: boolean };
type Inside = { splitter_unnormalized: Splitter; splitter_normalized: Splitter; added_tokens_map: Map<string, AddedToken> };

/** A part of the text after the normalizer: `from[i]` to `to[i]` is what its UTF-16 unit i stands for in the text. */
type Normalized = { text: string; from: Int32Array; to: Int32Array };

export function align(inner: Tokenizer, text: string): Aligned {
  const { splitter_unnormalized, splitter_normalized, added_tokens_map: added } = inner as unknown as Inside;
  const out: Aligned = { tokens: [], spans: [] };
  const byteLevel = isByteLevel(inner);
  for (const [index, { text: section, at }] of sectionsOf(splitter_unnormalized, added, text).entries()) {
    if (added.has(section)) {
      push(out, section, [at, at + section.length]);
      continue;
    }
    const normalized = normalize(inner, section, at);
    for (const { text: part, at: start } of sectionsOf(splitter_normalized, added, normalized.text)) {
      const slice = (array: Int32Array) => array.subarray(start, start + part.length);
      const piece = { text: part, from: slice(normalized.from), to: slice(normalized.to) };
      if (added.has(part)) push(out, part, spanOf(piece, 0, part.length));
      else if (byteLevel) cutBytes(inner, piece, index, out);
      else cut(inner, piece, index, out);
    }
  }
  return out;
}

/** Pieces between and at added tokens that are not empty, and where each begins. */
function sectionsOf(splitter: Splitter, added: Map<string, AddedToken>, text: string): { text: string; at: number }[] {
  let at = 0;
  const sections = splitter.split(text).map((section) => {
    const begin = at;
    at += section.length;
    return { text: section, at: begin };
  });
  sections.forEach(({ text: content }, i) => {
    const token = added.get(content);
    const [before, after] = [sections[i - 1], sections[i + 1]];
    if (token?.lstrip && before) before.text = before.text.trimEnd();
    if (token?.rstrip && after) {
      const trimmed = after.text.trimStart();
      after.at += after.text.length - trimmed.length;
      after.text = trimmed;
    }
  });
  return sections.filter(({ text: content }) => content.length > 0);
}

/** Normalizers work character by character, or nearly: the coarsest unit is a word, and what is left then stands for all of the text. */
function normalize(inner: Tokenizer, text: string, at: number): Normalized {
  const { normalizer } = inner;
  const whole = normalizer ? normalizer(text) : text;
  const probe = normalizer ? normalizer('a') : 'a';
  const prefix = probe.length > 1 && probe.endsWith('a') && whole.startsWith(probe.slice(0, -1)) ? probe.slice(0, -1) : '';
  const part = (unit: string) => {
    const normalized = normalizer ? normalizer(unit) : unit;
    return normalized.startsWith(prefix) ? normalized.slice(prefix.length) : normalized;
  };
  for (const units of [Array.from(text), text.match(/\s+|\S\P{M}*?\p{M}*|\S/gu) ?? [], text.match(/\s+|\S+/gu) ?? [], [text]]) {
    const parts = units.map(part);
    if (prefix + parts.join('') !== whole && units.length > 1) continue;
    const from = new Int32Array(whole.length).fill(at);
    const to = new Int32Array(whole.length).fill(at);
    let begin = at;
    let i = prefix.length;
    units.forEach((unit, u) => {
      const end = Math.min(whole.length, i + parts[u].length);
      for (; i < end; i++) {
        from[i] = begin;
        to[i] = begin + unit.length;
      }
      begin += unit.length;
    });
    return { text: whole, from, to };
  }
  return { text: whole, from: new Int32Array(whole.length), to: new Int32Array(whole.length) };
}

/** Pre-tokenizer and model. */
function cut(inner: Tokenizer, part: Normalized, index: number, out: Aligned): void {
  let at = 0;
  for (const word of wordsOf(inner, part.text, index)) {
    const begin = find(part.text, word, at);
    at = cutWord(inner, part, word, begin.at, begin.skipped, out);
  }
}

const wordsOf = (inner: Tokenizer, text: string, index: number): string[] =>
  inner.pre_tokenizer ? inner.pre_tokenizer(text, { section_index: index } as never) : [text];

/** Where `word` goes on; a mark that a pre-tokenizer puts in front (`skipped`) is not in the text. */
function find(text: string, word: string, at: number): { at: number; skipped: number } {
  const spaced = text.replaceAll(' ', '▁');
  for (const [haystack, needle, skipped] of [
    [text, word, 0],
    [spaced, word, 0],
    [spaced, word.slice(1), 1],
  ] as const) {
    const found = haystack.indexOf(needle, at);
    if (found >= 0 && (skipped === 0 || word.startsWith('▁'))) return { at: found, skipped };
  }
  return { at, skipped: 0 };
}

function cutWord(inner: Tokenizer, part: Normalized, word: string, at: number, skipped: number, out: Aligned): number {
  const { model } = inner;
  const unknown = (model as unknown as { unk_token?: string }).unk_token;
  const prefix = (model as unknown as { config: { continuing_subword_prefix?: string } }).config.continuing_subword_prefix ?? '';
  const tokens = (model as unknown as (words: string[]) => string[])([word]);
  const end = at + word.length - skipped;
  let inWord = 0; // of the word, its mark included
  let bytesLeft = 0;
  tokens.forEach((token, i) => {
    const place = () => Math.max(at, at + inWord - skipped);
    const character = part.text.slice(place(), end);
    const width = character === '' ? 0 : String.fromCodePoint(character.codePointAt(0)!).length;
    if (/^<0x[0-9A-F]{2}>$/.test(token) && !word.startsWith(token, inWord)) {
      // One byte of a character that has no token of its own.
      if (bytesLeft === 0) bytesLeft = new TextEncoder().encode(character.slice(0, width)).length;
      push(out, token, spanOf(part, place(), place() + width));
      bytesLeft--;
      if (bytesLeft === 0) inWord += width;
      return;
    }
    let length = i > 0 && prefix !== '' && token.startsWith(prefix) ? token.length - prefix.length : token.length;
    if (token === unknown && !word.startsWith(token, inWord)) length = tokens.length === 1 ? word.length : width;
    const begin = place();
    inWord += length;
    push(out, token, spanOf(part, begin, Math.min(end, place())));
  });
  return end;
}

/** Byte-level tokens are strings over an alphabet of bytes: their bytes are the text's, one after another. */
function cutBytes(inner: Tokenizer, part: Normalized, index: number, out: Aligned): void {
  const words = wordsOf(inner, part.text, index);
  const owner = byteOwners(part.text);
  const spare = words.reduce((sum, word) => sum + word.length, 0) - owner.length; // a space put in front is not in the text
  let at = -Math.max(0, spare);
  for (const word of words) {
    for (const token of (inner.model as unknown as (words: string[]) => string[])([word])) {
      const [first, last] = [owner[Math.max(0, at)], owner[Math.max(0, at + token.length - 1)]];
      at += token.length;
      if (first === undefined || last === undefined) push(out, token, [0, 0]);
      else push(out, token, [part.from[first], part.to[last]]);
    }
  }
}

/** The UTF-16 unit that begins the character of each UTF-8 byte. */
function byteOwners(text: string): Int32Array {
  const owners: number[] = [];
  let at = 0;
  for (const character of text) {
    const code = character.codePointAt(0)!;
    const bytes = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (let i = 0; i < bytes; i++) owners.push(at);
    at += character.length;
  }
  return Int32Array.from(owners);
}

function isByteLevel(inner: Tokenizer): boolean {
  const alphabet = byteAlphabet();
  const probe = inner.pre_tokenizer?.('é', { section_index: 0 } as never);
  return probe?.join('').endsWith(Array.from(new TextEncoder().encode('é'), (byte) => alphabet[byte]).join('')) ?? false;
}

function spanOf({ from, to }: Normalized, begin: number, end: number): [number, number] {
  if (end > begin) return [from[begin], to[end - 1]];
  const at = begin < from.length ? from[begin] : (to[to.length - 1] ?? 0);
  return [at, at];
}

function push(out: Aligned, token: string, span: [number, number]): void {
  out.tokens.push(token);
  out.spans.push(span);
}

/** What the post-processor makes of the tokens of one text; tokens that it adds stand for nothing, [0, 0]. */
export function withSpecial(inner: Tokenizer, { tokens, spans }: Aligned): Aligned {
  if (!inner.post_processor) return { tokens, spans };
  const all = (inner.post_processor as unknown as (a: string[], b: null, special: boolean) => { tokens: string[] })(
    tokens,
    null,
    true,
  ).tokens;
  let before = 0;
  while (before + tokens.length < all.length && !tokens.every((token, i) => all[before + i] === token)) before++;
  return { tokens: all, spans: all.map((_, i) => spans[i - before] ?? [0, 0]) };
}

/** UTF-16 places as counts of code points. */
export function inCodePoints(text: string, spans: readonly [number, number][]): [number, number][] {
  const count = new Int32Array(text.length + 1);
  let points = 0;
  for (let i = 0; i < text.length; points++) {
    const width = text.codePointAt(i)! > 0xffff ? 2 : 1;
    for (let k = 0; k < width; k++) count[i + k] = points;
    i += width;
  }
  count[text.length] = points;
  return spans.map(([from, to]) => [count[from], count[to]]);
}
