import { cachedAttention, hostValues, type PagedKeys, ShapeError } from '@plumbline/core';
import type { KvCache } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { release } from './release.js';

export type CacheShape = {
  layers: number;
  rows: number;
  /** Tokens that a row can hold. */
  maxTokens: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Of the scores, before the softmax. */
  scale: number;
  /** Scores become `softcap · tanh(score / softcap)`. */
  softcap?: number;
  /** Tokens that a query of a layer sees, itself included; 0 is all. */
  windows?: readonly number[];
  /** Tokens in a block, a multiple of 16; 32 unless said otherwise. What a row gets does not depend on it. */
  blockTokens?: number;
  /** Blocks in all; as many as all rows can need unless said otherwise. */
  blocks?: number;
};

/** A cache whose tokens lie in this process's memory. */
export interface HostCache extends KvCache {
  /** Makes room for the next token of each of `rows` in every layer, for a kernel that writes them itself: their numbers in the cache and how many tokens each sees. */
  advance(rows: Int32Array): { slots: Int32Array; lengths: Int32Array };
  /** Where the tokens of a layer lie. */
  paged(layer: number): PagedKeys;
  readonly freeBlocks: number;
}

/**
 * A key-value cache in blocks that are allocated at once. In every call `rows[i]` is the cache row of token i; a row that is named several times
 * gets its tokens in that order. `attend` lets the last query of a row see all that the row holds, the one before it one token less, and so on.
 *
 * Where tensors live in this process's memory (cpu, native, wasm) it is plain arrays, and what a row gets does not depend on the other
 * rows, to the bit. Elsewhere it is tensors that grow, and rows agree to rounding.
 */
export function createKvCache(shape: CacheShape): KvCache {
  return ['cpu', 'native', 'wasm'].includes(tf.getBackend()) ? hostCache(shape) : tensorCache(shape);
}

export const isHostCache = (cache: KvCache): cache is HostCache => 'advance' in cache;

