/** A reference that follows the policy: of all weights and of an adapter. */
import { memoryRun, rng } from '@plumbline/core';
import { promptBatches, type RewardFunction } from '@plumbline/data';
import { addLora, type LocalDecoder } from '@plumbline/models';
import { tinyDecoder } from '@plumbline/models/testing';
import { describe, expect, it } from 'vitest';
import { letters } from './testing/rollouts.js';
import { trainPolicy } from './trainPolicy.js';

type Settings = Parameters<typeof trainPolicy>[0];
const prompts = Array.from({ length: 8 }, (_, i) => letters(i, 2 * i + 1));
const early: RewardFunction = {
  name: 'letters early in the alphabet',
  score: async (batch) => ({
    scores: Float32Array.from(
      batch,
      ({ completion }) => -Array.from(completion as string, (c) => c.codePointAt(0)!).reduce((a, b) => a + b, 0),
    ),
  }),
};
const policies = {
  'all weights': async (): Promise<LocalDecoder> => tinyDecoder(),
  'an adapter': (): Promise<LocalDecoder> => addLora(tinyDecoder(), { r: 4 }, { rng: rng(1) }),
};
const numbersOf = async ({ parameters }: LocalDecoder) =>
  Object.fromEntries(Object.entries((await parameters.save()).tensors).map(([name, { data }]) => [name, Array.from(data)]));

async function train(
  policy: LocalDecoder,
  { steps = 2, run = memoryRun({ seed: 5, saveEvery: 3 }), ...over }: Partial<Settings> & { run?: ReturnType<typeof memoryRun> },
  reference: LocalDecoder | undefined = policy.snapshot(),
) {
  const batches = promptBatches(prompts, { promptsPerStep: 2, steps: 6, rng: rng(2) });
  const settings = { promptsPerStep: 2, samplesPerPrompt: 4, maxTokens: 4, learningRate: 1e-2, klCoef: 0.05, ...over };
  await trainPolicy({ ...settings, steps }, { policy, reference, prompts: batches, reward: early, run });
  return { reference, run, policy };
}

describe('a reference that follows the policy', () => {
  for (const [kind, make] of Object.entries(policies)) {
    it(`of ${kind} becomes mixup·policy + (1 − mixup)·reference every so many batches`, async () => {
      const policy = await make();
      const before = await numbersOf(policy);
      const { reference } = await train(policy, { steps: 3, referenceSync: { every: 3, mixup: 0.25 } });
      const [ours, theirs] = [await numbersOf(policy), await numbersOf(reference)];
      expect(ours).not.toEqual(before);
      for (const [name, values] of Object.entries(theirs))
        expect(values).toEqual(values.map((_, i) => Math.fround(0.25 * ours[name][i] + 0.75 * before[name][i])));
    });

    it(`of ${kind} is where the KL is measured to: 0 after each replacement and above between them`, async () => {
      const { run } = await train(await make(), { steps: 6, referenceSync: { every: 2, mixup: 1 } });
      const kl = run.history.map((row) => row['policy/kl']!);
      for (const step of [0, 2, 4]) expect(kl[step]).toBeLessThan(1e-6);
      for (const step of [1, 3, 5]) expect(kl[step]).toBeGreaterThan(1e-5);
    });

    it(`of ${kind} goes on from a checkpoint as if nothing had been interrupted`, async () => {
      const referenceSync = { every: 2, mixup: 0.6 };
      const whole = await train(await make(), { steps: 6, referenceSync });
      const run = memoryRun({ seed: 5, saveEvery: 3 });
      await train(await make(), { steps: 3, referenceSync, run });
      const resumed = await train(await make(), { steps: 6, referenceSync, run });
      expect(await numbersOf(resumed.policy)).toEqual(await numbersOf(whole.policy));
      expect(await numbersOf(resumed.reference)).toEqual(await numbersOf(whole.reference));
      const still = await train(await make(), { steps: 6 });
      expect(await numbersOf(still.policy)).not.toEqual(await numbersOf(whole.policy));
    });
  }

  it('is no part of the state, and trains as a reference that is never reached, where it stays', async () => {
    const still = await train(tinyDecoder(), { steps: 3 });
    const late = await train(tinyDecoder(), { steps: 3, referenceSync: {} }); // every 512 steps
    expect(await numbersOf(still.policy)).toEqual(await numbersOf(late.policy));
    expect(Object.keys(still.run.checkpoints.get(3)!)).toEqual(['policy', 'optimizer', 'kl', 'baseline']);
    expect(Object.keys(late.run.checkpoints.get(3)!)).toEqual(['policy', 'optimizer', 'kl', 'baseline', 'reference']);
  });

  it('must be a copy of the policy, and something that is learned from', async () => {
    const policy = tinyDecoder();
    await expect(train(policy, { referenceSync: {} }, policy)).rejects.toThrow(/the reference is the policy itself/);
    const adapted = await policies['an adapter']();
    await expect(train(adapted, { referenceSync: {} }, tinyDecoder())).rejects.toThrow(/it lacks .*Take policy.snapshot\(\)/);
    await expect(train(policy, { referenceSync: {}, klCoef: 0 })).rejects.toThrow(/nothing is learned from: klCoef is 0/);
    await expect(train(policy, { referenceSync: {}, advantage: 'minillm' })).rejects.toThrow(/whose reference is the teacher/);
  });
});
