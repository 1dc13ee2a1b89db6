import { rng } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { selectBySimulation, selectionRegret } from './selectBySimulation.js';

const byScore = (scores: number[]) => ({ plans: scores.map((_, i) => `plan ${i}`), predict: (plan: string) => plan, score: () => scores });

describe('selectBySimulation', () => {
  it('has the choice and the regret of the card', async () => {
    const { index, plan, tie } = await selectBySimulation(byScore([0.2, 0.9, 0.4]), { rng: rng(0) });
    expect([index, plan, tie]).toEqual([1, 'plan 1', false]);
    const { chosen, mean, best, regret } = selectionRegret([0.5, 0.7, 0.95], index);
    expect([chosen, best]).toEqual([0.7, 0.95]);
    expect(mean).toBeCloseTo(0.7166667, 6);
    expect(regret).toBeCloseTo(0.25, 12);
  });
  it('chooses the first of equal ones and says so', async () => {
    expect(await selectBySimulation(byScore([1, 1, 0]), { rng: rng(0) })).toMatchObject({ index: 0, tie: true });
    expect(await selectBySimulation(byScore([3]), { rng: rng(0) })).toMatchObject({ index: 0, tie: false });
  });
  it('gives every plan the same random numbers, or each its own', async () => {
    const drawn = async (noise: 'shared' | 'independent') => {
      const seen: number[] = [];
      const predict = (_: string, stream: { uniform(n: number): Float32Array }) => void seen.push(stream.uniform(1)[0]);
      await selectBySimulation({ ...byScore([1, 2, 3]), predict, score: () => [1, 2, 3] }, { rng: rng(0), noise });
      return new Set(seen).size;
    };
    expect([await drawn('shared'), await drawn('independent')]).toEqual([1, 3]);
  });
  it('frees the futures, also where scoring fails', async () => {
    const before = tf.memory().numTensors;
    const parts = { plans: [1, 2], predict: (plan: number) => tf.scalar(plan), dispose: (future: tf.Tensor) => future.dispose() };
    await selectBySimulation({ ...parts, score: () => [0, 1] }, { rng: rng(0) });
    await expect(selectBySimulation({ ...parts, score: () => [0, Number.NaN] }, { rng: rng(0) })).rejects.toThrow(
      'the score of plan 1 is NaN',
    );
    expect(tf.memory().numTensors).toBe(before);
  });
  it('names what does not fit', async () => {
    await expect(selectBySimulation(byScore([]), { rng: rng(0) })).rejects.toThrow('there are no plans');
    await expect(selectBySimulation({ ...byScore([1, 2]), score: () => [1] }, { rng: rng(0) })).rejects.toThrow('2 plans and 1 scores');
    expect(() => selectionRegret([1], 1)).toThrow('there are 1 values, and 1 is chosen');
  });
});
