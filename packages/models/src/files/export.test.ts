import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Parameter, readCopy, rng } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import { afterAll, describe, expect, it } from 'vitest';
import type { LocalDecoder } from '../decoder/decoder.js';
import { dequantise } from '../gguf/dequantise.js';
import { encode } from '../gguf/write.js';
import { type AdaptedDecoder, addLora } from '../lora/lora.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { tokenizerFromJson } from '../tokenizers/tokenizer.js';
import { trainByteBpe } from '../tokenizers/trainByteBpe.js';
import { openGguf } from './gguf.node.js';
import { loadDecoder } from './load.node.js';
import { saveDecoder } from './save.node.js';
import { saveGguf } from './saveGguf.node.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-export-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);
const template = "{% for m in messages %}<|end|>{{ m['content'] }}{% endfor %}";
const tokenizer = tokenizerFromJson(trainByteBpe(['a little text, a little more'], { vocabSize: 260, specialTokens: ['<|end|>'] }), {
  eos_token: '<|end|>',
  chat_template: template,
});
const batch = packSequences([{ tokens: Int32Array.of(65, 66, 67, 68, 5), completionStart: 2, row: 0 }]);
const hiddenOf = async (decoder: LocalDecoder) => (await readCopy(decoder.hidden(batch))) as Float32Array;
const gap = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);
const shape = { vocabSize: 264, width: 96, heads: 6, kvHeads: 2, headDim: 16, mlpWidth: 64 };

describe('saveGguf', () => {
  it.each([
    ['llama', {}],
    ['mistral', { tiedEmbeddings: false }],
    ['qwen2', { attentionBias: 'qkv' }],
    ['qwen3', { qkNorm: true }],
  ] as const)('writes a %s that reads back bit for bit, tokenizer and template included', async (family, more) => {
    const decoder = tinyDecoder({ ...shape, family, ...more }, tokenizer);
    await saveGguf(at(`${family}.gguf`), decoder, { storage: 'F32' });
    const again = await loadDecoder(at(`${family}.gguf`));
    expect((await again.parameters.save()).tensors).toEqual((await decoder.parameters.save()).tensors);
    expect({ ...again.spec, family, initializerRange: 0.3 }).toEqual({ ...decoder.spec, rmsNormEps: Math.fround(decoder.spec.rmsNormEps) });
    expect([...again.tokenizer.encode('a little more<|end|>')]).toEqual([...tokenizer.encode('a little more<|end|>')]);
    expect(again.tokenizer.eosId).toBe(tokenizer.eosId);
    expect(again.tokenizer.renderChat([{ role: 'user', content: 'hi' }])).toBe('<|end|>hi');
  });

  it.each([
    ['F16', 0.02],
    ['BF16', 0.15],
    ['Q8_0', 0.15],
  ] as const)('rounds as %s says', async (storage, tolerance) => {
    const decoder = tinyDecoder(shape, tokenizer);
    await saveGguf(at(`${storage}.gguf`), decoder, { storage });
    const off = gap(await hiddenOf(await loadDecoder(at(`${storage}.gguf`))), await hiddenOf(decoder));
    expect(off).toBeGreaterThan(0);
    expect(off).toBeLessThan(tolerance);
  });

  it('stores as F16 what the blocks of Q8_0 do not divide', async () => {
    await saveGguf(at('odd.gguf'), tinyDecoder({ vocabSize: 264 }, tokenizer), { storage: 'Q8_0' });
    const file = openGguf(at('odd.gguf'));
    expect(file.header.tensors.find(({ name }) => name === 'blk.0.attn_q.weight')!.type).toBe('F16');
    file.close();
  });

  it('merges an adapter', async () => {
    const adapted = await addLora(tinyDecoder(shape, tokenizer), { r: 2 }, { rng: rng(1) });
    await stir(adapted);
    await saveGguf(at('merged.gguf'), adapted, { storage: 'F32' });
    expect(gap(await hiddenOf(await loadDecoder(at('merged.gguf'))), await hiddenOf(adapted))).toBeLessThan(1e-4);
  });

  it('says what has no form there', async () => {
    await expect(saveGguf(at('x.gguf'), tinyDecoder({ ...shape, family: 'gemma2' }, tokenizer))).rejects.toThrow(
      /a gemma2 cannot be written as GGUF; llama/,
    );
    await expect(saveGguf(at('x.gguf'), tinyDecoder({ ...shape, family: 'mistral', windows: [8, 8] }, tokenizer))).rejects.toThrow(
      /sliding windows/,
    );
    await expect(saveGguf(at('x.gguf'), tinyDecoder(shape))).rejects.toThrow(/only a tokenizer from tokenizer.json or GGUF/);
  });
});

describe('Q8_0', () => {
  it('keeps each block within half a step of its scale', () => {
    const data = rng(1).normal(320);
    data.fill(0, 32, 64); // a block of zeros has the scale 0
    const back = dequantise('Q8_0', encode(data, 'Q8_0'), data.length);
    for (let b = 0; b < 10; b++) {
      const block = data.subarray(32 * b, 32 * b + 32);
      const most = block.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
      expect(gap(back.subarray(32 * b, 32 * b + 32), block)).toBeLessThanOrEqual(most * (0.5 / 127 + 2 ** -11));
    }
  });
});

describe('saveDecoder of an adapter', () => {
  it('writes the merged weights, and a head of its own beside tied embeddings', async () => {
    const adapted = await addLora(tinyDecoder(shape, tokenizer), { r: 2, modulesToSave: ['lm_head'] }, { rng: rng(1) });
    await stir(adapted);
    await saveDecoder(at('head'), adapted);
    expect(JSON.parse(readFileSync(join(at('head'), 'config.json'), 'utf8')).tie_word_embeddings).toBe(false);
    const again = await loadDecoder(at('head'));
    const logits = async (decoder: LocalDecoder) => (await readCopy(decoder.logits(decoder.hidden(batch)))) as Float32Array;
    expect(gap(await logits(again), await logits(adapted))).toBeLessThan(1e-4);
    expect((again.parameters.get('lm_head.weight') as Parameter).shape).toEqual([264, 96]);
  });
});

async function stir(adapted: AdaptedDecoder): Promise<void> {
  const saved = await adapted.parameters.save();
  for (const { data } of Object.values(saved.tensors)) for (let i = 0; i < data.length; i++) data[i] += 0.05 * Math.sin(i);
  await adapted.parameters.load(saved);
}
