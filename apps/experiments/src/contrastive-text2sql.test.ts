import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { applyExperiment, planApply } from '@plumbline/bench';
import { rng } from '@plumbline/core';
import { sqlPrompt } from '@plumbline/envs';
import { createDecoder, decoderSpec, loadEncoder, saveDecoder, tokenizerFromJson, trainByteBpe } from '@plumbline/models';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadExperiment } from './index.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-text2sql-'));
const [model, spider] = [join(folder, 'model'), join(folder, 'spider')];
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(async () => {
  // the official format with a database, and more questions about it
  cpSync(join(import.meta.dirname, '../../../packages/bench/test/fixtures/spider'), spider, { recursive: true });
  const file = join(spider, 'dev.json');
  const questions = JSON.parse(readFileSync(file, 'utf8')) as object[];
  for (let n = 2; n < 14; n++)
    questions.push({
      db_id: 'lake_boats',
      question: `Names of the boats longer than ${n}?`,
      query: `SELECT Name FROM boat WHERE Length > ${n}`,
    });
  questions.push({ db_id: 'lake_boats', question: 'What is this?', query: 'SELECT nothing FROM boat' });
  writeFileSync(file, JSON.stringify(questions));
  const json = trainByteBpe([sqlPrompt('CREATE TABLE boat', 'How many?')], { vocabSize: 280, specialTokens: ['<|endoftext|>'] });
  const tokenizer = tokenizerFromJson(json, { name: 'tiny', eos_token: '<|endoftext|>' });
  const spec = decoderSpec({ vocabSize: 280, width: 16, layers: 1, heads: 2, mlpWidth: 24, contextLength: 768 });
  const decoder = createDecoder(spec, { tokenizer, name: 'tiny', rng: rng(1) });
  await saveDecoder(model, decoder);
  decoder.dispose();
});

describe("contrastive-text2sql on a user's own questions", () => {
  const settings = async () => {
    const experiment = await loadExperiment('contrastive-text2sql');
    const { records, skipped } = await experiment.apply!.read!(spider);
    const config = { steps: 1, pairsPerStep: 2, samplesPerPrompt: 2, encoderSteps: 2, answers: 2, answerTokens: 4 };
    return { experiment, skipped, options: { model, records, config, unreadable: skipped.length } };
  };
  it('reads a folder of Spider, and says which questions it cannot use', async () => {
    const { experiment, skipped, options } = await settings();
    expect(options.records.length).toBe(16);
    expect(skipped).toEqual([{ line: 17, reason: 'its right query does not run' }]);
    const plan = await planApply(experiment, options);
    expect(plan.rows).toMatchObject({ unreadable: 1, unusable: [], train: expect.any(Number) });
    expect(plan.refusal).toBe('');
  });
  it('names what other pairs lack', async () => {
    const { experiment, options } = await settings();
    const records = options.records.map(({ meta: _, ...record }) => record);
    await expect(planApply(experiment, { ...options, records })).rejects.toThrow('question, schema or db_id is missing in meta');
  });
  it('trains baseline, method and encoder, and leaves them behind', async () => {
    const { experiment, options } = await settings();
    const dir = join(folder, 'out');
    const { arms } = await applyExperiment(experiment, { ...options, dir });
    expect(Object.keys(arms)).toEqual(['execution', 'contrastive']);
    for (const name of ['execution', 'contrastive']) expect(existsSync(join(dir, name, 'model', 'model.safetensors'))).toBe(true);
    const encoder = await loadEncoder(join(dir, 'encoder', 'model'));
    const [question] = await encoder.embed(['How many boats are there?']);
    expect(Math.hypot(...question)).toBeCloseTo(1, 5);
    encoder.dispose();
  });
});
