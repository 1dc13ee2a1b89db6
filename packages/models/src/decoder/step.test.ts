import { initBackend, rng } from '@plumbline/core';
import { beforeAll, describe, expect, it } from 'vitest';
import { plainTokenizer } from '../testing/plainTokenizer.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import type { HostCache } from './cache.js';
import { createDecoder } from './decoder.js';
import { type DecoderSpec, decoderSpec } from './spec.js';

const variants: Record<string, Partial<DecoderSpec>> = {
  'a tied Llama with grouped heads': {},
  'an untied Qwen2 with biases': { family: 'qwen2', tiedEmbeddings: false, attentionBias: 'qkv' },
  'a Llama with biases everywhere': { attentionBias: 'all', mlpBias: true },
  'a Qwen3 with head norms and a window': { family: 'qwen3', qkNorm: true, windows: [0, 4] },
  'a Gemma 2 with soft caps': { family: 'gemma2', attentionSoftcap: 5, logitSoftcap: 3, windows: [4, 0], attentionScale: 0.3 },
  'a Phi-3 with matrices side by side': { family: 'phi3' },
  'a GPT-2': { family: 'gpt2', kvHeads: 3, ropeTheta: 0 },
};

describe('a step of a decoder in one call', () => {
  let native = true;
  beforeAll(async () => {
    native = await initBackend({ backend: 'native' }).then(
      () => true,
      () => false,
    );
  });

  it.for(Object.entries(variants))('has the bits of layers one by one: %s', async ([, shape], { skip }) => {
    skip(!native, 'native is not built here');
    const decoder = tinyDecoder(shape);
    const caches = [0, 1].map(() => decoder.cache({ rows: 3, maxTokens: 40, blockTokens: 16 }));
    // Without `advance` a cache is not known to be in host memory, and the layers are run one by one.
    const { advance: _, ...plain } = caches[1] as HostCache;
    const lengths = [0, 0, 0];
    // Prompts of several rows at once, then chunks and single tokens mixed.
    for (const rows of [[0, 0, 0, 2, 2], [1, 2, 0], Array(25).fill(1), [0, 1, 1, 2], [2]]) {
      const positions = Int32Array.from(rows, (row: number) => lengths[row]++);
      const tokens = Int32Array.from(rows, (_, i) => (i * 7 + positions[i] * 3 + 1) % 23);
      const step = { tokens, positions, rows: Int32Array.from(rows), wanted: Int32Array.of(0, rows.length - 1) };
      const fused = (await decoder.next(step, caches[0])).slice();
      expect(fused).toEqual(await decoder.next(step, plain));
      expect(Math.max(...fused)).toBeGreaterThan(0.01);
    }
    for (const cache of caches) cache.dispose();
  });

  // Few rows have kernels of their own, which tile them; widths that fill neither panels nor vectors, and one that is cut into blocks.
  it.for([
    ['f32', 'f32'],
    ['bf16', 'bf16'],
    ['bf16', 'f32'],
    ['int8', 'bf16'],
    ['int8', 'f32'],
  ] as const)('has them with weights in %s and products in %s, whatever the number of rows', async ([storage, products], { skip }) => {
    skip(!native, 'native is not built here');
    const spec = decoderSpec({
      vocabSize: 101,
      width: 80,
      layers: 1,
      heads: 5,
      kvHeads: 1,
      headDim: 16,
      mlpWidth: 2310,
      contextLength: 64,
      attentionBias: 'all',
      initializerRange: 0.2,
    });
    const decoder = createDecoder(spec, { tokenizer: plainTokenizer(101), rng: rng(7), storage, products });
    for (const count of [1, 2, 3, 4, 8, 12, 13, 25, 32, 33, 64, 65]) {
      const caches = [0, 1].map(() => decoder.cache({ rows: count, maxTokens: 16, blockTokens: 16 }));
      const { advance: _, ...plain } = caches[1] as HostCache;
      const rows = Int32Array.from({ length: count }, (_, i) => i);
      const step = { tokens: rows.map((i) => (i * 37 + count) % 101), positions: new Int32Array(count), rows, wanted: rows };
      const fused = (await decoder.next(step, caches[0])).slice();
      expect(fused).toEqual(await decoder.next(step, plain));
      expect(Math.max(...fused)).toBeGreaterThan(0.01);
      for (const cache of caches) cache.dispose();
    }
    decoder.dispose();
  });
});
