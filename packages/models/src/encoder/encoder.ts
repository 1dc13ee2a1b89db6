import {
  ConfigError,
  createParameters,
  embedding,
  gatherRows,
  linear,
  type Parameter,
  type ParameterTree,
  type Rng,
  readCopy,
  ShapeError,
  segmentMean,
} from '@plumbline/core';
import type { LanguageModel, PackedBatch, Tokenizer } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import type { DecoderWeights } from '../decoder/decoder.js';
import { fittedWeights } from '../decoder/fit.js';
import { encoderLayout, encoderShapes } from './layout.js';
import type { EncoderSpec } from './spec.js';
import { activationOf, appliers, encoderWeights, stackOf } from './stack.js';

/** Sequences one after another without padding; `tokenTypes` [tokens] is 0 for a first text and 1 for a second, all 0 if left out. */
export type EncoderBatch = Pick<PackedBatch, 'tokens' | 'cuSeqlens'> & { tokenTypes?: Int32Array };

/** How a text becomes one vector, as sentence-transformers' files say it. */
export type SentenceSettings = {
  /** Over all of a sequence's tokens, special ones included; `cls` takes the first. `meanSqrt` divides by the root of their number. */
  pooling: 'mean' | 'cls' | 'max' | 'last' | 'meanSqrt';
  /** Scaled to length 1, so that a product of two is their cosine. */
  normalize: boolean;
  /** Longer texts are cut, their closing special token kept. */
  maxTokens: number;
  lowerCase?: boolean;
  /** Texts to put in front, by name: models trained with instructions tell queries from documents so. */
  prompts?: Record<string, string>;
};

/** A text encoder in this process, trainable. What a function returns is the caller's. */
export interface LocalEncoder {
  readonly name: string;
  readonly spec: EncoderSpec;
  readonly parameters: ParameterTree;
  readonly tokenizer: Tokenizer;
  readonly contextLength: number;
  readonly width: number;
  readonly sentences: SentenceSettings;
  /** The last layer's outcome, [tokens, width]. */
  hidden(batch: EncoderBatch): tf.Tensor2D;
  /** The pooler's outcome from final hidden states, [segments, width]. */
  pooled(hidden: tf.Tensor2D, cuSeqlens: Int32Array): tf.Tensor2D;
  /** Logits of the masked-language head from final hidden states, [n, vocabulary]; take the masked rows alone (`gatherRows`). */
  maskedLogits(hidden: tf.Tensor2D): tf.Tensor2D;
  /** Logits of "is the next sentence" and "is not" from the pooler's outcome, [segments, 2]. */
  nextSentence(pooled: tf.Tensor2D): tf.Tensor2D;
  /** Logits of a sequence classifier, [segments, labels]. */
  classLogits(batch: EncoderBatch): tf.Tensor2D;
  /** One vector a segment as `sentences` says, [segments, width]. */
  sentenceEmbeddings(batch: EncoderBatch): tf.Tensor2D;
  /** Ids of a text with the special tokens, cut to `sentences.maxTokens`. */
  encode(text: string, options?: { prompt?: string }): Int32Array;
  /** The vectors of texts, `batchTokens` tokens at a time (16,384). `prompt` names one of `sentences.prompts`. */
  embed(texts: readonly string[], options?: { batchTokens?: number; prompt?: string; signal?: AbortSignal }): Promise<Float32Array[]>;
  /** A deep copy that shares nothing but the tokenizer. */
  snapshot(): LocalEncoder;
  dispose(): void;
}

export type EncoderSource = {
  tokenizer: Tokenizer;
  name?: string;
  /** Default: mean, normalized, as long as the context. */
  sentences?: Partial<SentenceSettings>;
  /** Recompute each layer in the backward pass: less memory, more time. */
  gradientCheckpointing?: boolean;
} & ({ rng: Rng } | { weights: DecoderWeights } | { parameters: ParameterTree });

/**
 * An encoder with new weights drawn from `rng`, or with given ones. Parameters have Hugging Face's names.
 *
 * @throws ConfigError where weights are missing, unknown or misshapen (all are listed), or the tokenizer has more tokens than the model
 */
