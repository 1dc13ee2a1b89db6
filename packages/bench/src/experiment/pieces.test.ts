import { memoryRun, rng } from '@plumbline/core';
import { byteTokenizer } from '@plumbline/data/contract';
import { describe, expect, it } from 'vitest';
import { byArm, firstAnswers, heldOutPrompts, pause, pretrainDecoder, wordsMetrics } from './pieces.js';

describe('pieces of an experiment', () => {
  it('name the metrics that are asked for alone', () => {
    expect(wordsMetrics('kl', 'length')).toEqual({ kl: { unit: 'nats', better: 'lower' }, length: { unit: 'tokens', better: 'higher' } });
  });
  it('hold no more held-out prompts than the bed has', () => {
    expect(heldOutPrompts(64).parse(undefined)).toBe(64);
    expect(heldOutPrompts(64).safeParse(257).success).toBe(false);
  });
  it('put the first answers of the arms side by side', () => {
    const groups = (arm: string) => ['p', 'q', 'r'].map((prompt) => ({ prompt, completions: [`${arm} ${prompt}`, 'another'] }));
    expect(firstAnswers(byArm(['a', 'b'], groups), 2)).toEqual([
      { prompt: 'p', texts: { a: 'a p', b: 'b p' } },
      { prompt: 'q', texts: { a: 'a q', b: 'b q' } },
    ]);
  });
  it('end in a pause where they were interrupted', async () => {
    const controller = new AbortController();
    await pause(controller.signal);
    setImmediate(() => controller.abort(new Error('stop')));
    await expect(pause(controller.signal)).rejects.toThrow('stop');
  });
  it('pretrain a decoder that the random numbers decide, and that learns', async () => {
    const tokenizer = byteTokenizer();
    const tokens = Int32Array.from('abababababababab', (c) => c.charCodeAt(0));
    const train = async (seed: number) => {
      const run = memoryRun({ seed: 0 });
      const decoder = await pretrainDecoder(
        { vocabSize: tokenizer.vocabSize, width: 16, contextLength: 16 },
        {
          tokenizer,
          name: 'small',
          sequences: [{ tokens, completionStart: 0 }],
          sequencesPerStep: 1,
          steps: 40,
          learningRate: 1e-2,
          rng: rng(seed),
          run,
        },
      );
      const weights = (await decoder.parameters.save()).tensors;
      decoder.dispose();
      return { weights, losses: run.history.map(({ loss }) => loss!) };
    };
    const [one, again, other] = [await train(1), await train(1), await train(2)];
    expect(again).toEqual(one);
    expect(other.weights).not.toEqual(one.weights);
    expect(one.losses.at(-1)).toBeLessThan(one.losses[0] / 2);
  });
});
