/** What `--model` and `--reward` may name: models, adapters and run folders. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ParameterTree, readCopy, rng } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import { addLora, createScorer, loadDecoder, saveAdapter } from '@plumbline/models';
import { beforeAll, describe, expect, it } from 'vitest';
import { modelParts, openDecoder, openScorer, rewardPath, wholeModel } from './models.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-models-'));
const [run, alignRun, empty] = ['run', 'align', 'empty'].map((name) => join(folder, name));
const [adapter, scorerAdapter] = [join(run, 'adapter'), join(alignRun, 'reward', 'model')];
const batch = packSequences([{ tokens: Int32Array.of(5, 9, 13, 7), completionStart: 2, row: 0 }]);
const expected: Record<'logps' | 'scores', number[]> = { logps: [], scores: [] };

/** Away from where an adapter begins, which is the base's numbers. */
async function stir(parameters: ParameterTree): Promise<void> {
  const saved = await parameters.save();
  for (const [name, { data }] of Object.entries(saved.tensors)) {
    const noise = rng(3).fork(name).normal(data.length);
    for (let i = 0; i < data.length; i++) data[i] += 0.2 * noise[i];
  }
  await parameters.load(saved);
}

beforeAll(async () => {
  for (const one of [run, alignRun, empty]) {
    mkdirSync(one);
    writeFileSync(join(one, 'identity.json'), JSON.stringify({ model: 'zoo:words-1m' }));
  }
  const base = await loadDecoder('zoo:words-1m', { storage: 'bf16' });
  const policy = await addLora(base, { r: 2 }, { rng: rng(0) });
  const scorer = await addLora(createScorer(base, { pooling: 'mean', rng: rng(1), shareBackbone: true }), { r: 2 }, { rng: rng(2) });
  await stir(policy.parameters);
  await stir(scorer.parameters);
  await saveAdapter(adapter, policy, { base: 'zoo:words-1m' });
  await saveAdapter(scorerAdapter, scorer, { base: 'zoo:words-1m' });
  expected.logps = [...(await readCopy(policy.completionLogps(batch).tokens))];
  expected.scores = [...(await readCopy(scorer.scores(batch)))];
});

describe('a model', () => {
  it('is an adapter on the base that it names, or the run folder that holds it, to rounding', async () => {
    expect(modelParts(run)).toEqual({ model: 'zoo:words-1m', adapter });
    expect(modelParts(adapter)).toEqual({ model: 'zoo:words-1m', adapter });
    expect(modelParts('zoo:words-1m', run)).toEqual({ model: 'zoo:words-1m', adapter });
    for (const name of [run, adapter]) {
      const { tokens } = (await openDecoder(name)).completionLogps(batch);
      const off = (await readCopy(tokens)).map((logp, i) => Math.abs(logp - expected.logps[i]));
      expect(Math.max(...off)).toBeLessThan(0.05); // merged weights are rounded to bf16 anew
    }
  });

  it('is no run folder that holds none yet, and an adapter is none to train', () => {
    expect(() => modelParts(empty)).toThrow('holds neither an adapter nor a model yet; is it finished?');
    expect(() => wholeModel(run)).toThrow(`${run} is a run folder; make a model of it first: plumb export ${run} --to safetensors`);
    expect(() => wholeModel(adapter)).toThrow('is an adapter; make a model of it first');
    expect(wholeModel('zoo:words-1m')).toBe('zoo:words-1m');
  });
});

describe('a reward model', () => {
  it('is an adapter with a head, which remembers what the head reads', async () => {
    expect(rewardPath(alignRun)).toBe(scorerAdapter);
    const scorer = await openScorer(rewardPath(alignRun));
    expect(scorer.pooling).toBe('mean');
    expect([...(await readCopy(scorer.scores(batch)))]).toEqual(expected.scores);
  });

  it('is no adapter of a language model, and no run without one', async () => {
    await expect(openScorer(adapter)).rejects.toThrow('this adapter has no head');
    expect(() => rewardPath(empty)).toThrow('this run holds no reward model yet');
  });
});