export function createEncoder(spec: EncoderSpec, source: EncoderSource): LocalEncoder {
  const { tokenizer, name = spec.family } = source;
  if (tokenizer.vocabSize > spec.vocabSize) {
    throw new ConfigError(
      `${name}: the tokenizer has ${tokenizer.vocabSize} tokens and the model's vocabulary ${spec.vocabSize}; do they belong to each other?`,
    );
  }
  const shapes = encoderShapes(spec);
  const parameters =
    'parameters' in source
      ? source.parameters
      : createParameters(
          'rng' in source
            ? encoderWeights(shapes, spec.initializerRange, source.rng)
            : fittedWeights(shapes, source.weights, name, `a ${spec.family} of this configuration`),
        );
  return encoderOf(spec, parameters, source);
}

function encoderOf(spec: EncoderSpec, parameters: ParameterTree, source: Omit<EncoderSource, 'rng'>): LocalEncoder {
  const { tokenizer, name = spec.family, gradientCheckpointing: checkpointLayers = false } = source;
  const sentences: SentenceSettings = { pooling: 'mean', normalize: true, maxTokens: spec.contextLength, ...source.sentences };
  sentences.maxTokens = Math.min(sentences.maxTokens, spec.contextLength);
  const layout = encoderLayout(spec);
  const { norm, project } = appliers(parameters, spec.layerNormEps);
  const of = (parameter: string) => parameters.get(parameter) as Parameter;
  const stack = stackOf({ ...spec, normFirst: false }, layout.layers, parameters);
  const [words, positions] = [of(layout.words), of(layout.positions)];
  const tokenTypes = layout.tokenTypes === undefined ? undefined : of(layout.tokenTypes);
  const embeddingNorm = norm(layout.embeddingNorm);
  const pooler = layout.pooler && project(layout.pooler);
  const masked = layout.maskedLm && {
    transform: project(layout.maskedLm.transform),
    norm: norm(layout.maskedLm.norm),
    bias: of(layout.maskedLm.bias),
  };
  const next = layout.nextSentence && project(layout.nextSentence);
  const classifier = layout.classifier && {
    dense: layout.classifier.dense && project(layout.classifier.dense),
    activation: activationOf(layout.classifier.activation ?? 'tanh'),
    out: project(layout.classifier.out),
  };
  const activate = activationOf(spec.activation);
  const absent = (what: string) => new ConfigError(`${name} has no ${what}; its outputs are ${JSON.stringify(spec.outputs)}`);
  const look = (table: Parameter, ids: Int32Array) => embedding({ weight: table.value as tf.Tensor2D }, { ids }).y;

  const encoder: LocalEncoder = {
    name,
    spec,
    parameters,
    tokenizer,
    contextLength: spec.contextLength,
    width: spec.width,
    sentences,
    hidden(batch) {
      checkBatch(batch, spec, name);
      const { tokens, cuSeqlens } = batch;
      return tf.tidy(() => {
        let x: tf.Tensor2D = tf.add(look(words, tokens), look(positions, placesOf(cuSeqlens, spec.firstPosition)));
        if (tokenTypes) x = tf.add(x, look(tokenTypes, batch.tokenTypes ?? new Int32Array(tokens.length)));
        return stack(embeddingNorm(x), cuSeqlens, { checkpointLayers });
      });
    },
    pooled(hidden, cuSeqlens) {
      if (!pooler) throw absent('pooler');
      return tf.tidy(() => tf.tanh(pooler(gatherRows({ x: hidden }, { rows: cuSeqlens.slice(0, -1) }).y)));
    },
    maskedLogits(hidden) {
      if (!masked) throw absent('masked-language head');
      return tf.tidy(() => {
        const x = masked.norm(activate(masked.transform(hidden)));
        return linear({ x, weight: words.value as tf.Tensor2D, bias: masked.bias.value as tf.Tensor1D }, {}).y;
      });
    },
    nextSentence(pooled) {
      if (!next) throw absent('next-sentence head');
      return tf.tidy(() => next(pooled));
    },
    classLogits(batch) {
      if (!classifier) throw absent('classifier');
      return tf.tidy(() => {
        const hidden = encoder.hidden(batch);
        if (!classifier.dense) return classifier.out(encoder.pooled(hidden, batch.cuSeqlens));
        const first = gatherRows({ x: hidden }, { rows: batch.cuSeqlens.slice(0, -1) }).y;
        return classifier.out(classifier.activation(classifier.dense(first)));
      });
    },
    sentenceEmbeddings(batch) {
      return tf.tidy(() => {
        const vectors = pool(encoder.hidden(batch), batch.cuSeqlens, sentences.pooling);
        // A vector of zeros has no direction and stays as it is.
        return sentences.normalize
          ? (tf.div(vectors, tf.sqrt(tf.add(tf.sum(tf.square(vectors), 1, true), 1e-24))) as tf.Tensor2D)
          : vectors;
      });
    },
    encode(text, { prompt } = {}) {
      const before = prompt === undefined ? '' : sentences.prompts?.[prompt];
      if (before === undefined)
        throw new ConfigError(`${name} has no prompt "${prompt}"; it has ${Object.keys(sentences.prompts ?? {}).join(', ') || 'none'}`);
      const whole = before + text;
      return cutTo(tokenizer, sentences.lowerCase ? whole.toLowerCase() : whole, sentences.maxTokens);
    },
    async embed(texts, { batchTokens = 16_384, prompt, signal } = {}) {
      const ids = texts.map((text) => encoder.encode(text, { prompt }));
      const out: Float32Array[] = [];
      for (let from = 0; from < ids.length; ) {
        signal?.throwIfAborted();
        let to = from;
        let size = 0;
        while (to < ids.length && (to === from || size + ids[to].length <= batchTokens)) size += ids[to++].length;
        const vectors = encoder.sentenceEmbeddings(packTexts(ids.slice(from, to)));
        const values = (await readCopy(vectors)) as Float32Array;
        vectors.dispose();
        for (let i = 0; i < to - from; i++) out.push(values.slice(i * spec.width, (i + 1) * spec.width));
        from = to;
      }
      return out;
    },
    snapshot: () => encoderOf(spec, parameters.snapshot(), { ...source, name, sentences } as Omit<EncoderSource, 'rng'>),
    dispose: () => parameters.dispose(),
  };
  return encoder;
}

