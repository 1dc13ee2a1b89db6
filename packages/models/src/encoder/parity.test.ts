/** Against transformers 5.24: hidden states, heads, losses and the gradient of every parameter. */
import { gatherRows, gradients, readCopy } from '@plumbline/core';
import { largestError } from '@plumbline/tools/fixtures';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { ownFixture, readJson, readTensors, sharedFixture, sharedFolder } from '../testing/fixtures.node.js';
import { plainTokenizer } from '../testing/plainTokenizer.js';
import { createEncoder, packTexts } from './encoder.js';
import { encoderConfig, encoderSpecFromConfig } from './spec.js';
import { createVit, vitConfig, vitSpecFromConfig } from './vit.js';

type At = (file: string) => string;
/** The small one that is always here, and the shared one of odd sizes. */
const folders = (name: string): [string, At][] => [
  [`a small ${name}`, (file) => ownFixture(`models/${name}/${file}`)],
  ...(sharedFolder ? [[`${name}, shared`, (file: string) => sharedFixture(`models/${name}/${file}`)] as [string, At]] : []),
];
const own = (name: string): [string, At] => [`a small ${name}`, (file) => ownFixture(`models/${name}/${file}`)];

describe.each([...folders('bert'), own('roberta'), own('distilbert')])('%s against transformers', (_, at) => {
  type Io = { input_ids: number[][]; attention_mask: number[][]; token_type_ids: number[][]; mlm_labels: number[][]; mlm_loss: number };
  const io = readJson<Io>(at('io.json'));
  const config = readJson(at('config.json'));
  const weights = readTensors(at('model.safetensors'));
  const spec = encoderSpecFromConfig(config, (name) => Object.keys(weights).some((key) => key.endsWith(name)));
  const load = () => createEncoder(spec, { tokenizer: plainTokenizer(spec.vocabSize), weights });
  const kept = <T>(rows: T[][]) => rows.map((row, i) => row.filter((__, t) => io.attention_mask[i][t]));
  const ids = kept(io.input_ids).map((row) => Int32Array.from(row));
  const batch = packTexts(
    ids,
    kept(io.token_type_ids).map((row) => Int32Array.from(row)),
  );
  /** The rows of a padded tensor that are not padding. */
  const unpadded = ({ shape, data }: { shape: number[]; data: Float32Array }): number[] =>
    ids.flatMap((row, i) => Array.from(data.subarray(i * shape[1] * shape[2], (i * shape[1] + row.length) * shape[2])));

  it('gives hidden states, pooled vectors and the logits of both heads, without padding', async () => {
    const encoder = load();
    const expected = readTensors(at('io.safetensors'));
    const before = tf.memory().numTensors;
    const hidden = encoder.hidden(batch);
    const masked = encoder.maskedLogits(hidden);
    expect(largestError(await readCopy(hidden), unpadded(expected.last_hidden))).toBeLessThan(1e-4);
    expect(largestError(await readCopy(masked), unpadded(expected.logits))).toBeLessThan(1e-4);
    if (spec.outputs.pooler) {
      const pooled = encoder.pooled(hidden, batch.cuSeqlens);
      const next = encoder.nextSentence(pooled);
      expect(largestError(await readCopy(pooled), expected.pooled.data)).toBeLessThan(1e-4);
      expect(largestError(await readCopy(next), expected.seq_relationship.data)).toBeLessThan(1e-4);
      tf.dispose([pooled, next]);
    }
    tf.dispose([hidden, masked]);
    expect(tf.memory().numTensors).toBe(before);
    encoder.dispose();
  });

  it('pools the mean over all tokens, and scales it to length 1 where asked', async () => {
    const expected = readTensors(at('io.safetensors')).mean_pooled;
    for (const normalize of [false, true]) {
      const encoder = createEncoder(spec, {
        tokenizer: plainTokenizer(spec.vocabSize),
        weights,
        sentences: { pooling: 'mean', normalize },
      });
      const vectors = encoder.sentenceEmbeddings(batch);
      const width = spec.width;
      const theirs = expected.data.map((x, i) => {
        const row = expected.data.subarray(i - (i % width), i - (i % width) + width);
        return normalize ? x / Math.hypot(...row) : x;
      });
      expect(largestError(await readCopy(vectors), theirs)).toBeLessThan(1e-4);
      vectors.dispose();
      encoder.dispose();
    }
  });

  it.each([false, true])('gives the loss and its gradient for every parameter (checkpointed: %s)', async (gradientCheckpointing) => {
    const encoder = createEncoder(spec, { tokenizer: plainTokenizer(spec.vocabSize), weights, gradientCheckpointing });
    const labels = kept(io.mlm_labels).flat();
    const rows = Int32Array.from(labels.flatMap((label, t) => (label >= 0 ? [t] : [])));
    const targets = tf.oneHot(
      tf.tensor1d(
        labels.filter((label) => label >= 0),
        'int32',
      ),
      spec.vocabSize,
    );
    const { loss, grads } = gradients(
      () => ({
        loss: tf.tidy(() => {
          const logits = encoder.maskedLogits(gatherRows({ x: encoder.hidden(batch) }, { rows }).y);
          return tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(logits), targets), 1))) as tf.Scalar;
        }),
      }),
      encoder.parameters.trainable(),
    );
    expect(Math.abs((await readCopy(loss))[0] - io.mlm_loss)).toBeLessThan(1e-5 * (1 + io.mlm_loss));
    await compareGradients(grads, readTensors(at('grads.safetensors')));
    tf.dispose([loss, targets, ...grads.values()]);
    encoder.dispose();
  });

  it('writes a configuration that reads back the same', () => {
    expect(encoderSpecFromConfig(encoderConfig(spec), (name) => Object.keys(weights).some((key) => key.endsWith(name)))).toEqual(spec);
  });
});

