import { gradients, readCopy, rng } from '@plumbline/core';
import { type PackedBatch, packSequences } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { addLora } from '../lora/lora.js';
import { plainTokenizer } from '../testing/plainTokenizer.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { createDecoder, type LocalDecoder, predictingRows } from './decoder.js';
import { decoderSpec, inverseFrequencies, specFromConfig } from './spec.js';

const ids = (...tokens: number[]) => Int32Array.from(tokens);

/** One prompt, seen once, with two completions that follow it. */
const shared: PackedBatch = {
  tokens: ids(1, 2, 3, 4, 5, 6, 7, 8),
  positions: ids(0, 1, 2, 3, 4, 3, 4, 5),
  completionMask: Uint8Array.of(0, 0, 0, 1, 1, 1, 1, 1),
  cuSeqlens: ids(0, 3, 5, 8),
  prefixOf: ids(-1, 0, 0),
  rows: ids(0, 1, 2),
};
const apart = packSequences([
  { tokens: ids(1, 2, 3, 4, 5), completionStart: 3, row: 1 },
  { tokens: ids(1, 2, 3, 6, 7, 8), completionStart: 3, row: 2 },
]);

describe('completionLogps', () => {
  it('gives completions that share their prompt what they have apart, and the same gradients', async () => {
    const decoder = tinyDecoder();
    const of = (batch: PackedBatch) => {
      const { loss, grads } = gradients(
        () => ({ loss: tf.sum(decoder.completionLogps(batch).tokens) as tf.Scalar }),
        decoder.parameters.trainable(),
      );
      return { loss, grads: [...grads.values()] };
    };
    const a = decoder.completionLogps(shared);
    const b = decoder.completionLogps(apart);
    expect([...(await readCopy(a.lengths))]).toEqual([0, 2, 3]);
    const [ours, theirs] = [await readCopy(a.tokens), await readCopy(b.tokens)];
    ours.forEach((logp, t) => void expect(logp).toBeCloseTo(theirs[t], 5));
    const [together, each] = [of(shared), of(apart)];
    for (let i = 0; i < each.grads.length; i++) {
      const [x, y] = [await readCopy(together.grads[i]), await readCopy(each.grads[i])];
      x.forEach((g, j) => void expect(Math.abs(g - y[j])).toBeLessThan(1e-4 * (1 + Math.abs(y[j]))));
    }
  });

  it('gives nothing for an empty completion, and leaves it out of the gradient', async () => {
    const decoder = tinyDecoder();
    const none = packSequences([{ tokens: ids(1, 2), completionStart: 2, row: 0 }]);
    const { tokens, sums, lengths } = decoder.completionLogps(none);
    expect([tokens.shape, await readCopy(sums), await readCopy(lengths)]).toEqual([[0], Float32Array.of(0), Float32Array.of(0)]);
    const { grads, loss } = gradients(
      () => ({ loss: tf.sum(decoder.completionLogps(none).sums) as tf.Scalar }),
      decoder.parameters.trainable(),
    );
    expect([(await readCopy(loss))[0], grads.size]).toEqual([0, 0]);
  });

  it('reads each counted token at the token before it', () => {
    expect(predictingRows(apart)).toEqual({ rows: ids(2, 3, 7, 8, 9), targets: ids(4, 5, 6, 7, 8), cuSeqlens: ids(0, 2, 5) });
    expect(predictingRows(shared)).toEqual({ rows: ids(2, 3, 2, 5, 6), targets: ids(4, 5, 6, 7, 8), cuSeqlens: ids(0, 0, 2, 5) });
  });
});

describe('a decoder', () => {
  const decoder = tinyDecoder();
  const with_ = (change: Partial<PackedBatch>) => () => decoder.hidden({ ...apart, ...change });

  it('says what does not fit in a batch', () => {
    expect(with_({ positions: ids(1, 2) })).toThrow(/11 tokens needs 11 positions.*has 2 positions/);
    expect(with_({ cuSeqlens: ids(0, 5) })).toThrow(/lengths from 0 to 5/);
    expect(with_({ tokens: apart.tokens.map((t) => t + 20) })).toThrow(/token \d is 23; ids go from 0 to 22/);
    expect(with_({ positions: apart.positions.map((p) => p + 60) })).toThrow(/position 64, but the context holds 64 tokens/);
    expect(with_({ tokens: ids(), positions: ids(), completionMask: new Uint8Array(0), cuSeqlens: ids(0) })).toThrow(/an empty batch/);
  });

  it('has a snapshot that does not move with it', async () => {
    const policy = tinyDecoder();
    const reference = policy.snapshot();
    const before = await readCopy(reference.hidden(apart));
    const saved = await policy.parameters.save();
    for (const { data } of Object.values(saved.tensors)) data.fill(0.5);
    await policy.parameters.load(saved);
    policy.dispose();
    expect(await readCopy(reference.hidden(apart))).toEqual(before);
  });

  it('lists weights that do not fit its configuration', () => {
    const spec = decoderSpec({ vocabSize: 5, width: 4, layers: 1, heads: 1 });
    const weights = { 'model.norm.weight': { shape: [5], data: new Float32Array(5) }, other: { shape: [1], data: new Float32Array(1) } };
    expect(() => createDecoder(spec, { tokenizer: plainTokenizer(5), weights })).toThrow(
      /"model.embed_tokens.weight" \[5,4\] is missing.*"model.norm.weight" is \[5\], not \[4\]|and \d+ more/s,
    );
    expect(() => createDecoder(spec, { tokenizer: plainTokenizer(6), weights })).toThrow(
      /tokenizer has 6 tokens and the model's vocabulary 5/,
    );
  });
});

