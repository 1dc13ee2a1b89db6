/** Heads beside the scalar one: several attributes, a value for each token, a reward for each step, and one answer against another. */
import {
  ConfigError,
  createParameters,
  gatherRows,
  linear,
  type Parameter,
  type ParameterTree,
  type Rng,
  ShapeError,
  segmentMean,
} from '@plumbline/core';
import type { PackedBatch, Scorer } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { type LocalDecoder, predictingRows } from '../decoder/decoder.js';
import { joinTrees, lastTokens, type Pooling, pooledTokens } from './scorer.js';

/** A backbone with a linear head, whose parameters it trains together. With an adapted decoder, shared, these are the adapter's and the head's. */
export interface LocalHead {
  readonly kind: 'attributes' | 'values' | 'steps' | 'pairs';
  readonly name: string;
  readonly backbone: LocalDecoder;
  readonly parameters: ParameterTree;
  /** What the outputs are called, in their order. */
  readonly labels: readonly string[];
  dispose(): void;
}

export type HeadOptions = {
  /** Draws a new head, N(0, 1 / sqrt(width + 1)), its biases 0. */
  rng?: Rng;
  /** In place of a new one: [labels, width], and a bias for each label. */
  head?: { weight: Float32Array; bias?: Float32Array };
  name?: string;
  /** Uses the decoder itself instead of a copy; it stays the caller's to dispose. */
  shareBackbone?: boolean;
};

export interface AttributeScorer extends LocalHead {
  readonly pooling: Pooling;
  readonly padId?: number;
  /** [segments, attributes]. */
  scores(batch: PackedBatch): tf.Tensor2D;
  /** One score a segment, the weighted sum of its attributes: a scorer for trainers and reward functions. @throws ConfigError for an unknown attribute */
  weighted(weights: Readonly<Record<string, number>>): Scorer;
}

/** A score for each of several attributes, such as helpfulness and safety (Wang et al. 2023, arXiv:2311.09528; Wang et al. 2024, arXiv:2406.12845). */
export function createAttributeScorer(
  decoder: LocalDecoder,
  { attributes, pooling, padId, ...options }: HeadOptions & { attributes: readonly string[]; pooling: Pooling; padId?: number },
): AttributeScorer {
  if (attributes.length === 0 || new Set(attributes).size !== attributes.length)
    throw new ConfigError(`createAttributeScorer: attributes must be names, each once; got ${attributes.join(', ') || 'none'}`);
  const { base, project } = headOn(decoder, 'attributes', attributes, options);
  const scores = (batch: PackedBatch): tf.Tensor2D =>
    tf.tidy(() => {
      const hidden = base.backbone.hidden(batch);
      const pooled =
        pooling === 'mean'
          ? segmentMean({ x: hidden }, { cuSeqlens: batch.cuSeqlens, mask: pooledTokens(batch) }).y
          : gatherRows({ x: hidden }, { rows: lastTokens(batch, padId) }).y;
      return project(pooled);
    });
  return {
    ...base,
    pooling,
    padId,
    scores,
    weighted(weights) {
      const unknown = Object.keys(weights).filter((name) => !attributes.includes(name));
      if (unknown.length > 0) throw new ConfigError(`${base.name}: no attribute ${unknown.join(', ')}; there are ${attributes.join(', ')}`);
      const column = attributes.map((name) => weights[name] ?? 0);
      const { name, parameters, backbone } = base;
      const { tokenizer, contextLength } = backbone;
      const weigh = (batch: PackedBatch): tf.Tensor1D =>
        tf.tidy(() => tf.reshape(tf.matMul(scores(batch), tf.tensor2d(column, [column.length, 1])), [-1]));
      return { name, parameters, tokenizer, contextLength, scores: weigh };
    },
  };
}

export interface TokenValues extends LocalHead {
  /** The value of the state before each completion token, in which it was chosen, [completion tokens]. */
  values(batch: PackedBatch): tf.Tensor1D;
}

/** What is still to come, at every token (Schulman et al. 2017, arXiv:1707.06347). A new head is 0, so that the first advantages are those of the rewards. */
export function createTokenValues(decoder: LocalDecoder, options: Omit<HeadOptions, 'rng'> = {}): TokenValues {
  const head = options.head ?? { weight: new Float32Array(decoder.width) };
  const { base, project } = headOn(decoder, 'values', ['value'], { ...options, head });
  return {
    ...base,
    values: (batch) =>
      tf.tidy(() => {
        const { rows } = predictingRows(batch);
        return tf.reshape(project(gatherRows({ x: base.backbone.hidden(batch) }, { rows }).y), [-1]);
      }),
  };
}

