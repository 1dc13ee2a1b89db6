import * as tf from '@tensorflow/tfjs-core';
import { defineKernel } from '../kernel.js';

/**
 * Where keys and values of past tokens lie: token t of cache row r is entry `t % blockTokens` of block `tables[r · blocksPerRow + ⌊t / blockTokens⌋]`.
 * Rows may share blocks.
 */
export type PagedKeys = {
  /** Rotated keys, [blocks, kvHeads, headDim, blockTokens]: the tokens of a block lie side by side. */
  keys: Float32Array;
  /** [blocks, kvHeads, blockTokens, headDim]. */
  values: Float32Array;
  /** Blocks of each cache row, [rows, blocksPerRow]. */
  tables: Int32Array;
  blocksPerRow: number;
  /** A multiple of 16. */
  blockTokens: number;
  kvHeads: number;
};

export type CachedAttentionAttrs = PagedKeys & {
  /** The cache row that each query reads, [n]. */
  rows: Int32Array;
  /** How many tokens of it the query sees, [n]. */
  lengths: Int32Array;
  /** Multiplies `q·k`. */
  scale: number;
  /** Scores become `softcap · tanh(score / softcap)`. */
  softcap?: number;
  /** Of those tokens, the last so many; 0 is all. */
  window: number;
};

/**
 * Queries over what cache rows hold: `softmax(scale · q·Kᵀ) · V`, `q` [n, heads, headDim], the output shaped as `q`. Each query is worked out
 * as if it were alone, whatever the others, the size of blocks and their order. It has no gradient: generation is not differentiated.
 */
export const cachedAttention = defineKernel<{ q: tf.Tensor3D }, CachedAttentionAttrs, { y: tf.Tensor3D }>({
  name: 'CachedAttention',
  outputs: ['y'],
  saves: [],
  forward({ q }, attrs) {
    const [n, heads, headDim] = q.shape;
    const { rows, lengths, kvHeads, window } = attrs;
    const queries = hostValues(q);
    const out = new Float32Array(n * heads * headDim);
    const scores = new Float32Array(lengths.reduce((a, b) => Math.max(a, b), 0));
    for (let i = 0; i < n; i++) {
      const begin = window > 0 ? Math.max(0, lengths[i] - window) : 0;
      for (let h = 0; h < heads; h++) {
        const at = (i * heads + h) * headDim;
        oneHead(queries, at, attrs, rows[i], Math.floor((h * kvHeads) / heads), headDim, begin, lengths[i], scores, out);
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

function oneHead(
  q: Float32Array,
  qAt: number,
  { keys, values, tables, blocksPerRow, blockTokens, kvHeads, scale, softcap }: CachedAttentionAttrs,
  row: number,
  head: number,
  headDim: number,
  begin: number,
  end: number,
  scores: Float32Array,
  out: Float32Array,
): void {
  /** Where the part of a head begins in the block of token t. */
  const partOf = (t: number) => (tables[row * blocksPerRow + Math.floor(t / blockTokens)] * kvHeads + head) * headDim * blockTokens;
  let largest = -Infinity;
  for (let t = begin; t < end; t++) {
    const at = partOf(t) + (t % blockTokens);
    let dot = 0;
    for (let d = 0; d < headDim; d++) dot += q[qAt + d] * keys[at + d * blockTokens];
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
    const at = partOf(t) + (t % blockTokens) * headDim;
    for (let d = 0; d < headDim; d++) out[qAt + d] += weight * values[at + d];
  }
}
