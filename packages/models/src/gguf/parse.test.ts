import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FormatError, PlumblineError, readCopy } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { loadDecoder } from '../files/load.node.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { byteAlphabet } from '../tokenizers/trainByteBpe.js';
import { HeaderTooShort, parseGguf } from './parse.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-gguf-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Field = string | number | readonly string[] | readonly number[];
/** Writes a GGUF of float32 tensors; numbers that are not whole become float32, the others uint32. */
function encode(metadata: Record<string, Field>, tensors: Record<string, { shape: readonly number[]; data: Float32Array }>): Uint8Array {
  const parts: Uint8Array[] = [];
  const u32 = (n: number) => parts.push(new Uint8Array(Uint32Array.of(n).buffer));
  const u64 = (n: number) => parts.push(new Uint8Array(BigUint64Array.of(BigInt(n)).buffer));
  const text = (s: string) => {
    const bytes = new TextEncoder().encode(s);
    u64(bytes.length);
    parts.push(bytes);
  };
  const scalar = (x: string | number, typed: boolean) => {
    const type = typeof x === 'string' ? 8 : Number.isInteger(x) ? 4 : 6;
    if (typed) u32(type);
    if (typeof x === 'string') text(x);
    else if (type === 4) u32(x);
    else parts.push(new Uint8Array(Float32Array.of(x).buffer));
  };
  parts.push(new TextEncoder().encode('GGUF'));
  u32(3);
  u64(Object.keys(tensors).length);
  u64(Object.keys(metadata).length);
  for (const [key, value] of Object.entries(metadata)) {
    text(key);
    if (typeof value === 'string' || typeof value === 'number') scalar(value, true);
    else {
      u32(9);
      u32(typeof value[0] === 'string' ? 8 : 4);
      u64(value.length);
      for (const item of value) scalar(item, false);
    }
  }
  let offset = 0;
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    text(name);
    u32(shape.length);
    for (const size of [...shape].reverse()) u64(size);
    u32(0);
    u64(offset);
    offset += Math.ceil(data.byteLength / 32) * 32;
  }
  let at = parts.reduce((sum, part) => sum + part.length, 0);
  const align = () => {
    parts.push(new Uint8Array((32 - (at % 32)) % 32));
    at += (32 - (at % 32)) % 32;
  };
  align();
  for (const { data } of Object.values(tensors)) {
    parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    at += data.byteLength;
    align();
  }
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** The tiny decoder as llama.cpp would store it: other names, q and k rows interleaved. */
async function tinyGguf(): Promise<{ bytes: Uint8Array; decoder: ReturnType<typeof tinyDecoder> }> {
  const decoder = tinyDecoder({ vocabSize: 257 });
  const { spec } = decoder;
  const { tensors } = await decoder.parameters.save();
  const modules: [RegExp, string][] = [
    [/model\.embed_tokens/, 'token_embd'],
    [/^model\.norm/, 'output_norm'],
    [/model\.layers\.(\d+)\./, 'blk.$1.'],
    [/self_attn\.o_proj/, 'attn_output'],
    [/self_attn\.(\w)_proj/, 'attn_$1'],
    [/mlp\.(\w+)_proj/, 'ffn_$1'],
    [/input_layernorm/, 'attn_norm'],
    [/post_attention_layernorm/, 'ffn_norm'],
  ];
  const stored = Object.entries(tensors).map(([name, { shape, data }]) => {
    const renamed = modules.reduce((text, [from, to]) => text.replace(from, to), name);
    const floats = data as Float32Array;
    if (!/attn_[qk]\./.test(renamed)) return [renamed, { shape, data: floats }] as const;
    const interleaved = new Float32Array(floats.length);
    const [half, width] = [spec.headDim / 2, spec.width];
    for (let row = 0; row < shape[0]; row++) {
      const [head, i] = [Math.floor(row / spec.headDim), row % spec.headDim];
      const target = head * spec.headDim + 2 * (i % half) + Math.floor(i / half);
      interleaved.set(floats.subarray(row * width, (row + 1) * width), target * width);
    }
    return [renamed, { shape, data: interleaved }] as const;
  });
  const metadata = {
    'general.architecture': 'llama',
    'llama.block_count': spec.layers,
    'llama.context_length': spec.contextLength,
    'llama.embedding_length': spec.width,
    'llama.feed_forward_length': spec.mlpWidth,
    'llama.attention.head_count': spec.heads,
    'llama.attention.head_count_kv': spec.kvHeads,
    'llama.attention.layer_norm_rms_epsilon': 1e-5,
    'llama.rope.freq_base': 10_000.5 - 0.5,
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'smollm',
    'tokenizer.ggml.tokens': ['<|end|>', ...byteAlphabet()],
    'tokenizer.ggml.token_type': [3, ...new Array<number>(256).fill(1)],
    'tokenizer.ggml.merges': ['a b'],
    'tokenizer.ggml.eos_token_id': 0,
  };
  return { bytes: encode(metadata, Object.fromEntries(stored)), decoder };
}

