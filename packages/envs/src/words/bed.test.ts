import { backendInfo, rng } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { completionTokens, distinctPairs, openings, promptTokens, type WordsBed, wordsBed } from './bed.js';
import { guardedSentiment } from './sentiment.js';
import { storyGenerator } from './stories.js';
import { untrainedDecoder } from './testing.js';
import { characterNames } from './vocabulary.js';

const base = untrainedDecoder();
let bed: WordsBed;
beforeAll(async () => {
  bed = await wordsBed({ seed: 0, base, gold: guardedSentiment({ base, maxNll: 8, maxRepetition: 0.5 }) });
});
afterAll(() => base.dispose());

describe('the openings', () => {
  it('are 3,000 to train on and 256 held out, and none is in both', () => {
    expect(bed.prompts).toHaveLength(3000);
    expect(bed.heldOutPrompts).toHaveLength(256);
    const training = new Set(bed.prompts);
    expect(training.size).toBe(3000);
    expect(new Set(bed.heldOutPrompts).size).toBe(256);
    expect(bed.heldOutPrompts.filter((prompt) => training.has(prompt))).toEqual([]);
  });

  it('have 16 tokens, name someone and end between two words', () => {
    for (const prompt of [...bed.heldOutPrompts, ...bed.prompts.slice(0, 200)]) {
      expect(base.tokenizer.encode(prompt)).toHaveLength(promptTokens);
      expect(characterNames.some((name) => prompt.includes(name))).toBe(true);
    }
    const story = storyGenerator(rng(0).fork('words bed')); // the bed's own stream: the held-out openings are its first
    const stories = Array.from({ length: 3000 }, (_, index) => story(index));
    for (const prompt of bed.heldOutPrompts)
      expect(
        stories.some((text) => text.startsWith(prompt) && !/\p{L}/u.test(text[prompt.length])),
        prompt,
      ).toBe(true);
  });

  it('are decided by the seed', async () => {
    const again = await wordsBed({ seed: 0, base });
    const other = await wordsBed({ seed: 1, base });
    expect(again.heldOutPrompts).toEqual(bed.heldOutPrompts);
    expect(other.heldOutPrompts).not.toEqual(bed.heldOutPrompts);
  });

  it('say so where the tokenizer leaves too few', () => {
    const garbling = { ...base.tokenizer, decode: () => '?' };
    expect(() => openings({ tokenizer: garbling }, rng(0), 20)).toThrow(
      /20 different openings were asked for, but the tokenizer leaves only 0/,
    );
  });
});

describe('sampleGroups', () => {
  it('gives n completions a prompt with their gold scores, the same for the same seed', async () => {
    const prompts = bed.prompts.slice(0, 3);
    const seen: number[] = [];
    const groups = await bed.sampleGroups({ prompts, n: 2, rng: rng(5), onProgress: ({ done, total }) => seen.push(done / total) });
    expect(groups.map(({ prompt }) => prompt)).toEqual(prompts);
    for (const { completions, samples, scores, components } of groups) {
      expect([completions.length, samples.length, scores.length, components.nll.length]).toEqual([2, 2, 2, 2]);
      for (const { tokens, finish } of samples) expect(finish === 'stop' || tokens.length === completionTokens).toBe(true);
    }
    expect(seen.at(-1)).toBe(1);
    const again = await bed.sampleGroups({ prompts, n: 2, rng: rng(5) });
    expect(again.map(({ completions }) => completions)).toEqual(groups.map(({ completions }) => completions));
    const other = await bed.sampleGroups({ prompts, n: 2, rng: rng(6) });
    expect(other.map(({ completions }) => completions)).not.toEqual(groups.map(({ completions }) => completions));
  });

  it('stops where it is asked to', async () => {
    const stop = new AbortController();
    stop.abort();
    await expect(bed.sampleGroups({ prompts: bed.prompts.slice(0, 2), n: 2, rng: rng(5), signal: stop.signal })).rejects.toThrow();
  });
});

