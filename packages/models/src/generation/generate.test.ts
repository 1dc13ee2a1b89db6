import { readCopy, rng } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { completionLogpsOf } from '../languageModel.js';
import { plainTokenizer } from '../testing/plainTokenizer.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { generate } from './generate.js';

const prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11, 3, 2], [9, 9]].map((ids) => Int32Array.from(ids));
const tokensOf = (samples: { tokens: Int32Array }[][]) => samples.map((group) => group.map(({ tokens }) => [...tokens]));

describe('generate', () => {
  const decoder = tinyDecoder();

  it('gives each prompt what it gets alone, whatever the batch, its order and its rows', async () => {
    const options = { n: 3, maxTokens: 12, stopIds: [0], rng: rng(5) };
    const together = tokensOf(await generate(decoder, prompts, options));
    for (const maxRows of [1, 2, 5]) expect(tokensOf(await generate(decoder, prompts, { ...options, maxRows }))).toEqual(together);
    const alone = tokensOf(await generate(decoder, prompts.slice(0, 1), options));
    expect(alone[0]).toEqual(together[0]);
  });

  it('gives 32 prompts of very different lengths the tokens and log-probabilities that each has alone, to the bit', async () => {
    const many = Array.from({ length: 32 }, (_, i) => Int32Array.from({ length: 1 + ((i * 7) % 40) }, (_, t) => (i * 5 + t * 3) % 23));
    const options = { maxTokens: 9, stopIds: [0], rng: rng(11) };
    const together = await generate(decoder, many, { ...options, maxRows: 13 });
    for (const i of [0, 5, 17, 31]) {
      const before = many.map((prompt, j) => (j === i ? prompt : Int32Array.of(1)));
      const [other] = (await generate(decoder, before, options)).slice(i);
      expect(other).toEqual(together[i]);
    }
  });

  it('draws its samples apart from each other, and others with another seed', async () => {
    const [samples] = tokensOf(await generate(decoder, [prompts[0]], { n: 6, maxTokens: 10, rng: rng(1) }));
    expect(new Set(samples.map(String)).size).toBeGreaterThan(3);
    expect(tokensOf(await generate(decoder, [prompts[0]], { n: 6, maxTokens: 10, rng: rng(2) }))[0]).not.toEqual(samples);
  });

  it('reports the log-probabilities that the training path gives, at any temperature', async () => {
    for (const temperature of [1, 0.7, 1.5]) {
      const samples = (await generate(decoder, prompts, { n: 2, maxTokens: 8, temperature, stopIds: [], rng: rng(3) })).flat();
      const sequences = samples.map(({ tokens }, i) => {
        const prompt = prompts[i >> 1];
        return { tokens: Int32Array.of(...prompt, ...tokens), completionStart: prompt.length };
      });
      const logps = await completionLogpsOf(decoder, sequences, { temperature });
      for (const [i, { samplingLogps }] of samples.entries())
        samplingLogps.forEach((logp, t) => void expect(logp).toBeCloseTo(logps[i][t], 4));
    }
  });

  it('samples from the model: frequencies of the first token agree with its probabilities', async () => {
    const draws = 2000;
    const [samples] = await generate(decoder, [prompts[1]], { n: draws, maxTokens: 1, stopIds: [], rng: rng(8) });
    const next = Array.from({ length: 23 }, (_, v) => ({ tokens: Int32Array.of(...prompts[1], v), completionStart: 1 }));
    const logps = await completionLogpsOf(decoder, next);
    for (let v = 0; v < 23; v++) {
      const p = Math.exp(logps[v][0]);
      const share = samples.filter(({ tokens }) => tokens[0] === v).length / draws;
      expect(Math.abs(share - p)).toBeLessThan(4.5 * Math.sqrt((p * (1 - p)) / draws) + 1e-3);
    }
  });

  it('ends at a stop id, which belongs to the sequence but not to its text, and at a stop string, which ends the text before it', async () => {
    const ending = tinyDecoder({}, plainTokenizer(23, { eosId: 4 }));
    const stopped = (await generate(ending, prompts, { n: 20, maxTokens: 30, rng: rng(6) }))
      .flat()
      .filter(({ finish }) => finish === 'stop');
    expect(stopped.length).toBeGreaterThan(10);
    for (const { tokens, text } of stopped) {
      expect(tokens.indexOf(4)).toBe(tokens.length - 1);
      expect(text.length).toBe(tokens.length - 1);
    }
    const [[plain]] = await generate(decoder, [prompts[0]], { maxTokens: 20, stopIds: [], rng: rng(9) });
    const stop = plain.text.slice(5, 7);
    const [[cut]] = await generate(decoder, [prompts[0]], { maxTokens: 20, stopIds: [], stop: [stop], rng: rng(9) });
    expect(cut.finish).toBe('stop');
    expect(cut.text).toBe(plain.text.slice(0, plain.text.indexOf(stop)));
    expect([...cut.tokens]).toEqual([...plain.tokens.slice(0, plain.text.indexOf(stop) + 2)]);
  });

  it('ends where the context does', async () => {
    const short = tinyDecoder({ contextLength: 12 });
    const [[a], [b]] = await generate(short, [prompts[2], prompts[1]], { maxTokens: 50, stopIds: [], rng: rng(1) });
    expect([a.tokens.length, b.tokens.length]).toEqual([3, 11]);
    expect([a.finish, b.finish]).toEqual(['length', 'length']);
    const full = Int32Array.from({ length: 12 }, () => 1);
    await expect(generate(short, [prompts[0], full], { maxTokens: 5, rng: rng(1) })).rejects.toThrow(
      /prompt 1 has 12 tokens.*context of 12/,
    );
    await expect(generate(short, [new Int32Array(0)], { maxTokens: 5, rng: rng(1) })).rejects.toThrow(/prompt 0 is empty/);
  });

  it('obeys a token mask, which sees the ids so far', async () => {
    const seen: number[][] = [];
    const [[sample]] = await generate(decoder, [prompts[0]], {
      maxTokens: 6,
      stopIds: [],
      rng: rng(1),
      mask: (logits, generated) => {
        seen.push([...generated]);
        for (let v = 0; v < logits.length; v++) if (v % 2 !== generated.length % 2) logits[v] = -Infinity;
      },
    });
    expect([...sample.tokens].map((token) => token % 2)).toEqual([0, 1, 0, 1, 0, 1]);
    expect(seen.map((ids) => ids.length)).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('stops when it is asked to, and keeps what it has', async () => {
    const controller = new AbortController();
    const samples = await generate(decoder, prompts, {
      n: 4,
      maxTokens: 40,
      stopIds: [],
      maxRows: 4,
      rng: rng(1),
      signal: controller.signal,
      onProgress: ({ tokens }) => tokens > 20 && controller.abort(),
    });
    expect(samples.flat().every(({ finish }) => finish === 'aborted')).toBe(true);
    expect(samples.flat().some(({ tokens }) => tokens.length > 3)).toBe(true);
    expect(samples.flat().some(({ tokens }) => tokens.length === 0)).toBe(true);
  });

  it('gives logits that packed sequences give', async () => {
    const cache = decoder.cache({ rows: 4, maxTokens: 20 });
    const batch = packSequences(prompts.map((tokens, row) => ({ tokens, completionStart: 0, row })));
    const rows = Int32Array.from(batch.tokens, (_, t) => [2, 0, 3, 1][batch.cuSeqlens.findIndex((end) => end > t) - 1]);
    const wanted = batch.cuSeqlens.slice(1).map((end) => end - 1);
    const ours = (await decoder.next({ tokens: batch.tokens, positions: batch.positions, rows, wanted }, cache)).slice();
    const expected = await readCopy(tf.tidy(() => decoder.logits(tf.gather(decoder.hidden(batch), tf.tensor1d(wanted, 'int32')))));
    ours.forEach((x, i) => void expect(x).toBeCloseTo(expected[i], 4));
    cache.dispose();
  });

  it('leaves no tensor behind', async () => {
    const before = tf.memory().numTensors;
    await generate(decoder, prompts, { n: 2, maxTokens: 5, rng: rng(1) });
    expect(tf.memory().numTensors).toBe(before);
  });
});
