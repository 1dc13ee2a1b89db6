import { memoryRun, readCopy } from '@plumbline/core';
import type { Batches, CompletionRecord, PromptBatch } from '@plumbline/data';
import type { LocalDecoder } from '@plumbline/models';
import { tinyDecoder } from '@plumbline/models/testing';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { noReward } from './rewards.js';
import { completionTokens, type RolloutSample, rollout } from './rollout/generate.js';
import { letters } from './testing/rollouts.js';
import { trainDistillation } from './trainDistillation.js';
import { trainPolicy } from './trainPolicy.js';

const records: CompletionRecord[] = [0, 1, 2, 3].map((i) => ({
  id: `r${i}`,
  prompt: letters(i, i + 2),
  completion: letters(i + 5, 2 * i, 7),
}));
const prompts = (steps: number, rows: object[] = records): Batches<PromptBatch<CompletionRecord>> => ({
  steps,
  at: async () => ({ ids: rows.map((_, i) => String(i)), prompts: rows as CompletionRecord[], indices: new Int32Array() }),
});
/** Tensors of a tiny decoder: each `distil` makes a teacher and keeps it. */
const tinyCount = tinyDecoder().parameters.names.length;
const settings = { steps: 2, promptsPerStep: 4, maxTokens: 4, learningRate: 1e-2, temperature: 1 } as const;
async function distil(
  over: Partial<Parameters<typeof trainDistillation>[0]>,
  { student = tinyDecoder({ seed: 1 }), run = memoryRun({ seed: 3 }), rows = records as object[] } = {},
) {
  const config = { ...settings, ...over };
  await trainDistillation(config, { student, teacher: tinyDecoder({ seed: 2 }), prompts: prompts(config.steps, rows), run });
  const weights = await Promise.all(student.parameters.trainable().map(async (p) => Array.from(await readCopy(p.value))));
  return { history: run.history, weights, run, student };
}

describe('trainDistillation', () => {
  it('brings the student to the teacher, by either KL or between, on its own samples or on completions', async () => {
    for (const [beta, onPolicy] of [
      [0, 0],
      [0.5, 0.5],
      [1, 1],
    ]) {
      const { history } = await distil({ steps: 60, beta, onPolicy });
      const mean = (rows: typeof history) => rows.reduce((sum, row) => sum + row.loss!, 0) / rows.length;
      expect(mean(history.slice(-5))).toBeLessThan(0.5 * mean(history.slice(0, 5)));
    }
  });

  it("brings the student to the teacher by MiniLLM's objective, with and without the KL over the vocabulary", async () => {
    for (const [klWeight, share, teacherMix] of [
      [1, 0.5, 0],
      [1, 0.5, 0.2],
      [0, 0.85, 0],
    ]) {
      const { student } = await distil({
        steps: 60,
        onPolicy: 1,
        beta: undefined,
        miniLlm: { gamma: 1, lengthNormalized: true, klWeight, teacherMix },
      });
      const klOf = async (policy: LocalDecoder) => {
        const run = memoryRun({ seed: 5 });
        const teacher = tinyDecoder({ seed: 2 });
        await trainDistillation(
          { ...settings, steps: 1, beta: 1, onPolicy: 1, learningRate: 1e-9 },
          { student: policy, teacher, prompts: prompts(1), run },
        );
        return run.history[0].loss!;
      };
      expect(await klOf(student)).toBeLessThan(share * (await klOf(tinyDecoder({ seed: 1 }))));
    }
  });

  it('splits as it likes under MiniLLM too, leaves no tensor behind, and refuses what does not go with it', async () => {
    const miniLlm = { gamma: 0.9, lengthNormalized: true, klWeight: 1 };
    const whole = await distil({ steps: 2, onPolicy: 1, miniLlm });
    const parts = await distil({ steps: 2, onPolicy: 1, miniLlm, tokensPerMicroBatch: 1 });
    whole.history.forEach((row, i) => void expect(parts.history[i].loss!).toBeCloseTo(row.loss!, 4));
    const before = tf.memory().numTensors;
    const { student } = await distil({ steps: 1, onPolicy: 1, miniLlm });
    student.dispose();
    expect(tf.memory().numTensors - before).toBe(tinyCount);
    const mixed = { ...miniLlm, teacherMix: 0.2 };
    const [mix, split] = [
      await distil({ onPolicy: 1, miniLlm: mixed }),
      await distil({ onPolicy: 1, miniLlm: mixed, tokensPerMicroBatch: 1 }),
    ];
    mix.history.forEach((row, i) => void expect(split.history[i].loss!).toBeCloseTo(row.loss!, 4));
    expect((await distil({ onPolicy: 1, miniLlm: { ...miniLlm, teacherMix: 0 } })).weights).toEqual(whole.weights);
    expect(mix.weights).not.toEqual(whole.weights);
    const other = { student: tinyDecoder(), teacher: tinyDecoder(), prompts: prompts(1), run: memoryRun({ seed: 3 }) };
    const elsewhere = trainDistillation({ ...settings, steps: 1, onPolicy: 1, miniLlm: mixed }, { ...other, rollout: (o) => rollout(o) });
    await expect(elsewhere).rejects.toThrow('a rollout goes without it');
    await expect(distil({ miniLlm })).rejects.toThrow('set onPolicy to 1 and leave beta out');
    await expect(distil({ miniLlm, onPolicy: 1, beta: 1 })).rejects.toThrow('leave beta out');
  });

  it('begins at a loss of 0 where the student is the teacher', async () => {
    const { history } = await distil({ steps: 1 }, { student: tinyDecoder({ seed: 2 }) });
    expect(Math.abs(history[0].loss!)).toBeLessThan(1e-6);
    expect(history[0].gradNorm!).toBeLessThan(1e-4);
  });

  it('takes the same steps whatever fits into a micro-batch, and resumes bit for bit', async () => {
    const whole = await distil({ steps: 4 });
    const parts = await distil({ steps: 4, tokensPerMicroBatch: 1 });
    whole.history.forEach((row, i) => void expect(parts.history[i].loss!).toBeCloseTo(row.loss!, 4));
    const stopped = new AbortController();
    const run = memoryRun({ seed: 3, saveEvery: 1, signal: stopped.signal });
    const log = run.log;
    const stopping = {
      ...run,
      log: (...given: Parameters<typeof log>) => {
        log(...given);
        if (given[0] === 1) stopped.abort();
      },
    };
    await expect(distil({ steps: 4 }, { run: stopping as typeof run })).rejects.toThrow('stopped after step');
    const again = memoryRun({ seed: 3 });
    for (const [step, saved] of run.checkpoints) again.checkpoints.set(step, saved);
    expect((await distil({ steps: 4 }, { run: again, student: tinyDecoder({ seed: 9 }) })).weights).toEqual(whole.weights);
  });

  it('leaves no tensor behind, and names what is missing', async () => {
    const student = tinyDecoder({ seed: 1 });
    await distil({ steps: 1 }, { student });
    const before = tf.memory().numTensors;
    await trainDistillation({ ...settings, steps: 2 }, { student, teacher: student, prompts: prompts(2), run: memoryRun({ seed: 3 }) });
    expect(tf.memory().numTensors).toBe(before);
    await expect(distil({ onPolicy: 0 }, { rows: [{ prompt: 'a' }] })).rejects.toThrow('has no completion');
    await expect(distil({ beta: 2 })).rejects.toThrow('beta');
  });
});

