import { memoryRun, readCopy, rng } from '@plumbline/core';
import { type Batches, type EncodedPair, type PairBatch, type PairwiseJudge, promptBatches } from '@plumbline/data';
import type { LocalDecoder } from '@plumbline/models';
import { tinyDecoder } from '@plumbline/models/testing';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { policyClassifier } from '../diagnostics/policyClassifier.js';
import { pairLosses } from '../losses/index.js';
import { ipo } from '../losses/ipo.js';
import { withOptions } from '../losses/modifiers.js';
import { separablePairs } from '../testing/encoded.js';
import { trainPairs } from '../trainPairs.js';
import { onlinePairs } from './onlinePairs.js';
import { roundPairs } from './roundPairs.js';
import { readStream, recordStream, replayStream, writeStream } from './stream.js';

const [steps, pairsPerStep] = [4, 4];
const prompts = ['"#', '$%&', "'(", '*', '+,-', './'];
/** Prefers the text with more even ids. */
const judge = (probability?: number): PairwiseJudge => ({
  name: 'even',
  compare: async (batch) =>
    batch.map(({ a, b }) => {
      const even = (text: unknown) => [...String(text)].filter((c) => (c.codePointAt(0)! - 33) % 2 === 0).length;
      const probA = probability ?? 1 / (1 + Math.exp(even(b) - even(a)));
      return { winner: probA > 0.5 ? 'a' : probA < 0.5 ? 'b' : 'tie', probA, parsed: true };
    }),
});
const source = (policy: LocalDecoder, { preference = judge(), temperature = 1, maxTokens = 5 } = {}) =>
  onlinePairs({
    policy,
    prompts: promptBatches(prompts, { promptsPerStep: pairsPerStep, steps, rng: rng(5) }),
    preference,
    maxTokens,
    temperature,
    rng: rng(6),
  });
async function train(policy: LocalDecoder, batches: Batches<PairBatch>) {
  const settings = { steps, pairsPerStep, pairsPerMicroBatch: pairsPerStep, learningRate: 3e-3 };
  const reference = tinyDecoder();
  await trainPairs(settings, {
    policy,
    reference,
    batches,
    loss: withOptions(ipo, { lengthNormalize: false }),
    run: memoryRun({ seed: 3 }),
  });
  reference.dispose();
  return Promise.all(policy.parameters.trainable().map(async ({ value }) => Array.from(await readCopy(value))));
}
async function recorded() {
  const policy = tinyDecoder();
  const batches = recordStream(source(policy), 'tiny');
  const weights = await train(policy, batches);
  policy.dispose();
  return { weights, stream: batches.stream };
}

