import { gradients, readCopy, rng } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { generate } from '../generation/generate.js';
import { addLora } from '../lora/lora.js';
import { plainTokenizer } from '../testing/plainTokenizer.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { createDecoder, type DecoderWeights, type LocalDecoder } from './decoder.js';
import { parameterBytes, type Storage, storageOf } from './frozen.js';

const batch = packSequences([
  { tokens: Int32Array.of(1, 2, 3, 4, 5, 6), completionStart: 0, row: 0 },
  { tokens: Int32Array.of(7, 8, 9), completionStart: 1, row: 1 },
]);
const logpsOf = async (decoder: LocalDecoder) => {
  const tokens = tf.tidy(() => decoder.completionLogps(batch).tokens);
  const values = (await readCopy(tokens)) as Float32Array;
  tokens.dispose();
  return values;
};
const gap = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);
const shapes = {
  llama: {},
  'an untied qwen2': { family: 'qwen2', attentionBias: 'qkv', tiedEmbeddings: false },
  'gpt2, stored the other way round': { family: 'gpt2', kvHeads: 3, ropeTheta: 0 },
} as const;

/** The same model with its matrices kept as said, and one of plain parameters that holds the rounded values. */
async function both(shape: object, storage: Storage): Promise<{ frozen: LocalDecoder; rounded: LocalDecoder; whole: LocalDecoder }> {
  const whole = tinyDecoder(shape);
  const tokenizer = plainTokenizer(whole.spec.vocabSize);
  const weights = (await whole.parameters.save()).tensors as DecoderWeights;
  const frozen = createDecoder(whole.spec, { tokenizer, weights, storage });
  const rounded = createDecoder(whole.spec, { tokenizer, weights: (await frozen.parameters.save()).tensors as DecoderWeights });
  return { frozen, rounded, whole };
}

describe.each(Object.entries(shapes))('a frozen decoder: %s', (_, shape) => {
  it.each(['f32', 'bf16', 'int8'] as const)('kept as %s, gives what its rounded weights give', async (storage) => {
    const { frozen, rounded, whole } = await both(shape, storage);
    expect(gap(await logpsOf(frozen), await logpsOf(rounded))).toBeLessThan(1e-5);
    const apart = gap(await logpsOf(frozen), await logpsOf(whole));
    if (storage === 'f32') expect(apart).toBeLessThan(1e-5);
    else expect(apart).toBeGreaterThan(1e-4);
    expect(apart).toBeLessThan(0.5);
    const greedy = { maxTokens: 6, temperature: 0, stopIds: [], rng: rng(0) };
    const [[ours]] = await generate(frozen, [Int32Array.of(3, 1, 4)], greedy);
    const [[theirs]] = await generate(rounded, [Int32Array.of(3, 1, 4)], greedy);
    expect([...ours.tokens]).toEqual([...theirs.tokens]);
    for (const one of [frozen, rounded, whole]) one.dispose();
  });

  it('gives an adapter on it the gradients that it has on the rounded weights', async () => {
    const { frozen, rounded } = await both(shape, 'bf16');
    const gradsOf = async (base: LocalDecoder) => {
      const adapted = await addLora(base, { r: 3, alpha: 6, dora: true }, { rng: rng(1) });
      const saved = await adapted.parameters.save();
      for (const { data } of Object.values(saved.tensors)) for (let i = 0; i < data.length; i++) data[i] += 0.1 * Math.sin(i);
      await adapted.parameters.load(saved);
      const { loss, grads } = gradients(
        () => ({ loss: tf.mean(adapted.completionLogps(batch).tokens) as tf.Scalar }),
        adapted.parameters.trainable(),
      );
      const read = await Promise.all([...grads].map(async ([{ name }, grad]) => [name, await readCopy(grad)] as const));
      tf.dispose([loss, ...grads.values()]);
      adapted.dispose();
      return Object.fromEntries(read);
    };
    const [ours, theirs] = [await gradsOf(frozen), await gradsOf(rounded)];
    expect(Object.keys(ours)).toEqual(Object.keys(theirs));
    for (const [name, grad] of Object.entries(ours)) expect(gap(grad, theirs[name]), name).toBeLessThan(1e-5);
  });
});

describe('frozenParameters', () => {
  it('are half and a quarter the size, are shared by copies, and freed with the last', async () => {
    const before = tf.memory().numTensors;
    const { frozen, rounded, whole } = await both({ width: 48, heads: 3, headDim: 16, mlpWidth: 96 }, 'bf16');
    expect(storageOf(frozen.parameters)).toBe('bf16');
    expect(storageOf(whole.parameters)).toBeUndefined();
    expect(parameterBytes(whole.parameters)).toBeGreaterThan(0);
    const copy = frozen.snapshot();
    const expected = await logpsOf(frozen);
    frozen.dispose();
    frozen.dispose();
    expect(await logpsOf(copy)).toEqual(expected);
    for (const one of [copy, rounded, whole]) one.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('have nothing to train and cannot be loaded into', async () => {
    const { frozen } = await both({}, 'int8');
    expect(frozen.parameters.trainable()).toEqual([]);
    await expect(frozen.parameters.load(await frozen.parameters.save())).rejects.toThrow(/frozen \(int8\) and cannot be loaded into/);
  });
});

describe('gradientCheckpointing', () => {
  const long = packSequences(
    Array.from({ length: 4 }, (_, row) => ({
      tokens: Int32Array.from({ length: 48 }, (_, t) => (7 * t + row) % 23),
      completionStart: 0,
      row,
    })),
  );
  const shape = { layers: 8 };
  /** Bytes of tensors at the most while gradients were taken, and the gradients. */
  const measure = async (decoder: LocalDecoder) => {
    const before = tf.memory().numBytes;
    let peak = 0;
    const engine = tf.engine() as unknown as { runKernel(...args: unknown[]): unknown };
    const run = engine.runKernel;
    engine.runKernel = function (...args) {
      const made = run.apply(this, args);
      peak = Math.max(peak, tf.memory().numBytes - before);
      return made;
    };
    try {
      const { loss, grads } = gradients(
        () => ({ loss: tf.mean(decoder.completionLogps(long).tokens) as tf.Scalar }),
        decoder.parameters.trainable(),
      );
      const read = await Promise.all([...grads].map(async ([{ name }, grad]) => [name, await readCopy(grad)] as const));
      tf.dispose([loss, ...grads.values()]);
      return { peak, grads: Object.fromEntries(read) };
    } finally {
      engine.runKernel = run;
    }
  };

  it('takes less than half of the memory and gives the same gradients', async () => {
    const plain = await measure(tinyDecoder(shape));
    const recomputed = await measure(tinyDecoder({ ...shape, gradientCheckpointing: true }));
    expect(recomputed.grads).toEqual(plain.grads);
    expect(recomputed.peak).toBeLessThan(plain.peak / 2);
  });

  it('does so for an adapter too, whose frozen base keeps no activations for its own gradients', async () => {
    const adapted = async (gradientCheckpointing: boolean) =>
      addLora(tinyDecoder({ ...shape, gradientCheckpointing }), { r: 2 }, { rng: rng(1) });
    const full = await measure(tinyDecoder(shape));
    const plain = await measure(await adapted(false));
    const recomputed = await measure(await adapted(true));
    expect(recomputed.grads).toEqual(plain.grads);
    expect(recomputed.peak).toBeLessThan(plain.peak / 2);
    const queries = await measure(await addLora(tinyDecoder(shape), { r: 2, targetModules: ['q_proj'] }, { rng: rng(1) }));
    expect(queries.peak).toBeLessThan(0.9 * full.peak);
  });
});
