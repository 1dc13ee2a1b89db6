import { initBackend, rng } from '@plumbline/core';
import { beforeAll, describe, expect, it } from 'vitest';
import { addLora } from '../lora/lora.js';
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

  it.for<[string, (typeof variants)[string], { modulesToSave?: string[]; targetModules?: string[]; layers?: number[]; dora?: boolean }]>([
    ...Object.entries(variants).map(([name, shape]): [string, typeof shape, object] => [name, shape, {}]),
    ['a Llama whose adapter has a head of its own', {}, { modulesToSave: ['lm_head'] }],
    ['a Llama whose adapter changes some layers and modules', {}, { targetModules: ['v_proj', 'down_proj'], layers: [1] }],
    ['a Llama with directions and magnitudes apart', {}, { dora: true }],
  ])('has them with an adapter: %s', async ([, shape, lora], { skip }) => {
    skip(!native, 'native is not built here');
    const adapted = await addLora(tinyDecoder(shape), { r: 3, alpha: 6, targetModules: 'all-linear', ...lora }, { rng: rng(1) });
    const caches = [0, 1].map(() => adapted.cache({ rows: 3, maxTokens: 40, blockTokens: 16 }));
    const { advance: _, ...plain } = caches[1] as HostCache;
    const lengths = [0, 0, 0];
    for (const [i, rows] of [[0, 0, 0, 2, 2], [1, 2, 0], Array(25).fill(1), [0, 1, 1, 2]].entries()) {
      const positions = Int32Array.from(rows, (row: number) => lengths[row]++);
      const tokens = Int32Array.from(rows, (_, j) => (j * 7 + positions[j] * 3 + 1) % 23);
      const step = { tokens, positions, rows: Int32Array.from(rows), wanted: Int32Array.of(0, rows.length - 1) };
      const fused = (await adapted.next(step, caches[0])).slice();
      expect(fused).toEqual(await adapted.next(step, plain));
      // A training step in between: the next numbers are those of the new weights.
      const saved = await adapted.parameters.save();
      for (const [name, { data }] of Object.entries(saved.tensors)) {
        const noise = rng(i).fork(name).normal(data.length);
        for (let j = 0; j < data.length; j++) data[j] += 0.2 * noise[j];
      }
      await adapted.parameters.load(saved);
    }
    for (const cache of caches) cache.dispose();
  });

  // Few rows have kernels of their own, which tile them; widths that fill neither panels nor vectors, and one that is cut into blocks.
  it.for([
    ['f32', 'f32'],
    ['f32', 'bf16'],
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
    const base = createDecoder(spec, { tokenizer: plainTokenizer(101), rng: rng(7), storage, products });
    const adapted = await addLora(base, { r: 5, targetModules: 'all-linear' }, { rng: rng(1) });
    const saved = await adapted.parameters.save();
    for (const { data } of Object.values(saved.tensors)) for (let i = 0; i < data.length; i++) data[i] += Math.sin(i) / 10;
    await adapted.parameters.load(saved);
    for (const decoder of [base, adapted])
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
    adapted.dispose();
    base.dispose();
  });
});
