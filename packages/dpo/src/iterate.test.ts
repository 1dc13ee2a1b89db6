import { memoryRun, rng } from '@plumbline/core';
import { encodePairs, makePairs, pairBatches, type ScoredGroup } from '@plumbline/data';
import { generate } from '@plumbline/models';
import { tinyDecoder } from '@plumbline/models/testing';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { type IteratePreferences, iteratePreferences } from './iterate.js';
import { dpo } from './losses/dpo.js';
import { trainPairs } from './trainPairs.js';

const prompts = Array.from({ length: 8 }, (_, i) => String.fromCodePoint(33 + i, 34 + i));
/** Share of even ids. */
const score = (text: string) =>
  Array.from(text, (c) => ((c.codePointAt(0)! - 33) % 2 === 0 ? 1 : 0)).reduce<number>((a, b) => a + b, 0) / Math.max(1, text.length);

function rounds(over: Partial<IteratePreferences> = {}): IteratePreferences {
  const policy = tinyDecoder();
  return {
    policy,
    iterations: 3,
    reference: 'previous',
    sample: async (decoder, iteration) => {
      const ids = prompts.map((prompt) => decoder.tokenizer.encode(prompt));
      const samples = await generate(decoder, ids, { n: 6, maxTokens: 5, rng: rng(1).fork(iteration) });
      return prompts.map((prompt, i) => ({ prompt, completions: samples[i].map(({ text }) => text) }));
    },
    annotate: async (groups) => groups.map((group) => ({ ...group, scores: group.completions.map((text) => score(text as string)) })),
    pair: (groups, iteration) => makePairs(groups as ScoredGroup[], 'bestWorst', rng(2).fork(iteration), { minGap: 0.1 }),
    train: async ({ policy: trained, reference, records, iteration }) => {
      const { pairs } = encodePairs(trained.tokenizer, records);
      const batches = pairBatches(pairs, { pairsPerStep: 8, steps: 10, rng: rng(3).fork(iteration) });
      await trainPairs(
        { steps: 10, learningRate: 3e-3 },
        { policy: trained, reference, batches, loss: dpo, run: memoryRun({ seed: iteration }) },
      );
    },
    ...over,
  };
}

describe('iteratePreferences', () => {
  it('raises the score of what the policy writes, round by round', async () => {
    const done = await iteratePreferences(rounds());
    expect(done.map(({ iteration }) => iteration)).toEqual([0, 1, 2]);
    expect(done[2].meanScore).toBeGreaterThan(done[0].meanScore + 0.15);
  });

  it('compares with the initial or the previous model, and replays earlier pairs', async () => {
    const counts: number[] = [];
    const references = new Set<unknown>();
    const train: IteratePreferences['train'] = async ({ reference, records }) => {
      references.add(reference);
      counts.push(records.length);
    };
    const done = await iteratePreferences(rounds({ train, reference: 'initial', replay: 1 }));
    expect(references.size).toBe(1);
    expect(counts).toEqual([done[0].pairs, done[0].pairs + done[1].pairs, done[1].pairs + done[2].pairs]);
    references.clear();
    await iteratePreferences(rounds({ train }));
    expect(references.size).toBe(3);
  });

  it('says so where there is nothing to compare, and leaves no tensor behind', async () => {
    const options = rounds({ pair: () => [] });
    const before = tf.memory().numTensors;
    await expect(iteratePreferences(options)).rejects.toThrow('iteration 0 makes no pairs');
    expect(tf.memory().numTensors).toBe(before);
    await expect(iteratePreferences(rounds({ iterations: 0 }))).rejects.toThrow('iterations must be a whole number above 0, got 0');
  });
});
