import { memoryRun, rng, type Saved } from '@plumbline/core';
import { batchesContract } from '@plumbline/data/contract';
import { describe, expect, it } from 'vitest';
import { generate } from '../generation/generate.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { blockBatches, sftBatches } from './batches.js';
import { type SftConfig, sftLoss, trainSft } from './trainSft.js';

const words = [
  [1, 2, 3, 4, 5, 6],
  [7, 8, 9, 10, 11],
  [12, 13, 14, 15, 16, 17, 18],
  [19, 20, 21, 22],
];
const sequences = words.map((ids) => ({ tokens: Int32Array.from(ids), completionStart: 1 }));
const shape = { initializerRange: 0.05 };
const config: SftConfig = { steps: 8, learningRate: 3e-3, schedule: { kind: 'cosine', warmupSteps: 2 } };
const batchesOf = (steps: number, seed = 1) => sftBatches(sequences, { sequencesPerStep: 4, steps, rng: rng(seed) });

describe('trainSft', () => {
  it('learns to continue each beginning as its text does', async () => {
    const policy = tinyDecoder(shape);
    const run = memoryRun({ seed: 1 });
    await trainSft(
      { steps: 80, learningRate: 1e-2, schedule: { kind: 'constant', warmupSteps: 5 } },
      { policy, batches: batchesOf(80), run },
    );
    expect(run.history[0].loss).toBeCloseTo(Math.log(23), 0); // knows nothing yet
    expect(run.history.at(-1)!.loss).toBeLessThan(0.1);
    const prompts = words.map((ids) => Int32Array.of(ids[0]));
    const samples = await generate(policy, prompts, { maxTokens: 3, temperature: 0, stopIds: [], rng: rng(1) });
    expect(samples.map(([{ tokens }]) => [...tokens])).toEqual(words.map((ids) => ids.slice(1, 4)));
  });

  it('gives the same losses however a step is split', async () => {
    const losses = async (sequencesPerMicroBatch?: number) => {
      const run = memoryRun({ seed: 1 });
      await trainSft({ ...config, sequencesPerMicroBatch }, { policy: tinyDecoder(shape), batches: batchesOf(8), run });
      return run.history.map(({ loss }) => loss!);
    };
    const whole = await losses();
    for (const size of [1, 2, 3]) {
      const split = await losses(size);
      const gaps = split.map((loss, i) => Math.abs(loss - whole[i]));
      expect(Math.max(...gaps)).toBeLessThan(1e-5);
      expect(gaps.reduce((a, b) => a + b, 0) / gaps.length).toBeLessThan(3e-6);
    }
  });

  it('resumes to the same numbers, bit for bit, and another seed gives others', async () => {
    const finish = async (seed: number, stopAfter?: number) => {
      const policy = tinyDecoder(shape);
      const controller = new AbortController();
      const run = memoryRun({ seed: 1, saveEvery: 100, signal: controller.signal });
      const batches = sftBatches(sequences, { sequencesPerStep: 2, steps: 8, rng: rng(seed) });
      if (stopAfter !== undefined) {
        const stopping = {
          ...batches,
          at(step: number) {
            if (step === stopAfter - 1) controller.abort();
            return batches.at(step);
          },
        };
        await expect(trainSft(config, { policy, batches: stopping, run })).rejects.toThrow(/stopped after step 4/);
        const other = tinyDecoder({ ...shape, initializerRange: 0.2 });
        const again = Object.assign(memoryRun({ seed: 1 }), {});
        for (const [step, parts] of run.checkpoints) again.checkpoints.set(step, parts);
        await trainSft(config, { policy: other, batches, run: again });
        return other.parameters.save();
      }
      await trainSft(config, { policy, batches, run });
      return policy.parameters.save();
    };
    const straight = await finish(1);
    expect((await finish(1, 4)).tensors).toEqual(straight.tensors);
    expect((await finish(2)).tensors).not.toEqual(straight.tensors);
  });

  it('evaluates every so often and at the end, with the loss that training would have', async () => {
    const policy = tinyDecoder(shape);
    const run = memoryRun({ seed: 1 });
    const evaluate = async () => ({ 'eval/loss': await sftLoss(policy, sequences, { batchTokens: 8 }) });
    await trainSft({ ...config, evaluateEvery: 3 }, { policy, batches: batchesOf(8), run, evaluate });
    expect(run.history.filter((line) => line['eval/loss'] !== undefined).map(({ step }) => step)).toEqual([2, 5, 7]);
    expect(run.history[2]['eval/loss']).toBeCloseTo(run.history[3].loss!, 5); // the loss of step 3 is that of the weights after step 2
  });

  it('stops where the held-out loss no longer falls, keeps the best weights, and does so after an interruption too', async () => {
    const losses = [3, 2, 2.5, 2.4, 2.3, 1, 1, 1];
    const train = async (stopAt?: number) => {
      const policy = tinyDecoder(shape);
      const controller = new AbortController();
      const run = memoryRun({ seed: 1, saveEvery: 100, signal: controller.signal });
      const seen: Record<number, Saved> = {};
      const evaluate = async (_: unknown, step: number) => {
        seen[step] = await policy.parameters.save();
        if (step === stopAt) controller.abort();
        return { 'eval/loss': losses[step - 1] };
      };
      const settings: SftConfig = { ...config, evaluateEvery: 1, earlyStopping: { patience: 3 } };
      const training = { policy, batches: batchesOf(8), evaluate };
      if (stopAt === undefined) return { result: await trainSft(settings, { ...training, run }), policy, seen };
      await expect(trainSft(settings, { ...training, run })).rejects.toThrow(/stopped after step/);
      const again = memoryRun({ seed: 1, saveEvery: 100 });
      for (const [step, parts] of run.checkpoints) again.checkpoints.set(step, parts);
      return { result: await trainSft(settings, { ...training, run: again }), policy, seen };
    };
    const { result, policy, seen } = await train();
    expect(result).toEqual({ steps: 5, best: { step: 2, value: 2 } });
    expect((await policy.parameters.save()).tensors).toEqual(seen[2].tensors);
    const interrupted = await train(4);
    expect(interrupted.result).toEqual(result);
    expect((await interrupted.policy.parameters.save()).tensors).toEqual(seen[2].tensors);
  });

  it('does not decay norms', async () => {
    const policy = tinyDecoder(shape);
    const norms = (saved: Saved) => [...saved.tensors['model.norm.weight'].data];
    const before = await policy.parameters.save();
    await trainSft(
      { steps: 1, learningRate: 1e-9, weightDecay: 1e8, schedule: { kind: 'constant' } },
      { policy, batches: batchesOf(1), run: memoryRun({ seed: 1 }) },
    );
    const after = await policy.parameters.save();
    norms(after).forEach((w, i) => void expect(w).toBeCloseTo(norms(before)[i], 5));
    expect(after.tensors['model.embed_tokens.weight'].data[5]).toBeCloseTo(0.9 * before.tensors['model.embed_tokens.weight'].data[5], 5);
  });

  it('stops where the loss is not finite, naming step and sequences, with the state saved', async () => {
    const policy = tinyDecoder(shape);
    const saved = await policy.parameters.save();
    saved.tensors['model.norm.weight'].data[0] = Infinity;
    await policy.parameters.load(saved);
    const run = memoryRun({ seed: 1 });
    await expect(trainSft(config, { policy, batches: batchesOf(8), run })).rejects.toThrow(/step 0/);
    expect(run.checkpoints.size).toBe(1);
  });

  it('names the option that is wrong', async () => {
    const training = { policy: tinyDecoder(), batches: batchesOf(1), run: memoryRun({ seed: 1 }) };
    await expect(trainSft({ ...config, learningRate: -1 }, training)).rejects.toThrow(/learningRate/);
    await expect(trainSft({ ...config, lr: 1 } as SftConfig, training)).rejects.toThrow(/lr/);
    await expect(trainSft({ ...config, earlyStopping: {} }, training)).rejects.toThrow(/earlyStopping.*evaluateEvery/);
    const frozen = tinyDecoder();
    frozen.parameters.freeze(/^/);
    await expect(trainSft(config, { ...training, policy: frozen })).rejects.toThrow(/nothing to train/);
  });

  it('says so where no token counts', async () => {
    const nothing = sftBatches([{ tokens: Int32Array.of(1, 2), completionStart: 2 }], { sequencesPerStep: 1, steps: 1, rng: rng(1) });
    await expect(trainSft({ steps: 1 }, { policy: tinyDecoder(), batches: nothing, run: memoryRun({ seed: 1 }) })).rejects.toThrow(
      /no token of step 0 counts/,
    );
  });
});

const blocks = (seed = 2) =>
  blockBatches(
    Int32Array.from({ length: 100 }, (_, i) => i),
    { blockTokens: 8, blocksPerStep: 3, steps: 5, rng: rng(seed) },
  );
describe('sftBatches keep the Batches contract', () =>
  void it.each(batchesContract((seed) => batchesOf(5, seed)))('$name', ({ run }) => run()));
describe('blockBatches', () => {
  it.each(batchesContract(blocks))('$name', ({ run }) => run());

  it('cuts whole windows out of the text, all of whose tokens but the first count', async () => {
    const { packed, countedTokens } = await blocks().at(0);
    expect([...packed.cuSeqlens]).toEqual([0, 8, 16, 24]);
    expect(countedTokens).toBe(21);
    for (const from of [0, 8, 16]) for (let t = 1; t < 8; t++) expect(packed.tokens[from + t]).toBe(packed.tokens[from] + t);
  });
});