describe('evaluate', () => {
  it('finds no KL between the base and itself, nor its copy', async () => {
    const policy = bed.policy();
    const prompts = bed.heldOutPrompts.slice(0, 3);
    const own = await bed.evaluate(base, { prompts, samplesPerPrompt: 2, rng: rng(1) });
    const copy = await bed.evaluate(policy, { prompts, samplesPerPrompt: 2, rng: rng(1) });
    expect([...own.kl]).toEqual([0, 0, 0]);
    expect([...copy.kl]).toEqual([0, 0, 0]);
    expect([...copy.goldReward]).toEqual([...own.goldReward]);
    expect(own.learnedReward).toBeUndefined();
    policy.dispose();
  });

  it('measures another policy: KL above 0 on average, means a prompt, a learned reward where one is given', async () => {
    const policy = untrainedDecoder(9);
    const prompts = bed.heldOutPrompts.slice(0, 4);
    const lengths = {
      name: 'length',
      score: async (batch: readonly { completion: unknown }[]) => ({
        scores: Float32Array.from(batch, ({ completion }) => String(completion).length),
      }),
    };
    const measured = await bed.evaluate(policy, { prompts, samplesPerPrompt: 2, rng: rng(1), reward: lengths });
    expect(measured.kl.reduce((a, b) => a + b, 0)).toBeGreaterThan(0);
    expect(measured.samples).toHaveLength(4);
    measured.learnedReward!.forEach((value, i) => {
      const [first, second] = measured.samples[i].completions;
      expect(value).toBeCloseTo((first.length + second.length) / 2, 5);
    });
    expect(measured.distinct2).toBeGreaterThan(0.5);
    for (const name of ['goldReward', 'rawSentiment', 'fluent', 'repetition', 'length', 'nll'] as const) {
      expect(measured[name]).toHaveLength(4);
      expect(measured[name].every(Number.isFinite)).toBe(true);
    }
    policy.dispose();
  });

  it('shows the policy what it asks for, and gold and base the prompt itself', async () => {
    const prompts = bed.heldOutPrompts.slice(0, 3);
    const ask = (prompt: string) => `score: 10\n${prompt}`;
    const asked = await bed.evaluate(base, { prompts, samplesPerPrompt: 2, rng: rng(1), ask });
    const plain = await bed.evaluate(base, { prompts, samplesPerPrompt: 2, rng: rng(1) });
    expect(asked.prompts).toEqual(prompts);
    expect(asked.samples).not.toEqual(plain.samples);
    const copy = bed.policy();
    const measured = await bed.evaluate(copy, { prompts, samplesPerPrompt: 2, rng: rng(1), ask });
    expect(measured.samples).toEqual(asked.samples);
    expect(measured.kl.some((kl) => kl !== 0)).toBe(true); // the base does not see the goal
    copy.dispose();
  });

  it('leaves no tensor behind', async () => {
    const before = tf.memory().numTensors;
    await bed.evaluate(base, { prompts: bed.heldOutPrompts.slice(0, 2), samplesPerPrompt: 2, rng: rng(1) });
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('distinctPairs', () => {
  it('is the share of different word pairs of all texts together', () => {
    expect(distinctPairs(['a b a b', 'a b'])).toBeCloseTo(2 / 4);
    expect(distinctPairs([''])).toBe(0);
  });
});

// A million parameters are too many for the plain cpu backend.
describe.skipIf(backendInfo().name === 'cpu')('the bed on zoo:words-1m', () => {
  it('has samples that differ in gold, of which about one in twenty fails the guard', async () => {
    const words = await wordsBed({ seed: 0 });
    const groups = await words.sampleGroups({ prompts: words.heldOutPrompts.slice(0, 96), n: 4, rng: rng(2) });
    const all = (name: string) => groups.flatMap(({ components }) => [...components[name]]);
    const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    const gold = groups.flatMap(({ scores }) => [...scores]);
    expect(mean(all('fluent'))).toBeGreaterThan(0.91);
    expect(mean(all('fluent'))).toBeLessThan(0.985);
    expect(Math.abs(mean(gold))).toBeLessThan(0.2);
    expect(Math.sqrt(mean(gold.map((score) => (score - mean(gold)) ** 2)))).toBeGreaterThan(0.6);
    expect(mean(groups.map(({ scores }) => Math.max(...scores)))).toBeGreaterThan(0.6);
    expect(mean(all('repetition'))).toBeLessThan(0.01);
    words.base.dispose();
  });
});