export function hostCache(shape: CacheShape): HostCache {
  const { layers, rows: capacity, maxTokens, kvHeads, headDim, scale, softcap, windows, blockTokens = 32 } = shape;
  if (!(Number.isInteger(blockTokens) && blockTokens > 0 && blockTokens % 16 === 0))
    throw new ShapeError(`KvCache: blockTokens must be a multiple of 16, got ${blockTokens}`);
  const blocksPerRow = Math.ceil(maxTokens / blockTokens);
  const { blocks = capacity * blocksPerRow } = shape;
  const blockSize = kvHeads * headDim * blockTokens;
  // One piece of memory: what no token has touched takes none, and all goes back together.
  const size = blocks * blockSize;
  const memory = new Float32Array(2 * layers * size);
  const part = (i: number) => memory.subarray(i * size, (i + 1) * size);
  let keys = Array.from({ length: layers }, (_, layer) => part(2 * layer));
  let values = Array.from({ length: layers }, (_, layer) => part(2 * layer + 1));
  const lengths = Array.from({ length: layers }, () => new Int32Array(capacity));
  const tables = new Int32Array(capacity * blocksPerRow).fill(-1);
  const users = new Int32Array(blocks); // rows that a block belongs to
  const spare = Int32Array.from({ length: blocks }, (_, i) => blocks - 1 - i);
  let spares = blocks;

  const take = (): number => {
    if (spares === 0)
      throw new ShapeError(`KvCache: all ${blocks} blocks of ${blockTokens} tokens are taken; free a row or make the cache larger`);
    const block = spare[--spares];
    users[block] = 1;
    return block;
  };
  const leave = (block: number) => {
    if (--users[block] === 0) spare[spares++] = block;
  };
  /** The block of a row that token t may be written into: a new one, or a copy where others read it too. */
  const blockFor = (row: number, t: number): number => {
    if (t >= maxTokens) throw new ShapeError(`KvCache: row ${row} holds ${maxTokens} tokens already, all it has room for`);
    const at = row * blocksPerRow + Math.floor(t / blockTokens);
    const old = tables[at];
    if (old >= 0 && users[old] === 1) return old;
    const block = take();
    if (old >= 0) {
      for (const layer of [...keys, ...values]) layer.copyWithin(block * blockSize, old * blockSize, (old + 1) * blockSize);
      leave(old);
    }
    tables[at] = block;
    return block;
  };
  const empty = (row: number) => {
    for (let at = row * blocksPerRow; at < (row + 1) * blocksPerRow; at++) {
      if (tables[at] >= 0) leave(tables[at]);
      tables[at] = -1;
    }
    for (const length of lengths) length[row] = 0;
  };

  return {
    append(layer, rows, k, v) {
      const kData = hostValues(k);
      const vData = hostValues(v);
      const length = lengths[layer];
      const [toKeys, toValues] = [keys[layer], values[layer]];
      for (let i = 0; i < rows.length; i++) {
        const t = length[rows[i]];
        const block = blockFor(rows[i], t);
        length[rows[i]]++;
        const inside = t % blockTokens;
        for (let h = 0; h < kvHeads; h++) {
          const part = (block * kvHeads + h) * headDim * blockTokens;
          const from = (i * kvHeads + h) * headDim;
          for (let d = 0; d < headDim; d++) toKeys[part + d * blockTokens + inside] = kData[from + d];
          toValues.set(vData.subarray(from, from + headDim), part + inside * headDim);
        }
      }
    },
    attend(layer, rows, q) {
      const attrs = { ...this.paged(layer), rows, lengths: visible(rows, lengths[layer]), scale, softcap, window: windows?.[layer] ?? 0 };
      return cachedAttention({ q }, attrs).y;
    },
    advance(rows) {
      const slots = new Int32Array(rows.length);
      const seen = new Int32Array(rows.length);
      for (let i = 0; i < rows.length; i++) {
        const t = lengths[0][rows[i]];
        slots[i] = blockFor(rows[i], t) * blockTokens + (t % blockTokens);
        for (const length of lengths) length[rows[i]] = t + 1;
        seen[i] = t + 1;
      }
      return { slots, lengths: seen };
    },
    paged: (layer) => ({ keys: keys[layer], values: values[layer], tables, blocksPerRow, blockTokens, kvHeads }),
    get freeBlocks() {
      return spares;
    },
    share(from, to) {
      for (const row of to) {
        if (row === from) continue;
        empty(row);
        for (let i = 0; i < blocksPerRow; i++) {
          const block = tables[from * blocksPerRow + i];
          tables[row * blocksPerRow + i] = block;
          if (block >= 0) users[block]++;
        }
        for (const length of lengths) length[row] = length[from];
      }
    },
    free(rows) {
      for (const row of rows) empty(row);
    },
    dispose() {
      release([memory]);
      keys = [];
      values = [];
    },
  };
}

/**
 * The same through tensor ops. Keys are rotated already, so their order does not matter: each append adds columns for all rows, masked
 * where a row has no token, and attention is one batched product over the columns.
 */
