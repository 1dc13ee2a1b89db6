import { rng } from '@plumbline/core';
import { byteTokenizer } from '@plumbline/data/contract';
import { createDecoder, createScorer, decoderSpec } from '@plumbline/models';
import { expect, it } from 'vitest';
import { averageWeights } from './ensemble.js';
import { modelReward } from './model.js';

const tokenizer = byteTokenizer();
const decoder = (width: number) =>
  createDecoder(
    decoderSpec({
      vocabSize: 258,
      width,
      layers: 1,
      heads: 2,
      kvHeads: 2,
      headDim: 8,
      mlpWidth: 24,
      contextLength: 24,
      ropeTheta: 10_000,
      rmsNormEps: 1e-5,
      tiedEmbeddings: true,
    }),
    { tokenizer, rng: rng(1) },
  );
const scorer = (seed: number, width = 16) => createScorer(decoder(width), { pooling: 'mean', rng: rng(seed) });
const scores = async (of: ReturnType<typeof scorer>) => [
  ...(
    await modelReward(of).score(
      ['one', 'other'].map((completion) => ({ prompt: 'p', completion })),
      { rng: rng(1) },
    )
  ).scores,
];

it('gives the mean of the scores for two heads on the same backbone, and leaves both as they were', async () => {
  const [a, b] = [scorer(1), scorer(2)];
  const before = [await scores(a), await scores(b)];
  const merged = await scores(await averageWeights([a, b]));
  merged.forEach((score, i) => {
    expect(score).toBeCloseTo((before[0][i] + before[1][i]) / 2, 5);
  });
  expect([await scores(a), await scores(b)]).toEqual(before);
  expect(Math.abs(before[0][0] - before[1][0])).toBeGreaterThan(0.05);
});
it('refuses models that do not fit each other, and none', async () => {
  await expect(averageWeights([scorer(1), scorer(1, 18)])).rejects.toThrow(/fit|shape/i);
  await expect(averageWeights([])).rejects.toThrow(/there are no models/);
});
