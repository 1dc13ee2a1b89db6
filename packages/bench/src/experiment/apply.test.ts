import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rng } from '@plumbline/core';
import { encodePairs, type PreferenceRecord, pairBatches, type RewardFunction } from '@plumbline/data';
import { dpo, trainPairs, withOptions } from '@plumbline/dpo';
import { createDecoder, decoderSpec, loadDecoder, saveDecoder, tokenizerFromJson, trainByteBpe } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { reportPage } from '../report/index.js';
import { applyExperiment, planApply } from './apply.js';
import { applyReport } from './applyReport.js';
import { defineExperiment } from './define.js';
import { type ApplySpec, applySettings } from './types.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-apply-'));
const model = join(folder, 'model');
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(async () => {
  const json = trainByteBpe(['the cat sat on the mat and the dog ran away from the cat'], {
    vocabSize: 280,
    specialTokens: ['<|endoftext|>'],
  });
  const tokenizer = tokenizerFromJson(json, { name: 'tiny', eos_token: '<|endoftext|>' });
  const spec = decoderSpec({ vocabSize: 280, width: 16, layers: 1, heads: 2, mlpWidth: 24, contextLength: 64 });
  const decoder = createDecoder(spec, { tokenizer, name: 'tiny', rng: rng(1) });
  await saveDecoder(model, decoder);
  decoder.dispose();
});

const records = Array.from(
  { length: 20 },
  (_, i): PreferenceRecord => ({
    prompt: `the cat ${i} `,
    chosen: 'sat',
    rejected: 'ran away',
    chosen_score: 1 + (i % 2),
    rejected_score: 1,
  }),
);
const spec = (over: Partial<ApplySpec> = {}) =>
  defineExperiment({
    id: 'tiny-paper',
    paper: 'none',
    packages: ['dpo'],
    config: z.strictObject({}),
    quick: {},
    arms: ['a', 'b'],
    metrics: { x: { unit: 'points', better: 'higher' } },
    claims: [{ id: 'x', text: 'x', test: 'full scale only' }],
    run: async () => ({ arms: { a: { x: 0 }, b: { x: 0 } } }),
    apply: {
      config: z.strictObject({ ...applySettings, steps: z.int().positive().default(3), answerTokens: z.int().positive().default(4) }),
      needs: 'pairs with scores that differ',
      unusable: ({ chosen_score, rejected_score }) => (chosen_score === rejected_score ? 'both scores are equal' : undefined),
      leaves: [{ path: 'pairs.jsonl', what: 'the pairs' }],
      work: ({ steps, pairsPerStep }) => ({ trainedPairs: 2 * steps * pairsPerStep, writtenAnswers: 0 }),
      laptopParameters: 1e6,
      async run({ config, base, train, policy, run, rng: draws, leave }) {
        await leave('pairs.jsonl', train);
        const align = async (name: string, steps: number) => {
          const trained = await policy(name);
          const batches = pairBatches(encodePairs(base.tokenizer, train).pairs, { pairsPerStep: 2, steps, rng: draws.fork('batches') });
          const settings = { steps, pairsPerStep: 2, pairsPerMicroBatch: 2, learningRate: 1e-2 };
          await trainPairs(settings, { policy: trained, reference: base, batches, loss: withOptions(dpo, {}), run: await run(name) });
          return { policy: trained };
        };
        return { a: await align('a', 1), b: await align('b', 4 * config.steps) };
      },
      ...over,
    },
  });
const everySecond = records.filter((_, i) => i % 2 === 1);
const enough = [...records, ...everySecond.map((record) => ({ ...record, prompt: `${record.prompt} again ` }))];

describe('planApply', () => {
  it('says which rows do not serve and why, and what a run would cost and leave', async () => {
    const before = tf.memory().numTensors;
    const plan = await planApply(spec(), { model, records: [...enough, { ...records[1], chosen: 'the dog '.repeat(80) }], unreadable: 3 });
    expect(tf.memory().numTensors).toBe(before);
    expect(plan.rows).toMatchObject({ read: 31, unreadable: 3, unusable: [{ reason: 'both scores are equal', rows: 10 }], tooLong: 1 });
    expect(plan.rows.train + plan.rows.heldOut).toBe(20);
    expect(plan).toMatchObject({ trained: 'all weights', refusal: '', leaves: [{ path: 'pairs.jsonl' }] });
    expect(plan.tokens.trained).toBeGreaterThan(2 * 3 * 8 * 10);
    expect(plan.hours).toBeGreaterThan(0);
    expect(plan.memoryGigabytes).toBeLessThan(1);
  });

  it('refuses with the reason where rows are missing, a key is unknown, or the experiment has no form of its own', async () => {
    await expect(planApply(spec(), { model, records })).resolves.toMatchObject({ rows: { train: 8, heldOut: 2 } });
    await expect(planApply(spec(), { model, records: records.slice(0, 12) })).rejects.toThrow(
      '6 pairs are left of 12 rows; at least 10 are needed. tiny-paper needs pairs with scores that differ. 6: both scores are equal.',
    );
    await expect(planApply(spec(), { model, records, config: { stepps: 3 } })).rejects.toThrow('stepps');
    const { apply: _, ...without } = spec();
    await expect(planApply(without, { model, records })).rejects.toThrow('"tiny-paper" cannot be applied');
  });
});

describe('applyExperiment', () => {
  it('measures baseline and method on held-out pairs and by the judge, and leaves what it promised', async () => {
    const dir = join(folder, 'run');
    const judge: RewardFunction = {
      name: 'length',
      score: async (batch) => ({ scores: Float32Array.from(batch, ({ completion }) => String(completion).length) }),
    };
    const before = tf.memory().numTensors;
    const result = await applyExperiment(spec(), { model, records: enough, dir, judge });
    expect(tf.memory().numTensors).toBe(before);
    expect(Object.keys(result.arms)).toEqual(['a', 'b']);
    expect(result.arms.b.heldOutAccuracy).toBe(1); // one word against two, learnt in twelve steps
    expect(result.arms.a.answers).toHaveLength(result.prompts.length);
    expect(result.arms.a.judged!.mean).toBeCloseTo(
      result.arms.a.answers.reduce((sum, text) => sum + text.length, 0) / result.prompts.length,
      4,
    );
    const { judged, right, chosen, rejected } = result.differences;
    expect(judged!.mean).toBeCloseTo(result.arms.b.judged!.mean - result.arms.a.judged!.mean, 4);
    expect(right!.mean).toBeCloseTo(result.arms.b.heldOutAccuracy! - result.arms.a.heldOutAccuracy!, 10);
    expect(chosen!.mean).toBeGreaterThan(rejected!.mean); // what more steps gained for the chosen side, and took from the other
    expect(result.judge!.name).toBe('length');
    const page = reportPage(applyReport(result));
    for (const text of ['Method minus baseline', 'Judged by length', 'start']) expect(page).toContain(text);
    expect(readFileSync(join(dir, 'pairs.jsonl'), 'utf8').trim().split('\n')).toHaveLength(result.plan.rows.train);
    expect(existsSync(join(dir, 'result.json'))).toBe(true);
    const left = await loadDecoder(join(dir, 'b', 'model'));
    left.dispose();
  });

  it('refuses a model that needs a GPU, and says so', async () => {
    await expect(applyExperiment(spec({ laptopParameters: 100 }), { model, records: enough, dir: join(folder, 'none') })).rejects.toThrow(
      /takes one GPU/,
    );
    expect(existsSync(join(folder, 'none'))).toBe(false);
  });
});
