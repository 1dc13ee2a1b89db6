/** Online training of an adapter, whose reference is its own base. */
import { memoryRun, rng } from '@plumbline/core';
import { promptBatches, type RewardFunction } from '@plumbline/data';
import { addLora } from '@plumbline/models';
import { tinyDecoder } from '@plumbline/models/testing';
import { expect, it } from 'vitest';
import { letters } from './testing/rollouts.js';
import { trainPolicy } from './trainPolicy.js';

const prompts = Array.from({ length: 12 }, (_, i) => ({ id: `p${i}`, prompt: letters(i, (3 * i + 1) % 23) }));
/** Share of even ids: something that a policy can raise. */
const even: RewardFunction = {
  name: 'even',
  score: async (batch) => ({
    scores: Float32Array.from(batch, ({ completion }) => {
      const ids = Array.from(completion as string, (c) => c.codePointAt(0)! - 33);
      return ids.filter((id) => id % 2 === 0).length / Math.max(1, ids.length);
    }),
  }),
};

it('has KL 0 on the first step, samples with the adapter, learns, and leaves the base as it was', async () => {
  const base = tinyDecoder();
  const before = await base.parameters.save();
  const policy = await addLora(base, { r: 8 }, { rng: rng(1) });
  const run = memoryRun({ seed: 5 });
  const steps = 30;
  await trainPolicy(
    { steps, promptsPerStep: 4, samplesPerPrompt: 4, maxTokens: 5, learningRate: 2e-2, klCoef: 0.01 },
    { policy, reference: policy.base, prompts: promptBatches(prompts, { promptsPerStep: 4, steps, rng: rng(1) }), reward: even, run },
  );
  const { history } = run;
  expect(history[0]['policy/ratio']).toBeCloseTo(1, 6);
  expect(Math.abs(history[0]['policy/klSequence']!)).toBeLessThan(1e-5);
  for (const step of [0, 10, steps - 1]) expect(history[step]['policy/samplerGap']!).toBeLessThan(1e-4); // the sampler sees the adapter
  const mean = (rows: typeof history) => rows.reduce((sum, row) => sum + row['reward/mean']!, 0) / rows.length;
  expect(mean(history.slice(-5))).toBeGreaterThan(mean(history.slice(0, 5)) + 0.2);
  expect(history.at(-1)!['policy/klSequence']!).toBeGreaterThan(0.1);
  expect((await base.parameters.save()).tensors).toEqual(before.tensors);
});