/** Token ids one after another, as `hidden` takes them. @throws ShapeError for none, or one without a token */
export function packTexts(ids: readonly Int32Array[], tokenTypes?: readonly Int32Array[]): EncoderBatch {
  const cuSeqlens = new Int32Array(ids.length + 1);
  ids.forEach((one, i) => {
    if (one.length === 0) throw new ShapeError(`packTexts: text ${i} has no tokens`);
    cuSeqlens[i + 1] = cuSeqlens[i] + one.length;
  });
  const joined = (parts: readonly Int32Array[]) => {
    const all = new Int32Array(cuSeqlens[ids.length]);
    parts.forEach((part, i) => void all.set(part, cuSeqlens[i]));
    return all;
  };
  return { tokens: joined(ids), cuSeqlens, ...(tokenTypes && { tokenTypes: joined(tokenTypes) }) };
}

/** An encoder behind the interface of language models: it embeds, and does nothing else. */
export function asEmbeddingModel(encoder: LocalEncoder): LanguageModel & Required<Pick<LanguageModel, 'embed'>> {
  return {
    name: encoder.name,
    can: { score: false, embed: true, logps: false },
    async generate() {
      throw new ConfigError(`${encoder.name} is an encoder: it embeds texts and cannot write; give a decoder for that`);
    },
    embed: (texts) => encoder.embed(texts),
  };
}

/** A language model whose `embed` is an encoder's. */
export function withEmbeddings<M extends LanguageModel>(model: M, encoder: LocalEncoder): M & Required<Pick<LanguageModel, 'embed'>> {
  return { ...model, can: { ...model.can, embed: true }, embed: (texts: readonly string[]) => encoder.embed(texts) };
}