describe('distillation by policy gradient', () => {
  const gap = async (student: ReturnType<typeof tinyDecoder>, samples: RolloutSample[]) => {
    const at = { temperature: 1, tokensPerMicroBatch: 1000 };
    const [s, t] = [await completionTokens(student, samples, at), await completionTokens(tinyDecoder({ seed: 2 }), samples, at)];
    const flat = s.logps.flatMap((own, i) => Array.from(own, (logp, k) => logp - t.logps[i][k]));
    return flat.reduce((a, b) => a + b, 0) / flat.length;
  };
  for (const advantage of ['minillm', 'iwOpd'])
    it(`${advantage} lowers the KL from the student to the teacher, whatever the reward says`, async () => {
      const student = tinyDecoder({ seed: 1 });
      const run = memoryRun({ seed: 3 });
      let [first, last]: RolloutSample[][] = [[], []];
      const steps = 40;
      const observe = ({ samples }: { samples: RolloutSample[] }, step: number) => {
        if (step === 0) first = samples;
        last = samples;
      };
      await trainPolicy(
        {
          steps,
          promptsPerStep: 4,
          samplesPerPrompt: 8,
          maxTokens: 4,
          learningRate: 1e-2,
          klCoef: 0,
          advantage,
          loss: 'reinforce',
        } as never,
        { policy: student, reference: tinyDecoder({ seed: 2 }), prompts: prompts(steps), reward: noReward, run, observe },
      );
      const [before, after] = [await gap(tinyDecoder({ seed: 1 }), first), await gap(student, last)];
      expect(before).toBeGreaterThan(0.5);
      expect(after).toBeLessThan(0.6 * before);
    });
  it('needs the teacher', async () => {
    await expect(
      trainPolicy({ steps: 1, promptsPerStep: 4, klCoef: 0, advantage: 'minillm' } as never, {
        policy: tinyDecoder({ seed: 1 }),
        prompts: prompts(1),
        reward: noReward,
        run: memoryRun({ seed: 3 }),
      }),
    ).rejects.toThrow('is the reference');
  });
});