export function tensorCache({ layers, rows: capacity, maxTokens, heads, kvHeads, headDim, scale, softcap, windows }: CacheShape): KvCache {
  type Column = Int32Array; // position in its row, or -1, for each row
  const store = Array.from({ length: layers }, () => ({
    keys: undefined as tf.Tensor4D | undefined, // [rows, kvHeads, columns, headDim]
    values: undefined as tf.Tensor4D | undefined,
    columns: [] as Column[],
    lengths: new Int32Array(capacity),
  }));
  const extend = (old: tf.Tensor4D | undefined, x: tf.Tensor3D, index: Int32Array, columns: number): tf.Tensor4D =>
    tf.tidy(() => {
      // A row of zeros stands behind the tokens; cells without a token take it.
      const padded = tf.concat([tf.reshape(x, [x.shape[0], kvHeads * headDim]), tf.zeros([1, kvHeads * headDim])], 0);
      const cells = tf.reshape(tf.gather(padded, tf.tensor1d(index, 'int32')), [capacity, columns, kvHeads, headDim]);
      const added = tf.transpose(cells, [0, 2, 1, 3]) as tf.Tensor4D;
      const next = old ? (tf.concat([old, added], 2) as tf.Tensor4D) : added;
      return next;
    });
  const replace = (at: (typeof store)[number], keys?: tf.Tensor4D, values?: tf.Tensor4D) => {
    at.keys?.dispose();
    at.values?.dispose();
    at.keys = keys && tf.keep(keys);
    at.values = values && tf.keep(values);
  };
  return {
    append(layer, rows, k, v) {
      const at = store[layer];
      const order = new Int32Array(capacity);
      const slots = Array.from(rows, (row) => order[row]++);
      const columns = Math.max(...slots) + 1;
      const index = new Int32Array(capacity * columns).fill(rows.length);
      const added = Array.from({ length: columns }, () => new Int32Array(capacity).fill(-1));
      rows.forEach((row, i) => {
        if (at.lengths[row] >= maxTokens)
          throw new ShapeError(`KvCache: row ${row} holds ${maxTokens} tokens already, all it has room for`);
        index[row * columns + slots[i]] = i;
        added[slots[i]][row] = at.lengths[row]++;
      });
      at.columns.push(...added);
      replace(at, extend(at.keys, k, index, columns), extend(at.values, v, index, columns));
    },
    attend(layer, rows, q) {
      const at = store[layer];
      const n = rows.length;
      const c = at.columns.length;
      const seen = visible(rows, at.lengths);
      const window = windows?.[layer] || maxTokens;
      const mask = new Float32Array(n * c);
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < c; j++) {
          const t = at.columns[j][rows[i]];
          if (t < 0 || t >= seen[i] || t < seen[i] - window) mask[i * c + j] = -1e30;
        }
      }
      return tf.tidy(() => {
        const index = tf.tensor1d(rows, 'int32');
        const keys = tf.reshape(tf.gather(at.keys!, index), [n * kvHeads, c, headDim]);
        const values = tf.reshape(tf.gather(at.values!, index), [n * kvHeads, c, headDim]);
        const queries = tf.reshape(q, [n * kvHeads, heads / kvHeads, headDim]);
        const scores = tf.reshape(tf.mul(tf.matMul(queries, keys, false, true), scale), [n, heads, c]);
        const capped = softcap === undefined ? scores : tf.mul(tf.tanh(tf.div(scores, softcap)), softcap);
        const weights = tf.softmax(tf.add(capped, tf.tensor3d(mask, [n, 1, c])), -1);
        const mixed = tf.matMul(tf.reshape(weights, [n * kvHeads, heads / kvHeads, c]), values);
        return tf.reshape(mixed, [n, heads, headDim]);
      });
    },
    share(from, to) {
      const targets = Array.from(to).filter((row) => row !== from);
      const index = Int32Array.from({ length: capacity }, (_, row) => (targets.includes(row) ? from : row));
      for (const at of store) {
        const length = at.lengths[from];
        for (const column of at.columns) for (const row of targets) column[row] = column[from];
        for (const row of targets) at.lengths[row] = length;
        if (!at.keys || !at.values) continue;
        const indices = tf.tensor1d(index, 'int32');
        replace(at, tf.gather(at.keys, indices), tf.gather(at.values, indices));
        indices.dispose();
      }
    },
    free(rows) {
      for (const at of store) {
        for (const row of rows) at.lengths[row] = 0;
        for (const column of at.columns) for (const row of rows) column[row] = -1;
        if (at.columns.every((column) => column.every((t) => t < 0))) {
          at.columns.length = 0;
          replace(at);
        }
      }
    },
    dispose() {
      for (const at of store) replace(at);
    },
  };
}

/** How many tokens of its row each query sees: the last query of a row all of them, those before it one less each. */
function visible(rows: Int32Array, lengths: Int32Array): Int32Array {
  const later = new Map<number, number>();
  const seen = new Int32Array(rows.length);
  for (let i = rows.length - 1; i >= 0; i--) {
    const after = later.get(rows[i]) ?? 0;
    seen[i] = lengths[rows[i]] - after;
    later.set(rows[i], after + 1);
  }
  return seen;
}
