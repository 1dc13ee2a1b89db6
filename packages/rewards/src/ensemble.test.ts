import { memoryRun, readCopy, rng } from '@plumbline/core';
import { joinSequence, packSequences } from '@plumbline/data';
import { byteTokenizer } from '@plumbline/data/contract';
import { createDecoder, createScorer, decoderSpec } from '@plumbline/models';
import { describe, expect, it } from 'vitest';
import { averageWeights, trainEnsemble } from './ensemble.js';
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

describe('trainEnsemble', () => {
  const pairs = Array.from({ length: 12 }, (_, i) => ({
    id: String(i),
    prompt: Int32Array.of(100 + i),
    chosen: Int32Array.of(1 + (i % 3), 2),
    rejected: Int32Array.of(60 + (i % 3), 61),
  }));
  const settings = { epochs: 12, groupsPerStep: 4, learningRate: 1e-2 };
  const train = (members: { name: string; seed: number }[], over: { centerCoefficient?: number } = {}) => {
    const pretrained = decoder(16);
    return trainEnsemble(
      { ...settings, ...over },
      {
        members: members.map(({ name, seed }) => ({ name, pretrained, rng: rng(seed) })),
        groups: pairs,
        run: async () => memoryRun({ seed: 0 }),
      },
    );
  };
  /** The scores of the pairs' sides. */
  const sides = async (of: ReturnType<typeof scorer>) => {
    const packed = packSequences(
      pairs.flatMap(({ prompt, chosen, rejected }, row) => [chosen, rejected].map((side) => ({ ...joinSequence(prompt, side), row }))),
    );
    return readCopy(of.scores(packed));
  };

  it('gives members of one seed the same scores, and members of other seeds others, all of them right', async () => {
    const [a, b, c] = await train([
      { name: 'a', seed: 1 },
      { name: 'b', seed: 1 },
      { name: 'c', seed: 2 },
    ]);
    expect(await sides(b)).toEqual(await sides(a));
    expect(await sides(c)).not.toEqual(await sides(a));
    for (const member of [a, c]) {
      const scored = await sides(member);
      pairs.forEach((_, i) => void expect(scored[2 * i]).toBeGreaterThan(scored[2 * i + 1]));
    }
  });

  it('puts the scores of a pair around 0 where it is told to centre, so that members have one scale', async () => {
    const offset = async (centerCoefficient: number) => {
      const [member] = await train([{ name: 'a', seed: 1 }], { centerCoefficient });
      const scored = await sides(member);
      return pairs.reduce((sum, _, i) => sum + (scored[2 * i] + scored[2 * i + 1]) ** 2, 0) / pairs.length;
    };
    const [free, centred] = [await offset(0), await offset(0.1)];
    expect(centred).toBeLessThan(0.05);
    expect(centred).toBeLessThan(free);
  });

  it('refuses no members, and two of one name', async () => {
    await expect(train([])).rejects.toThrow('there are no members');
    await expect(
      train([
        { name: 'a', seed: 1 },
        { name: 'a', seed: 2 },
      ]),
    ).rejects.toThrow('two members are called "a"');
  });
});
