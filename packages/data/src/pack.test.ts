import { rng } from '@plumbline/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pairBatch, rewardBatch } from './batches.js';
import { budgetBatches } from './budget.js';
import { batchesContract } from './contract/batches.js';
import { encodePair, encodePairs, encodeSequence } from './encode.js';
import { packSequences, packShared, sharedTokens, takeSegments } from './pack.js';
import { byteTokenizer } from './testing/byteTokenizer.js';

const ids = (...tokens: number[]) => Int32Array.from(tokens);

describe('packShared', () => {
  it('lays a shared prompt down once, after the completions, whose positions go on from it', () => {
    expect(
      packShared([
        { prompt: ids(1, 2), completion: ids(3), row: 4 },
        { prompt: ids(7), completion: ids(8, 9), row: 5 },
        { prompt: ids(1, 2), completion: ids(5, 6), row: 6 },
      ]),
    ).toEqual({
      tokens: ids(3, 7, 8, 9, 5, 6, 1, 2),
      positions: ids(2, 0, 1, 2, 2, 3, 0, 1),
      completionMask: Uint8Array.of(1, 0, 1, 1, 1, 1, 0, 0),
      cuSeqlens: ids(0, 1, 4, 6, 8),
      prefixOf: ids(3, -1, 3, -1),
      rows: ids(4, 5, 6, -1),
    });
  });
  it('is the plain layout where no prompt is shared', () => {
    const items = [
      { prompt: ids(1), completion: ids(2), row: 0 },
      { prompt: ids(2), completion: ids(2), row: 1 },
      { prompt: ids(), completion: ids(2), row: 2 },
      { prompt: ids(), completion: ids(3, 4), row: 3 },
    ];
    const plain = items.map(({ prompt, completion, row }) => ({
      tokens: ids(...prompt, ...completion),
      completionStart: prompt.length,
      row,
    }));
    expect(packShared(items)).toEqual(packSequences(plain));
  });
  it('keeps every counted token, and as many tokens as it says', () => {
    const short = fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 3 });
    const item = fc.tuple(short, fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 4 }));
    fc.assert(
      fc.property(fc.array(item, { minLength: 1, maxLength: 8 }), (list) => {
        const items = list.map(([prompt, completion], row) => ({ prompt: ids(...prompt), completion: ids(...completion), row }));
        const packed = packShared(items);
        expect(packed.tokens.length).toBe(sharedTokens(items).shared);
        items.forEach(({ prompt, completion }, s) => {
          const prefix = packed.prefixOf?.[s] ?? -1;
          const of = (segment: number) => [...packed.tokens.subarray(packed.cuSeqlens[segment], packed.cuSeqlens[segment + 1])];
          expect([...(prefix >= 0 ? of(prefix) : []), ...of(s)]).toEqual([...prompt, ...completion]);
          expect(packed.positions[packed.cuSeqlens[s + 1] - 1]).toBe(prompt.length + completion.length - 1);
        });
        const all = packed.rows.map((_, s) => s);
        expect(takeSegments(packed, all)).toEqual(packed);
      }),
    );
  });
  it('refuses an empty completion by its row', () => {
    expect(() => packShared([{ prompt: ids(1), completion: ids(), row: 3 }])).toThrow(/the completion of row 3 is empty/);
  });
});

describe('takeSegments', () => {
  it('brings the prompts along that the segments share', () => {
    const packed = packShared([0, 1, 2, 3].map((row) => ({ prompt: row < 2 ? ids(1, 1) : ids(2, 2, 2), completion: ids(10 + row), row })));
    expect(takeSegments(packed, [3, 2])).toEqual({
      tokens: ids(13, 12, 2, 2, 2),
      positions: ids(3, 3, 0, 1, 2),
      completionMask: Uint8Array.of(1, 1, 0, 0, 0),
      cuSeqlens: ids(0, 1, 2, 5),
      prefixOf: ids(2, 2, -1),
      rows: ids(3, 2, -1),
    });
  });
});