function pool(hidden: tf.Tensor2D, cuSeqlens: Int32Array, pooling: SentenceSettings['pooling']): tf.Tensor2D {
  switch (pooling) {
    case 'mean':
      return segmentMean({ x: hidden }, { cuSeqlens }).y;
    case 'meanSqrt': {
      const lengths = Float32Array.from({ length: cuSeqlens.length - 1 }, (_, s) => Math.sqrt(cuSeqlens[s + 1] - cuSeqlens[s]));
      return tf.mul(segmentMean({ x: hidden }, { cuSeqlens }).y, tf.tensor2d(lengths, [lengths.length, 1]));
    }
    case 'cls':
      return gatherRows({ x: hidden }, { rows: cuSeqlens.slice(0, -1) }).y;
    case 'last':
      return gatherRows({ x: hidden }, { rows: cuSeqlens.slice(1).map((end) => end - 1) }).y;
    case 'max':
      return tf.stack(
        Array.from({ length: cuSeqlens.length - 1 }, (_, s) => tf.max(tf.slice(hidden, cuSeqlens[s], cuSeqlens[s + 1] - cuSeqlens[s]), 0)),
      ) as tf.Tensor2D;
    default:
      return pooling satisfies never;
  }
}

/** Cut in front of the closing special token, where the tokenizer adds one. */
function cutTo(tokenizer: Tokenizer, text: string, maxTokens: number): Int32Array {
  const ids = tokenizer.encode(text, { special: true });
  if (ids.length <= maxTokens) return ids;
  const frame = tokenizer.encode('', { special: true });
  const closing = frame.length > 0 && ids.at(-1) === frame.at(-1) ? 1 : 0;
  const cut = ids.slice(0, maxTokens);
  if (closing) cut[maxTokens - 1] = ids[ids.length - 1];
  return cut;
}

function placesOf(cuSeqlens: Int32Array, first: number): Int32Array {
  const places = new Int32Array(cuSeqlens[cuSeqlens.length - 1]);
  for (let s = 0; s + 1 < cuSeqlens.length; s++) for (let t = cuSeqlens[s]; t < cuSeqlens[s + 1]; t++) places[t] = first + t - cuSeqlens[s];
  return places;
}

function checkBatch({ tokens, cuSeqlens, tokenTypes }: EncoderBatch, spec: EncoderSpec, name: string): void {
  const segments = cuSeqlens.length - 1;
  if (segments < 1 || tokens.length === 0)
    throw new ShapeError(`${name}: an empty batch (${tokens.length} tokens in ${Math.max(0, segments)} segments)`);
  if (cuSeqlens[0] !== 0 || cuSeqlens[segments] !== tokens.length)
    throw new ShapeError(
      `${name}: ${tokens.length} tokens need cumulative lengths from 0 to ${tokens.length}, not from ${cuSeqlens[0]} to ${cuSeqlens[segments]}`,
    );
  for (let s = 0; s < segments; s++) {
    const length = cuSeqlens[s + 1] - cuSeqlens[s];
    if (length < 1) throw new ShapeError(`${name}: segment ${s} has ${length} tokens`);
    if (length > spec.contextLength)
      throw new ShapeError(`${name}: segment ${s} has ${length} tokens, but the context holds ${spec.contextLength}; shorten the text`);
  }
  tokens.forEach((token, t) => {
    if (!(token >= 0 && token < spec.vocabSize))
      throw new ShapeError(`${name}: token ${t} is ${token}; ids go from 0 to ${spec.vocabSize - 1}`);
  });
  if (!tokenTypes) return;
  if (tokenTypes.length !== tokens.length) throw new ShapeError(`${name}: ${tokens.length} tokens and ${tokenTypes.length} token types`);
  const kinds = Math.max(1, spec.tokenTypes);
  tokenTypes.forEach((type, t) => {
    if (!(type >= 0 && type < kinds)) throw new ShapeError(`${name}: token ${t} has type ${type}; types go from 0 to ${kinds - 1}`);
  });
}
