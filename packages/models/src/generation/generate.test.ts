import { readCopy, rng } from '@plumbline/core';
import { packSequences, type RewardFunction, type Sampling } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import type { LocalDecoder } from '../decoder/decoder.js';
import { asLanguageModel, completionLogpsOf } from '../languageModel.js';
import { plainTokenizer } from '../testing/plainTokenizer.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { bestOf } from './bestOf.js';
import { createEngine } from './engine.js';
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

  it('gives the same bits whatever the size of blocks, the chunks of prompts and the number of rows', async () => {
    const many = Array.from({ length: 20 }, (_, i) => Int32Array.from({ length: 1 + ((i * 11) % 45) }, (_, t) => (i * 3 + t * 5) % 23));
    const options = { n: 2, maxTokens: 10, stopIds: [0], rng: rng(4) };
    const expected = await generate(decoder, many, options);
    for (const more of [
      { blockTokens: 16, stepTokens: 1, maxRows: 3 },
      { blockTokens: 64, stepTokens: 7, maxRows: 40 },
      { stepTokens: 33, maxRows: 1 },
    ])
      expect(await generate(decoder, many, { ...options, ...more })).toEqual(expected);
  });

  it('computes a prompt once for all its samples, even for those that have to wait for a row', async () => {
    let computed = 0;
    const counted: LocalDecoder = {
      ...decoder,
      next: (step, cache) => {
        computed += step.tokens.length;
        return decoder.next(step, cache);
      },
    };
    const samples = await generate(counted, [prompts[2]], { n: 7, maxTokens: 3, maxRows: 2, stopIds: [], rng: rng(2) });
    expect(samples).toEqual(await generate(decoder, [prompts[2]], { n: 7, maxTokens: 3, stopIds: [], rng: rng(2) }));
    expect(computed).toBe(prompts[2].length + 7 * 2); // the last token of a sample is not run
  });

  it('lets requests come and go, each as if it were alone', async () => {
    const alone = await generate(decoder, prompts, { n: 2, maxTokens: 9, stopIds: [], rng: rng(3) });
    const engine = createEngine(decoder, { maxRows: 3, cacheBytes: 1, blockTokens: 16 });
    const ask = (i: number) =>
      engine.submit({
        prompt: prompts[i],
        n: 2,
        maxTokens: 9,
        rule: { temperature: 1, topP: 1, topK: 0, minP: 0 },
        repetitionPenalty: 1,
        stopIds: new Set(),
        stop: [],
        rngOf: (sample) => rng(3).fork(i, sample),
      });
    const first = ask(2);
    const second = ask(0);
    await second;
    expect(await Promise.all([first, second, ask(3), ask(1)])).toEqual([alone[2], alone[0], alone[3], alone[1]]);
    expect(engine.pending).toBe(0);
    const late = ask(1);
    await engine.dispose();
    await expect(late).rejects.toThrow(/disposed/);
  });

  it('ends a request alone where its mask fails', async () => {
    const engine = createEngine(decoder);
    const common = {
      n: 1,
      maxTokens: 4,
      rule: { temperature: 1, topP: 1, topK: 0, minP: 0 },
      repetitionPenalty: 1,
      stopIds: new Set<number>(),
      stop: [],
    };
    const good = engine.submit({ ...common, prompt: prompts[0], rngOf: () => rng(1) });
    const bad = engine.submit({ ...common, prompt: prompts[1], rngOf: () => rng(2), mask: (logits) => void logits.fill(-Infinity) });
    await expect(bad).rejects.toThrow(/every token is masked/);
    expect((await good)[0].tokens.length).toBe(4);
    await engine.dispose();
  });

  it('makes what was there already less likely by the repetition penalty', async () => {
    const options = { maxTokens: 1, temperature: 0, stopIds: [], rng: rng(1) };
    const cache = decoder.cache({ rows: 1, maxTokens: 20 });
    const [prompt] = prompts;
    const step = { tokens: prompt, positions: Int32Array.of(0, 1, 2), rows: Int32Array.of(0, 0, 0), wanted: Int32Array.of(2) };
    const logits = (await decoder.next(step, cache)).slice();
    cache.dispose();
    for (const penalty of [1.7, 50]) {
      const expected = Array.from(logits, (x, token) => (prompt.includes(token) ? (x > 0 ? x / penalty : x * penalty) : x));
      const best = expected.indexOf(Math.max(...expected));
      const [[{ tokens, samplingLogps }]] = await generate(decoder, [prompt], { ...options, repetitionPenalty: penalty });
      expect(tokens[0]).toBe(best);
      expect(samplingLogps[0]).toBeCloseTo(expected[best] - Math.log(expected.reduce((sum, x) => sum + Math.exp(x), 0)), 4);
    }
    const [[long]] = await generate(decoder, [prompt], { ...options, maxTokens: 15, repetitionPenalty: 1000 });
    expect(new Set([...prompt, ...long.tokens]).size).toBe(3 + 15);
    await expect(generate(decoder, [prompt], { ...options, repetitionPenalty: 0 })).rejects.toThrow(/repetitionPenalty must be above 0/);
  });

  it('streams pieces that make the text, whole characters and nothing of a stop string', async () => {
    // Ids are bytes: three of them make a euro sign.
    const bytes = [...new TextEncoder().encode('a€b é END')];
    const tokenizer = {
      ...plainTokenizer(23),
      decode: (ids: ArrayLike<number>) => new TextDecoder().decode(Uint8Array.from(Array.from(ids), (id) => bytes[id] ?? 33)),
    };
    const spelling = tinyDecoder({}, tokenizer);
    const order = (logits: Float32Array, generated: readonly number[]) => {
      for (let v = 0; v < logits.length; v++) if (v !== generated.length) logits[v] = -Infinity;
    };
    for (const stop of [[], ['END'], ['é']]) {
      const pieces: string[] = [];
      const ends: (string | undefined)[] = [];
      const [[{ text }]] = await generate(spelling, [prompts[0]], {
        maxTokens: bytes.length,
        stopIds: [],
        stop,
        rng: rng(1),
        mask: order,
        onToken: ({ text: piece, finish }) => {
          pieces.push(piece);
          ends.push(finish);
        },
      });
      expect(pieces.join('')).toBe(text);
      expect(text).toBe(stop.length === 0 ? 'a€b é END' : 'a€b é END'.slice(0, 'a€b é END'.indexOf(stop[0])));
      expect(pieces.slice(0, 5)).toEqual(['a', '', '', '€', 'b']);
      expect(pieces.every((piece) => !piece.includes('\ufffd') && !piece.includes('END'))).toBe(true);
      expect(ends.filter(Boolean).length).toBe(1);
    }
  });

  it('drops the beginning of a prompt that is too long, where it is asked to', async () => {
    const short = tinyDecoder({ contextLength: 12 });
    const long = Int32Array.from({ length: 30 }, (_, t) => (t * 7) % 23);
    const options = { maxTokens: 5, stopIds: [], rng: rng(1) };
    const [cut] = await generate(short, [long], { ...options, longPrompts: 'left' });
    expect(cut).toEqual((await generate(short, [long.slice(-7)], options))[0]);
    await expect(generate(short, [long], options)).rejects.toThrow(/longPrompts: 'left'/);
  });

  it('keeps the best of several by a reward', async () => {
    const model = {
      ...asLanguageModel(decoder),
      generate: (texts: readonly unknown[], o: Sampling) =>
        generate(
          decoder,
          texts.map(() => prompts[1]),
          { ...o, stopIds: [] },
        ),
    };
    const reward: RewardFunction = {
      name: 'first',
      score: async (batch) => ({
        scores: Float32Array.from(batch, ({ completion }) => (completion as string).charCodeAt(0)),
        abstained: Uint8Array.from(batch, ({ completion }) => ((completion as string).charCodeAt(0) > 50 ? 1 : 0)),
      }),
    };
    const [best] = await bestOf(model, ['x'], { reward, n: 8, maxTokens: 2, rng: rng(1) });
    expect(best.samples.length).toBe(8);
    const counted = best.samples.map(({ score }) => score).filter((score) => !Number.isNaN(score));
    expect(best.score).toBe(Math.max(...counted));
    expect(best.text.charCodeAt(0)).toBe(best.score);
  });
});