describe('batches with shared prompts', () => {
  const pairs = [0, 1, 2].map((i) => ({ id: `p${i}`, prompt: ids(i >> 1, 9, 9), chosen: ids(1), rejected: ids(2, 2) }));
  it('hold chosen, rejected, then each prompt once, and split into the same', () => {
    const batch = pairBatch(pairs, { sharePrompts: true });
    expect(batch.packed.prefixOf).toEqual(ids(6, 6, 7, 6, 6, 7, -1, -1));
    const [first, second] = batch.split(2);
    expect(first.packed.prefixOf).toEqual(ids(4, 4, 4, 4, -1));
    expect(second.packed).toEqual({ ...pairBatch([pairs[2]], { sharePrompts: true }).packed, rows: ids(2, 2, -1) });
  });
  it('name the segments of a reward batch as without sharing', () => {
    const [apart, shared] = [rewardBatch(pairs), rewardBatch(pairs, { sharePrompts: true })];
    expect([shared.chosen, shared.rejected]).toEqual([apart.chosen, apart.rejected]);
    expect([apart.packed.tokens.length, shared.packed.tokens.length]).toEqual([27, 15]);
    expect(shared.split(1).map(({ packed }) => packed.tokens.length)).toEqual([6, 6, 6]);
  });
});

describe('budgetBatches', () => {
  const draw = rng(1);
  const lengths = Array.from({ length: 200 }, () => 1 + draw.below(90));
  for (const { name, run } of batchesContract((seed) => budgetBatches(lengths, { tokensPerBatch: 256, epochs: 2, rng: rng(seed) })))
    it(name, run);
  it('hold every item once an epoch, at most the budget, and are balanced', async () => {
    const batches = budgetBatches(lengths, { tokensPerBatch: 256, epochs: 1, rng: rng(3) });
    const all = await Promise.all(Array.from({ length: batches.steps }, (_, step) => batches.at(step)));
    expect(all.flatMap((batch) => [...batch]).sort((a, b) => a - b)).toEqual(lengths.map((_, i) => i));
    const tokens = all.map((batch) => batch.reduce((sum, i) => sum + lengths[i], 0));
    expect(Math.max(...tokens)).toBeLessThanOrEqual(256);
    const total = tokens.reduce((a, b) => a + b, 0);
    expect(total / (256 * all.length)).toBeGreaterThan(0.9); // of what the batches could hold
  });
  it('refuses an item that fits nowhere', () => {
    expect(() => budgetBatches([1, 9], { tokensPerBatch: 8, steps: 1, rng: rng(1) })).toThrow(
      /item 1 has 9 tokens, and tokensPerBatch is 8/,
    );
  });
});

describe('truncation', () => {
  const tokenizer = byteTokenizer({ bos: true });
  const record = { prompt: 'abcdef', chosen: 'xy', rejected: 'uvwz' };
  const text = (tokens: Int32Array) => tokenizer.decode(tokens.filter((id) => id < 256));
  it('drops by default and counts what it cut otherwise', () => {
    expect(encodePairs(tokenizer, [record], { maxTokens: 9 })).toMatchObject({
      pairs: [],
      dropped: [{ reason: 'too long' }],
      truncated: 0,
    });
    expect(encodePairs(tokenizer, [record, { ...record, prompt: 'a' }], { maxTokens: 9, truncation: 'keepEnd' })).toMatchObject({
      dropped: [],
      truncated: 1,
    });
  });
  it('keepEnd cuts the beginning of the prompt, but not its first special token', () => {
    const pair = encodePair(tokenizer, record, { maxTokens: 9, truncation: 'keepEnd' })!;
    expect(pair.prompt[0]).toBe(tokenizer.bosId);
    expect([text(pair.prompt), text(pair.chosen), text(pair.rejected)]).toEqual(['cdef', 'xy', 'uvwz']);
    expect(encodePair(tokenizer, record, { maxTokens: 5, truncation: 'keepEnd' })).toBeNull();
  });
  it('keepStart cuts the end of each completion', () => {
    const pair = encodePair(tokenizer, record, { maxTokens: 10, truncation: 'keepStart' })!;
    expect([text(pair.prompt), text(pair.chosen), text(pair.rejected)]).toEqual(['abcdef', 'xy', 'uvw']);
    expect(encodeSequence(tokenizer, 'abcdef', 'xyz', { maxTokens: 8, truncation: 'keepStart' })!.tokens.length).toBe(8);
    expect(encodePair(tokenizer, record, { maxTokens: 7, truncation: 'keepStart' })).toBeNull();
  });
  it('error names the pair and the lengths', () => {
    expect(() => encodePairs(tokenizer, [{ ...record, id: 'x' }], { maxTokens: 9, truncation: 'error' })).toThrow(
      /pair x has 11 tokens \(prompt 7\), and maxTokens is 9/,
    );
  });
});
