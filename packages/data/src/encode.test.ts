import { rng } from '@plumbline/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { affordableTokens, microBatches, pairBatch, pairBatches, promptBatches, rewardBatch, rewardBatches } from './batches.js';
import { batchesContract } from './contract/index.js';
import { type EncodedPair, encodeCompletion, encodeGroups, encodePair, encodePairs, encodePrompt, encodeSequence } from './encode.js';
import { completionTokens, packSequences, takeSegments } from './pack.js';
import { byteTokenizer } from './testing/byteTokenizer.js';

const bytes = (text: string) => [...new TextEncoder().encode(text)];
const user = (content: string) => [{ role: 'user', content }];
const assistant = (content: string) => [{ role: 'assistant', content }];

describe('encoding', () => {
  it('leaves plain text open at its end, unless the end token is asked for', () => {
    const tokenizer = byteTokenizer();
    expect([...encodeCompletion(tokenizer, 'a', 'b')]).toEqual(bytes('b'));
    expect([...encodeCompletion(tokenizer, 'a', 'b', { appendEos: true })]).toEqual([...bytes('b'), 256]);
    expect(() => encodeCompletion(byteTokenizer({ eos: false }), 'a', 'b', { appendEos: true })).toThrow(/bytes has no end token/);
  });
  it('puts what the post-processor adds before a prompt, and nothing before a completion', () => {
    const tokenizer = byteTokenizer({ bos: true });
    expect([...encodePrompt(tokenizer, 'a')]).toEqual([257, ...bytes('a')]);
    expect([...encodeCompletion(tokenizer, 'a', 'b')]).toEqual(bytes('b'));
  });
  it('closes a conversation with the end token that its template writes, once, and leaves out what follows it', () => {
    const tokenizer = byteTokenizer({ chat: true });
    expect([...encodePrompt(tokenizer, user('Hi'))]).toEqual([...bytes('[user]\nHi'), 256, ...bytes('\n[assistant]\n')]);
    expect([...encodeCompletion(tokenizer, user('Hi'), assistant('Ho'))]).toEqual([...bytes('Ho'), 256]);
    expect([...encodeCompletion(tokenizer, user('Hi'), assistant('Ho'), { appendEos: false })]).toEqual(bytes('Ho'));
    expect([...encodeCompletion(tokenizer, user('Hi'), 'Ho')]).toEqual([...bytes('Ho'), 256]);
  });
  it('writes a conversation as a dialogue where there is no template', () => {
    const tokenizer = byteTokenizer();
    expect([...encodePrompt(tokenizer, user('Hi'))]).toEqual(bytes('\n\nHuman: Hi\n\nAssistant:'));
    expect([...encodeCompletion(tokenizer, user('Hi'), assistant('Ho'))]).toEqual([...bytes(' Ho'), 256]);
  });
  it('drops a pair whole where one side is too long or empty, and says which', () => {
    const records = [
      { id: 'long', prompt: 'abc', chosen: 'd', rejected: 'defg' },
      { id: 'empty', prompt: 'abc', chosen: '', rejected: 'd' },
      { prompt: 'abc', chosen: 'd', rejected: 'e', weight: 2, chosen_score: 1, rejected_score: 0 },
    ];
    const { pairs, dropped } = encodePairs(byteTokenizer(), records, { maxTokens: 5 });
    expect(dropped).toEqual([
      { id: 'long', reason: 'too long' },
      { id: 'empty', reason: 'empty completion' },
    ]);
    expect(pairs).toMatchObject([{ id: '2', weight: 2, scores: { chosen: 1, rejected: 0 } }]);
    expect(encodePair(byteTokenizer(), records[0], { maxTokens: 5 })).toBeNull();
    expect(encodeSequence(byteTokenizer(), 'abc', 'def', { maxTokens: 5 })).toBeNull();
    expect(encodeSequence(byteTokenizer(), 'abc', 'de', { maxTokens: 5 })).toEqual({
      tokens: Int32Array.from(bytes('abcde')),
      completionStart: 3,
    });
  });
  it('pairs all completions of a group whose scores differ enough', () => {
    const { groups, dropped } = encodeGroups(
      byteTokenizer(),
      [
        { id: 'g', prompt: 'p', completions: ['a', 'b', 'cccc', 'd'], scores: [0, 1, 9, 1.04] },
        { id: 'tied', prompt: 'p', completions: ['a', 'b'], scores: [1, 1] },
      ],
      { minGap: 0.05, maxTokens: 3 },
    );
    expect(groups).toHaveLength(1);
    expect(groups[0].completions.map((completion) => [...completion])).toEqual([bytes('a'), bytes('b'), bytes('d')]);
    expect(groups[0].pairs).toEqual([
      { chosen: 1, rejected: 0 },
      { chosen: 2, rejected: 0 },
    ]);
    expect(dropped).toEqual([
      { id: 'g.2', reason: 'too long' },
      { id: 'tied', reason: 'no pairs' },
    ]);
    expect(() => encodeGroups(byteTokenizer(), [{ prompt: 'p', completions: ['a'], scores: [NaN] }])).toThrow(
      /group 0 has the score NaN at 0/,
    );
  });
});