describe('roundPairs', () => {
  const records = prompts.map((prompt, i) => ({ id: String(i), prompt, meta: { wanted: i } }));
  const even = (text: unknown) => [...String(text)].filter((c) => (c.codePointAt(0)! - 33) % 2 === 0).length;
  const seen: { round: number; meanScore: number }[] = [];
  const rounds = (policy: LocalDecoder, more: Partial<Parameters<typeof roundPairs>[0]> = {}) =>
    roundPairs({
      policy,
      prompts: records,
      score: async (groups) => groups.map((group) => group.map(({ completion }) => even(completion))),
      pairsPerStep: 3,
      steps: 6,
      stepsPerRound: 2,
      samplesPerPrompt: 4,
      maxTokens: 6,
      rng: rng(6),
      onRound: (round, { meanScore }) => void seen.push({ round, meanScore }),
      ...more,
    });
  const go = async (kept?: Map<number, readonly EncodedPair[]>, stopAt?: number) => {
    const policy = tinyDecoder();
    const run = memoryRun({ seed: 3, saveEvery: 1 });
    const store = kept && {
      kept: {
        read: async (round: number) => kept.get(round),
        write: async (round: number, pairs: readonly EncodedPair[]) => void kept.set(round, pairs),
      },
    };
    const settings = { steps: 6, pairsPerStep: 3, pairsPerMicroBatch: 3, learningRate: 1e-2, referenceSync: { every: 2, mixup: 1 } };
    const train = (trained: LocalDecoder, steps = 6) =>
      trainPairs(
        { ...settings, steps },
        { policy: trained, reference: tinyDecoder(), batches: rounds(trained, store), loss: pairLosses.dpo, run },
      );
    if (stopAt === undefined) await train(policy);
    else {
      await train(tinyDecoder(), stopAt);
      await train(policy);
    }
    return Promise.all(policy.parameters.trainable().map(async ({ value }) => Array.from(await readCopy(value))));
  };

  it('pairs the best of each prompt with the worst, with their scores, and learns what scores high', async () => {
    const pairs: EncodedPair[] = [];
    const batches = rounds(tinyDecoder(), { kept: { read: async () => undefined, write: async (_, made) => void pairs.push(...made) } });
    expect((await batches.at(0)).pairs).toBe(3);
    await batches.at(1); // of the same round: nothing is sampled
    expect(pairs.length).toBeGreaterThan(3);
    for (const { chosen, rejected, scores } of pairs) {
      expect(scores!.chosen).toBeGreaterThan(scores!.rejected);
      expect(chosen).not.toEqual(rejected);
    }
    seen.length = 0;
    await go();
    expect(seen.map(({ round }) => round)).toEqual([0, 1, 2]);
    expect(seen[2].meanScore).toBeGreaterThan(seen[0].meanScore);
  });

  it('goes on in the middle of a round with the pairs that it began with, to the same weights', async () => {
    const whole = await go(new Map());
    expect(await go(new Map(), 3)).toEqual(whole);
  });

  it('says so where samples score alike, and leaves out what cannot be scored', async () => {
    const flat = rounds(tinyDecoder(), { score: async (groups) => groups.map((group) => group.map(() => 1)) });
    await expect(flat.at(0)).rejects.toThrow(/round 0 makes 0 pairs of 6 prompts.*score alike; raise samplesPerPrompt \(4\)/);
    const none = rounds(tinyDecoder(), { score: async (groups) => groups.map((group) => group.map((_, i) => (i === 0 ? 1 : Number.NaN))) });
    await expect(none.at(0)).rejects.toThrow(/makes 0 pairs/);
  });
});

describe('onlinePairs', () => {
  it('shows the judge what is known of a prompt, and stops where the judge says nothing that can be read', async () => {
    const asked: unknown[] = [];
    const mute: PairwiseJudge = {
      name: 'mute',
      compare: async (batch) => {
        asked.push(...batch.map(({ meta }) => meta));
        return batch.map(() => ({ winner: 'tie', probA: 0.5, parsed: false }));
      },
    };
    const records = prompts.map((prompt, i) => ({ id: String(i), prompt, meta: { answer: prompt } }));
    const batches = onlinePairs({
      policy: tinyDecoder(),
      prompts: promptBatches(records, { promptsPerStep: 2, steps: 1, rng: rng(5) }),
      preference: mute,
      maxTokens: 5,
      rng: rng(6),
    });
    await expect(batches.at(0)).rejects.toThrow('mute answered nothing that can be read on any of the 2 pairs of step 0');
    expect(asked).toEqual([{ answer: expect.any(String) }, { answer: expect.any(String) }]);
  });

  it('tells a batch how many of its pairs count for nothing', async () => {
    const { dropped, pairs } = await source(tinyDecoder(), { preference: judge(0.5) }).at(0);
    expect(dropped!.identical + dropped!.ties).toBe(pairs);
  });

  it('labels two samples of the policy as it is at that step', async () => {
    const { stream } = await recorded();
    const even = (ids: Int32Array) => ids.filter((id) => id % 2 === 0).length;
    const pairs = stream.steps.flat();
    expect(pairs).toHaveLength(steps * pairsPerStep);
    for (const { chosen, rejected } of pairs) expect(even(chosen)).toBeGreaterThanOrEqual(even(rejected));
    const start = await source(tinyDecoder()).pairsAt(2);
    expect(start.map(({ prompt }) => prompt)).toEqual(stream.steps[2].map(({ prompt }) => prompt));
    expect(start).not.toEqual(stream.steps[2]); // the policy had moved
    expect(await source(tinyDecoder()).pairsAt(0)).toEqual(stream.steps[0]);
  });

  it('keeps identical samples and ties in the step with weight 0, and counts them', async () => {
    const always = source(tinyDecoder(), { preference: judge(0.5) });
    const pairs = await always.pairsAt(0);
    expect(pairs.map(({ weight }) => weight)).toEqual([0, 0, 0, 0]);
    expect(always.counts.ties + always.counts.identical).toBe(4);
    expect(always.counts.pairs).toBe(4);
  });

  it('says to raise the temperature where most samples are the same, and names the pair of a broken judge', async () => {
    await expect(source(tinyDecoder(), { temperature: 1e-4 }).at(0)).rejects.toThrow(
      /4 of 4 pairs of step 0 are the same text twice.*higher temperature/,
    );
    await expect(source(tinyDecoder(), { preference: judge(1.5) }).at(0)).rejects.toThrow('step 0, pair 0: even says 1.5');
  });
});

