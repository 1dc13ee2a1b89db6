import '@tensorflow/tfjs-backend-cpu';
import { describe, expect, it } from 'vitest';
import { bestWeights } from './bestWeights.js';
import { createParameters } from './parameters.js';

const tree = (value: number) => createParameters({ w: { shape: [1], data: Float32Array.of(value) } });
const weightOf = async (parameters: ReturnType<typeof tree>) => (await parameters.save()).tensors.w.data[0];
const set = (parameters: ReturnType<typeof tree>, value: number) =>
  parameters.load({ tensors: { w: { shape: [1], data: Float32Array.of(value) } }, json: null });
const stop = { patience: 2, minDelta: 0.1 };

describe('bestWeights', () => {
  it('ends after as many evaluations without a gain as it has patience, and goes back to the weights of the best', async () => {
    const parameters = tree(0);
    const stopping = bestWeights(parameters, { trainer: 't', watch: { 'eval/loss': 'lower' }, stop });
    for (const [i, loss] of [3, 2, 1.95, 2.5].entries()) {
      expect(stopping.over()).toBe(false);
      await set(parameters, i);
      await stopping.look(i + 1, { 'eval/loss': loss });
    }
    expect(stopping.over()).toBe(true); // 1.95 is lower than 2 by less than 0.1
    expect(stopping.best()).toEqual({ step: 2, value: 2 });
    await stopping.goBack();
    expect(await weightOf(parameters)).toBe(1);
    parameters.dispose();
  });

  it('takes the first watched metric that there is, the way it is better', async () => {
    const parameters = tree(0);
    const stopping = bestWeights(parameters, { trainer: 't', watch: { 'eval/reward': 'higher', 'eval/loss': 'lower' } });
    await stopping.look(1, { 'eval/reward': 1, 'eval/loss': 1 });
    await stopping.look(2, { 'eval/reward': 2, 'eval/loss': 9 });
    expect(stopping.best()).toEqual({ step: 2, value: 2 });
    parameters.dispose();
  });

  it('never takes NaN for better', async () => {
    const parameters = tree(0);
    const stopping = bestWeights(parameters, { trainer: 't', watch: { 'eval/loss': 'lower' }, stop: { patience: 3, minDelta: 0 } });
    await stopping.look(1, { 'eval/loss': Number.NaN });
    expect(stopping.best()).toBeUndefined();
    await stopping.look(2, { 'eval/loss': 5 });
    await stopping.look(3, { 'eval/loss': Number.NaN });
    expect(stopping.best()).toEqual({ step: 2, value: 5 });
    parameters.dispose();
  });

  it('goes on from what was saved: the best, its weights, and how often in a row there was none better', async () => {
    const parameters = tree(7);
    const first = bestWeights(parameters, { trainer: 't', watch: { 'eval/loss': 'lower' }, stop });
    await first.look(1, { 'eval/loss': 1 });
    await first.look(2, { 'eval/loss': 2 });
    const other = tree(0);
    const second = bestWeights(other, { trainer: 't', watch: { 'eval/loss': 'lower' }, stop });
    await second.load(await first.save());
    expect(second.over()).toBe(false);
    await second.look(3, { 'eval/loss': 2 });
    expect(second.over()).toBe(true);
    await second.goBack();
    expect(await weightOf(other)).toBe(7);
    parameters.dispose();
    other.dispose();
  });

  it('keeps no weights and ends nothing where stopping was not asked for, and says what it looks at where it was', async () => {
    const parameters = tree(0);
    const watching = bestWeights(parameters, { trainer: 't', watch: { 'eval/loss': 'lower' } });
    await watching.look(1, {});
    await watching.look(2, { 'eval/loss': 1 });
    expect((await watching.save()).tensors).toEqual({});
    for (const step of [3, 4, 5, 6]) await watching.look(step, { 'eval/loss': 2 });
    expect(watching.over()).toBe(false);
    const stopping = bestWeights(parameters, { trainer: 'trainIt', watch: { 'eval/loss': 'lower', 'eval/accuracy': 'higher' }, stop });
    await expect(stopping.look(1, {})).rejects.toThrow(/trainIt: earlyStopping looks at eval\/loss or eval\/accuracy/);
    parameters.dispose();
  });
});
