import { type BedMakers, experimentContract, papers } from '@plumbline/bench';
import { rng } from '@plumbline/core';
import { differentStories, wordsBed } from '@plumbline/envs';
import { createDecoder, decoderSpec, tokenizerFromJson, trainByteBpe } from '@plumbline/models';
import { describe, expect, it } from 'vitest';
import { experimentDir, experimentIds, loadExperiment } from './index.js';

/** The real beds over a decoder that nobody trained: what two steps can show does not depend on what it writes. */
const beds: Partial<BedMakers> = {
  words: async ({ seed }) => {
    const json = trainByteBpe(differentStories(rng(0).fork('stories'), 1000), { vocabSize: 1000, specialTokens: ['<|endoftext|>'] });
    const tokenizer = tokenizerFromJson(json, { name: 'tiny', eos_token: '<|endoftext|>' });
    const spec = decoderSpec({ vocabSize: 1000, width: 16, layers: 1, heads: 2, mlpWidth: 24, contextLength: 96 });
    const base = createDecoder(spec, { tokenizer, name: 'tiny', rng: rng(seed) });
    // An untrained decoder finds nothing fluent; a gold that differs between texts is all that is needed here.
    const gold = {
      name: 'length',
      score: async (batch: readonly { completion: unknown }[]) => {
        const scores = Float32Array.from(batch, ({ completion }) => (String(completion).length % 21) / 10 - 1);
        return { scores, components: { raw: scores, nll: scores, repetition: scores, fluent: scores } };
      },
    };
    return wordsBed({ seed, base, gold });
  },
};

const ids = experimentIds();

describe('the experiments on disk', () => {
  it('are found by their folders', () => expect(ids).toEqual(expect.arrayContaining(['reward-augmented-dpo', 'par'])));
  it('name the nearest where an id is misspelt, and say which papers are still to come', async () => {
    await expect(loadExperiment('paar')).rejects.toThrow(/Did you mean "par"\? There are: .*reward-augmented-dpo/);
    await expect(loadExperiment('eureka')).rejects.toThrow(/"eureka" is not yet implemented. There are:/);
    await expect(loadExperiment('something quite different')).rejects.toThrow(
      /^there is no experiment "something quite different". There are:/,
    );
  });
});

describe.each(ids)('%s', async (id) => {
  const experiment = await loadExperiment(id);
  it('has the id of its folder and a paper', () => {
    expect(experiment.id).toBe(id);
    expect(papers.find((paper) => paper.id === id)?.arxiv).toBe(experiment.paper.replace('arXiv:', ''));
  });
  for (const check of experimentContract(experiment, { dir: experimentDir(id), beds })) it(check.name, check.run);
});
