import {
  createParameters,
  embedding,
  type Parameter,
  rng,
  segmentMean,
  segmentSum,
  stopGradient,
  type TensorTree,
  tokenLogps,
} from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import type { Decoder, PackedBatch, Scorer, Tokenizer } from '../interfaces.js';

/** What a toy can be made to do wrong, to show that a contract notices. */
export type Fault =
  | 'looksAcross'
  | 'looksAhead'
  | 'unnormalised'
  | 'wrongSums'
  | 'leaks'
  | 'wrongGradient'
  | 'sharedSnapshot'
  | 'ignoresTokens'
  | 'centresBatch'
  | 'forgetsPrefix';

/** `hidden_t = E[token_t] + ½ E[token_{t-1}]` within a segment: the smallest model with a context that is still a decoder. */
export function toyDecoder(tokenizer: Tokenizer, fault?: Fault, width = 5): Decoder & { snapshot(): Decoder } {
  const draw = rng(3);
  const entry = (name: string) => ({ shape: [tokenizer.vocabSize, width], data: draw.fork(name).normal(tokenizer.vocabSize * width) });
  return over(createParameters({ embedding: entry('embedding'), head: entry('head') }), tokenizer, width, fault);
}

/** The mean of the toy's hidden states, one of whose columns is the score. */
export function toyScorer(tokenizer: Tokenizer, fault?: Fault): Scorer & { snapshot(): Scorer } {
  const decoder = toyDecoder(tokenizer, fault);
  const scorer = (of: Decoder): Scorer & { snapshot(): Scorer } => ({
    name: 'toy scorer',
    parameters: of.parameters,
    tokenizer,
    contextLength: 64,
    scores: (batch) =>
      tf.tidy(() => {
        const pooled = segmentMean({ x: of.hidden(batch) }, { cuSeqlens: batch.cuSeqlens, mask: batch.completionMask }).y;
        const scores: tf.Tensor1D = tf.reshape(tf.slice(pooled, [0, 0], [-1, 1]), [-1]);
        return fault === 'centresBatch' ? tf.sub(scores, tf.mean(scores)) : scores;
      }),
    snapshot: () => scorer((of as ReturnType<typeof toyDecoder>).snapshot()),
  });
  return scorer(decoder);
}

/** Segments that follow a shared prefix, with the place of its last token. */
function lastOfPrefix({ prefixOf, cuSeqlens }: PackedBatch): [segment: number, last: number][] {
  return Array.from(prefixOf ?? [], (prefix, s): [number, number] => [s, prefix < 0 ? -1 : cuSeqlens[prefix + 1] - 1]).filter(
    ([, last]) => last >= 0,
  );
}

function over(parameters: TensorTree, tokenizer: Tokenizer, width: number, fault?: Fault): Decoder & { snapshot(): Decoder } {
  const weight = (name: string) => (parameters.get(name) as Parameter).value as tf.Tensor2D;
  const hidden = (batch: PackedBatch): tf.Tensor2D => {
    if (fault === 'leaks') tf.keep(tf.scalar(0));
    return tf.tidy(() => {
      const ids = fault === 'ignoresTokens' ? batch.tokens.map(() => 0) : batch.tokens;
      const own = embedding({ weight: weight('embedding') }, { ids }).y;
      const beside = ids.map((_, t) => ids[Math.min(ids.length - 1, Math.max(0, t + (fault === 'looksAhead' ? 1 : -1)))]);
      for (const [s, last] of lastOfPrefix(batch)) if (fault !== 'forgetsPrefix') beside[batch.cuSeqlens[s]] = ids[last];
      const before = embedding({ weight: weight('embedding') }, { ids: beside }).y;
      const inside = batch.positions.map((position) => (position > 0 || fault === 'looksAcross' ? 1 : 0));
      return tf.add(own, tf.mul(before, tf.mul(0.5, tf.tensor2d(Float32Array.from(inside), [ids.length, 1]))));
    });
  };
  return {
    name: 'toy',
    parameters,
    tokenizer,
    contextLength: 64,
    width,
    hidden,
    completionLogps(batch, { temperature = 1, entropy = false, squaredSum = false } = {}) {
      return tf.tidy(() => {
        const counted = [...batch.tokens.keys()].filter((t) => batch.completionMask[t] === 1);
        const predicting = new Map(lastOfPrefix(batch).map(([s, last]) => [batch.cuSeqlens[s], last]));
        const states = tf.gather(
          hidden(batch),
          tf.tensor1d(
            counted.map((t) => predicting.get(t) ?? t - 1),
            'int32',
          ),
        );
        const targets = Int32Array.from(counted, (t) => batch.tokens[t]);
        const head = weight('head');
        const out = tokenLogps({ hidden: states, weight: head }, { targets, temperature, entropy, squaredSum });
        const tokens = fault === 'unnormalised' ? tf.sub(out.logps, 0.1) : out.logps;
        const cuSeqlens = Int32Array.from(batch.cuSeqlens, (end) => counted.filter((t) => t < end).length);
        const sums = segmentSum({ x: tokens as tf.Tensor1D }, { cuSeqlens }).y;
        const lengths = tf.tensor1d(Float32Array.from(cuSeqlens.subarray(1), (end, s) => end - cuSeqlens[s]));
        return {
          tokens: tokens as tf.Tensor1D,
          sums: (fault === 'wrongSums'
            ? tf.mul(2, sums)
            : fault === 'wrongGradient'
              ? tf.sub(tf.mul(2, sums), stopGradient(sums))
              : sums) as tf.Tensor1D,
          lengths,
          ...(entropy && { entropy: out.entropy }),
          ...(squaredSum && { squaredSum: tf.log(out.squaredSum!) as tf.Tensor1D }),
        };
      });
    },
    snapshot: () => over(fault === 'sharedSnapshot' ? parameters : parameters.snapshot(), tokenizer, width, fault),
  };
}
