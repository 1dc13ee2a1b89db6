import { cachedAttention, hostValues, ShapeError } from '@plumbline/core';
import type { KvCache } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';

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
};

/**
 * A preallocated key-value cache. In every call `rows[i]` is the cache row of token i; a row that is named several times gets its tokens
 * in that order. `attend` lets the last query of a row see all that the row holds, the one before it one token less, and so on.
 *
 * Where tensors live in this process's memory (cpu, native, wasm) it is plain arrays, and what a row gets does not depend on the other
 * rows, to the bit. Elsewhere it is tensors, and rows agree to rounding.
 */
export function createKvCache(shape: CacheShape): KvCache {
  return ['cpu', 'native', 'wasm'].includes(tf.getBackend()) ? hostCache(shape) : tensorCache(shape);
}

export function hostCache({ layers, rows: capacity, maxTokens, kvHeads, headDim, scale, softcap, windows }: CacheShape): KvCache {
  const width = kvHeads * headDim;
  const room = () => Array.from({ length: layers }, () => new Float32Array(capacity * maxTokens * width));
  let keys = room();
  let values = room();
  const lengths = Array.from({ length: layers }, () => new Int32Array(capacity));

  return {
    append(layer, rows, k, v) {
      const kData = hostValues(k);
      const vData = hostValues(v);
      const length = lengths[layer];
      for (let i = 0; i < rows.length; i++) {
        const row = rows[i];
        if (length[row] >= maxTokens) throw new ShapeError(`KvCache: row ${row} holds ${maxTokens} tokens already, all it has room for`);
        const at = (row * maxTokens + length[row]++) * width;
        keys[layer].set(kData.subarray(i * width, (i + 1) * width), at);
        values[layer].set(vData.subarray(i * width, (i + 1) * width), at);
      }
    },
    attend(layer, rows, q) {
      const attrs = {
        keys: keys[layer],
        values: values[layer],
        rows,
        lengths: visible(rows, lengths[layer]),
        maxTokens,
        kvHeads,
        scale,
        softcap,
      };
      return cachedAttention({ q }, { ...attrs, window: windows?.[layer] ?? 0 }).y;
    },
    share(from, to) {
      for (let layer = 0; layer < layers; layer++) {
        const length = lengths[layer][from];
        const begin = from * maxTokens * width;
        for (const row of to) {
          if (row === from) continue;
          keys[layer].copyWithin(row * maxTokens * width, begin, begin + length * width);
          values[layer].copyWithin(row * maxTokens * width, begin, begin + length * width);
          lengths[layer][row] = length;
        }
      }
    },
    free(rows) {
      for (const length of lengths) for (const row of rows) length[row] = 0;
    },
    dispose() {
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