describe('packSequences', () => {
  const items = [
    { tokens: Int32Array.of(5, 6, 7), completionStart: 1, row: 4 },
    { tokens: Int32Array.of(8, 9), completionStart: 0, row: 2 },
  ];
  it('lays sequences one after another with positions that start anew', () => {
    expect(packSequences(items)).toEqual({
      tokens: Int32Array.of(5, 6, 7, 8, 9),
      positions: Int32Array.of(0, 1, 2, 0, 1),
      completionMask: Uint8Array.of(0, 1, 1, 0, 1), // nothing comes before a first token, so that it never counts
      cuSeqlens: Int32Array.of(0, 3, 5),
      rows: Int32Array.of(4, 2),
    });
    expect(completionTokens(packSequences(items))).toBe(3);
  });
  it('gives each sequence back, whatever the lengths', () =>
    fc.assert(
      fc.property(fc.array(fc.array(fc.nat(99), { minLength: 1, maxLength: 9 }), { minLength: 1, maxLength: 9 }), (lists) => {
        const packed = packSequences(
          lists.map((tokens, row) => ({ tokens: Int32Array.from(tokens), completionStart: tokens.length >> 1, row })),
        );
        lists.forEach((tokens, s) => {
          expect([...packed.tokens.subarray(packed.cuSeqlens[s], packed.cuSeqlens[s + 1])]).toEqual(tokens);
          expect(takeSegments(packed, [s])).toEqual(
            packSequences([{ tokens: Int32Array.from(tokens), completionStart: tokens.length >> 1, row: s }]),
          );
        });
      }),
    ));
  it('refuses no sequences, an empty one, and completions that start elsewhere', () => {
    expect(() => packSequences([])).toThrow(/there are no sequences/);
    expect(() => packSequences([{ tokens: new Int32Array(), completionStart: 0, row: 3 }])).toThrow(/the sequence of row 3 is empty/);
    expect(() => packSequences([{ ...items[0], completionStart: 4 }])).toThrow(/row 4 has 3 tokens, but its completion starts at 4/);
  });
});

const pairs = Array.from(
  { length: 7 },
  (_, i): EncodedPair => ({
    id: `pair ${i}`,
    prompt: Int32Array.of(i, i),
    chosen: Int32Array.of(10 + i),
    rejected: Int32Array.of(20 + i, 20 + i),
    weight: i,
  }),
);
const group = (id: string, n: number) => ({
  id,
  prompt: Int32Array.of(n),
  completions: Array.from({ length: n }, (_, i) => Int32Array.of(i, n)),
  pairs: Array.from({ length: n - 1 }, (_, i) => ({ chosen: i + 1, rejected: i })),
});

describe('pairBatches', () => {
  for (const { name, run } of batchesContract((seed) => pairBatches(pairs, { pairsPerStep: 3, steps: 9, rng: rng(seed) }))) it(name, run);
  it('show each pair once an epoch, in another order each time', async () => {
    const batches = pairBatches(pairs, { pairsPerStep: 3, epochs: 3, rng: rng(1) });
    expect(batches.steps).toBe(7);
    const ids = (await Promise.all(Array.from({ length: 7 }, (_, step) => batches.at(step)))).flatMap((batch) => batch.ids);
    const epochs = [ids.slice(0, 7), ids.slice(7, 14), ids.slice(14)];
    for (const epoch of epochs) expect([...epoch].sort()).toEqual(pairs.map(({ id }) => id));
    expect(epochs[0]).not.toEqual(epochs[1]);
  });
  it('hold the chosen sides, then the rejected ones, and split into the same pairs', () => {
    const batch = pairBatch(pairs.slice(0, 5));
    expect(batch.packed.rows).toEqual(Int32Array.of(0, 1, 2, 3, 4, 0, 1, 2, 3, 4));
    expect(batch.packed.cuSeqlens).toEqual(Int32Array.of(0, 3, 6, 9, 12, 15, 19, 23, 27, 31, 35));
    const parts = batch.split(2);
    expect(parts.map(({ ids }) => ids)).toEqual([['pair 0', 'pair 1'], ['pair 2', 'pair 3'], ['pair 4']]);
    expect(parts[1].packed.tokens).toEqual(Int32Array.of(2, 2, 12, 3, 3, 13, 2, 2, 22, 22, 3, 3, 23, 23));
    expect(parts[1].packed.rows).toEqual(Int32Array.of(2, 3, 2, 3));
    expect(parts[1].weights).toEqual(Float32Array.of(2, 3));
    expect(batch.split(5)[0].packed).toEqual(batch.packed);
  });
  it('refuse nothing, no steps and sizes that are not whole', () => {
    expect(() => pairBatches([], { pairsPerStep: 1, steps: 1, rng: rng(1) })).toThrow(/there is nothing to take batches from/);
    expect(() => pairBatches(pairs, { pairsPerStep: 0, steps: 1, rng: rng(1) })).toThrow(
      /pairsPerStep must be a whole number above 0, got 0/,
    );
    expect(() => pairBatch(pairs).split(0)).toThrow(/pairsPerMicroBatch must be a whole number above 0, got 0/);
  });
});

