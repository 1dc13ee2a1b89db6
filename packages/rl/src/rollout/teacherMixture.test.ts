import { readCopy, rng } from '@plumbline/core';
import { plainTokenizer, tinyDecoder } from '@plumbline/models/testing';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { miniLlmObjective } from '../distillationObjectives.js';
import { completionTokens, packSamples, type RolloutSample } from './generate.js';
import { teacherMixture } from './teacherMixture.js';

const models = { student: tinyDecoder({ seed: 1 }), teacher: tinyDecoder({ seed: 2 }) };
const packing = { temperature: 0.7, tokensPerMicroBatch: 10_000 };
const prompt = Int32Array.of(1, 4, 2);
const sampling = { share: 0.3, maxTokens: 5, temperature: 0.7, rng: rng(1) };
/** A completion of one token for each of the vocabulary. */
const everyToken: RolloutSample[] = Array.from({ length: 23 }, (_, token) => ({
  prompt,
  group: 0,
  tokens: Int32Array.of(token),
  text: '',
  samplingLogps: new Float32Array(1),
  finish: 'length',
}));
const probabilities = async (which: 'student' | 'teacher') =>
  (await completionTokens(models[which], everyToken, packing)).logps.map(([logp]) => Math.exp(logp));

describe('teacherMixture', () => {
  it('draws each token from share·T + (1 − share)·S, and says how likely it was', async () => {
    const prompts = [prompt, Int32Array.of(7), Int32Array.of(3, 3)];
    const samples = await teacherMixture(models, prompts, sampling);
    const [s, t] = [await completionTokens(models.student, samples, packing), await completionTokens(models.teacher, samples, packing)];
    samples.forEach(({ samplingLogps, tokens, finish, group }, i) => {
      expect([tokens.length, finish, group]).toEqual([5, 'length', i]);
      samplingLogps.forEach((logp, k) => {
        expect(logp).toBeCloseTo(Math.log(0.3 * Math.exp(t.logps[i][k]) + 0.7 * Math.exp(s.logps[i][k])), 4);
      });
    });
    const n = 2000;
    const first = await teacherMixture(models, Array<Int32Array>(n).fill(prompt), { ...sampling, maxTokens: 1 });
    const [own, given] = [await probabilities('student'), await probabilities('teacher')];
    for (let token = 0; token < 23; token++) {
      const p = 0.3 * given[token] + 0.7 * own[token];
      const share = first.filter(({ tokens }) => tokens[0] === token).length / n;
      expect(Math.abs(share - p)).toBeLessThan(5 * Math.sqrt((p * (1 - p)) / n));
    }
  });

  it('ends at the end token and at the context, and a sample does not depend on its neighbours', async () => {
    const tokenizer = plainTokenizer(23, { eosId: 5 });
    const pair = { student: tinyDecoder({ seed: 1, contextLength: 12 }, tokenizer), teacher: tinyDecoder({ seed: 2 }, tokenizer) };
    const prompts = Array.from({ length: 12 }, (_, i) => Int32Array.of(i, 2));
    const samples = await teacherMixture(pair, prompts, { ...sampling, maxTokens: 100 });
    expect(new Set(samples.map(({ finish }) => finish))).toEqual(new Set(['stop', 'length']));
    for (const { tokens, finish } of samples) {
      expect(tokens.length).toBeLessThanOrEqual(10);
      expect(tokens.at(-1) === 5).toBe(finish === 'stop');
      expect(tokens.subarray(0, -1)).not.toContain(5);
    }
    const [alone] = await teacherMixture(pair, prompts.slice(0, 1), { ...sampling, maxTokens: 100 });
    expect(alone.tokens).toEqual(samples[0].tokens);
    await expect(teacherMixture(pair, [new Int32Array(12)], sampling)).rejects.toThrow(
      'prompt 0 has 12 tokens, and a context of 12 leaves',
    );
    const [none] = await teacherMixture(pair, prompts, { ...sampling, signal: AbortSignal.abort() });
    expect(none).toMatchObject({ finish: 'aborted', text: '' });
  });
});

describe("the weights of the mixture's tokens", () => {
  it('make the mean over the mixture that over the student, exactly', async () => {
    const packed = packSamples(
      everyToken,
      everyToken.map((_, i) => i),
    );
    const losses = async (teacherMix: number) => {
      const objective = await miniLlmObjective(models, packed, {
        gamma: 1,
        lengthNormalized: true,
        klWeight: 1,
        teacherMix,
        temperature: 0.7,
      });
      const loss = objective.loss();
      objective.dispose();
      const values = (await readCopy(loss)) as Float32Array;
      loss.dispose();
      return values;
    };
    const [own, given] = [await probabilities('student'), await probabilities('teacher')];
    const before = tf.memory().numTensors;
    const [plain, mixed] = [await losses(0), await losses(0.3)];
    expect(tf.memory().numTensors).toBe(before);
    const sum = (values: Float32Array, p: (token: number) => number) => values.reduce((total, loss, token) => total + loss * p(token), 0);
    expect(sum(mixed, (token) => 0.3 * given[token] + 0.7 * own[token])).toBeCloseTo(
      sum(plain, (token) => own[token]),
      5,
    );
    expect(mixed).not.toEqual(plain);
  });
});