describe('loadDecoder on GGUF', () => {
  it('gives the model that was stored: hidden states to rounding, tokenizer, end token', async () => {
    const { bytes, decoder } = await tinyGguf();
    const path = join(folder, 'tiny.gguf');
    writeFileSync(path, bytes);
    const again = await loadDecoder(path);
    const batch = packSequences([{ tokens: Int32Array.of(1, 5, 9, 200), completionStart: 0, row: 0 }]);
    const [ours, theirs] = [await readCopy(decoder.hidden(batch)), await readCopy(again.hidden(batch))];
    ours.forEach((x, i) => void expect(theirs[i]).toBeCloseTo(x, 5));
    expect(again.tokenizer.eosId).toBe(0);
    expect((await loadDecoder(folder)).name).toBe('tiny'); // a folder that holds nothing else
    expect(again.tokenizer.decode(again.tokenizer.encode('any text 12'))).toBe('any text 12');
  });

  it('names what is missing or not supported', async () => {
    const write = (metadata: Record<string, Field>) => {
      const path = join(folder, 'odd.gguf');
      writeFileSync(path, encode(metadata, { 'token_embd.weight': { shape: [2, 4], data: new Float32Array(8) } }));
      return loadDecoder(path);
    };
    await expect(write({ 'general.architecture': 'mamba' })).rejects.toThrow(
      /general.architecture is "mamba"; supported are llama, qwen2, qwen3, gemma2, phi3, gpt2/,
    );
    await expect(write({ 'general.architecture': 'llama' })).rejects.toThrow(
      /"llama.attention.head_count" must be a number, found nothing/,
    );
  });
});

describe('parseGguf', () => {
  const parse = (bytes: Uint8Array) => parseGguf(bytes, bytes.length, 'x.gguf');

  it('says what is wrong where', async () => {
    const { bytes } = await tinyGguf();
    expect(() => parse(new TextEncoder().encode('not a gguf file'))).toThrow(/x.gguf: not a GGUF file: it begins with "not "/);
    expect(() => parse(bytes.subarray(0, bytes.length - 500))).toThrow(/tensor ".*" spans bytes .* download cut short/);
    expect(() => parse(bytes.subarray(0, 100))).toThrow(FormatError);
    const lying = bytes.slice();
    new DataView(lying.buffer).setBigUint64(8, 2n ** 60n, true);
    expect(() => parse(lying)).toThrow(/the number of tensors at byte 8 is 1152921504606846976, more than/);
    const old = bytes.slice();
    old[4] = 1;
    expect(() => parse(old)).toThrow(/GGUF version 1; supported are 2 and 3/);
  });

  it('asks for more where only the beginning is there', async () => {
    const { bytes } = await tinyGguf();
    expect(() => parseGguf(bytes.subarray(0, 200), bytes.length, 'x.gguf')).toThrow(HeaderTooShort);
  });

  it('answers or says what is wrong, whatever is changed or cut, and never takes long', async () => {
    const { bytes } = await tinyGguf();
    const start = process.cpuUsage(); // not the time of a clock: other work of the machine is not to count
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(6000), fc.nat(255)), { minLength: 1, maxLength: 12 }),
        fc.option(fc.nat(bytes.length)),
        (changes, cut) => {
          const broken = bytes.slice(0, cut ?? bytes.length);
          for (const [at, value] of changes) if (at < broken.length) broken[at] = value;
          try {
            for (const tensor of parse(broken).tensors) expect(tensor.offset + tensor.bytes).toBeLessThanOrEqual(broken.length);
          } catch (error) {
            expect(error).toBeInstanceOf(PlumblineError);
          }
        },
      ),
      { numRuns: 500, seed: 3 },
    );
    expect(process.cpuUsage(start).user).toBeLessThan(20e6);
  });
});
