import { gradients, type Parameter, readCopy, rng } from '@plumbline/core';
import { type PackedBatch, packSequences } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { createDecoder } from '../decoder/decoder.js';
import { specFromConfig } from '../decoder/spec.js';
import { readJson, readTensors, sharedFixture, sharedFolder, whySkipped } from '../testing/fixtures.node.js';
import { plainTokenizer } from '../testing/plainTokenizer.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { createScorer, joinTrees } from './scorer.js';

const batch = packSequences([
  { tokens: Int32Array.of(1, 2, 3, 4, 5), completionStart: 3, row: 0 },
  { tokens: Int32Array.of(6, 7, 0, 0), completionStart: 1, row: 1 },
  { tokens: Int32Array.of(8, 9), completionStart: 2, row: 2 },
]);
const scoresOf = async (scorer: { scores(batch: PackedBatch): tf.Tensor1D }, of = batch) => {
  const scores = scorer.scores(of);
  const values = await readCopy(scores);
  scores.dispose();
  return values;
};

describe('createScorer', () => {
  it('reads the mean of the completion, of the whole where there is none', async () => {
    const decoder = tinyDecoder();
    const scorer = createScorer(decoder, { pooling: 'mean', rng: rng(1) });
    const hidden = await readCopy(decoder.hidden(batch));
    const head = await readCopy((scorer.parameters.get('score.weight') as Parameter).value);
    const mean = (rows: number[]) =>
      rows.reduce((sum, row) => sum + Array.from(head).reduce((dot, w, d) => dot + w * hidden[row * 18 + d], 0), 0) / rows.length;
    const expected = [mean([3, 4]), mean([6, 7, 8]), mean([9, 10])];
    (await scoresOf(scorer)).forEach((score, i) => void expect(score).toBeCloseTo(expected[i], 5));
  });

  it('reads the last token, and the last that is no padding where it knows the pad id', async () => {
    const decoder = tinyDecoder();
    const head = Float32Array.from({ length: 18 }, (_, d) => (d === 0 ? 1 : 0));
    const hidden = await readCopy(decoder.hidden(batch));
    const first = (row: number) => hidden[row * 18];
    expect([...(await scoresOf(createScorer(decoder, { pooling: 'last', head })))]).toEqual([4, 8, 10].map(first));
    expect([...(await scoresOf(createScorer(decoder, { pooling: 'last', padId: 0, head })))]).toEqual([4, 6, 10].map(first));
  });

  it('begins with a head of deviation 1 / sqrt(width + 1)', async () => {
    const scorer = createScorer(tinyDecoder({ width: 300, heads: 3, headDim: 100 }), { pooling: 'mean', rng: rng(2) });
    const head = await readCopy((scorer.parameters.get('score.weight') as Parameter).value);
    expect(Math.sqrt(Array.from(head).reduce((sum, w) => sum + w * w, 0) / 300)).toBeCloseTo(1 / Math.sqrt(301), 2);
  });

  it('copies the backbone and trains all of it but a language head', async () => {
    const decoder = tinyDecoder({ tiedEmbeddings: false });
    const scorer = createScorer(decoder, { pooling: 'mean', rng: rng(1) });
    const names = scorer.parameters.names;
    expect(names).toContain('score.weight');
    expect(names).not.toContain('lm_head.weight');
    const { grads, loss } = gradients(() => ({ loss: tf.sum(scorer.scores(batch)) as tf.Scalar }), scorer.parameters.trainable());
    expect([...grads.keys()].map(({ name }) => name).sort()).toEqual([...names].sort());
    tf.dispose([loss, ...grads.values()]);
    scorer.dispose();
    expect((await readCopy(decoder.hidden(batch))).every(Number.isFinite)).toBe(true);
  });

  it('restores what it saved, and lists what does not fit', async () => {
    const a = createScorer(tinyDecoder({ tiedEmbeddings: false }), { pooling: 'mean', rng: rng(1) });
    const b = createScorer(tinyDecoder({ tiedEmbeddings: false }), { pooling: 'mean', rng: rng(2) });
    const saved = await a.parameters.save();
    await b.parameters.load(saved);
    expect(await scoresOf(b)).toEqual(await scoresOf(a));
    const { 'score.weight': _, ...rest } = saved.tensors;
    await expect(b.parameters.load({ ...saved, tensors: { ...rest, other: { shape: [1], data: new Float32Array(1) } } })).rejects.toThrow(
      /missing score.weight; unknown other/,
    );
    const copy = b.snapshot();
    b.dispose();
    expect(await scoresOf(copy)).toEqual(await scoresOf(a));
  });

  it('leaves no tensor behind', async () => {
    const scorer = createScorer(tinyDecoder(), { pooling: 'mean', rng: rng(1) });
    const before = tf.memory().numTensors;
    await scoresOf(scorer);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('refuses a head of another width', () => {
    expect(() => createScorer(tinyDecoder(), { pooling: 'mean', head: new Float32Array(5) })).toThrow(/5 numbers.*width is 18/);
  });
});

describe('joinTrees', () => {
  it('names a parameter that is not there', () => {
    expect(() => joinTrees([tinyDecoder().parameters]).get('nothing')).toThrow(/no parameter "nothing"; there are 20/);
  });
});

describe.skipIf(!sharedFolder).each(['llama_score', 'qwen2_score'])(`%s against transformers' sequence classifier${whySkipped}`, (name) => {
  it('gives its scores and the gradient of the Bradley-Terry loss', async () => {
    const at = (file: string) => sharedFixture(`models/${name}/${file}`);
    const spec = specFromConfig(readJson(at('config.json')));
    const { 'score.weight': head, ...weights } = readTensors(at('model.safetensors'));
    const backbone = createDecoder(spec, { tokenizer: plainTokenizer(spec.vocabSize), weights });
    const scorer = createScorer(backbone, { pooling: 'last', padId: 0, head: head.data });
    type Rows = { input_ids: number[][]; attention_mask: number[][]; scores: number[] };
    const io = readJson<Rows & { last_real_token_of_row_0_is_the_pad_id: Rows; bradley_terry_loss: number }>(at('io.json'));
    const pack = ({ input_ids }: Rows) =>
      packSequences(
        input_ids.map((ids, row) => ({
          tokens: Int32Array.from(ids.filter((_, t) => io.attention_mask[row][t])),
          completionStart: 0,
          row,
        })),
      );
    for (const rows of [io, io.last_real_token_of_row_0_is_the_pad_id]) {
      (await scoresOf(scorer, pack(rows))).forEach((score, i) => void expect(score).toBeCloseTo(rows.scores[i], 4));
    }
    const { loss, grads } = gradients(() => {
      const [chosen, rejected] = tf.split(scorer.scores(pack(io)), 2);
      return { loss: tf.mean(tf.softplus(tf.sub(rejected, chosen))) as tf.Scalar };
    }, scorer.parameters.trainable());
    expect((await readCopy(loss))[0]).toBeCloseTo(io.bradley_terry_loss, 4);
    const expected = readTensors(at('grads.safetensors'));
    for (const [{ name }, grad] of grads) {
      const ours = await readCopy(grad);
      const largest = expected[name].data.reduce((most, g) => Math.max(most, Math.abs(g)), 0);
      expect(
        Array.from(ours).reduce((most, g, i) => Math.max(most, Math.abs(g - expected[name].data[i])), 0),
        name,
      ).toBeLessThan(1e-4 * largest + 1e-9);
    }
  });
});
