/** Preference training of an adapter, whose reference is its own base. */
import { memoryRun, rng } from '@plumbline/core';
import { pairBatches } from '@plumbline/data';
import { addLora } from '@plumbline/models';
import { tinyDecoder } from '@plumbline/models/testing';
import * as tf from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { dpo } from './losses/dpo.js';
import { separablePairs } from './testing/encoded.js';
import { trainPairs } from './trainPairs.js';

const pairs = separablePairs(24);

it('starts at ln 2 with the base as the reference, learns, and leaves the base as it was', async () => {
  const base = tinyDecoder();
  const before = await base.parameters.save();
  const policy = await addLora(base, { r: 8, alpha: 16 }, { rng: rng(1) });
  const run = memoryRun({ seed: 3 });
  const batches = pairBatches(pairs, { pairsPerStep: 8, steps: 40, rng: run.rng });
  const tensors = tf.memory().numTensors;
  await trainPairs({ steps: 40, pairsPerStep: 8, learningRate: 1e-2 }, { policy, reference: policy.base, batches, loss: dpo, run });
  expect(tf.memory().numTensors).toBe(tensors);
  expect(run.history[0].loss).toBeCloseTo(Math.LN2, 5);
  expect(run.history.at(-1)!.loss!).toBeLessThan(0.45);
  expect(run.history.at(-1)!['rewards/accuracy']!).toBeGreaterThan(0.85);
  expect((await base.parameters.save()).tensors).toEqual(before.tensors);
});

it('takes the steps that it takes with a copy as the reference, and saves the adapter alone', async () => {
  const train = async (shared: boolean) => {
    const base = tinyDecoder();
    const policy = await addLora(base, { r: 4 }, { rng: rng(1) });
    const run = memoryRun({ seed: 3, saveEvery: 2 });
    const batches = pairBatches(pairs, { pairsPerStep: 8, steps: 4, rng: rng(2) });
    await trainPairs(
      { steps: 4, pairsPerStep: 8, learningRate: 3e-3 },
      { policy, reference: shared ? policy.base : tinyDecoder(), batches, loss: dpo, run },
    );
    expect(Object.keys(run.checkpoints.get(4)!.policy.tensors)).toEqual([...policy.parameters.names]);
    return run.history.map(({ loss, gradNorm }) => [loss, gradNorm]);
  };
  expect(await train(true)).toEqual(await train(false));
});
