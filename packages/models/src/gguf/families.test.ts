/** GGUF files written by Python's gguf from models of transformers, whose outputs with the same rounded weights are recorded (bench/peers/models.py). */
import { readCopy } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import { largestError } from '@plumbline/tools/fixtures';
import { describe, expect, it } from 'vitest';
import { configFromSpec, specFromConfig } from '../decoder/spec.js';
import { loadDecoder } from '../files/load.node.js';
import { ownFixture, readJson, readTensors } from '../testing/fixtures.node.js';
import { dequantise } from './dequantise.js';
import { type GgmlType, ggmlTypes } from './parse.js';
import { tokenizerFromGguf } from './tokenizer.js';

const at = (file: string) => ownFixture(`models/gguf/${file}`);
const tokens = Int32Array.from({ length: 33 }, (_, i) => i + 3);

describe.each(['gpt2', 'llama', 'llama3_rope', 'qwen2', 'qwen3', 'gemma2', 'phi3'])('the GGUF of a small %s', (name) => {
  it('gives the logits of the model that it was written from', async () => {
    const decoder = await loadDecoder(at(`${name}.gguf`));
    const hidden = decoder.hidden(packSequences([{ tokens, completionStart: 0, row: 0 }]));
    expect(largestError(await readCopy(decoder.logits(hidden)), readTensors(at('logits.safetensors'))[name].data)).toBeLessThan(1e-4);
    expect(specFromConfig(configFromSpec(decoder.spec))).toEqual({ ...decoder.spec, initializerRange: 0.02 });
    expect(decoder.tokenizer.eosId).toBe(2);
    decoder.dispose();
  });
});

it('knows a scaling of the rotary frequencies for what it is', async () => {
  const decoder = await loadDecoder(at('llama3_rope.gguf'));
  expect(decoder.spec.ropeScaling).toEqual({ factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContextLength: 32 });
  decoder.dispose();
});

describe("gguf's quantisation", () => {
  const { x, types } = readJson<{ x: number[]; types: Record<string, { bytes: string; values: number[] }> }>(at('quantised.json'));
  it.each(Object.keys(types))('%s unpacks to what Python unpacks it to, near to what was packed', (type) => {
    const values = dequantise(type as GgmlType, Uint8Array.from(Buffer.from(types[type].bytes, 'hex')), x.length);
    expect([...values]).toEqual(types[type].values);
    const { block } = ggmlTypes[type as GgmlType];
    const levels = { F32: 1e9, F16: 1000, BF16: 100, Q8_0: 200, Q5_0: 15, Q5_1: 15, Q4_0: 7, Q4_1: 7 }[type]!;
    x.forEach((value, i) => {
      const around = block === 1 ? [value] : x.slice(i - (i % block), i - (i % block) + block);
      const span = Math.max(...around.map(Math.abs));
      expect(Math.abs(values[i] - value)).toBeLessThanOrEqual((1.05 * span) / levels);
    });
  });
});

describe('the tokenizer of a GGUF', () => {
  type Vocabulary = { tokens: string[]; scores: number[]; types: number[]; rows: { text: string; ids: number[]; decoded: string }[] };
  const { rows, ...vocabulary } = readJson<Vocabulary>(at('sentencepiece.json'));
  const metadata = {
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': vocabulary.tokens,
    'tokenizer.ggml.scores': vocabulary.scores,
    'tokenizer.ggml.token_type': vocabulary.types,
    'tokenizer.ggml.bos_token_id': 1,
    'tokenizer.ggml.eos_token_id': 2,
    'tokenizer.ggml.unknown_token_id': 0,
  };
  const of = (more: Record<string, unknown>) =>
    tokenizerFromGguf({ version: 3, metadata: { ...metadata, ...more } as never, tensors: [] }, 'x.gguf');

  it('of the kind "llama" gives the ids and texts of SentencePiece', () => {
    const tokenizer = of({});
    for (const { text, ids, decoded } of rows) {
      if (text === '' || text.includes('<tool>')) continue; // sections are prefixed one by one, as in transformers
      expect([...tokenizer.encode(text)], JSON.stringify(text)).toEqual(ids);
      expect(tokenizer.decode(ids), JSON.stringify(text)).toBe(decoded);
      const { offsets } = tokenizer.encodeWithOffsets(text);
      expect(offsets.at(-1)![1], JSON.stringify(text)).toBe([...text].length);
    }
    expect([...tokenizer.encode('the', { special: true })]).toEqual([1, ...tokenizer.encode('the')]);
    expect(tokenizer.idOf('<tool>')).toBeGreaterThan(0);
  });

  const cuts = readJson<{ tokens: string[]; merges: string[]; rows: { text: string; ids: Record<string, number[]> }[] }>(
    ownFixture('pre_tokenizers.json'),
  );
  it.each(['gpt-2', 'qwen2', 'llama-bpe', 'smollm', 'default'])(
    'of the kind "gpt2" gives the ids of tokenizers where text is cut as by %s',
    (pre) => {
      const tokenizer = tokenizerFromGguf(
        {
          version: 3,
          metadata: {
            'tokenizer.ggml.model': 'gpt2',
            'tokenizer.ggml.pre': pre,
            'tokenizer.ggml.tokens': cuts.tokens,
            'tokenizer.ggml.merges': cuts.merges,
          } as never,
          tensors: [],
        },
        'x.gguf',
      );
      for (const { text, ids } of cuts.rows) {
        expect([...tokenizer.encode(text)], JSON.stringify(text)).toEqual(ids[pre]);
        if (text) expect(tokenizer.encodeWithOffsets(text).ids).toEqual(tokenizer.encode(text));
        expect(tokenizer.decode(ids[pre]), JSON.stringify(text)).toBe(pre === 'qwen2' ? text.normalize('NFC') : text);
      }
    },
  );

  it('adds special tokens as its metadata say', () => {
    const none = of({ 'tokenizer.ggml.add_bos_token': false });
    expect([...none.encode('the', { special: true })]).toEqual([...none.encode('the')]);
    const both = of({ 'tokenizer.ggml.add_eos_token': true });
    expect([...both.encode('the', { special: true })]).toEqual([1, ...both.encode('the'), 2]);
    const bare = of({ 'tokenizer.ggml.add_space_prefix': false });
    expect(bare.decode(bare.encode('a the'))).toBe('a the');
  });

  it('says what it does not know', () => {
    expect(() => of({ 'tokenizer.ggml.model': 'bert' })).toThrow('tokenizer.ggml.model is "bert"; supported are "gpt2"');
    expect(() => of({ 'tokenizer.ggml.scores': [1] })).toThrow(/tokens have 1 scores/);
    expect(() => of({ 'tokenizer.ggml.eos_token_id': 9999 })).toThrow('"tokenizer.ggml.eos_token_id" is 9999; ids go from 0 to');
    expect(() => of({ 'tokenizer.ggml.tokens': [1] })).toThrow('holds 1 at 0; tokens are texts');
    const bpe = { 'tokenizer.ggml.model': 'gpt2', 'tokenizer.ggml.merges': [] };
    expect(() => of({ ...bpe, 'tokenizer.ggml.pre': 'tekken' })).toThrow('tokenizer.ggml.pre is "tekken"; supported are gpt-2');
    for (const pre of ['smollm', 'llama-bpe', 'gpt-2', 'qwen2', 'default'])
      expect(of({ ...bpe, 'tokenizer.ggml.pre': pre }).vocabSize).toBe(vocabulary.tokens.length);
  });
});
