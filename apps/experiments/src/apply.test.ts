import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { applyExperiment, planApply } from '@plumbline/bench';
import { socraticPrmBench } from '@plumbline/bench/benchmarks';
import { rng } from '@plumbline/core';
import type { PreferenceRecord, RewardFunction } from '@plumbline/data';
import { differentStories, socraticRecords } from '@plumbline/envs';
import { createDecoder, decoderSpec, saveDecoder, tokenizerFromJson, trainByteBpe } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { loadExperiment } from './index.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-apply-'));
const model = join(folder, 'model');
const stories = differentStories(rng(0).fork('stories'), 400);
beforeAll(async () => {
  const json = trainByteBpe(stories, { vocabSize: 400, specialTokens: ['<|endoftext|>'] });
  const tokenizer = tokenizerFromJson(json, { name: 'tiny', eos_token: '<|endoftext|>' });
  const spec = decoderSpec({ vocabSize: 400, width: 16, layers: 1, heads: 2, mlpWidth: 24, contextLength: 1024 });
  const decoder = createDecoder(spec, { tokenizer, name: 'tiny', rng: rng(1) });
  await saveDecoder(model, decoder);
  decoder.dispose();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const records = Array.from({ length: 20 }, (_, i): PreferenceRecord => {
  const words = (k: number) => stories[3 * i + k].split(' ').slice(0, 8).join(' ');
  return { prompt: `${words(0)} `, chosen: words(1), rejected: words(2), chosen_score: 9, rejected_score: 1 + (i % 5) };
});
const solutions = socraticRecords(rng(2), { split: 'train', count: 60 }).map(
  (record, i) => socraticPrmBench.read({ ...record, idx: String(i) }, { path: 'generated', file: 'generated', line: i + 1 })!,
);
const length: RewardFunction = {
  name: 'length',
  score: async (batch) => ({ scores: Float32Array.from(batch, ({ completion }) => String(completion).length) }),
};
/** Two steps of everything. */
const small = {
  steps: 2,
  pairsPerStep: 2,
  answers: 2,
  answerTokens: 4,
  rewardSteps: 2,
  members: 2,
  candidates: 3,
  prompts: 4,
  references: 2,
  samplesPerPrompt: 2,
};

describe.each([
  ['reward-augmented-dpo', ['dpo', 'rewardAugmented', 'promptControl'], ['augmented.jsonl', 'rewardAugmented/model/model.safetensors']],
  ['par', ['vanilla', 'par'], ['reward/model/model.safetensors', 'par/model/model.safetensors']],
  ['online-offline-gap', ['offline', 'online'], ['preference/model/model.safetensors', 'online/model/model.safetensors']],
  ['correlated-proxies', ['kl', 'chi2'], ['proxy/model/model.safetensors', 'chi2/model/model.safetensors']],
  ['reward-ensembles', ['single', 'ensemble'], ['member-2/model/model.safetensors', 'ensemble/selected.jsonl']],
  ['starc', ['none', 'starc'], ['distances.jsonl', 'scored.jsonl', 'half-1/model/model.safetensors']],
  ['socratic-prmbench', ['deductionOnly', 'allClasses'], ['allClasses/model/model.safetensors', 'allClasses/held-out/results.jsonl']],
])('%s, applied', (id, arms, left) => {
  it('trains baseline and method for two steps, leaves what it promises and no tensor, and says it all in its plan', async () => {
    const experiment = await loadExperiment(id);
    const apply = experiment.apply!;
    const known = Object.keys((apply.config as z.ZodObject).shape);
    const config = Object.fromEntries(Object.entries(small).filter(([key]) => known.includes(key)));
    const dir = join(folder, id);
    const options = { model, records, solutions, config };
    const before = tf.memory().numTensors;
    const plan = await planApply(experiment, options);
    expect(plan.refusal).toBe('');
    expect(plan.tokens.trained).toBeGreaterThan(0);
    const result = await applyExperiment(experiment, { ...options, dir, ...(id === 'reward-ensembles' && { rewards: [length] }) });
    expect(tf.memory().numTensors).toBe(before);
    expect(Object.keys(result.arms)).toEqual(arms);
    for (const file of left) expect(existsSync(join(dir, file)), file).toBe(true);
    for (const arm of Object.values(result.arms))
      expect(arm.heldOutAccuracy !== undefined || Object.values(arm.numbers).every(Number.isFinite)).toBe(true);
  });
});

describe('starc, applied to rewards that are named', () => {
  it('finds no distance between a reward and its scaled self, and the largest to its opposite', async () => {
    const scaled = (name: string, factor: number): RewardFunction => ({
      name,
      score: async (batch, ctx) => ({ scores: (await length.score(batch, ctx)).scores.map((score) => factor * score) }),
    });
    const rewards = [length, scaled('twice', 2), scaled('opposite', -1)];
    const dir = join(folder, 'named');
    await applyExperiment(await loadExperiment('starc'), {
      model,
      records,
      rewards,
      dir,
      config: { prompts: 4, candidates: 3, answerTokens: 4 },
    });
    const rows = readFileSync(join(dir, 'distances.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(rows.map(({ first, second }) => `${first} ${second}`)).toEqual(['length twice', 'length opposite', 'twice opposite']);
    expect(rows[0].starc).toBeCloseTo(0, 6);
    expect(rows[1].starc).toBeCloseTo(2, 6);
    expect(rows[0].regret).toBe(0);
    expect(rows[1].regret).toBe(1);
  });
});
