import { rng } from '@plumbline/core';
import type { Candidate, RewardFunction } from '@plumbline/data';
import { describe, expect, it } from 'vitest';
import { contrastiveSimilarity, contrastiveSqlReward } from './sqlReward.js';

/** Vectors by hand; what is unknown points nowhere. */
const vectors: Record<string, number[]> = {
  question: [2, 0], // of any length
  same: [0.5, 0],
  across: [0, 3],
  opposite: [-1, 0],
  gold: [0.6, 0.8],
  nowhere: [0, 0],
  odd: [Number.NaN, 1],
};
const encoder = {
  name: 'by hand',

  embed: async (texts: readonly string[]) => texts.map((text) => vectors[text]),
};
const ask = (completion: string, runs = true): Candidate => ({ prompt: 'question', completion, meta: { runs, gold: 'gold' } });
const executes: RewardFunction = {
  name: 'executes',
  score: async (batch) => ({ scores: Float32Array.from(batch, ({ meta }) => Number(meta!.runs)) }),
};
const ctx = { rng: rng(0) };
const scores = async (reward: RewardFunction, ...batch: Candidate[]) => [...(await reward.score(batch, ctx)).scores];
const gold = ({ meta }: Candidate) => meta!.gold as string;

describe('contrastiveSqlReward', () => {
  it('is 2 for a query that runs and means the same, 1.5 across, 1 opposite, and nothing where it does not run', async () => {
    const reward = contrastiveSqlReward(encoder, { executes });
    expect(await scores(reward, ask('same'), ask('across'), ask('opposite'), ask('same', false))).toEqual([2, 1.5, 1, 0]);
  });
  it('has its two parts as components, whose weighted sum it is', async () => {
    const reward = contrastiveSqlReward(encoder, { executes, weights: { execution: 0.5, similarity: 4 } });
    const { scores: sums, components } = await reward.score([ask('gold'), ask('across'), ask('gold', false)], ctx);
    expect([...components!.executes]).toEqual([1, 1, 0]);
    expect(components!.similarity[0]).toBeCloseTo(0.8, 6); // (1 + 0.6) / 2
    expect(components!.similarity[2]).toBe(0); // not asked for
    sums.forEach((sum, i) => void expect(sum).toBeCloseTo(0.5 * components!.executes[i] + 4 * components!.similarity[i], 6));
  });
  it('pays half for a broken query that lies across without the gate', async () => {
    expect(await scores(contrastiveSqlReward(encoder, { executes, gate: false }), ask('across', false))).toEqual([0.5]);
  });
  it('is the execution reward alone where similarity weighs nothing, and embeds nothing', async () => {
    const broken = { name: 'never asked', embed: () => Promise.reject(new Error('asked')) };
    const reward = contrastiveSqlReward(broken, { executes, weights: { similarity: 0 } });
    expect(await scores(reward, ask('same'), ask('opposite'), ask('same', false))).toEqual([1, 1, 0]);
  });
});

describe('contrastiveSimilarity', () => {
  it('compares with the question, the right answer, or both', async () => {
    const by = (anchor: 'question' | 'gold' | 'both') => scores(contrastiveSimilarity(encoder, { anchor, gold }), ask('across'));
    expect((await by('question'))[0]).toBeCloseTo(0.5, 6);
    expect((await by('gold'))[0]).toBeCloseTo(0.9, 6); // cos 0.8
    expect((await by('both'))[0]).toBeCloseTo(0.7, 6); // (1 + (0 + 0.8) / 2) / 2
    expect(() => contrastiveSimilarity(encoder, { anchor: 'both' })).toThrow('the anchor "both" needs the right answers');
  });
  it('contrasts with wrong queries: a half where it is as near as they are', async () => {
    const against = (negatives: string[], temperature?: number) =>
      contrastiveSimilarity(encoder, { margin: { negatives: () => negatives, ...(temperature && { temperature }) } });
    expect(await scores(against(['across']), ask('across'))).toEqual([0.5]);
    // cos 0.6 against the mean of 1 and -1, at 0.1
    expect((await scores(against(['same', 'opposite']), ask('gold')))[0]).toBeCloseTo(1 / (1 + Math.exp(-6)), 6);
    expect((await scores(against(['same', 'opposite'], 0.6), ask('gold')))[0]).toBeCloseTo(0.731059, 5);
    expect((await scores(against([]), ask('gold')))[0]).toBeCloseTo(0.8, 6); // nothing to contrast with
    expect(() => against(['across'], -1)).toThrow("the margin's temperature must be > 0, got -1");
  });
  it('gives nothing where there is no query, and reads the question beside the prompt where it stands', async () => {
    const reward = contrastiveSimilarity(encoder, { answer: ({ completion }) => (completion === 'prose' ? null : String(completion)) });
    expect(await scores(reward, ask('prose'), ask(''), { ...ask('same'), meta: { question: 'opposite' } })).toEqual([0, 0, 0]);
  });
  it('embeds a text once, however often it stands in the batch', async () => {
    const seen: string[][] = [];
    const counting = {
      name: 'counting',
      embed(texts: readonly string[]) {
        seen.push([...texts]);
        return encoder.embed(texts);
      },
    };
    await scores(contrastiveSimilarity(counting), ask('same'), ask('same'), ask('across'));
    expect(seen).toEqual([['same', 'question', 'across']]);
  });
  it.each(['nowhere', 'odd'])('names the text whose vector has no direction (%s)', async (text) => {
    await expect(scores(contrastiveSimilarity(encoder), ask(text))).rejects.toThrow(`by hand gave a vector without direction`);
    await expect(scores(contrastiveSimilarity(encoder), ask(text))).rejects.toThrow(JSON.stringify(text));
  });
});
