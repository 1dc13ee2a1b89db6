import { memoryRun, readCopy, rng } from '@plumbline/core';
import { type ControlPolicy, recordEpisode, type Trajectory } from '@plumbline/data';
import { blockBatches, decoderTrunk } from '@plumbline/models';
import { tinyDecoder } from '@plumbline/models/testing';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { pointMass } from '../testing/pointMass.js';
import { valueAndGrad } from '../testing/tokens.js';
import { createDecisionTransformer, type DecisionOptions, decisionPolicy } from './decisionTransformer.js';
import { actionLoss, trainDecisionTransformer } from './trainDecisionTransformer.js';
import { delayRewards, sampleWindows, subsampleTrajectories, windowsOf } from './windows.js';

/** An episode of so many steps: states (t, 0), actions t, rewards 1. */
const counted = (length: number): Trajectory => ({
  observations: Float32Array.from({ length: 2 * (length + 1) }, (_, i) => (i % 2 === 0 ? i / 2 : 0)),
  actions: Float32Array.from({ length }, (_, t) => t),
  rewards: new Float32Array(length).fill(1),
  length,
  terminated: false,
});

describe('sampleWindows', () => {
  it('draws trajectories by their length, and starts evenly', () => {
    const { cuSeqlens, timesteps } = sampleWindows([counted(100), counted(20)], { context: 1, count: 60_000, rng: rng(0) });
    expect(cuSeqlens.length).toBe(60_001);
    const late = timesteps.filter((t) => t >= 20).length / 60_000; // only the long one has those: 5/6 of the draws, 4/5 of its starts
    expect(late).toBeCloseTo(2 / 3, 2);
    expect(timesteps.filter((t) => t < 20).length / 60_000).toBeCloseTo(1 / 3, 2);
  });
  it('holds what stands in the trajectory, with what was still to come', () => {
    const { cuSeqlens, returns, states, actions, timesteps } = windowsOf([counted(3), counted(5)], [{ trajectory: 1, start: 2, end: 4 }, { trajectory: 0, start: 2, end: 3 }]); // biome-ignore format: two windows
    expect([cuSeqlens, returns, states, actions, timesteps].map((x) => [...x])).toEqual([[0, 2, 3], [3, 2, 1], [2, 0, 3, 0, 2, 0], [2, 3, 2], [2, 3, 2]]); // biome-ignore format: five lists
  });
  it('delays rewards to the end, and keeps a share of the trajectories', () => {
    expect([...delayRewards(counted(4)).rewards]).toEqual([0, 0, 0, 4]);
    const all = Array.from({ length: 10 }, (_, i) => counted(i + 1));
    const kept = subsampleTrajectories(all, 0.3, rng(0));
    expect(kept.length).toBe(3);
    expect(kept.map(({ length }) => length)).toEqual(kept.map(({ length }) => length).sort((a, b) => a - b));
    expect(() => subsampleTrajectories(all, 0.01, rng(0))).toThrow('a share of 0.01 of 10 trajectories is 0');
    expect(() => sampleWindows(all, { context: 0, count: 1, rng: rng(0) })).toThrow('context must be a whole number above 0, got 0');
  });
});

describe('actionLoss', () => {
  const predicted = [0.1, 0.2, 0.5, -0.5, 9, 9];
  const target = () => tf.tensor2d([0, 0.1, 0.4, -0.2, 0, 0], [3, 2]);
  const mask = () => tf.tensor1d([1, 1, 0]);
  it('has the value done by hand, and no gradient from what is masked', async () => {
    const { value, grad } = await valueAndGrad(
      (x) => tf.div(tf.sum(actionLoss(tf.reshape(x, [3, 2]), target(), { mask: mask() })), 2),
      predicted,
    );
    expect(value).toBeCloseTo(0.03, 6);
    expect(grad.map((g) => g.toFixed(6))).toEqual(['0.050000', '0.050000', '0.050000', '-0.150000', '0.000000', '0.000000']);
  });
  it('is the cross-entropy of a discrete action', async () => {
    const { value, grad } = await valueAndGrad(
      (x) => tf.sum(actionLoss(tf.reshape(x, [1, 3]), tf.tensor2d([[1, 0, 0]]), { discrete: true })),
      [0, 0, 0],
    );
    expect(value).toBeCloseTo(Math.log(3), 5);
    expect(grad.map((g) => g.toFixed(4))).toEqual(['-0.6667', '0.3333', '0.3333']);
  });
  it('names shapes that differ', () => {
    expect(() => actionLoss(tf.zeros([1, 2]), tf.zeros([1, 3]))).toThrow('predicted is [1,2] and target [1,3]');
  });
});

