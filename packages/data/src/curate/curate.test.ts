import { rng } from '@plumbline/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { byteTokenizer } from '../testing/byteTokenizer.js';
import { exactDeduplicator, jaccard, nearDeduplicator, withoutDuplicates } from './dedup.js';
import { decontaminate, filterRecords, lengthFilter, looksGarbled, textFeatures } from './filters.js';
import { hashSplit, shuffleRecords, shuffleStream } from './order.js';
import { dataSummary, distinctCounter, lengthHistogram } from './summary.js';
import { wordsOf } from './words.js';

const draw = rng(1);
const vocabulary = Array.from({ length: 500 }, (_, i) => `w${i}`);
const sentence = (words: number) => Array.from({ length: words }, () => vocabulary[draw.below(500)]);
const collected = async <T>(stream: AsyncIterable<T>) => {
  const all: T[] = [];
  for await (const one of stream) all.push(one);
  return all;
};

describe('words', () => {
  it('are found in any script, without case', () => {
    expect(wordsOf('Don’t STOP, ﬁne!')).toEqual(['don', 't', 'stop', 'fine']);
    expect(wordsOf('我爱NLP。')).toEqual(['我', '爱', 'nlp']);
    expect(wordsOf('Привет, мир')).toEqual(['привет', 'мир']);
  });
});

describe('deduplication', () => {
  it('finds what says the same, whatever its id and score', () => {
    const seen = exactDeduplicator<object>();
    const record = { prompt: 'p', chosen: 'a', rejected: 'b' };
    expect([seen.seen({ ...record, id: '1' }), seen.seen({ ...record, rejected: 'c' }), seen.seen({ ...record, margin: 2 })]).toEqual([
      -1, -1, 0,
    ]);
  });
  it('keeps one of each, whatever the texts', () =>
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 3 })), (texts) => {
        expect([...withoutDuplicates(texts.map((text) => ({ text })))].map(({ text }) => text)).toEqual([...new Set(texts)]);
      }),
    ));
  it('finds near-duplicates above the threshold and leaves others', () => {
    const base = Array.from({ length: 60 }, () => sentence(120));
    const changed = (words: string[], every: number) => words.map((word, i) => (i % every === every - 1 ? 'changed' : word));
    const seen = nearDeduplicator<{ text: string }>({ threshold: 0.7, ngram: 3 });
    for (const words of base) expect(seen.seen({ text: words.join(' ') })).toBe(-1);
    base.forEach((words, i) => {
      const near = changed(words, 60); // 2 of 120 words
      expect(jaccard(words.join(' '), near.join(' '), 3)).toBeGreaterThan(0.85);
      expect(seen.seen({ text: near.join(' ') })).toBe(i);
    });
    for (const words of base) {
      const far = changed(words, 8);
      expect(jaccard(words.join(' '), far.join(' '), 3)).toBeLessThan(0.5);
      expect(seen.seen({ text: far.join(' ') })).toBe(-1);
    }
  });
  it('refuses settings out of range by name', () => {
    expect(() => nearDeduplicator({ threshold: 0 })).toThrow(/threshold must be in \(0, 1\], got 0/);
    expect(() => nearDeduplicator({ hashes: 100 })).toThrow(/hashes must be a multiple of 16, got 100/);
  });
});

describe('filters', () => {
  it('see text that lost its encoding, and no other', () => {
    for (const garbled of ['itâ€™s', 'cafÃ©', 'a\ufffdb', 'a\u0001b', '\ud83d!', 'donâ\u0080\u0099t'])
      expect(looksGarbled(garbled)).toBe(true);
    for (const fine of ['it’s', 'café', 'Ã ÃGORA', '😀', 'tab\tnew\nline\r\n', '‘â’', 'naïve Â£']) expect(looksGarbled(fine)).toBe(false);
  });
  it('count by the first filter that refuses', async () => {
    const dropped = {};
    const kept = await collected(
      filterRecords(
        [{ text: 'a' }, { text: 'abc' }, { text: 'abcdef' }],
        { long: lengthFilter({ maxCharacters: 3 }), short: lengthFilter({ minCharacters: 2 }) },
        dropped,
      ),
    );
    expect(kept).toEqual([{ text: 'abc' }]);
    expect(dropped).toEqual({ long: 1, short: 1 });
  });
  it('describe text without knowing its language', () => {
    expect(textFeatures('a b\na b\n\nc ★')).toEqual({
      characters: 12,
      words: 5,
      lines: 3,
      repeatedLines: expect.closeTo(1 / 3, 9),
      symbols: 1 / 12,
      mojibake: false,
    });
  });
  it('keep a benchmark out, by runs of words', () => {
    const question = sentence(30).join(' ');
    const clean = decontaminate([{ prompt: question }, 'one two three four five six seven eight']);
    expect(clean({ prompt: `Answer this: ${question.toUpperCase()}!`, completion: 'x' })).toBe(false);
    expect(clean({ text: question.split(' ').slice(0, 12).join(' ') })).toBe(true);
    expect(clean({ text: 'zero one two, three four five six seven eight nine' })).toBe(false);
    expect(clean({ text: sentence(200).join(' ') })).toBe(true);
  });
});