describe('microBatches', () => {
  const batch = pairBatch(pairs.slice(0, 5)); // 7 tokens each
  const sizes = (rows: number | undefined, tokens: number) =>
    microBatches(batch, { rows, tokens }).map((part) => part.packed.tokens.length);
  it('takes as many rows at once as hold no more than the tokens, and one at least', () => {
    expect([35, 34, 20, 14, 13, 1].map((tokens) => sizes(undefined, tokens))).toEqual([
      [35],
      [28, 7],
      [14, 14, 7],
      [14, 14, 7],
      [7, 7, 7, 7, 7],
      [7, 7, 7, 7, 7],
    ]);
  });
  it('takes no more rows than it is told to', () => {
    expect([sizes(2, Infinity), sizes(8, Infinity), sizes(1, 35)]).toEqual([[14, 14, 7], [35], [7, 7, 7, 7, 7]]);
  });
  it('affords what 256 MB hold of activations, and everything where a model does not tell', () => {
    const bytes = [2 ** 20, 2 ** 31, undefined];
    expect(bytes.map((activationBytes) => affordableTokens({ activationBytes }))).toEqual([256, 1, Infinity]);
  });
});

describe('rewardBatches', () => {
  const groups = [group('a', 2), group('b', 4), group('c', 3), pairs[1]];
  for (const { name, run } of batchesContract((seed) => rewardBatches(groups, { groupsPerStep: 2, steps: 6, rng: rng(seed) })))
    it(name, run);
  it('hold each candidate once, with the pairs of a group by segment', () => {
    const batch = rewardBatch(groups);
    expect([batch.groups, batch.pairs, batch.packed.rows.length]).toEqual([4, 7, 11]);
    expect(batch.packed.rows).toEqual(Int32Array.of(0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3));
    expect(batch.chosen).toEqual(Int32Array.of(1, 3, 4, 5, 7, 8, 9));
    expect(batch.rejected).toEqual(Int32Array.of(0, 2, 3, 4, 6, 7, 10));
    expect(batch.weights).toEqual(Float32Array.of(1, 1, 1, 1, 1, 1, 1));
    expect(batch.margins).toBeUndefined();
  });
  it('split by group, each part with its own segments', () => {
    const parts = rewardBatch(groups).split(2);
    expect(parts.map(({ ids }) => ids)).toEqual([
      ['a', 'b'],
      ['c', 'pair 1'],
    ]);
    expect(parts[1].chosen).toEqual(Int32Array.of(1, 2, 3));
    expect(parts[1].packed.tokens).toEqual(Int32Array.of(3, 0, 3, 3, 1, 3, 3, 2, 3, 1, 1, 11, 1, 1, 21, 21));
    expect(parts[1].packed.rows).toEqual(Int32Array.of(2, 2, 2, 3, 3));
  });
});

describe('promptBatches', () => {
  const prompts = ['a', 'b', 'c', 'd', 'e'];
  for (const { name, run } of batchesContract((seed) => promptBatches(prompts, { promptsPerStep: 2, steps: 5, rng: rng(seed) })))
    it(name, run);
  it('name prompts by their id or their index', async () => {
    const {
      ids,
      prompts: shown,
      indices,
    } = await promptBatches([{ id: 'x', prompt: 'a' }, { prompt: 'b' }], { promptsPerStep: 2, steps: 1, rng: rng(1) }).at(0);
    expect([...indices].sort()).toEqual([0, 1]);
    expect(ids).toEqual([...indices].map((i) => (i === 0 ? 'x' : '1')));
    expect(shown.map(({ prompt }) => prompt)).toEqual([...indices].map((i) => ['a', 'b'][i]));
  });
});
