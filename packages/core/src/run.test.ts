import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { describe, expect, it } from 'vitest';
import { CheckpointError, InterruptedError, NonFiniteError } from './errors.js';
import { createParameters, replaceValue } from './parameters.js';
import { memoryRun, saveIfAborted, saveIfDue } from './run.js';

const counter = (value: number) => createParameters({ value: { shape: [1], data: Float32Array.of(value) } });
const held = async (tree: ReturnType<typeof counter>) => (await tree.save()).tensors.value.data[0];

describe('memoryRun', () => {
  it('starts at step 0, restores the newest checkpoint, and forgets what was logged after it', async () => {
    const run = memoryRun({ seed: 1, saveEvery: 2 });
    const parts = { policy: counter(0) };
    expect(await run.restore(parts)).toBe(0);
    for (let step = 0; step < 5; step++) {
      replaceValue(parts.policy.get('value'), tf.tensor([step + 1]));
      run.log(step, { loss: 1 / (step + 1), accuracy: undefined });
      if ((step + 1) % run.saveEvery === 0) await run.save(step + 1, parts);
    }
    expect(run.history).toHaveLength(5);
    const fresh = { policy: counter(0) };
    expect(await run.restore(fresh)).toBe(4);
    expect(await held(fresh.policy)).toBe(4);
    expect(run.history).toEqual([0, 1, 2, 3].map((step) => ({ step, loss: Math.fround(1) / (step + 1) })));
    expect([...run.checkpoints.keys()]).toEqual([2, 4]);
  });

  it('gives the seed’s stream', () => {
    expect(memoryRun({ seed: 1 }).rng.seed32).toBe(memoryRun({ seed: 1 }).rng.seed32);
    expect(memoryRun({ seed: 1 }).rng.seed32).not.toBe(memoryRun({ seed: 2 }).rng.seed32);
  });

  it('loads all parts or none', async () => {
    const run = memoryRun({ seed: 1 });
    await run.save(3, { policy: counter(5), other: counter(6) });
    const policy = counter(0);
    const misshapen = createParameters({ value: { shape: [2], data: new Float32Array(2) } });
    await expect(run.restore({ policy, other: misshapen })).rejects.toThrow(
      'part "other": saved parameters do not fit: "value" is [1] where [2] belongs',
    );
    expect(await held(policy)).toBe(0);
    await expect(run.restore({ policy })).rejects.toThrow(
      new CheckpointError('the checkpoint holds other, policy; this run asks for policy'),
    );
  });

  it('saves and names step, values and rows when a number is not finite', async () => {
    const run = memoryRun({ seed: 1 });
    const failing = run.fail(7, { rows: ['pair 3', 'pair 9'], values: { loss: Number.NaN, gradNorm: 2 } }, { policy: counter(1) });
    await expect(failing).rejects.toThrow(NonFiniteError);
    await expect(failing).rejects.toThrow('step 7: loss is NaN; rows: pair 3, pair 9.');
    expect(await run.restore({ policy: counter(0) })).toBe(7);
  });
});

describe('saveIfAborted', () => {
  it('does nothing until the run is asked to stop, then saves and throws', async () => {
    const controller = new AbortController();
    const run = memoryRun({ seed: 1, signal: controller.signal });
    const parts = { policy: counter(2) };
    await saveIfAborted(run, 1, parts);
    expect(run.checkpoints.size).toBe(0);
    controller.abort();
    await expect(saveIfAborted(run, 2, parts)).rejects.toThrow(InterruptedError);
    expect([...run.checkpoints.keys()]).toEqual([2]);
  });
});

describe('saveIfDue', () => {
  it('saves every saveEvery steps and where the training ends, each once', async () => {
    const run = memoryRun({ seed: 1, saveEvery: 2 });
    const saved: number[] = [];
    const counting = { ...run, save: async (step: number) => void saved.push(step) };
    for (let step = 1; step <= 5; step++) await saveIfDue(counting, step, {}, step === 5);
    expect(saved).toEqual([2, 4, 5]);
    await saveIfDue(counting, 6, {}, true);
    expect(saved).toEqual([2, 4, 5, 6]);
  });
  it('saves nothing where the run makes no checkpoints, not even at the end', async () => {
    const run = memoryRun({ seed: 1 });
    await saveIfDue(run, 1, { policy: counter(1) }, true);
    expect(run.checkpoints.size).toBe(0);
  });
});