describe('order', () => {
  it('shuffles a list and a stream, each record once, the same for the same seed', async () => {
    const list = Array.from({ length: 100 }, (_, i) => i);
    const sorted = (xs: number[]) => [...xs].sort((a, b) => a - b);
    const stream = () => collected(shuffleStream(list, { buffer: 16, rng: rng(4) }));
    expect(sorted(shuffleRecords(list, rng(4)))).toEqual(list);
    expect(sorted(await stream())).toEqual(list);
    expect(await stream()).toEqual(await stream());
    expect(await stream()).not.toEqual(list);
  });
  it('splits by the prompt’s hash: all of a prompt on one side, shares on average, whatever comes before', () => {
    const side = hashSplit({ train: 0.8, dev: 0.1, test: 0.1 }, { seed: 3 });
    const prompts = Array.from({ length: 20_000 }, (_, i) => ({ prompt: `prompt ${i}` }));
    const counts = { train: 0, dev: 0, test: 0 };
    for (const one of prompts) counts[side(one) as 'train']++;
    for (const [name, share] of [
      ['train', 0.8],
      ['dev', 0.1],
      ['test', 0.1],
    ] as const)
      expect(Math.abs(counts[name] / 20_000 - share)).toBeLessThan(0.012);
    expect(side({ prompt: 'a', chosen: 'x' })).toBe(side({ prompt: 'a', chosen: 'y' }));
    const other = hashSplit({ train: 0.8, dev: 0.1, test: 0.1 }, { seed: 4 });
    expect(prompts.some((one) => side(one) !== other(one))).toBe(true);
    expect(() => hashSplit({ a: 0.5 })).toThrow(/add up to 1/);
  });
});

describe('summaries', () => {
  it('have quantiles within their stated error', () => {
    const h = lengthHistogram();
    const values = Array.from({ length: 5000 }, () => draw.below(draw.below(5000) + 1));
    for (const value of values) h.add(value);
    values.sort((a, b) => a - b);
    for (const q of [0.05, 0.5, 0.95]) {
      const exact = values[Math.floor(q * 4999)];
      expect(Math.abs(h.quantile(q) - exact)).toBeLessThanOrEqual(0.5 + 0.032 * exact);
    }
    expect([h.min, h.max, h.count]).toEqual([values[0], values.at(-1), 5000]);
  });
  it('count different words, exactly where they are few and within 5% where they are many', () => {
    const few = distinctCounter();
    for (let i = 0; i < 9000; i++) few.add(`w${i % 700}`);
    expect(few.count).toBe(700);
    const many = distinctCounter();
    for (let i = 0; i < 120_000; i++) many.add(`w${i % 60_000}`);
    expect(Math.abs(many.count / 60_000 - 1)).toBeLessThan(0.05);
  });
  it('see duplicates, equal sides, empty answers, garbled text and which side is longer', () => {
    const summary = dataSummary('preference', { maxLength: 20 });
    summary.add({ prompt: 'p', chosen: 'longer', rejected: 'short' }, 'line 1');
    summary.add({ prompt: 'p', chosen: 'longer', rejected: 'short' }, 'line 2');
    summary.add({ prompt: 'p', chosen: 'same', rejected: 'same' }, 'line 3');
    summary.add({ prompt: 'p', chosen: 'â€™', rejected: '' }, 'line 4');
    summary.add({ prompt: 'p', chosen: 'x', rejected: 'a'.repeat(30) }, 'line 5');
    const { warnings, lengthBias, records, words, lengths } = summary.read();
    expect(Object.fromEntries(Object.entries(warnings).map(([name, { first }]) => [name, first]))).toEqual({
      duplicate: ['line 2'],
      identicalPair: ['line 3'],
      emptyCompletion: ['line 4'],
      garbled: ['line 4'],
      tooLong: ['line 5'],
    });
    expect(lengthBias).toMatchObject({ chosenLonger: 3, rejectedLonger: 1, equal: 1, share: 0.75 });
    expect(lengthBias!.low).toBeLessThan(0.75);
    expect([records, words]).toEqual([5, 8]);
    expect(lengths.chosen).toMatchObject({ count: 5, min: 1, max: 6 });
  });
  it('count tokens where there is a tokenizer', () => {
    const summary = dataSummary('completion', { tokenizer: byteTokenizer() });
    summary.add({ prompt: 'ab', completion: 'é' }, 'line 1');
    expect(summary.read()).toMatchObject({
      unit: 'tokens',
      lengths: { prompt: { max: 2 }, completion: { max: 2 } },
      vocabulary: { used: 4, size: 258 },
    });
  });
});
