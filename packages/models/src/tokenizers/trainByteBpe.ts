import { ConfigError } from '@plumbline/core';

export type BpeOptions = {
  /** Tokens in all: the special ones, 256 bytes, and one a merge. */
  vocabSize: number;
  /** Get the first ids, in this order, and are never split or made by merging. */
  specialTokens?: readonly string[];
  /** Splits digits off one by one first, so that numbers are spelled the same wherever they stand. */
  splitDigits?: boolean;
  /** Merges of pairs rarer than this are not made. */
  minFrequency?: number;
};

/** GPT-2's split into words, which `@huggingface/tokenizers` uses for `ByteLevel` too. */
const words = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
const wordsAndDigits = /\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+/gu;

/**
 * Trains a byte-level BPE tokenizer and answers the object of its `tokenizer.json`.
 *
 * Sennrich et al. 2016, arXiv:1508.07909, over bytes as in GPT-2: the most frequent adjacent pair is merged until the vocabulary is
 * full; ties go to the pair with the smaller ids, as in Hugging Face's trainer, whose ids it gives. Counts are over distinct words and
 * updated merge by merge, so the cost does not grow with the text but with its vocabulary of words.
 *
 * @throws ConfigError if vocabSize leaves no room for the special tokens and the 256 bytes
 */
export function trainByteBpe(texts: Iterable<string>, options: BpeOptions): ByteBpeJson {
  const { vocabSize, specialTokens = [], splitDigits = false, minFrequency = 2 } = options;
  const alphabet = byteAlphabet();
  if (!(vocabSize >= specialTokens.length + 256))
    throw new ConfigError(
      `trainByteBpe: vocabSize must be at least ${specialTokens.length + 256} (${specialTokens.length} special tokens and 256 bytes), got ${vocabSize}`,
    );
  const tokens: string[] = [...specialTokens, ...[...alphabet].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!)];
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const idOfByte = Int32Array.from(alphabet, (symbol) => ids.get(symbol)!);
  const counted = countWords(texts, splitDigits ? splitOffDigits : (text) => text.match(words) ?? []);
  const { spelled, frequency } = spell(counted, idOfByte);

  const counts = new Map<number, number>(); // pair -> occurrences, weighted by the frequency of the words
  const places = new Map<number, Set<number>>(); // pair -> words that have (or once had) it
  const changed = new Set<number>();
  const note = (a: number, b: number, word: number, by: number) => {
    const pair = a * pairBase + b;
    counts.set(pair, (counts.get(pair) ?? 0) + by);
    if (by < 0) return;
    changed.add(pair);
    const at = places.get(pair);
    if (at) at.add(word);
    else places.set(pair, new Set([word]));
  };
  spelled.forEach((word, w) => {
    for (let i = 1; i < word.length; i++) note(word[i - 1], word[i], w, frequency[w]);
  });
  const queue = new PairHeap();
  for (const [pair, count] of counts) queue.push(pair, count);

  const merges: [string, string][] = [];
  while (tokens.length < vocabSize) {
    const top = queue.pop();
    if (!top) break;
    const count = counts.get(top.pair) ?? 0;
    if (count < Math.max(1, minFrequency)) continue;
    if (count !== top.count) {
      queue.push(top.pair, count); // stale: its count has fallen since
      continue;
    }
    const a = Math.floor(top.pair / pairBase);
    const b = top.pair % pairBase;
    const token = tokens[a] + tokens[b];
    let id = ids.get(token);
    if (id === undefined) {
      id = tokens.length;
      tokens.push(token);
      ids.set(token, id);
    }
    merges.push([tokens[a], tokens[b]]);
    changed.clear();
    for (const w of places.get(top.pair)!) {
      const word = spelled[w];
      const times = frequency[w];
      for (let i = 0; i + 1 < word.length; i++) {
        if (word[i] !== a || word[i + 1] !== b) continue;
        if (i > 0) {
          note(word[i - 1], a, w, -times);
          note(word[i - 1], id, w, times);
        }
        if (i + 2 < word.length) {
          note(b, word[i + 2], w, -times);
          note(id, word[i + 2], w, times);
        }
        word.splice(i, 2, id);
      }
    }
    counts.delete(top.pair);
    places.delete(top.pair);
    changed.delete(top.pair); // "aaa" can make the merged pair anew for a moment
    for (const pair of changed) queue.push(pair, counts.get(pair)!);
  }
  return toJson(tokens, merges, specialTokens, splitDigits);
}

export type ByteBpeJson = ReturnType<typeof toJson>;

/** The printable character that stands for each byte in a vocabulary (GPT-2's table). */
export function byteAlphabet(): string[] {
  let next = 256;
  const printable = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : next++));
}

const pairBase = 2 ** 24;

function splitOffDigits(text: string): string[] {
  return text.match(wordsAndDigits) ?? [];
}

function countWords(texts: Iterable<string>, split: (text: string) => string[]): Map<string, number> {
  const counted = new Map<string, number>();
  for (const text of texts) for (const word of split(text)) counted.set(word, (counted.get(word) ?? 0) + 1);
  return counted;
}

function spell(counted: Map<string, number>, idOfByte: Int32Array) {
  const encoder = new TextEncoder();
  const spelled: number[][] = [];
  const frequency: number[] = [];
  for (const [word, times] of counted) {
    spelled.push(Array.from(encoder.encode(word), (byte) => idOfByte[byte]));
    frequency.push(times);
  }
  return { spelled, frequency };
}

/** Largest count first; among equals the smaller pair. Entries may be stale: the reader compares with the current count. */
class PairHeap {
  private pairs: number[] = [];
  private counts: number[] = [];

  push(pair: number, count: number): void {
    let i = this.pairs.length;
    this.pairs.push(pair);
    this.counts.push(count);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.before(i, parent)) break;
      this.swap(i, parent);
      i = parent;
    }
  }

  pop(): { pair: number; count: number } | undefined {
    if (this.pairs.length === 0) return undefined;
    this.swap(0, this.pairs.length - 1);
    const pair = this.pairs.pop()!;
    const count = this.counts.pop()!;
    const size = this.pairs.length;
    for (let i = 0; ; ) {
      let best = i;
      for (let child = 2 * i + 1; child <= 2 * i + 2; child++) if (child < size && this.before(child, best)) best = child;
      if (best === i) break;
      this.swap(i, best);
      i = best;
    }
    return { pair, count };
  }

  private before(i: number, j: number): boolean {
    return this.counts[i] !== this.counts[j] ? this.counts[i] > this.counts[j] : this.pairs[i] < this.pairs[j];
  }

  private swap(i: number, j: number): void {
    [this.pairs[i], this.pairs[j]] = [this.pairs[j], this.pairs[i]];
    [this.counts[i], this.counts[j]] = [this.counts[j], this.counts[i]];
  }
}

function toJson(tokens: readonly string[], merges: [string, string][], specialTokens: readonly string[], splitDigits: boolean) {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: splitDigits ? { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, byteLevel] } : byteLevel,
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
}