describe.each([own('bert_labels'), own('roberta_labels'), own('distilbert_labels')])('%s against transformers', (_, at) => {
  type Io = { input_ids: number[][]; attention_mask: number[][]; token_type_ids: number[][]; labels: number[]; loss: number };
  const io = readJson<Io>(at('io.json'));
  const weights = readTensors(at('model.safetensors'));
  const spec = encoderSpecFromConfig(readJson(at('config.json')), (name) => Object.keys(weights).some((key) => key.endsWith(name)));
  const kept = (rows: number[][]) => rows.map((row, i) => Int32Array.from(row.filter((__, t) => io.attention_mask[i][t])));

  it('gives class logits, the loss and its gradient for every parameter', async () => {
    const encoder = createEncoder(spec, { tokenizer: plainTokenizer(spec.vocabSize), weights });
    const batch = packTexts(kept(io.input_ids), kept(io.token_type_ids));
    const logits = encoder.classLogits(batch);
    expect(largestError(await readCopy(logits), readTensors(at('io.safetensors')).logits.data)).toBeLessThan(1e-4);
    const targets = tf.oneHot(tf.tensor1d(io.labels, 'int32'), spec.outputs.labels!);
    const { loss, grads } = gradients(
      () => ({ loss: tf.tidy(() => tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(encoder.classLogits(batch)), targets), 1))) as tf.Scalar) }),
      encoder.parameters.trainable(),
    );
    expect(Math.abs((await readCopy(loss))[0] - io.loss)).toBeLessThan(1e-5 * (1 + io.loss));
    await compareGradients(grads, readTensors(at('grads.safetensors')));
    tf.dispose([logits, loss, targets, ...grads.values()]);
    encoder.dispose();
  });
});

describe.each(folders('vit'))('%s against transformers', (_, at) => {
  const io = readJson<{ labels: number[]; loss: number }>(at('io.json'));
  const expected = readTensors(at('io.safetensors'));
  const weights = readTensors(at('model.safetensors'));
  const spec = vitSpecFromConfig(readJson(at('config.json')), (name) => Object.keys(weights).some((key) => key.endsWith(name)));
  const images = () => tf.tensor4d(expected.images.data, expected.images.shape as [number, number, number, number]);

  it('gives features and logits', async () => {
    const vit = createVit(spec, { weights });
    const x = images();
    const before = tf.memory().numTensors;
    const [features, logits] = [vit.features(x), vit.logits(x)];
    expect(features.shape).toEqual(expected.last_hidden.shape);
    expect(largestError(await readCopy(features), expected.last_hidden.data)).toBeLessThan(1e-4);
    expect(largestError(await readCopy(logits), expected.logits.data)).toBeLessThan(1e-4);
    tf.dispose([features, logits]);
    expect(tf.memory().numTensors).toBe(before);
    x.dispose();
    vit.dispose();
  });

  it.each([false, true])('gives the loss and its gradient for every parameter (checkpointed: %s)', async (gradientCheckpointing) => {
    const vit = createVit(spec, { weights, gradientCheckpointing });
    const x = images();
    const targets = tf.oneHot(tf.tensor1d(io.labels, 'int32'), spec.labels);
    const { loss, grads } = gradients(
      () => ({ loss: tf.tidy(() => tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(vit.logits(x)), targets), 1))) as tf.Scalar) }),
      vit.parameters.trainable(),
    );
    expect(Math.abs((await readCopy(loss))[0] - io.loss)).toBeLessThan(1e-5 * (1 + io.loss));
    // transformers 5 names modules otherwise inside than in files.
    const inside: [RegExp, string][] = [
      [/^vit\.layers\.(\d+)\./, 'vit.encoder.layer.$1.'],
      [/attention\.q_proj/, 'attention.attention.query'],
      [/attention\.k_proj/, 'attention.attention.key'],
      [/attention\.v_proj/, 'attention.attention.value'],
      [/attention\.o_proj/, 'attention.output.dense'],
      [/mlp\.fc1/, 'intermediate.dense'],
      [/mlp\.fc2/, 'output.dense'],
    ];
    const theirs = Object.entries(readTensors(at('grads.safetensors'))).map(
      ([name, grad]) => [inside.reduce((text, [from, to]) => text.replace(from, to), name), grad] as const,
    );
    await compareGradients(grads, Object.fromEntries(theirs));
    tf.dispose([loss, x, targets, ...grads.values()]);
    vit.dispose();
  });

  it('writes a configuration that reads back the same', () => {
    expect(vitSpecFromConfig(vitConfig(spec), (name) => Object.keys(weights).some((key) => key.endsWith(name)))).toEqual(spec);
  });
});

async function compareGradients(
  grads: ReadonlyMap<{ name: string }, tf.Tensor>,
  expected: Record<string, { data: Float32Array }>,
): Promise<void> {
  expect([...grads.keys()].map(({ name }) => name).sort()).toEqual(Object.keys(expected).sort());
  // A key's bias moves all scores of a query alike: its gradient is zero but for rounding.
  const least = Math.max(...Object.values(expected).map(({ data }) => largest(data))) * 1e-6;
  for (const [{ name }, grad] of grads) {
    const theirs = expected[name].data;
    const gap = ((await readCopy(grad)) as Float32Array).reduce((most, g, i) => Math.max(most, Math.abs(g - theirs[i])), 0);
    expect(gap, name).toBeLessThan(1e-4 * largest(theirs) + least);
  }
}
const largest = (data: Float32Array): number => data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