describe('a recorded stream', () => {
  it('repeats the online run bit for bit when replayed in order, also through its file; a window of 1 is exact', async () => {
    const { weights, stream } = await recorded();
    const again = readStream(writeStream(stream));
    expect(again).toEqual(stream);
    expect(await train(tinyDecoder(), replayStream(again, { order: 'exact', rng: rng(9) }))).toEqual(weights);
    expect(await train(tinyDecoder(), replayStream(stream, { order: { window: 1 }, rng: rng(9) }))).toEqual(weights);
    expect(await train(tinyDecoder(), replayStream(stream, { order: 'shuffled', rng: rng(9) }))).not.toEqual(weights);
  });

  it('keeps every pair when shuffled, within its window', async () => {
    const { stream } = await recorded();
    const idsOf = async (order: 'shuffled' | { window: number }) => {
      const batches = replayStream(stream, { order, rng: rng(9) });
      return (await Promise.all(Array.from({ length: steps }, (_, step) => batches.at(step)))).map(({ ids }) => ids);
    };
    const original = stream.steps.flat().map(({ id }) => id);
    const shuffled = (await idsOf('shuffled')).flat();
    expect(shuffled).not.toEqual(original);
    expect([...shuffled].sort()).toEqual([...original].sort());
    const halves = await idsOf({ window: 2 });
    expect(halves.slice(0, 2).flat().sort()).toEqual(original.slice(0, 8).sort());
  });

  it('refuses another tokenizer, steps that are missing, and a file that was cut', async () => {
    const { stream } = await recorded();
    expect(() => replayStream(stream, { order: 'exact', rng: rng(1), model: 'other' })).toThrow('written by tiny, and is read by other');
    const resumed = { ...stream, steps: stream.steps.map((pairs, step) => (step === 1 ? [] : pairs)) };
    expect(() => replayStream(resumed, { order: 'exact', rng: rng(1) })).toThrow('step 1 has 0 pairs, and step 0 has 4');
    const text = writeStream(stream);
    expect(() => readStream(text.split('\n').slice(0, 3).join('\n'))).toThrow('2 steps, but the header says 4');
    expect(() => readStream(text.slice(0, -20))).toThrow('line 5 is not JSON');
    expect(() => readStream('{}\n')).toThrow('not the header');
  });
});

describe('policyClassifier', () => {
  it('is at chance with no change where the policy is its reference, and right on pairs that it learned', async () => {
    const [policy, reference] = [tinyDecoder(), tinyDecoder()];
    const pairs = separablePairs(20);
    expect(await policyClassifier(policy, reference, pairs)).toMatchObject({ accuracy: 0.5, chosenChange: 0, rejectedChange: 0 });
    const learning = replayStream({ model: 'tiny', steps: Array.from({ length: 20 }, () => pairs) }, { order: 'exact', rng: rng(1) });
    await trainPairs(
      { steps: 20, pairsPerStep: 20, pairsPerMicroBatch: 20, learningRate: 3e-3 },
      { policy, reference, batches: learning, loss: withOptions(ipo, { lengthNormalize: false }), run: memoryRun({ seed: 3 }) },
    );
    const before = tf.memory().numTensors;
    const { accuracy, chosenChange, rejectedChange } = await policyClassifier(policy, reference, pairs, { pairsPerBatch: 7 });
    expect(tf.memory().numTensors).toBe(before);
    expect(accuracy).toBeGreaterThan(0.9);
    expect(chosenChange).toBeGreaterThan(rejectedChange + 1);
    await expect(policyClassifier(policy, reference, [])).rejects.toThrow('there are no pairs');
  });
});
