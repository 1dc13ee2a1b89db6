import { describe, expect, it } from 'vitest';
import { ownFixture, readJson } from '../testing/fixtures.node.js';
import { tokenizerFromJson } from './tokenizer.js';
import { byteAlphabet, trainByteBpe } from './trainByteBpe.js';

describe('trainByteBpe', () => {
  it('merges the most frequent pair first, ties by the smaller ids', () => {
    // "ab" occurs 4 times, "bc" 3 times; once "ab" is one token, "abc" (ab + c) occurs 3 times.
    const json = trainByteBpe(['ab', 'abc', 'abc', 'abc'], { vocabSize: 258, minFrequency: 1 });
    const [first, second] = json.model.merges;
    expect(first).toEqual(['a', 'b']);
    expect(second).toEqual(['ab', 'c']);
    expect(json.model.vocab.ab).toBe(256);
  });

  it('gives special tokens the first ids and keeps them whole', () => {
    const tokenizer = tokenizerFromJson(trainByteBpe(['hello hello'], { vocabSize: 260, specialTokens: ['<|end|>'] }), {
      eos_token: '<|end|>',
    });
    expect(tokenizer.eosId).toBe(0);
    expect([...tokenizer.encode('<|end|>')]).toEqual([0]);
    expect(tokenizer.decode([0], { skipSpecial: true })).toBe('');
  });

  it('gives back every byte of what it was given', () => {
    const text = 'Zażółć gęślą jaźń 1234 \n\n\t 😀 x  y\u0000';
    const tokenizer = tokenizerFromJson(trainByteBpe(['the cat sat on the mat'], { vocabSize: 270 }));
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    expect(new Set(byteAlphabet()).size).toBe(256);
  });

  it('spells numbers digit by digit where asked', () => {
    const tokenizer = tokenizerFromJson(trainByteBpe(['1234 1234 1234 1234'], { vocabSize: 300, splitDigits: true, minFrequency: 1 }));
    expect(tokenizer.encode('1234').length).toBe(4);
    expect(tokenizer.decode(tokenizer.encode('a 12 b3'))).toBe('a 12 b3');
  });

  it('names the smallest vocabulary that can be', () => {
    expect(() => trainByteBpe([], { vocabSize: 100, specialTokens: ['<s>'] })).toThrow(/at least 257.*got 100/);
  });

  it('trains 1,024 tokens on a megabyte in seconds', () => {
    const list = 'river stone lamp window garden letter morning winter brother silver candle mountain answer journey whisper shadow'.split(
      ' ',
    );
    let seed = 1;
    const next = (n: number) => {
      seed = (seed * 48271) % 2147483647;
      return seed % n;
    };
    const texts = Array.from({ length: 200 }, () =>
      Array.from({ length: 800 }, () => list[next(list.length)] + (next(5) ? '' : list[next(list.length)])).join(' '),
    );
    const start = process.cpuUsage(); // not the time of a clock: other work of the machine is not to count
    const json = trainByteBpe(texts, { vocabSize: 1024, minFrequency: 1 });
    expect(process.cpuUsage(start).user).toBeLessThan(10e6);
    const tokenizer = tokenizerFromJson(json);
    expect(tokenizer.encode(' river stone lamp').length).toBe(3);
  });
});

describe('trainByteBpe against Hugging Face tokenizers 0.23.3', () => {
  const reference = readJson<{
    texts: string[];
    vocabSize: number;
    specialTokens: string[];
    merges: [string, string][];
    encodings: { text: string; ids: number[] }[];
  }>(ownFixture('bpe.json'));
  const json = trainByteBpe(reference.texts, { vocabSize: reference.vocabSize, specialTokens: reference.specialTokens, minFrequency: 0 });

  it('makes the same merges in the same order', () => {
    expect(json.model.merges).toEqual(reference.merges);
  });

  it('gives the same ids', () => {
    const tokenizer = tokenizerFromJson(json);
    for (const { text, ids } of reference.encodings) expect([...tokenizer.encode(text)]).toEqual(ids);
  });
});
