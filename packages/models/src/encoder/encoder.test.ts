import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { adamW, gradients, readCopy, rng } from '@plumbline/core';
import { largestError } from '@plumbline/tools/fixtures';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, describe, expect, it } from 'vitest';
import { loadEncoder, loadVit, saveEncoder, saveVit, sentenceSettings } from '../files/encoder.node.js';
import { asLanguageModel } from '../languageModel.js';
import { miniLm, readJson, readTensors, sharedFixture, sharedFolder, whySkipped } from '../testing/fixtures.node.js';
import { plainTokenizer } from '../testing/plainTokenizer.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { tokenizerFromJson } from '../tokenizers/tokenizer.js';
import { asEmbeddingModel, createEncoder, type EncoderSource, packTexts, withEmbeddings } from './encoder.js';
import { encoderSpec } from './spec.js';
import { createVit, vitSpec } from './vit.js';

const spec = encoderSpec({
  vocabSize: 90,
  width: 24,
  layers: 2,
  heads: 3,
  mlpWidth: 20,
  contextLength: 12,
  initializerRange: 0.3,
  outputs: { pooler: true, maskedLm: true, nextSentence: true, labels: 3 },
});
const tiny = (more: Partial<EncoderSource> = {}, shape: Partial<typeof spec> = {}) =>
  createEncoder({ ...spec, ...shape }, { tokenizer: plainTokenizer(90), rng: rng(3), ...more } as EncoderSource);
