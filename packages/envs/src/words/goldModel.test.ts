import { rng } from '@plumbline/core';
import { createScorer } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, describe, expect, it } from 'vitest';
import { wordsBed } from './bed.js';
import { goldModel } from './goldModel.js';
import { guardedSentiment, guardOf, wordsGuard } from './sentiment.js';
import { untrainedDecoder } from './testing.js';

const base = untrainedDecoder();
const larger = untrainedDecoder(5);
const scorer = createScorer(larger, { pooling: 'mean', rng: rng(0) });
afterAll(() => {
  for (const model of [base, larger, scorer]) model.dispose();
});
const batch = [' She was happy.', ' The dog ran home and it was dark.', ' No.'].map((completion) => ({
  prompt: 'Anna lost her hat.',
  completion,
}));

describe('goldModel', () => {
  it('gives each candidate a score that does not depend on its neighbours', async () => {
    const gold = goldModel(scorer);
    const { scores } = await gold.score(batch, { rng: rng(0) });
    const alone = await Promise.all(batch.map(async (one) => (await gold.score([one], { rng: rng(0) })).scores[0]));
    const small = (await goldModel(scorer, { batchTokens: 1 }).score(batch, { rng: rng(0) })).scores;
    expect(new Set(scores).size).toBe(3);
    scores.forEach((score, i) => {
      expect(alone[i]).toBeCloseTo(score, 5);
      expect(small[i]).toBeCloseTo(score, 5);
    });
  });

  it('reports guarded sentiment and its parts beside the score, where it has a base', async () => {
    const { components } = await goldModel(scorer, { base }).score(batch, { rng: rng(0) });
    const beside = await guardedSentiment({ base }).score(batch, { rng: rng(0) });
    expect(components!.guarded).toEqual(beside.scores);
    expect(Object.keys(components!).sort()).toEqual(['fluent', 'guarded', 'nll', 'raw', 'repetition']);
  });

  it('names a candidate that is too long, and leaves no tensor behind', async () => {
    const before = tf.memory().numTensors;
    await goldModel(scorer, { base }).score(batch, { rng: rng(0) });
    expect(tf.memory().numTensors).toBe(before);
    await expect(goldModel(scorer).score([{ prompt: 'a', completion: ' b c d'.repeat(60) }], { rng: rng(0) })).rejects.toThrow(
      /tokens; .* reads 64/,
    );
  });

  it('can be the gold of a bed', async () => {
    const bed = await wordsBed({ seed: 0, base, gold: goldModel(scorer, { base }) });
    const { goldReward, rawSentiment } = await bed.evaluate(base, {
      prompts: bed.heldOutPrompts.slice(0, 2),
      samplesPerPrompt: 2,
      rng: rng(1),
    });
    expect([...goldReward, ...rawSentiment].every(Number.isFinite)).toBe(true);
    bed.dispose();
  });
});

describe('guardOf', () => {
  it('is that of words-1m for a base that nobody measured', () => {
    expect(guardOf({ name: 'words-1m' })).toEqual(wordsGuard);
    expect(guardOf({ name: 'mine' })).toEqual(wordsGuard);
    expect(guardOf({ name: 'words-6m' }).maxNll).toBeLessThan(wordsGuard.maxNll);
  });
});
