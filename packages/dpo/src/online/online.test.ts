import { memoryRun, readCopy, rng } from '@plumbline/core';
import { type Batches, type PairBatch, type PairwiseJudge, promptBatches } from '@plumbline/data';
import type { LocalDecoder } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { policyClassifier } from '../diagnostics/policyClassifier.js';
import { ipo } from '../losses/ipo.js';
import { withOptions } from '../losses/modifiers.js';
import { separablePairs, tinyDecoder } from '../testing/decoders.js';
import { trainPairs } from '../trainPairs.js';
import { onlinePairs } from './onlinePairs.js';
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

describe('onlinePairs', () => {
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