const ids = (...numbers: number[]) => Int32Array.from(numbers);
const folder = mkdtempSync(join(tmpdir(), 'plumbline-encoder-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('an encoder', () => {
  it('gives a text what it gives it alone, whatever stands beside it', async () => {
    const encoder = tiny();
    const texts = [ids(1, 2, 3), ids(4), ids(5, 6, 7, 8, 9, 10)];
    const together = await readCopy(encoder.sentenceEmbeddings(packTexts(texts)));
    for (const [i, text] of texts.entries()) {
      const alone = await readCopy(encoder.sentenceEmbeddings(packTexts([text])));
      expect(largestError(together.subarray(24 * i, 24 * (i + 1)), alone)).toBeLessThan(1e-5);
    }
    encoder.dispose();
  });

  it('pools as it is told', async () => {
    const batch = packTexts([ids(1, 2, 3), ids(4, 5)]);
    const hidden = await readCopy(tiny().hidden(batch));
    const rows = (s: number) => (s === 0 ? [0, 1, 2] : [3, 4]).map((t) => hidden.subarray(24 * t, 24 * (t + 1)));
    const by = {
      mean: (all: ArrayLike<number>[], j: number) => all.reduce((sum, x) => sum + x[j], 0) / all.length,
      meanSqrt: (all: ArrayLike<number>[], j: number) => all.reduce((sum, x) => sum + x[j], 0) / Math.sqrt(all.length),
      cls: (all: ArrayLike<number>[], j: number) => all[0][j],
      last: (all: ArrayLike<number>[], j: number) => all[all.length - 1][j],
      max: (all: ArrayLike<number>[], j: number) => Math.max(...all.map((x) => x[j])),
    };
    for (const [pooling, of] of Object.entries(by) as [keyof typeof by, (typeof by)['mean']][]) {
      const vectors = await readCopy(tiny({ sentences: { pooling, normalize: false } }).sentenceEmbeddings(batch));
      const expected = [0, 1].flatMap((s) => Array.from({ length: 24 }, (_, j) => of(rows(s), j)));
      expect(largestError(vectors, expected), pooling).toBeLessThan(1e-5);
    }
  });

  it('scales vectors to length 1, and embeds in batches of any size alike', async () => {
    const encoder = tiny();
    const texts = ['abc', 'b', 'hello', 'xyz', 'b'];
    const all = await encoder.embed(texts);
    expect(all.map((v) => Math.hypot(...v))).toEqual(texts.map(() => expect.closeTo(1, 5)));
    expect(all[1]).toEqual(all[4]);
    const small = await encoder.embed(texts, { batchTokens: 1 });
    all.forEach((vector, i) => void expect(largestError(small[i], vector)).toBeLessThan(1e-5));
    await expect(encoder.embed(texts, { signal: AbortSignal.abort() })).rejects.toThrow();
  });

  it('reads token types, and positions from the start of each text', async () => {
    const encoder = tiny();
    const [a, b] = [ids(7, 8), ids(7, 8)];
    const zero = await readCopy(encoder.hidden(packTexts([a, b])));
    expect(largestError(zero.subarray(0, 48), zero.subarray(48))).toBeLessThan(1e-6);
    const typed = await readCopy(encoder.hidden(packTexts([a, b], [ids(0, 0), ids(0, 1)])));
    expect(largestError(typed.subarray(0, 48), zero.subarray(0, 48))).toBeLessThan(1e-6);
    expect(largestError(typed.subarray(48), zero.subarray(48))).toBeGreaterThan(0.01);
  });

  it('learns to classify, leaves no tensor behind, and its snapshot stays as it was', async () => {
    const encoder = tiny();
    const copy = encoder.snapshot();
    const optimizer = adamW({});
    const batch = packTexts([ids(1, 2, 3), ids(4, 5, 6), ids(7, 8, 9)]);
    const targets = tf.eye(3);
    const before = await readCopy(copy.classLogits(batch));
    const step = () => {
      const { loss, grads } = gradients(
        () => ({
          loss: tf.tidy(() => tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(encoder.classLogits(batch)), targets), 1))) as tf.Scalar),
        }),
        encoder.parameters.trainable(),
      );
      optimizer.apply(grads, { scale: 1, learningRate: 1e-2 });
      tf.dispose([...grads.values()]);
      return loss;
    };
    const first = (await readCopy(step()))[0];
    const tensors = tf.memory().numTensors;
    let last = first;
    for (let i = 0; i < 30; i++) {
      const loss = step();
      last = (await readCopy(loss))[0];
      loss.dispose();
    }
    expect(tf.memory().numTensors).toBe(tensors);
    expect(first).toBeGreaterThan(0.8);
    expect(last).toBeLessThan(0.05);
    expect(await readCopy(copy.classLogits(batch))).toEqual(before);
  });

  it('says what does not fit', () => {
    const encoder = tiny();
    expect(() => encoder.hidden(packTexts([new Int32Array(13)]))).toThrow('segment 0 has 13 tokens, but the context holds 12');
    expect(() => encoder.hidden(packTexts([ids(90)]))).toThrow('token 0 is 90; ids go from 0 to 89');
    expect(() => encoder.hidden(packTexts([]))).toThrow('an empty batch');
    expect(() => packTexts([ids(1), ids()])).toThrow('text 1 has no tokens');
    expect(() => encoder.hidden(packTexts([ids(1)], [ids(2)]))).toThrow('token 0 has type 2; types go from 0 to 1');
    expect(() => tiny({}, { outputs: {} }).classLogits(packTexts([ids(1)]))).toThrow('has no classifier; its outputs are {}');
    expect(() => tiny({ tokenizer: plainTokenizer(91) })).toThrow("the tokenizer has 91 tokens and the model's vocabulary 90");
    expect(() => tiny({ weights: {} } as Partial<EncoderSource>)).not.toThrow(); // rng comes first
    expect(() => createEncoder(spec, { tokenizer: plainTokenizer(90), weights: {} })).toThrow(
      '"bert.embeddings.word_embeddings.weight" [90,24] is missing',
    );
    expect(() => encoder.encode('a', { prompt: 'query' })).toThrow('has no prompt "query"; it has none');
  });

  it('embeds for a language model, and cannot write', async () => {
    const encoder = tiny();
    const model = asEmbeddingModel(encoder);
    expect(model.can).toEqual({ score: false, embed: true, logps: false });
    const [vector] = await model.embed(['abc']);
    expect(vector).toEqual((await encoder.embed(['abc']))[0]);
    await expect(model.generate(['abc'], { maxTokens: 1, rng: rng(0) })).rejects.toThrow('is an encoder');
    const both = withEmbeddings(asLanguageModel(tinyDecoder()), encoder);
    expect((await both.embed(['abc']))[0]).toEqual(vector);
    expect(both.can.score).toBe(true);
  });
});

