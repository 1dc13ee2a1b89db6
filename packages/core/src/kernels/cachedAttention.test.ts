import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { attention, cachedAttention, initBackend, readCopy, rng } from '../index.node.js';

const [rows, maxTokens, heads, kvHeads, headDim] = [3, 41, 6, 2, 5];
const draws = rng(1);
const keys = draws.fork('k').normal(rows * maxTokens * kvHeads * headDim);
const values = draws.fork('v').normal(rows * maxTokens * kvHeads * headDim);

/** The rows' tokens in blocks, in an arbitrary order of blocks. */
function paged(blockTokens: number) {
  const blocksPerRow = Math.ceil(maxTokens / blockTokens);
  const order = rng(blockTokens).permutation(rows * blocksPerRow);
  const size = rows * blocksPerRow * kvHeads * headDim * blockTokens;
  const out = { keys: new Float32Array(size).fill(Number.NaN), values: new Float32Array(size).fill(Number.NaN) };
  for (let r = 0; r < rows; r++)
    for (let t = 0; t < maxTokens; t++)
      for (let h = 0; h < kvHeads; h++)
        for (let d = 0; d < headDim; d++) {
          const part = (order[r * blocksPerRow + Math.floor(t / blockTokens)] * kvHeads + h) * headDim * blockTokens;
          const from = ((r * maxTokens + t) * kvHeads + h) * headDim + d;
          out.keys[part + d * blockTokens + (t % blockTokens)] = keys[from];
          out.values[part + (t % blockTokens) * headDim + d] = values[from];
        }
  return { ...out, tables: order, blocksPerRow, blockTokens, kvHeads };
}

describe.each(['cpu', 'native'])('cachedAttention on %s', (backend) => {
  const variants = [
    [0, undefined],
    [3, undefined],
    [0, 0.7],
  ] as const;
  const order = Int32Array.of(2, 0, 1, 2, 2, 2, 2, 0);
  const lengths = Int32Array.of(4, 9, 1, 36, 37, 38, 39, 41);
  const q = draws.fork('q').normal(order.length * heads * headDim);
  const run = async (blockTokens: number, window: number, softcap: number | undefined, only?: number) => {
    const pick = <T extends Float32Array | Int32Array>(x: T, width: number) =>
      (only === undefined ? x.slice() : x.slice(only * width, (only + 1) * width)) as T;
    const n = only === undefined ? order.length : 1;
    const attrs = { ...paged(blockTokens), rows: pick(order, 1), lengths: pick(lengths, 1), scale: 0.4, softcap, window };
    return (await readCopy(cachedAttention({ q: tf.tensor3d(pick(q, heads * headDim), [n, heads, headDim]) }, attrs).y)) as Float32Array;
  };

  it('gives what attention gives the last token of each sequence, with a window, a soft cap and without', async () => {
    const chosen = await initBackend({ backend }).catch(() => null);
    if (!chosen) return; // `native` is not built here
    for (const [window, softcap] of variants) {
      const ours = await run(16, window, softcap);
      for (let i = 0; i < order.length; i++) {
        const n = lengths[i];
        const width = kvHeads * headDim;
        const part = (x: Float32Array) =>
          tf.tensor3d(x.slice(order[i] * maxTokens * width, (order[i] * maxTokens + n) * width), [n, kvHeads, headDim]);
        const queries = new Float32Array(n * heads * headDim);
        queries.set(q.slice(i * heads * headDim, (i + 1) * heads * headDim), (n - 1) * heads * headDim);
        const whole = attention(
          { q: tf.tensor3d(queries, [n, heads, headDim]), k: part(keys), v: part(values) },
          { cuSeqlens: Int32Array.of(0, n), causal: true, scale: 0.4, softcap, ...(window > 0 && { window }) },
        ).y;
        const expected = (await readCopy(whole)).slice((n - 1) * heads * headDim);
        expected.forEach((x, j) => void expect(ours[i * heads * headDim + j]).toBeCloseTo(x, 5));
      }
    }
  });

  it('gives a query the same bits whatever the other queries and the size of blocks', async () => {
    const chosen = await initBackend({ backend }).catch(() => null);
    if (!chosen) return;
    for (const [window, softcap] of variants) {
      const together = await run(16, window, softcap);
      expect(await run(48, window, softcap)).toEqual(together);
      for (let i = 0; i < order.length; i++)
        expect(await run(32, window, softcap, i)).toEqual(together.slice(i * heads * headDim, (i + 1) * heads * headDim));
    }
  });
});
