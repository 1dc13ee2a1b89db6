import { rng } from '@plumbline/core';
import type { LanguageModel } from '@plumbline/data';
import { describe, expect, it } from 'vitest';
import { likelihoodReward, prefixSteps, sharedModel, similarityReward } from './subjects.js';

const ctx = { rng: rng(0) };

describe('reference points', () => {
  it('score by similarity, by likelihood, and step by step', async () => {
    const embed = async (texts: readonly string[]) => texts.map((text) => Float32Array.of(text.length, 1));
    const { scores } = await similarityReward({ name: 'e', embed }).score(
      [
        { prompt: 'aa', completion: 'bb' },
        { prompt: 'aa', completion: '' },
      ],
      ctx,
    );
    expect(scores[0]).toBeCloseTo(1, 6);
    expect(scores[1]).toBeCloseTo(1 / Math.sqrt(5), 6);
    const score = async () => [{ tokens: new Int32Array(2), logps: Float32Array.of(-1, -3) }];
    expect((await likelihoodReward({ name: 'm', score }).score([{ prompt: 'p', completion: 'c' }], ctx)).scores[0]).toBe(-2);
    const length = {
      name: 'length',
      score: async (batch: readonly { completion: unknown }[]) => ({
        scores: Float32Array.from(batch, ({ completion }) => String(completion).length),
      }),
    };
    const [steps] = await prefixSteps(length).scoreSteps([{ prompt: 'p', steps: ['', 'ab'] }], ctx);
    expect(steps[0]).toBe(0.5);
    expect(steps[1]).toBeCloseTo(1 / (1 + Math.exp(-3)), 6);
    expect(() => similarityReward({ name: 'm' })).toThrow('m gives no embeddings');
    expect(() => likelihoodReward({ name: 'm' })).toThrow('m gives no log-probabilities');
  });
});

describe('one model on several servers', () => {
  const server = (calls: string[], isDown: () => boolean): LanguageModel => ({
    name: 'm',
    can: { score: false, embed: false, logps: false },
    async generate(prompts) {
      calls.push(String(prompts[0]));
      if (isDown()) throw new Error('down');
      return [[{ text: '', tokens: new Int32Array(0), samplingLogps: new Float32Array(0), finish: 'stop' as const }]];
    },
  });
  it('asks one that failed last, until it answers again', async () => {
    const [first, second]: string[][] = [[], []];
    const down = { first: true, second: false };
    const model = sharedModel([server(first, () => down.first), server(second, () => down.second)]);
    const ask = (prompt: string) => model.generate([prompt], { maxTokens: 1, rng: rng(0) });
    await ask('a');
    await ask('b');
    expect([first, second]).toEqual([['a'], ['a', 'b']]);
    Object.assign(down, { first: false, second: true });
    await ask('c');
    await ask('d');
    expect([first, second]).toEqual([
      ['a', 'c', 'd'],
      ['a', 'b', 'c'],
    ]);
    down.first = true;
    await expect(ask('e')).rejects.toThrow('down');
  });
});