describe('files of encoders', () => {
  it.each(['bert', 'roberta', 'distilbert'] as const)('of the family %s read back the same', async (family) => {
    const outputs = family === 'bert' ? spec.outputs : { maskedLm: true, labels: 2 };
    const shape = { ...spec, family, outputs, firstPosition: family === 'roberta' ? 2 : 0, tokenTypes: family === 'distilbert' ? 0 : 2 };
    const sentences = { pooling: 'cls', normalize: false, maxTokens: 9, prompts: { query: 'q: ' } } as const;
    const encoder = createEncoder(shape, { tokenizer: plainTokenizer(90), rng: rng(1), sentences });
    await saveEncoder(join(folder, family), encoder);
    const again = await loadEncoder(join(folder, family), { tokenizer: plainTokenizer(90) });
    expect({ ...again.spec, padId: undefined }).toEqual({ ...encoder.spec, padId: undefined });
    expect(again.sentences).toEqual(sentences);
    expect((await again.parameters.save()).tensors).toEqual((await encoder.parameters.save()).tensors);
    expect(again.encode('abcdefghijkl', { prompt: 'query' })).toHaveLength(9);
  });

  it('of a vision transformer read back the same', async () => {
    const vit = createVit(vitSpec({ width: 12, layers: 1, heads: 2, imageSize: 8, patchSize: 4, labels: 3, pooler: true }), {
      rng: rng(2),
    });
    await saveVit(join(folder, 'vit'), vit);
    const again = await loadVit(join(folder, 'vit'));
    expect(again.spec).toEqual(vit.spec);
    expect((await again.parameters.save()).tensors).toEqual((await vit.parameters.save()).tensors);
    expect(() => again.logits(tf.zeros([1, 3, 8, 9]))).toThrow('images are [1,3,8,9]; they must be [images, 3, 8, 8]');
  });

  it('say what is not supported', async () => {
    const at = join(folder, 'odd');
    mkdirSync(join(at, '1_Pooling'), { recursive: true });
    const write = (name: string, value: unknown) => writeFileSync(join(at, name), JSON.stringify(value));
    const modules = (second: object) => write('modules.json', [{ type: 'sentence_transformers.models.Transformer', path: '' }, second]);
    modules({ type: 'sentence_transformers.models.Dense', path: '2_Dense' });
    expect(() => sentenceSettings(at)).toThrow(/module 1 is "sentence_transformers.models.Dense"; supported are Transformer/);
    modules({ type: 'sentence_transformers.models.Pooling', path: '1_Pooling' });
    write('1_Pooling/config.json', { pooling_mode_mean_tokens: true, pooling_mode_max_tokens: true });
    expect(() => sentenceSettings(at)).toThrow(/supported is one of pooling_mode_cls_token/);
    write('1_Pooling/config.json', { pooling_mode: 'lasttoken' });
    expect(sentenceSettings(at)).toEqual({ normalize: false, pooling: 'last' });
    write('config.json', { model_type: 'deberta-v2' });
    await expect(loadEncoder(at)).rejects.toThrow();
  });
});

describe.skipIf(!sharedFolder || !miniLm)(
  `all-MiniLM-L6-v2${sharedFolder && miniLm ? '' : whySkipped || ' (skipped: fetch it with ../shared/models/get-models.sh)'}`,
  () => {
    it('embeds sentences as sentence-transformers does', async () => {
      const encoder = await loadEncoder(miniLm!);
      expect(encoder.sentences).toEqual({ pooling: 'mean', normalize: true, maxTokens: 256 });
      const { sentences, ids: expectedIds } = readJson<{ sentences: string[]; ids: number[][] }>(sharedFixture('smollm2/minilm.json'));
      sentences.forEach((text, i) => void expect([...encoder.encode(text)]).toEqual(expectedIds[i]));
      const expected = readTensors(sharedFixture('smollm2/minilm.safetensors'));
      const before = tf.memory().numTensors;
      const vectors = await encoder.embed(sentences);
      expect(tf.memory().numTensors).toBe(before);
      expect(
        largestError(
          vectors.flatMap((v) => [...v]),
          expected.embeddings.data,
        ),
      ).toBeLessThan(1e-4);
      const cosines = vectors.flatMap((a) => vectors.map((b) => a.reduce((sum, x, j) => sum + x * b[j], 0)));
      expect(largestError(cosines, expected.cosine.data)).toBeLessThan(1e-4);
      const hidden = encoder.hidden(packTexts([encoder.encode(sentences[0])]));
      expect(largestError(await readCopy(hidden), expected['sentence0.last_hidden'].data)).toBeLessThan(1e-4);
      hidden.dispose();
      encoder.dispose();
    });

    it('cuts long texts, its closing token kept', () => {
      const tokenizer = tokenizerFromJson(readJson(join(miniLm!, 'tokenizer.json')));
      const encoder = createEncoder(encoderSpec({ vocabSize: 30522, width: 6, layers: 1, heads: 1 }), {
        tokenizer,
        rng: rng(0),
        sentences: { maxTokens: 7 },
      });
      expect([...encoder.encode('one two three four five six seven eight')]).toEqual([101, 2028, 2048, 2093, 2176, 2274, 102]);
    });
  },
);
