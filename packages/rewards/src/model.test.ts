import { rng } from '@plumbline/core';
import { type Candidate, encodePairs } from '@plumbline/data';
import { byteTokenizer, rewardFunctionContract } from '@plumbline/data/contract';
import { createDecoder, createScorer, decoderSpec } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { implicitReward, modelReward, rewardAccuracy, scoreMoments } from './model.js';

const tokenizer = byteTokenizer();
const decoder = (seed: number) =>
  createDecoder(
    decoderSpec({
      vocabSize: 258,
      width: 16,
      layers: 1,
      heads: 2,
      kvHeads: 2,
      headDim: 8,
      mlpWidth: 24,
      contextLength: 24,
      ropeTheta: 10_000,
      rmsNormEps: 1e-5,
      tiedEmbeddings: true,
      initializerRange: 0.2,
    }),
    { tokenizer, rng: rng(seed) },
  );
const scorer = createScorer(decoder(1), { pooling: 'mean', rng: rng(2) });
const ctx = { rng: rng(1) };
const candidates: Candidate[] = ['one', 'two and more', '', 'x', 'far too long for a context of 24 tokens'].map((completion) => ({
  prompt: 'go ',
  completion,
}));

describe('modelReward', () => {
  for (const { name, run } of rewardFunctionContract(() => modelReward(scorer, { batchTokens: 12 }), { candidates })) it(name, run);
  it('abstains on what is empty or too long, and on nothing else', async () => {
    const { scores, abstained } = await modelReward(scorer).score(candidates, ctx);
    expect([...abstained!]).toEqual([0, 0, 1, 0, 1]);
    expect(new Set(scores).size).toBe(4);
  });
  it('scores the same however many tokens go together', async () => {
    const one = await modelReward(scorer, { batchTokens: 1 }).score(candidates, ctx);
    const all = await modelReward(scorer).score(candidates, ctx);
    one.scores.forEach((score, i) => {
      expect(score).toBeCloseTo(all.scores[i], 5);
    });
  });
  it('standardises scores and keeps the raw ones', async () => {
    const raw = (await modelReward(scorer).score(candidates.slice(0, 2), ctx)).scores;
    const moments = scoreMoments(raw);
    const { scores, components } = await modelReward(scorer, { standardise: moments }).score(candidates.slice(0, 2), ctx);
    expect(scores[0] + scores[1]).toBeCloseTo(0, 5);
    expect(Math.abs(scores[0])).toBeCloseTo(Math.SQRT1_2, 5); // two scores, sd with n - 1
    expect(components!.raw).toEqual(raw);
    expect(() => modelReward(scorer, { standardise: { mean: 0, sd: 0 } })).toThrow(/an sd above 0.*did all scores agree/);
    expect(() => scoreMoments([1])).toThrow(/needs at least 2 scores, got 1/);
  });
  it('leaves no tensor behind, and stops where it is asked to', async () => {
    await modelReward(scorer).score(candidates, ctx);
    const before = tf.memory().numTensors;
    await modelReward(scorer).score(candidates, ctx);
    expect(tf.memory().numTensors).toBe(before);
    await expect(modelReward(scorer).score(candidates, { ...ctx, signal: AbortSignal.abort() })).rejects.toThrow(/abort/);
  });
});

describe('implicitReward', () => {
  const [policy, reference] = [decoder(3), decoder(4)];
  for (const { name, run } of rewardFunctionContract(() => implicitReward(policy, reference, 0.1), { candidates })) it(name, run);
  it('is exactly 0 for a policy that is its reference', async () => {
    const { scores } = await implicitReward(policy, policy.snapshot(), 0.1).score(candidates, ctx);
    expect([...scores].every((score) => score === 0)).toBe(true);
  });
  it('turns its sign where policy and reference change places, and is linear in beta', async () => {
    const there = await implicitReward(policy, reference, 0.1).score(candidates, ctx);
    const back = await implicitReward(reference, policy, 1).score(candidates, ctx);
    there.scores.forEach((score, i) => {
      expect(score).toBeCloseTo(-0.1 * back.scores[i], 4);
    });
    expect(Math.abs(there.scores[0])).toBeGreaterThan(0.01);
    expect(() => implicitReward(policy, reference, 0)).toThrow(/beta must be > 0, got 0/);
  });
});

describe('rewardAccuracy', () => {
  it('is the share of pairs whose chosen side scores higher, a tie counting as wrong', async () => {
    const { scores } = await modelReward(scorer).score(candidates.slice(0, 2), ctx);
    const [better, worse] = scores[0] > scores[1] ? ['one', 'two and more'] : ['two and more', 'one'];
    const pair = (chosen: string, rejected: string) => ({ prompt: 'go ', chosen, rejected });
    const { pairs } = encodePairs(tokenizer, [pair(better, worse), pair(worse, better), pair('one', 'one'), pair(better, worse)]);
    const { accuracy, margin, margins } = await rewardAccuracy(scorer, pairs);
    const gap = Math.abs(scores[0] - scores[1]);
    expect(accuracy).toBe(0.5);
    expect(margin).toBeCloseTo(gap / 4, 5);
    expect(margins[1]).toBeCloseTo(-gap, 5);
    await expect(rewardAccuracy(scorer, [])).rejects.toThrow(/there are no pairs/);
  });
});
