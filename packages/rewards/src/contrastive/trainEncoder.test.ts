import { ConfigError, memoryRun, rng } from '@plumbline/core';
import { createEncoder, encoderSpec, tokenizerFromJson, trainByteBpe } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { contrastBatches, type TextPair, trainEncoder } from './trainEncoder.js';

const numbers = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight'];
const pairs: TextPair[] = numbers.map((word, i) => ({
  left: `say ${word}`,
  right: `${i + 1}`,
  negatives: [`${i + 1}0`, `${((i + 1) % 8) + 1}`],
}));
const batchesOf = (steps: number, over = pairs) => contrastBatches(over, { pairsPerStep: 4, negativesPerPair: 2, steps, rng: rng(1) });
const tokenizer = tokenizerFromJson(trainByteBpe(['one two'], { vocabSize: 257, specialTokens: ['<end>'] }), {
  name: 'bytes',
  eos_token: '<end>',
});
const encoderOf = (normalize = true) =>
  createEncoder(encoderSpec({ vocabSize: 257, width: 16, layers: 1, heads: 2, contextLength: 16, initializerRange: 0.1 }), {
    tokenizer,
    rng: rng(0),
    sentences: { normalize },
  });

describe('contrastBatches', () => {
  it('leaves out negatives that are the right text of another pair of the batch, and says which pairs mean the same', async () => {
    const twice = [pairs[0], { ...pairs[0], left: 'dis un' }, pairs[1], pairs[2]];
    const { left, right, negatives, alike } = await contrastBatches(twice, {
      pairsPerStep: 4,
      negativesPerPair: 2,
      steps: 1,
      rng: rng(0),
    }).at(0);
    expect([...negatives].sort()).toEqual(['10', '20', '30', '4']); // 2 and 3 belong to others, 10 stands once
    const one = left.flatMap((text, i) => (text.endsWith('one') || text.endsWith('un') ? [i] : []));
    expect(one.map((i) => right[i])).toEqual(['1', '1']);
    alike.forEach((same, at) => {
      const [i, j] = [Math.floor(at / 4), at % 4];
      expect(same).toBe(Number(i === j || (one.includes(i) && one.includes(j))));
    });
  });
  it('are a function of seed and step', async () => {
    expect(await batchesOf(6).at(3)).toEqual(await batchesOf(6).at(3));
    expect((await batchesOf(6).at(3)).left).not.toEqual((await batchesOf(6).at(1)).left);
  });
});

describe('trainEncoder', () => {
  it('brings what belongs together nearest, and leaves no tensor behind', async () => {
    const encoder = encoderOf();
    const before = tf.memory().numTensors;
    const run = memoryRun({ seed: 1 });
    await trainEncoder({ steps: 60, learningRate: 1e-2 }, { encoder, batches: batchesOf(60), run });
    expect(tf.memory().numTensors).toBe(before);
    expect(run.history.at(-1)!.loss!).toBeLessThan(0.5 * run.history[0].loss!);
    expect(run.history.at(-1)!.accuracy).toBe(1);
    const [question, own, wrong] = await encoder.embed(['say three', '3', '30']);
    const cosine = (a: Float32Array, b: Float32Array) => a.reduce((sum, x, i) => sum + x * b[i], 0);
    expect(cosine(question, own)).toBeGreaterThan(cosine(question, wrong));
    encoder.dispose();
  });
  it('begins at the loss of a guess, where all vectors are alike', async () => {
    // one text for all: every similarity is 1, and no negative is left
    const same = Array.from({ length: 4 }, (_, i) => ({ id: String(i), left: 'a', right: `a` }));
    const run = memoryRun({ seed: 1 });
    const encoder = encoderOf();
    const batches = { steps: 1, at: async () => ({ ...(await batchesOf(1, same).at(0)), alike: new Uint8Array(16) }) };
    await trainEncoder({ steps: 1, learningRate: 1e-3 }, { encoder, batches, run });
    expect(run.history[0].loss).toBeCloseTo(Math.log(4), 4);
    encoder.dispose();
  });
  it('resumes to the same numbers, bit for bit', async () => {
    const finish = async (stopAfter?: number) => {
      const encoder = encoderOf();
      const controller = new AbortController();
      const run = memoryRun({ seed: 1, saveEvery: 100, signal: controller.signal });
      const batches = batchesOf(6);
      const stopping = {
        ...batches,
        at(step: number) {
          if (step === stopAfter) controller.abort();
          return batches.at(step);
        },
      };
      const train = (signalled: typeof run) =>
        trainEncoder({ steps: 6, learningRate: 1e-2 }, { encoder, batches: stopping, run: signalled });
      await train(run).catch(() => {});
      if (stopAfter !== undefined)
        await trainEncoder({ steps: 6, learningRate: 1e-2 }, { encoder, batches, run: { ...run, signal: new AbortController().signal } });
      const [vector] = await encoder.embed(['say two']);
      encoder.dispose();
      return [...vector];
    };
    expect(await finish(2)).toEqual(await finish());
  });
  it('names what is wrong with its settings', async () => {
    const encoder = encoderOf(false);
    const training = { encoder, batches: batchesOf(2), run: memoryRun({ seed: 1 }) };
    await expect(trainEncoder({ steps: 2 }, training)).rejects.toThrow('are not scaled to length 1');
    await expect(trainEncoder({ steps: 3 }, training)).rejects.toThrow('3 steps, but the batches end after 2');
    await expect(trainEncoder({ steps: 2, temperature: 0 }, training)).rejects.toThrow(ConfigError);
    encoder.dispose();
  });
});
