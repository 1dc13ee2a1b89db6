import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InterruptedError, rng } from '@plumbline/core';
import { differentStories, guardedSentiment } from '@plumbline/envs';
import { createDecoder, decoderSpec, loadScorer, tokenizerFromJson, trainByteBpe } from '@plumbline/models';
import { afterAll, expect, it } from 'vitest';
import { goldSettings, spoil, trainGold } from './gold.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-gold-'));
const json = trainByteBpe(differentStories(rng(0), 600), { vocabSize: 1000, specialTokens: ['<|endoftext|>'] });
const decoder = (layers: number) =>
  createDecoder(decoderSpec({ vocabSize: 1000, width: 16, layers, heads: 2, mlpWidth: 24, contextLength: 96 }), {
    tokenizer: tokenizerFromJson(json, { name: 'tiny', eos_token: '<|endoftext|>' }),
    name: 'tiny',
    rng: rng(layers),
  });
const [backbone, sampler] = [decoder(3), decoder(1)];
const models = { backbone, sampler, teacher: guardedSentiment({ base: sampler, maxNll: 9, maxRepetition: 0.9 }) }; // nobody trained it: it finds nothing likely
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  for (const model of [backbone, sampler]) model.dispose();
});

const tiny = { ...goldSettings, layers: 2, groups: 12, heldOutGroups: 4, groupsPerStep: 4, epochs: 1, measuredPrompts: 6 };
const train = (out: string, signal?: AbortSignal, onStep?: () => void) =>
  trainGold(
    tiny,
    {
      seed: 0,
      out: join(folder, out),
      runDir: join(folder, `${out}-run`),
      signal,
      onProgress: ({ stage }) => stage === 'training' && onStep?.(),
    },
    models,
  );

it('makes the same reward model, interrupted or not: the first layers, in units of what the sampler writes', async () => {
  const whole = await train('whole');
  const stop = new AbortController();
  await expect(train('twice', stop.signal, () => stop.abort())).rejects.toThrow(InterruptedError);
  expect((await train('twice')).sha256).toEqual(whole.sha256);
  expect(whole.measured.deviationPlain).toBeCloseTo(1, 1);
  const scorer = await loadScorer(join(folder, 'whole'));
  expect(scorer.backbone.spec.layers).toBe(2);
  expect(scorer.pooling).toBe('mean');
  scorer.dispose();
  const card = readFileSync(join(folder, 'whole', 'README.md'), 'utf8');
  for (const hash of Object.values(whole.sha256)) expect(card).toContain(hash);
});

it('spoils a text in one of three ways, of about its length', () => {
  const text = ' Anna went to the lake with her friend and they saw a duck.';
  const spoilt = Array.from({ length: 60 }, (_, i) => spoil(text, rng(i)));
  const words = (x: string) => x.trim().split(' ').sort().join(' ');
  expect(spoilt.some((x) => x !== text && words(x) === words(text))).toBe(true); // out of order
  expect(spoilt.some((x) => new Set(x.trim().split(' ')).size <= 5)).toBe(true); // one phrase again and again
  expect(spoilt.some((x) => /wonderful|happy|joy/.test(x))).toBe(true); // cheerful words in a row
  for (const x of spoilt) expect(x.trim().split(' ')).toHaveLength(13);
});