export interface StepScorer extends LocalHead {
  /** The logit that a step is right, at each of `rows` (the step's last token, see `stepRows`), [steps]. */
  logits(batch: PackedBatch, rows: Int32Array): tf.Tensor1D;
}

/**
 * Whether each step of a solution is right (Lightman et al. 2023, arXiv:2305.20050): two labels at the step's last token, as TRL's PRM trainer and transformers'
 * token classifiers have it; the logit is the difference of the two.
 */
export function createStepScorer(decoder: LocalDecoder, options: HeadOptions): StepScorer {
  const { base, project } = headOn(decoder, 'steps', ['wrong', 'right'], { ...options, biased: true });
  return {
    ...base,
    logits: (batch, rows) =>
      tf.tidy(() => {
        const [wrong, right] = tf.split(project(gatherRows({ x: base.backbone.hidden(batch) }, { rows }).y), 2, 1);
        return tf.reshape(tf.sub(right, wrong), [-1]) as tf.Tensor1D;
      }),
  };
}

/** The rows at which steps end: in each segment the completion's tokens that are `separator`, and its last token. */
export function stepRows({ tokens, completionMask, cuSeqlens }: PackedBatch, separator: number): Int32Array {
  const rows: number[] = [];
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    for (let t = cuSeqlens[s]; t < cuSeqlens[s + 1]; t++) {
      const last = t + 1 === cuSeqlens[s + 1];
      if (completionMask[t] && (last || tokens[t] === separator)) rows.push(t);
    }
  }
  return Int32Array.from(rows);
}

export interface PairScorer extends LocalHead {
  /** The logit that the first answer is better, [pairs]. The batch has each pair's text with a before b in its first half, with b before a in its second. */
  logits(batch: PackedBatch): tf.Tensor1D;
}

/**
 * One answer against another, read together (Jiang et al. 2023, arXiv:2306.02561): half the difference of the two orders, so that the place of an answer cannot
 * count and swapping the answers turns the sign.
 */
export function createPairScorer(decoder: LocalDecoder, { padId, ...options }: HeadOptions & { padId?: number }): PairScorer {
  const { base, project } = headOn(decoder, 'pairs', ['first'], options);
  return {
    ...base,
    logits(batch) {
      const segments = batch.cuSeqlens.length - 1;
      if (segments % 2 !== 0) throw new ShapeError(`${base.name}: ${segments} texts; each pair has two, one for each order of its answers`);
      return tf.tidy(() => {
        const one = project(gatherRows({ x: base.backbone.hidden(batch) }, { rows: lastTokens(batch, padId) }).y);
        const [forth, back] = tf.split(tf.reshape(one, [-1]) as tf.Tensor1D, 2);
        return tf.mul(tf.sub(forth, back), 0.5) as tf.Tensor1D;
      });
    },
  };
}

function headOn(
  decoder: LocalDecoder,
  kind: LocalHead['kind'],
  labels: readonly string[],
  {
    rng,
    head,
    name = `${decoder.name}-${kind}`,
    shareBackbone = false,
    biased = head?.bias !== undefined,
  }: HeadOptions & { biased?: boolean },
): { base: LocalHead; project: (rows: tf.Tensor2D) => tf.Tensor2D } {
  const { width } = decoder;
  const size = labels.length * width;
  if (!head && !rng) throw new ConfigError(`${name}: give rng for a new head, or the head`);
  const data = head
    ? head.weight
    : rng!
        .fork('head')
        .normal(size)
        .map((z) => z / Math.sqrt(width + 1));
  if (data.length !== size)
    throw new ConfigError(
      `${name}: the head has ${data.length} numbers; [${labels.length}, ${width}] (${labels.join(', ')}) needs ${size}`,
    );
  const own = createParameters({
    'score.weight': { shape: [labels.length, width], data },
    ...(biased && { 'score.bias': { shape: [labels.length], data: head?.bias ?? new Float32Array(labels.length) } }),
  });
  const backbone = shareBackbone ? decoder : decoder.snapshot();
  const value = (parameter: string) => (own.get(parameter) as Parameter).value;
  return {
    base: {
      kind,
      name,
      backbone,
      labels,
      parameters: joinTrees([backbone.parameters, own], (parameter) => parameter !== 'lm_head.weight'),
      dispose() {
        if (!shareBackbone) backbone.dispose();
        own.dispose();
      },
    },
    project: (rows) =>
      linear({ x: rows, weight: value('score.weight') as tf.Tensor2D, ...(biased && { bias: value('score.bias') as tf.Tensor1D }) }, {}).y,
  };
}
