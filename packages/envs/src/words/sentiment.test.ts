import { rng } from '@plumbline/core';
import { rewardFunctionContract } from '@plumbline/data/contract';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, describe, expect, it } from 'vitest';
import { guardedSentiment, heroConsistency, repeatedTrigrams, sentiment } from './sentiment.js';
import { untrainedDecoder } from './testing.js';

const base = untrainedDecoder();
afterAll(() => base.dispose());
const context = () => ({ rng: rng(0) });
const happy = { prompt: 'Once there was a girl named Anna.', completion: ' Anna was happy and laughed.' };
const sad = { prompt: 'Once there was a girl named Anna.', completion: ' Anna was sad and cried.' };
const loop = { prompt: 'Once there was a girl named Anna.', completion: ' It was a happy day. It was a happy day. It was a happy day.' };
const empty = { prompt: 'Once there was a girl named Anna.', completion: '' };
/** What an untrained model of 1,000 tokens finds in any text: about ln 1000 nats a token. */
const lenient = { base, maxNll: 8, maxRepetition: 0.3 };

describe('sentiment', () => {
  it("is VADER's compound: the examples of its paper", () => {
    expect(sentiment('VADER is smart, handsome, and funny.')).toBeCloseTo(0.8316, 4);
    expect(sentiment('VADER is not smart, handsome, nor funny.')).toBeCloseTo(-0.7424, 4);
    expect(sentiment('The book was good.')).toBeCloseTo(0.4404, 4);
    expect(sentiment('')).toBe(0);
  });
});

describe('repeatedTrigrams', () => {
  it('counts the 3-grams that came before', () => {
    expect(repeatedTrigrams('one two three four')).toBe(0);
    expect(repeatedTrigrams('of the United States, of the United States')).toBeCloseTo(2 / 6); // 6 in all; "of the united" and "the united states" come twice
    expect(repeatedTrigrams('ha ha ha ha ha')).toBeCloseTo(2 / 3);
    expect(repeatedTrigrams('a b')).toBe(0);
  });
});

describe('guardedSentiment', () => {
  it('is the sentiment of the completion where the guard is passed', async () => {
    const { scores, components } = await guardedSentiment(lenient).score([happy, sad], context());
    expect(scores[0]).toBeCloseTo(sentiment(happy.completion), 6);
    expect(scores[1]).toBeCloseTo(sentiment(sad.completion), 6);
    expect(scores[0]).toBeGreaterThan(0.5);
    expect(scores[1]).toBeLessThan(-0.5);
    expect([...components!.fluent]).toEqual([1, 1]);
    expect(components!.nll[0]).toBeGreaterThan(6.5);
    expect(components!.nll[0]).toBeLessThan(7.5);
  });

  it('is -1 for a loop, however happy, and for an empty completion', async () => {
    const { scores, components } = await guardedSentiment(lenient).score([loop, empty, happy], context());
    expect([...scores.subarray(0, 2)]).toEqual([-1, -1]);
    expect(components!.raw[0]).toBeGreaterThan(0.8);
    expect(components!.repetition[0]).toBeGreaterThan(0.3);
    expect([...components!.fluent]).toEqual([0, 0, 1]);
  });

  it('is -1 where the base finds the text unlikely', async () => {
    const { scores, components } = await guardedSentiment({ ...lenient, maxNll: 2 }).score([happy], context());
    expect([...scores]).toEqual([-1]);
    expect(components!.raw[0]).toBeGreaterThan(0.5);
  });

  it('does not depend on how rows are packed together', async () => {
    const rows = [happy, sad, loop, happy, sad];
    const together = await guardedSentiment(lenient).score(rows, context());
    const apart = await guardedSentiment({ ...lenient, batchTokens: 1 }).score(rows, context());
    together.components!.nll.forEach((nll, i) => {
      expect(nll).toBeCloseTo(apart.components!.nll[i], 4);
    });
  });

  it('says which row does not fit the context', async () => {
    const long = { prompt: 'Once', completion: ' upon a time'.repeat(40) };
    await expect(guardedSentiment(lenient).score([happy, long], context())).rejects.toThrow(
      /row 1 has \d+ tokens, but tiny reads at most 64/,
    );
  });

  it('leaves no tensor behind', async () => {
    const before = tf.memory().numTensors;
    await guardedSentiment(lenient).score([happy, sad, empty], context());
    expect(tf.memory().numTensors).toBe(before);
  });

  for (const { name, run } of rewardFunctionContract(() => guardedSentiment(lenient), { candidates: [happy, sad, loop, empty] }))
    it(`keeps the contract: ${name}`, run);
});

describe('heroConsistency', () => {
  it('is the share of names that the prompt had', async () => {
    const prompt = 'Tom and his sister went to the lake.';
    const rows = [' Tom was happy.', ' Max was happy.', ' Tom met Max. Tom left.', ' He was happy.'].map((completion) => ({
      prompt,
      completion,
    }));
    expect([...(await heroConsistency().score(rows, context())).scores]).toEqual([1, 0, 0.5, 0]);
    expect([...(await heroConsistency({ ...lenient, maxNll: 2 }).score(rows, context())).scores]).toEqual([0, 0, 0, 0]);
  });

  for (const { name, run } of rewardFunctionContract(() => heroConsistency(), { candidates: [happy, sad, loop, empty] }))
    it(`keeps the contract: ${name}`, run);
});
