import { readCopy, rng } from '@plumbline/core';
import { joinSequence, packSequences } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { generate } from './generation/generate.js';
import { analyticKl, asLanguageModel, completionLogpsOf, sampleKl } from './languageModel.js';
import { tinyDecoder } from './testing/tinyDecoder.js';

const sequence = (prompt: number[], completion: number[]) => joinSequence(Int32Array.from(prompt), Int32Array.from(completion));

describe('completionLogpsOf', () => {
  it('gives each completion its own tokens, however they are batched', async () => {
    const decoder = tinyDecoder();
    const sequences = [sequence([1, 2], [3]), sequence([4], [5, 6, 7]), sequence([8, 9, 10], [11, 12])];
    const whole = await completionLogpsOf(decoder, sequences);
    expect(whole.map(({ length }) => length)).toEqual([1, 3, 2]);
    const small = await completionLogpsOf(decoder, sequences, { batchTokens: 4 });
    small.forEach((logps, i) => void logps.forEach((logp, t) => void expect(logp).toBeCloseTo(whole[i][t], 5)));
    const { tokens } = decoder.completionLogps(packSequences(sequences.map((s, row) => ({ ...s, row }))));
    expect(whole.flatMap((logps) => [...logps])).toEqual([...(await readCopy(tokens))]);
  });
});

describe('sampleKl', () => {
  it('is 0 against itself, and near the sum over all tokens of p·log(p/q) for one token', async () => {
    const policy = tinyDecoder();
    const reference = tinyDecoder();
    const saved = await reference.parameters.save();
    saved.tensors['model.norm.weight'].data.fill(0.6);
    await reference.parameters.load(saved);
    const prompt = Int32Array.of(1, 2, 3);
    const [samples] = await generate(policy, [prompt], { n: 800, maxTokens: 1, stopIds: [], rng: rng(1) });
    const sequences = samples.map(({ tokens }) => joinSequence(prompt, tokens));
    expect((await sampleKl(policy, policy, sequences.slice(0, 5))).mean).toBe(0);
    const every = Array.from({ length: 23 }, (_, v) => joinSequence(prompt, Int32Array.of(v)));
    const [p, q] = [await completionLogpsOf(policy, every), await completionLogpsOf(reference, every)];
    const exact = p.reduce((sum, [logp], v) => sum + Math.exp(logp) * (logp - q[v][0]), 0);
    const { mean, perSequence, meanPerToken } = await sampleKl(policy, reference, sequences);
    const deviation = Math.sqrt(perSequence.reduce((sum, x) => sum + (x - mean) ** 2, 0) / 800);
    expect(Math.abs(mean - exact)).toBeLessThan((4 * deviation) / Math.sqrt(800));
    expect(exact).toBeGreaterThan(0.01);
    expect(meanPerToken).toBeCloseTo(mean, 6);
  });
});

describe('analyticKl', () => {
  /** Next-token distributions by position instead of a model. */
  const known = (...rows: number[][]) => ({
    hidden: () => tf.tensor2d(rows),
    logits: (hidden: tf.Tensor2D) => tf.log(hidden) as tf.Tensor2D,
  });

  it('sums the exact divergence of the next-token distributions over the completion', async () => {
    const [policy, reference] = [known([0.7, 0.2, 0.1], [0.1, 0.9, 1e-9], [1, 1, 1]), known([0.5, 0.3, 0.2], [0.4, 0.6, 1e-9], [1, 1, 1])];
    // .085123 and .226289, by hand
    expect((await analyticKl(policy, reference, [sequence([1], [2, 0])])).mean).toBeCloseTo(0.311412, 5);
    expect((await analyticKl(policy, reference, [sequence([1, 1], [2])])).mean).toBeCloseTo(0.226289, 5);
  });

  it('is exactly 0 against itself and for an empty completion, agrees with the sampled estimate, and leaves no tensor behind', async () => {
    const [policy, reference] = [tinyDecoder(), tinyDecoder()];
    const saved = await reference.parameters.save();
    saved.tensors['model.norm.weight'].data.fill(0.6);
    await reference.parameters.load(saved);
    const prompt = Int32Array.of(1, 2, 3);
    const [samples] = await generate(policy, [prompt], { n: 600, maxTokens: 3, stopIds: [], rng: rng(1) });
    const sequences = samples.map(({ tokens }) => joinSequence(prompt, tokens));
    expect((await analyticKl(policy, policy, sequences.slice(0, 5))).mean).toBe(0);
    expect([...(await analyticKl(policy, reference, [sequence([1, 2], [])])).perSequence]).toEqual([0]);
    const before = tf.memory().numTensors;
    const [exact, sampled] = [await analyticKl(policy, reference, sequences), await sampleKl(policy, reference, sequences)];
    expect(tf.memory().numTensors).toBe(before);
    const deviation = Math.sqrt(sampled.perSequence.reduce((sum, x) => sum + (x - sampled.mean) ** 2, 0) / 600);
    expect(Math.abs(sampled.mean - exact.mean)).toBeLessThan((4 * deviation) / Math.sqrt(600));
    expect(exact.mean).toBeGreaterThan(0.02);
  });
});

describe('asLanguageModel', () => {
  it('refuses to score after an empty prompt, whose first token would have no probability', async () => {
    await expect(asLanguageModel(tinyDecoder()).score([{ prompt: '', completion: '"#' }])).rejects.toThrow(/prompt 0 is empty/);
  });

  it('leaves no tensor behind', async () => {
    const model = asLanguageModel(tinyDecoder());
    const before = tf.memory().numTensors;
    await model.score([{ prompt: '"#', completion: '$%' }]);
    const [vector] = await model.embed(['"#$']);
    expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
    expect(tf.memory().numTensors).toBe(before);
  });
});
