import { gradients, type Parameter, readCopy, rng } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { createDecoder } from './decoder/decoder.js';
import { addLora } from './lora/lora.js';
import { plainTokenizer, tinyDecoder } from './testing/index.js';
import { decoderTrunk } from './trunk.js';

const text = packSequences([{ tokens: Int32Array.of(3, 1, 4, 1, 5), completionStart: 1, row: 0 }, { tokens: Int32Array.of(9, 2, 6), completionStart: 1, row: 1 }]); // biome-ignore format: two sequences
const read = async (tensor: tf.Tensor) => {
  const values = [...(await readCopy(tensor))];
  tensor.dispose();
  return values;
};

describe('decoderTrunk', () => {
  it('gives what the decoder gives where the vectors are the embeddings of its tokens', async () => {
    for (const family of ['llama', 'gemma2'] as const) {
      const decoder = tinyDecoder({ family });
      const trunk = await decoderTrunk(decoder);
      const embeddings = decoder.parameters.get(decoder.parameters.names[0]) as Parameter;
      const scale = family === 'gemma2' ? Math.sqrt(decoder.width) : 1;
      const x = tf.tidy(() => tf.mul(tf.gather(embeddings.value, tf.tensor1d(text.tokens, 'int32')), scale) as tf.Tensor2D);
      const expected = await read(decoder.hidden(text));
      (await read(trunk.hidden(x, text.cuSeqlens))).forEach((value, i) => void expect(value).toBeCloseTo(expected[i], 5));
      expect(await read(trunk.decoder.hidden(text))).toEqual(expected); // text goes through it as before
      x.dispose();
      decoder.dispose();
    }
  });
  it('takes more vectors than the vocabulary has tokens, and adds no learned positions', async () => {
    const decoder = tinyDecoder({ family: 'gpt2', ropeTheta: 0, kvHeads: 3, attentionBias: 'all', mlpBias: true });
    const trunk = await decoderTrunk(decoder);
    const one = tf.tensor2d(rng(0).normal(18), [1, 18]);
    const many = tf.tile(one, [40, 1]) as tf.Tensor2D;
    const alone = await read(trunk.hidden(one, Int32Array.of(0, 1)));
    const all = await read(trunk.hidden(many, Int32Array.of(0, 40))); // 23 tokens
    for (let i = 0; i < 40; i++) alone.forEach((value, k) => void expect(all[18 * i + k]).toBeCloseTo(value, 4)); // attention over equal vectors gives that vector
    tf.dispose([one, many]);
    decoder.dispose();
  });
  it('trains its adapter on text and on vectors alike, and leaves the decoder as it is', async () => {
    const decoder = tinyDecoder();
    const trunk = await decoderTrunk(decoder, { lora: { r: 2, rng: rng(0) } });
    const before = await read(decoder.hidden(text));
    const x = tf.tensor2d(rng(1).normal(5 * 18), [5, 18]);
    const adapter = trunk.decoder.parameters.trainable();
    expect(adapter.every(({ name }) => name.includes('lora_'))).toBe(true);
    for (const loss of [() => tf.sum(trunk.hidden(x, Int32Array.of(0, 5))), () => tf.sum(trunk.decoder.completionLogps(text).sums)]) {
      const { loss: value, grads } = gradients(() => ({ loss: tf.tidy(loss) as tf.Scalar }), adapter);
      expect(grads.size).toBe(adapter.length);
      tf.dispose([value, ...grads.values()]);
    }
    x.dispose();
    trunk.dispose();
    expect(await read(decoder.hidden(text))).toEqual(before);
    decoder.dispose();
  });
  it('lets the gradient through to the vectors', async () => {
    const decoder = tinyDecoder();
    const trunk = await decoderTrunk(decoder);
    const tree = tinyDecoder({ seed: 9 }).parameters; // any trainable matrix of that width
    const vectors = tree.get(tree.names[0]) as Parameter;
    const at = (by: number, place: number) =>
      tf.tidy(() => {
        const moved = tf.oneHot(tf.tensor1d([place], 'int32'), vectors.value.size);
        return tf.sum(
          tf.square(
            trunk.hidden(tf.add(vectors.value, tf.mul(by, tf.reshape(moved, vectors.value.shape))) as tf.Tensor2D, Int32Array.of(0, 23)),
          ),
        ) as tf.Scalar;
      });
    const { loss, grads } = gradients(
      () => ({ loss: tf.tidy(() => tf.sum(tf.square(trunk.hidden(vectors.value as tf.Tensor2D, Int32Array.of(0, 23)))) as tf.Scalar) }),
      [vectors],
    );
    const grad = await readCopy(grads.get(vectors)!);
    for (const place of [0, 40, 200]) {
      const [[up], [down]] = [await read(at(1e-2, place)), await read(at(-1e-2, place))];
      expect(Math.abs(grad[place] - (up - down) / 2e-2)).toBeLessThan(0.02 * Math.max(1, Math.abs(grad[place])));
    }
    tf.dispose([loss, ...grads.values()]);
    decoder.dispose();
  });
  it('leaves no tensor behind, and says what does not fit', async () => {
    const decoder = tinyDecoder();
    const before = tf.memory().numTensors;
    const trunk = await decoderTrunk(decoder, { lora: { r: 2, rng: rng(0) } });
    const x = tf.zeros([3, 18]) as tf.Tensor2D;
    trunk.hidden(x, Int32Array.of(0, 3)).dispose();
    expect(() => trunk.hidden(x, Int32Array.of(0, 2))).toThrow('the vectors are [3,18] in segments up to 2');
    const adapted = await addLora(decoder, { r: 2 }, { rng: rng(0) });
    await expect(decoderTrunk(adapted)).rejects.toThrow('has an adapter already');
    adapted.dispose();
    x.dispose();
    trunk.dispose();
    expect(tf.memory().numTensors).toBe(before);
    const packed = createDecoder(decoder.spec, { tokenizer: plainTokenizer(23), rng: rng(0), storage: 'f32' });
    await expect(decoderTrunk(packed)).rejects.toThrow('are packed; load it without storage');
    packed.dispose();
    decoder.dispose();
  });
});
