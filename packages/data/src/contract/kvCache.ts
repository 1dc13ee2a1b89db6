import { type Rng, readCopy, rng } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import type { KvCache } from '../interfaces.js';
import { type ContractCase, ensure, ensureClose } from './case.js';

export type KvCacheShape = {
  layers: number;
  rows: number;
  maxTokens: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  scale: number;
};

/**
 * What every `KvCache` keeps: `attend` is softmax(q·Kᵀ·scale)·V over what the row holds, worked out here in double precision; of several queries of
 * one row the last sees everything, the one before it a token less. Rows and layers stand apart, `share` copies, `free` empties, nothing is left after `dispose`.
 */
export function kvCacheContract(make: (shape: KvCacheShape) => KvCache, { tolerance = 1e-5 }: { tolerance?: number } = {}): ContractCase[] {
  const shape: KvCacheShape = { layers: 2, rows: 4, maxTokens: 9, heads: 6, kvHeads: 2, headDim: 5, scale: 1 / Math.sqrt(5) };
  const using = async (f: (world: World) => Promise<void>) => {
    const before = tf.memory().numTensors;
    const cache = make(shape);
    await f(worldOf(cache, shape, tolerance));
    cache.dispose();
    ensure(tf.memory().numTensors === before, `${tf.memory().numTensors - before} tensors are left after dispose`);
  };
  return [
    {
      name: 'attends to all that a row holds, token by token and for several tokens at once',
      run: () =>
        using(async (world) => {
          await world.append(0, [0, 0, 0, 2]);
          await world.attend(0, [0, 2]);
          await world.append(0, [2, 0]);
          await world.attend(0, [2, 0]);
          await world.append(0, [1, 1, 3, 1]);
          await world.attend(0, [1, 1, 3, 1]);
        }),
    },
    {
      name: 'keeps layers apart',
      run: () =>
        using(async (world) => {
          await world.append(0, [0, 0]);
          await world.append(1, [0]);
          await world.attend(1, [0]);
          await world.attend(0, [0]);
        }),
    },
    {
      name: 'shares a row with others by value',
      run: () =>
        using(async (world) => {
          for (const layer of [0, 1]) await world.append(layer, [1, 1, 1]);
          world.share(1, [0, 3]);
          await world.append(0, [0, 1, 3, 3]);
          await world.attend(0, [0, 1, 3]);
          await world.attend(1, [0, 3]);
        }),
    },
    {
      name: 'empties freed rows and takes new tokens there',
      run: () =>
        using(async (world) => {
          await world.append(0, [0, 0, 1]);
          world.free([0]);
          await world.append(0, [0]);
          await world.attend(0, [0, 1]);
        }),
    },
    {
      name: 'refuses more tokens than it has room for',
      run: () =>
        using(async (world) => {
          let refused = false;
          try {
            await world.append(0, new Array(shape.maxTokens + 1).fill(0));
          } catch {
            refused = true;
          }
          ensure(refused, `${shape.maxTokens + 1} tokens went into a row for ${shape.maxTokens}`);
        }),
    },
  ];
}

type World = ReturnType<typeof worldOf>;
type Held = { k: Float32Array; v: Float32Array };

/** The cache beside a plain list of what it should hold. */
function worldOf(cache: KvCache, { layers, rows, heads, kvHeads, headDim, scale }: KvCacheShape, tolerance: number) {
  const held: Held[][][] = Array.from({ length: layers }, () => Array.from({ length: rows }, () => []));
  const draws: Rng = rng(29);
  const width = kvHeads * headDim;
  return {
    async append(layer: number, rowList: number[]) {
      const [k, v] = [draws.normal(rowList.length * width), draws.normal(rowList.length * width)];
      const tensors = [k, v].map((x) => tf.tensor3d(x.slice(), [rowList.length, kvHeads, headDim]));
      try {
        cache.append(layer, Int32Array.from(rowList), tensors[0], tensors[1]);
      } finally {
        tf.dispose(tensors);
      }
      for (const [i, row] of rowList.entries()) {
        held[layer][row].push({ k: k.slice(i * width, (i + 1) * width), v: v.slice(i * width, (i + 1) * width) });
      }
    },
    share(from: number, to: number[]) {
      cache.share(from, Int32Array.from(to));
      for (const layer of held) for (const row of to) layer[row] = [...layer[from]];
    },
    free(freed: number[]) {
      cache.free(Int32Array.from(freed));
      for (const layer of held) for (const row of freed) layer[row] = [];
    },
    async attend(layer: number, rowList: number[]) {
      const q = draws.normal(rowList.length * heads * headDim);
      const query = tf.tensor3d(q.slice(), [rowList.length, heads, headDim]);
      const answer = cache.attend(layer, Int32Array.from(rowList), query);
      const actual = await readCopy(answer);
      tf.dispose([query, answer]);
      const expected = rowList.flatMap((row, i) => {
        const later = rowList.slice(i + 1).filter((other) => other === row).length;
        const seen = held[layer][row].slice(0, held[layer][row].length - later);
        return Array.from({ length: heads }, (_, h) =>
          headOf(q.subarray((i * heads + h) * headDim, (i * heads + h + 1) * headDim), seen, Math.floor((h * kvHeads) / heads)),
        );
      });
      ensureClose(actual, expected.flat(), tolerance, `attention of rows ${rowList.join(', ')} in layer ${layer}`);
    },
  };

  function headOf(q: Float32Array, seen: Held[], group: number): number[] {
    const part = (x: Float32Array) => x.subarray(group * headDim, (group + 1) * headDim);
    const scores = seen.map(({ k }) => scale * part(k).reduce((sum, x, d) => sum + x * q[d], 0));
    const largest = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - largest));
    const total = weights.reduce((a, b) => a + b, 0);
    return Array.from({ length: headDim }, (_, d) => seen.reduce((sum, { v }, t) => sum + (weights[t] / total) * part(v)[d], 0));
  }
}