describe('specFromConfig', () => {
  const llama = { model_type: 'llama', vocab_size: 9, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16 };

  it('reads the keys of transformers 4 and of 5 alike', () => {
    const scaling = { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 32 };
    const four = specFromConfig({ ...llama, rope_theta: 5000, rope_scaling: scaling });
    const five = specFromConfig({ ...llama, rope_parameters: { ...scaling, rope_theta: 5000 } });
    expect(four).toEqual(five);
    expect(four.ropeScaling).toEqual({ factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContextLength: 32 });
  });

  it('refuses what it does not know, naming it', () => {
    expect(() => specFromConfig({ ...llama, model_type: 'mamba' })).toThrow(/model_type is "mamba"; supported are/);
    expect(() => specFromConfig({ ...llama, hidden_act: 'relu' })).toThrow(/hidden_act is "relu"/);
    expect(() => specFromConfig({ ...llama, rope_scaling: { rope_type: 'yarn' } })).toThrow(
      /rope_type is "yarn"; supported are "default", "linear", "llama3" and "longrope"/,
    );
    expect(() => specFromConfig({ ...llama, vocab_size: undefined })).toThrow(/vocab_size must be a number, found nothing/);
    const endless = { model_type: 'mistral', num_hidden_layers: 1e12, sliding_window: 4 };
    expect(() => specFromConfig({ ...llama, ...endless })).toThrow('layers is 1000000000000; at most 10,000 are allowed');
  });
});

describe('inverseFrequencies', () => {
  it('halves the angle where theta to the power says so', () => {
    expect([...inverseFrequencies({ headDim: 4, ropeTheta: 10_000 })]).toEqual([1, Math.fround(0.01)]);
  });
});

describe('activationBytes', () => {
  /** Bytes that the forward pass leaves, for each token more. */
  const kept = (decoder: LocalDecoder) => {
    const bytesAfter = (length: number) => {
      const tokens = Int32Array.from({ length }, (_, i) => i % 23);
      const batch = packSequences([{ tokens, completionStart: length - 1, row: 0 }]);
      let bytes = 0;
      const { loss, grads } = gradients(() => {
        const before = tf.memory().numBytes;
        const { tokens: logps } = decoder.completionLogps(batch);
        bytes = tf.memory().numBytes - before;
        return { loss: tf.sum(logps) as tf.Scalar };
      }, decoder.parameters.trainable());
      tf.dispose([loss, ...grads.values()]);
      return bytes;
    };
    return (bytesAfter(120) - bytesAfter(60)) / 60;
  };
  const shape = { width: 24, layers: 4, heads: 4, kvHeads: 2, headDim: 6, mlpWidth: 64, contextLength: 128 };
  const near = (share: number) => {
    expect(share).toBeGreaterThan(0.75);
    expect(share).toBeLessThan(1.35);
  };
  it('says about what a pass keeps', () => {
    const decoder = tinyDecoder(shape);
    near(kept(decoder) / decoder.activationBytes);
  });
  it('is a layer and the inputs of all where they are recomputed', () => {
    const decoder = tinyDecoder({ ...shape, gradientCheckpointing: true });
    const one = tinyDecoder({ ...shape, layers: 1 });
    near(kept(decoder) / (decoder.activationBytes - one.activationBytes));
  });
  it('counts the layers above the lowest adapter alone', async () => {
    const base = tinyDecoder(shape);
    base.parameters.freeze(/./);
    const upper = await addLora(base, { r: 2, layers: [2, 3] }, { rng: rng(1) });
    expect(upper.activationBytes / base.activationBytes).toBe(0.5);
    near(kept(upper) / upper.activationBytes);
  });
  it('is kept within 256 MB by recomputing layers, to the same bits', async () => {
    const wide = { width: 8, layers: 8, heads: 1, kvHeads: 1, headDim: 8, mlpWidth: 4096, contextLength: 1024 };
    const batch = packSequences([{ tokens: Int32Array.from({ length: 800 }, (_, i) => i % 23), completionStart: 799, row: 0 }]);
    const of = async (gradientCheckpointing: boolean | undefined) => {
      const decoder = tinyDecoder({ ...wide, gradientCheckpointing });
      let bytes = 0;
      const { loss, grads } = gradients(() => {
        const before = tf.memory().numBytes;
        const { tokens } = decoder.completionLogps(batch);
        bytes = tf.memory().numBytes - before;
        return { loss: tf.sum(tokens) as tf.Scalar };
      }, decoder.parameters.trainable());
      const values = await Promise.all([...grads.values()].map(async (x) => Buffer.from((await readCopy(x)).buffer)));
      tf.dispose([loss, ...grads.values()]);
      decoder.dispose();
      return { bytes, values };
    };
    const [all, some, none] = [await of(false), await of(undefined), await of(true)];
    expect(all.bytes).toBeGreaterThan(2 ** 28);
    expect(some.bytes).toBeLessThan(2 ** 28);
    expect(some.bytes).toBeGreaterThan(2 * none.bytes);
    expect(some.values.every((grad, i) => grad.equals(all.values[i]))).toBe(true);
  });
});