const tiny: Omit<DecisionOptions, 'rng'> = { context: 6, maxEpisode: 60, trunk: { layers: 1, width: 16, heads: 2 } };
const windows = windowsOf([counted(9)], [{ trajectory: 0, start: 0, end: 6 }, { trajectory: 0, start: 6, end: 9 }]); // biome-ignore format: two windows

describe('a decision transformer', () => {
  const predict = async (options: Partial<DecisionOptions>, change: Partial<typeof windows> = {}) => {
    const model = await createDecisionTransformer([counted(9)], { ...tiny, ...options, rng: rng(0) });
    const out = model.forward({ ...windows, ...change });
    const values = [...(await readCopy(out))];
    out.dispose();
    model.dispose();
    return values;
  };
  it('sees what stands before an action, and nothing after it', async () => {
    for (const options of [{ embedding: 'linear' }, { embedding: 'mlp' }] as const) {
      const before = await predict(options);
      const changed = async (field: 'actions' | 'returns', at: number) => {
        const values = windows[field].slice();
        values[at] = -values[at] - 1;
        return (await predict(options, { [field]: values })).map((value, t) => value !== before[t]);
      };
      expect(await changed('actions', 2)).toEqual([false, false, false, true, true, true, false, false, false]);
      expect(await changed('returns', 2)).toEqual([false, false, true, true, true, true, false, false, false]);
    }
  });
  it('gives a window the same alone and beside others', async () => {
    const alone = await predict({}, windowsOf([counted(9)], [{ trajectory: 0, start: 6, end: 9 }]));
    (await predict({})).slice(6).forEach((value, t) => void expect(value).toBeCloseTo(alone[t], 6));
  });
  it('adds the time after the norm or before it, which differs', async () => {
    const [first, last] = [await predict({ normFirst: true }), await predict({ normFirst: false })];
    expect(Math.max(...first.map((value, i) => Math.abs(value - last[i])))).toBeGreaterThan(1e-4);
  });
  it('says what does not fit', async () => {
    await expect(predict({ maxEpisode: 8 })).rejects.toThrow('stands at 8 of its episode, and maxEpisode is 8');
    await expect(predict({}, { states: new Float32Array(3) })).rejects.toThrow('3 numbers of states');
    await expect(predict({ returnScale: 0 })).rejects.toThrow('returnScale must be > 0, got 0');
    const model = await createDecisionTransformer([counted(9)], { ...tiny, rng: rng(0) });
    expect(() => decisionPolicy(model, { target: Number.NaN })).toThrow('target must be finite, got NaN');
    const run = memoryRun({ seed: 0 });
    const other = { ...counted(3), actions: new Float32Array(6) };
    await expect(trainDecisionTransformer({ steps: 1 }, { model, trajectories: [other], run })).rejects.toThrow(
      'actions of 2; the model 2 and 1',
    );
    await expect(trainDecisionTransformer({ steps: 0 }, { model, trajectories: [counted(9)], run })).rejects.toThrow('steps');
    model.dispose();
  });
  it('goes on from a checkpoint to the bit, another seed differs, and no tensor is left', async () => {
    const before = tf.memory().numTensors;
    const train = async (stops: number[], seed = 0) => {
      const run = memoryRun({ seed, saveEvery: 2 });
      let weights: unknown;
      for (const steps of stops) {
        const model = await createDecisionTransformer([counted(9)], { ...tiny, rng: rng(0) });
        await trainDecisionTransformer({ steps, windowsPerStep: 4, learningRate: 1e-2 }, { model, trajectories: [counted(9)], run });
        weights = Object.values((await model.parameters.save()).tensors).map(({ data }) => [...data]);
        model.dispose();
      }
      return weights;
    };
    const whole = await train([4]);
    expect(await train([2, 4])).toEqual(whole);
    expect(await train([4], 1)).not.toEqual(whole);
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('a decision transformer on a point mass', () => {
  const world = () => pointMass({ maxEpisodeSteps: 30 });
  const clip = (force: number) => [Math.max(-1, Math.min(1, force))];
  const good: ControlPolicy = { act: ([x, v]) => clip(-2 * x - 2 * v) };
  const bad: ControlPolicy = { act: ([x, v]) => clip(x + v) };
  const returnOf = ({ rewards }: Trajectory) => rewards.reduce((a, b) => a + b, 0);
  /** The mean return from twelve starts that no trajectory has. */
  const score = async (policy: () => ControlPolicy) => {
    const episodes = await Promise.all(Array.from({ length: 12 }, (_, i) => recordEpisode(world(), policy(), 5000 + i)));
    return episodes.map(returnOf).reduce((a, b) => a + b, 0) / episodes.length;
  };
  it('does as the good ones did where a high return is asked for, and as the bad ones where a low one is', async () => {
    const trajectories = await Promise.all(
      Array.from({ length: 100 }, (_, seed) => {
        const noise = rng(1000 + seed);
        const { act } = seed % 2 === 0 ? good : bad;
        return recordEpisode(world(), { act: (o) => clip((act(o) as number[])[0] + 0.3 * noise.normal(1)[0]) }, seed);
      }),
    );
    const options = { context: 5, maxEpisode: 30, returnScale: 10, embedding: 'mlp', trunk: { layers: 2, width: 32, heads: 2 } } as const;
    const model = await createDecisionTransformer(trajectories, { ...options, rng: rng(0) });
    const run = memoryRun({ seed: 0 });
    await trainDecisionTransformer({ steps: 250, windowsPerStep: 24, learningRate: 2e-3 }, { model, trajectories, run });
    const asked = (target: number) => score(() => decisionPolicy(model, { target, clip: { low: [-1], high: [1] } }));
    const [best, worst] = [await score(() => good), await score(() => bad)];
    const share = (value: number) => (value - worst) / (best - worst); // 0 as the bad ones, 1 as the good ones
    expect(run.history.at(-1)!.loss!).toBeLessThan(run.history[0].loss! / 2);
    expect(share(await asked(-2))).toBeGreaterThan(0.65);
    expect(share(await asked(-80))).toBeLessThan(0.4);
    model.dispose();
  });
});

describe('a decision transformer on a language model', () => {
  it('learns actions and language through one adapter, and leaves the language model to the bit', async () => {
    const language = tinyDecoder();
    const frozen = await language.parameters.save();
    const tokens = Int32Array.from({ length: 400 }, (_, i) => (i * 7) % 23);
    const trunk = await decoderTrunk(language, { lora: { r: 4, rng: rng(0) } });
    const model = await createDecisionTransformer([counted(9)], { ...tiny, trunk, embedding: 'mlp', returnScale: 9, rng: rng(0) });
    const texts = blockBatches(tokens, { blockTokens: 12, blocksPerStep: 4, steps: 60, rng: rng(1) });
    const run = memoryRun({ seed: 0 });
    const first = await trainDecisionTransformer(
      { steps: 1, windowsPerStep: 8, learningRate: 1e-2, maxGradNorm: 1 },
      { model, trajectories: [counted(9)], texts, run },
    );
    const last = await trainDecisionTransformer(
      { steps: 60, windowsPerStep: 8, learningRate: 1e-2, maxGradNorm: 1 },
      { model, trajectories: [counted(9)], texts, run },
    );
    expect(last.actionLoss).toBeLessThan(first.actionLoss / 2);
    expect(last.textLoss!).toBeLessThan(first.textLoss!);
    expect(await language.parameters.save()).toEqual(frozen);
    expect(model.parameters.trainable().some(({ name }) => name.includes('lora_B'))).toBe(true);
    expect(model.parameters.trainable().every(({ name }) => /lora_|^embed|^head/.test(name))).toBe(true);
    model.dispose();
    trunk.dispose();
    language.dispose();
  });
  it('refuses texts that have no weight, or too few', async () => {
    const language = tinyDecoder();
    const trunk = await decoderTrunk(language);
    const model = await createDecisionTransformer([counted(9)], { ...tiny, trunk, rng: rng(0) });
    const texts = blockBatches(new Int32Array(100), { blockTokens: 12, blocksPerStep: 1, steps: 1, rng: rng(1) });
    const parts = { model, trajectories: [counted(9)], texts, run: memoryRun({ seed: 0 }) };
    await expect(trainDecisionTransformer({ steps: 1, textWeight: 0 }, parts)).rejects.toThrow('textWeight is 0');
    await expect(trainDecisionTransformer({ steps: 2 }, parts)).rejects.toThrow('2 steps are asked for, and the texts are for 1');
    model.dispose();
    trunk.dispose();
    language.dispose();
  });
});
