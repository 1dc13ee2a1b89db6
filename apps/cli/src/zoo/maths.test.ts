import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { backendInfo, InterruptedError, memoryRun, rng } from '@plumbline/core';
import { promptBatches } from '@plumbline/data';
import { mathsBed, mathsExample } from '@plumbline/envs';
import { loadDecoder } from '@plumbline/models';
import { trainPolicy } from '@plumbline/rl';
import { afterAll, describe, expect, it } from 'vitest';
import { maths1mSettings, mathsTokenizer, problemBatches, trainMaths } from './maths.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-maths-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const tiny = {
  ...maths1mSettings,
  shape: { vocabSize: 640, width: 8, layers: 1, heads: 2, mlpWidth: 8, contextLength: 256 },
  tokenizerExamples: 400,
  steps: 6,
  warmupSteps: 1,
  problemsPerStep: 2,
  measured: { problems: 4, levels: [1, 0] as const },
};

describe('the tokenizer of the maths model', () => {
  const tokenizer = mathsTokenizer(maths1mSettings, rng(0));
  it('spells numbers digit by digit, keeps the marks, and gives every example back', () => {
    const pieces = (text: string) => Array.from(tokenizer.encode(text), (id) => tokenizer.decode([id]));
    expect(pieces(' 128')).toEqual([' 1', '2', '8']);
    expect(pieces('add 5 <m> 12 + 5 = 17')).toEqual(['add', ' 5', ' ', '<m>', ' 1', '2', ' +', ' 5', ' =', ' 1', '7']);
    for (let i = 0; i < 100; i++) {
      const { record } = mathsExample(rng(1).fork(i));
      const text = `${record.prompt}${record.completion}`;
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
  });

  it('splits prompt and solution at a token, so that a policy sees what was trained on', async () => {
    const batch = await problemBatches({ ...maths1mSettings, problemsPerStep: 8 }, tokenizer, rng(2)).at(0);
    const { tokens, cuSeqlens, completionMask } = batch.packed;
    for (let s = 0; s < 8; s++) {
      const own = tokens.subarray(cuSeqlens[s], cuSeqlens[s + 1]);
      expect(own.at(-1)).toBe(tokenizer.eosId);
      expect([...tokenizer.encode(tokenizer.decode(own.subarray(0, -1)))]).toEqual([...own.subarray(0, -1)]);
      const counted = completionMask.subarray(cuSeqlens[s], cuSeqlens[s + 1]);
      expect(tokenizer.decode(own.subarray(0, counted.indexOf(1)))).toMatch(/[?.]\n$/);
    }
  });
});

describe('the maths recipe', () => {
  const train = (out: string, signal?: AbortSignal, onStep?: () => void, seed = 0) =>
    trainMaths(tiny, {
      seed,
      out: join(folder, out),
      runDir: join(folder, `${out}-run`),
      signal,
      onProgress: ({ stage }) => stage === 'pretraining' && onStep?.(),
    });

  it('makes the same files for the same seed, interrupted or not, others for another seed, and a card with their hashes', async () => {
    const whole = await train('whole');
    const stop = new AbortController();
    await expect(train('twice', stop.signal, () => stop.abort())).rejects.toThrow(InterruptedError);
    expect(existsSync(join(folder, 'twice', 'model.safetensors'))).toBe(false);
    const resumed = await train('twice');
    expect(resumed.sha256).toEqual(whole.sha256);
    const other = await train('other', undefined, undefined, 1);
    expect(other.sha256['model.safetensors']).not.toBe(whole.sha256['model.safetensors']);
    expect(other.sha256['tokenizer.json']).toBe(whole.sha256['tokenizer.json']);
    const card = readFileSync(join(folder, 'whole', 'README.md'), 'utf8');
    for (const hash of Object.values(whole.sha256)) expect(card).toContain(hash);
    expect(Object.keys(whole.measured)).toContain('countdownGreedy');
  });

  it('leaves a model that the bed can use', async () => {
    const base = await loadDecoder(join(folder, 'whole'));
    const bed = await mathsBed({ seed: 0, base, levels: [1, 0], count: 6, heldOut: 4 });
    expect(bed.problems.map(({ kind }) => kind)).toEqual(['chain', 'countdown', 'chain', 'countdown', 'chain', 'countdown']);
    const { accuracy, kl } = await bed.evaluate(base, { rng: rng(0), problems: bed.heldOutProblems });
    expect([accuracy.length, [...kl]]).toEqual([4, [0, 0, 0, 0]]);
    base.dispose();
  });
});

// A million parameters are too many for the plain cpu backend.
describe.skipIf(backendInfo().name === 'cpu')('zoo:maths-1m under GRPO', () => {
  it('solves problems that it practises more often after a few steps on verified answers', async () => {
    const bed = await mathsBed({ seed: 0, count: 8, heldOut: 1 });
    const policy = bed.policy();
    const steps = 8;
    const settings = { steps, promptsPerStep: 8, samplesPerPrompt: 8, learningRate: 1e-3, klCoef: 0, ...bed.sampling };
    const prompts = promptBatches(bed.prompts, { promptsPerStep: 8, steps, rng: rng(1) });
    await trainPolicy(settings, { policy, prompts, reward: bed.gold, run: memoryRun({ seed: 0 }) });
    const accuracy = async (decoder: typeof policy) => {
      const { accuracy: shares } = await bed.evaluate(decoder, { rng: rng(2), problems: bed.problems, samplesPerProblem: 16 });
      return shares.reduce((a, b) => a + b, 0) / shares.length;
    };
    const [before, after] = [await accuracy(bed.base), await accuracy(policy)];
    expect(after).toBeGreaterThan(before + 0.1);
    policy.dispose();
    bed.base.dispose();
  });
});
