import * as tf from '@tensorflow/tfjs-core';
import { defineKernel } from '../kernel.js';

export type CachedAttentionAttrs = {
  /** Rotated keys and values, [rows, maxTokens, kvHeads, headDim]. */
  keys: Float32Array;
  values: Float32Array;
  /** The cache row that each query reads, [n]. */
  rows: Int32Array;
  /** How many tokens of it the query sees, [n]. */
  lengths: Int32Array;
  maxTokens: number;
  kvHeads: number;
  /** Multiplies `q·k`. */
  scale: number;
  /** Scores become `softcap · tanh(score / softcap)`. */
  softcap?: number;
  /** Of those tokens, the last so many; 0 is all. */
  window: number;
};

/**
 * One query per cache row over what the row holds: `softmax(scale · q·Kᵀ) · V`, `q` [n, heads, headDim], the output shaped as `q`.
 * Each query is worked out alone, so its result does not depend on the others. It has no gradient: generation is not differentiated.
 */
export const cachedAttention = defineKernel<{ q: tf.Tensor3D }, CachedAttentionAttrs, { y: tf.Tensor3D }>({
  name: 'CachedAttention',
  outputs: ['y'],
  saves: [],
  forward({ q }, { keys, values, rows, lengths, maxTokens, kvHeads, scale, softcap, window }) {
    const [n, heads, headDim] = q.shape;
    const width = kvHeads * headDim;
    const queries = hostValues(q);
    const out = new Float32Array(n * heads * headDim);
    const scores = new Float32Array(maxTokens);
    for (let i = 0; i < n; i++) {
      const begin = window > 0 ? Math.max(0, lengths[i] - window) : 0;
      for (let h = 0; h < heads; h++) {
        const base = rows[i] * maxTokens * width + Math.floor((h * kvHeads) / heads) * headDim;
        oneHead(queries, (i * heads + h) * headDim, keys, values, base, width, headDim, begin, lengths[i], scale, softcap, scores, out);
      }
    }
    return { y: tf.tensor3d(out, [n, heads, headDim]) };
  },
  backward() {
    throw new Error('CachedAttention has no gradient: what is trained goes through `hidden` or `completionLogps`');
  },
});

/**
 * The values of a float tensor at once, on a backend whose tensors lie in this process's memory. Read them before the tensor changes.
 * @throws Error on webgpu, which has no such read
 */
export function hostValues(x: tf.Tensor): Float32Array {
  return x.dataSync() as Float32Array;
}

/** Keys and values of one head lie at `base + t · stride`. */
function oneHead(
  q: Float32Array,
  qAt: number,
  keys: Float32Array,
  values: Float32Array,
  base: number,
  stride: number,
  headDim: number,
  begin: number,
  end: number,
  scale: number,
  softcap: number | undefined,
  scores: Float32Array,
  out: Float32Array,
): void {
  let largest = -Infinity;
  for (let t = begin; t < end; t++) {
    const at = base + t * stride;
    let dot = 0;
    for (let d = 0; d < headDim; d++) dot += q[qAt + d] * keys[at + d];
    scores[t] = softcap === undefined ? dot * scale : softcap * Math.tanh((dot * scale) / softcap);
    if (scores[t] > largest) largest = scores[t];
  }
  let total = 0;
  for (let t = begin; t < end; t++) {
    scores[t] = Math.exp(scores[t] - largest);
    total += scores[t];
  }
  for (let t = begin; t < end; t++) {
    const weight = scores[t] / total;
    const at = base + t * stride;
    for (let d = 0; d < headDim; d++) out[qAt + d] += weight * values[at + d];
  }
}
