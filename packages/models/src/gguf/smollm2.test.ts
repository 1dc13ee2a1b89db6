/** SmolLM2-135M-Instruct from its Q4_1 GGUF against transformers (float32, 1e-4 from float64 itself). */
import { readCopy, rng } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import { beforeAll, describe, expect, it } from 'vitest';
import type { LocalDecoder } from '../decoder/decoder.js';
import { specFromConfig } from '../decoder/spec.js';
import { openGguf } from '../files/gguf.node.js';
import { loadDecoder } from '../files/load.node.js';
import { generate } from '../generation/generate.js';
import { completionLogpsOf } from '../languageModel.js';
import { readJson, readSomeTensors, sharedFixture, smolGguf } from '../testing/fixtures.node.js';
import { parameterName, specFromGguf, unInterleave } from './model.js';
import { tokenizerFromGguf } from './tokenizer.js';

type Prompt = {
  messages: { role: string; content: string }[];
  text: string;
  ids: number[];
  greedy: { ids: number[]; text: string; logps: number[]; margins: number[] };
  samples?: { ids: number[]; text: string; logps: number[]; entropy: number[] }[];
};
type Print = { shape_rows_cols?: number[]; shape?: number[]; sum: number; norm: number; first: number[] };

const missing = smolGguf ? '' : ' (skipped: no SmolLM2 GGUF; fetch it with ../shared/models/get-models.sh)';
const slow = process.env.PLUMB_FULL ? '' : ' (skipped: slow, run by pnpm test:full)';

describe.skipIf(!smolGguf)(`SmolLM2's GGUF${missing}`, () => {
  const fixture = <T>(name: string) => readJson<T>(sharedFixture(`smollm2/${name}`));

  it('says the configuration that transformers derives from it', () => {
    const file = openGguf(smolGguf!);
    const { initializerRange, ...expected } = specFromConfig(fixture('config.json'));
    expect(specFromGguf(file.header, 'smol')).toMatchObject({ ...expected, rmsNormEps: expect.closeTo(1e-5, 10) });
    file.close();
  });

  it('gives ids, text and chat prompts of its own tokenizer', () => {
    const file = openGguf(smolGguf!);
    const tokenizer = tokenizerFromGguf(file.header, 'smol');
    file.close();
    expect([tokenizer.bosId, tokenizer.eosId, tokenizer.padId, tokenizer.vocabSize]).toEqual([1, 2, 2, 49152]);
    for (const { text, ids } of readJson<{ rows: { text: string; ids: number[] }[] }>(sharedFixture('tokenizers/smollm2.strings.json'))
      .rows) {
      expect([...tokenizer.encode(text)], JSON.stringify(text)).toEqual(ids);
    }
    for (const { messages, text, ids } of fixture<Prompt[]>('prompts.json')) {
      expect(tokenizer.renderChat(messages, { addGenerationPrompt: true })).toBe(text);
      expect([...tokenizer.encode(text)]).toEqual(ids);
    }
  });

  it('unpacks each kind of tensor and brings rotary rows into order', () => {
    const file = openGguf(smolGguf!);
    const { gguf, hf } = fixture<{ gguf: Record<string, Print>; hf: Record<string, Print> }>('dequantised.json');
    const check = (data: Float32Array, { sum, norm, first }: Print, name: string) => {
      expect([...data.subarray(0, first.length)], name).toEqual(first);
      expect(
        data.reduce((a, b) => a + b, 0),
        name,
      ).toBeCloseTo(sum, 2);
      expect(Math.sqrt(data.reduce((a, b) => a + b * b, 0)) / norm, name).toBeCloseTo(1, 6);
    };
    for (const name of [
      'blk.0.attn_norm.weight',
      'blk.7.attn_q.weight',
      'blk.29.attn_k.weight',
      'blk.3.ffn_down.weight',
      'output_norm.weight',
    ]) {
      const data = file.read(name);
      check(data, gguf[name], name);
      const parameter = parameterName(name);
      if (hf[parameter]) check(/attn_[qk]/.test(name) ? unInterleave(data, 64, data.length / 576) : data, hf[parameter], parameter);
    }
    file.close();
  });
});

describe.skipIf(!smolGguf || !process.env.PLUMB_FULL)(`SmolLM2 at work${missing || slow}`, () => {
  let decoder: LocalDecoder;
  const prompts = smolGguf ? readJson<Prompt[]>(sharedFixture('smollm2/prompts.json')) : [];
  beforeAll(async () => {
    decoder = await loadDecoder(smolGguf!);
  });

  it('gives the recorded logits, their sums, and the entropies', async () => {
    for (const [i, { ids }] of prompts.entries()) {
      const { floats, ints } = readSomeTensors(sharedFixture('smollm2/prompts.safetensors'), `prompt${i}.`);
      const hidden = decoder.hidden(packSequences([{ tokens: Int32Array.from(ids), completionStart: 0, row: 0 }]));
      const logits = (await readCopy(decoder.logits(hidden))) as Float32Array;
      for (let t = 0; t < ids.length; t++) {
        const row = logits.subarray(t * 49152, (t + 1) * 49152);
        for (let k = 0; k < 20; k++) expect(Math.abs(row[ints.top_ids[20 * t + k]] - floats.top_values[20 * t + k])).toBeLessThan(2e-3);
        const largest = row.reduce((a, b) => Math.max(a, b), -Infinity);
        const sum = row.reduce((a, b) => a + Math.exp(b - largest), 0);
        expect(Math.abs(largest + Math.log(sum) - floats.logsumexp[t])).toBeLessThan(2e-3);
      }
      const { tokens, entropy } = decoder.completionLogps(packSequences([{ tokens: Int32Array.from(ids), completionStart: 1, row: 0 }]), {
        entropy: true,
      });
      (await readCopy(tokens)).forEach((logp, t) => void expect(Math.abs(logp - floats.token_logps[t])).toBeLessThan(1e-3));
      (await readCopy(entropy!)).forEach((h, t) => void expect(Math.abs(h - floats.entropy[t])).toBeLessThan(2e-3));
    }
  });

  it('gives the recorded log-probabilities of sampled completions', async () => {
    const sequences = prompts.flatMap(({ ids, samples = [] }) =>
      samples.map((sample) => ({ tokens: Int32Array.of(...ids, ...sample.ids), completionStart: ids.length })),
    );
    const logps = await completionLogpsOf(decoder, sequences);
    prompts
      .flatMap(({ samples = [] }) => samples)
      .forEach((sample, i) => {
        logps[i].forEach((logp, t) => void expect(Math.abs(logp - sample.logps[t])).toBeLessThan(1e-3));
      });
  });

  it('continues eight chats greedily as recorded, all in one batch', async () => {
    const samples = await generate(
      decoder,
      prompts.map(({ ids }) => Int32Array.from(ids)),
      { maxTokens: 48, temperature: 0, stopIds: [], rng: rng(0) },
    );
    prompts.forEach(({ greedy }, i) => {
      const close = greedy.margins.findIndex((margin) => margin <= 5e-3);
      const sure = close < 0 ? 48 : close;
      const [{ tokens, samplingLogps }] = samples[i];
      expect([...tokens.subarray(0, sure)]).toEqual(greedy.ids.slice(0, sure));
      for (let t = 0; t < sure; t++) expect(Math.abs(samplingLogps[t] - greedy.logps[t])).toBeLessThan(2e-3);
    });
  });
});
