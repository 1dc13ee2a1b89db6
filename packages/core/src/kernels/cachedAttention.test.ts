import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { attention, cachedAttention, initBackend, readCopy, rng } from '../index.node.js';

const [rows, maxTokens, heads, kvHeads, headDim] = [3, 9, 6, 2, 5];
const width = kvHeads * headDim;
const draws = rng(1);
const keys = draws.fork('k').normal(rows * maxTokens * width);
const values = draws.fork('v').normal(rows * maxTokens * width);

describe.each(['cpu', 'native'])('cachedAttention on %s', (backend) => {
  it('gives what attention gives the last token of each sequence, with a window, a soft cap and without', async () => {
    const chosen = await initBackend({ backend }).catch(() => null);
    if (!chosen) return; // `native` is not built here
    const order = Int32Array.of(2, 0, 1, 2);
    const lengths = Int32Array.of(4, 9, 1, 7);
    const q = draws.fork('q').normal(order.length * heads * headDim);
    for (const [window, softcap] of [
      [0, undefined],
      [3, undefined],
      [0, 0.7],
    ] as const) {
      const attrs = { keys, values, rows: order, lengths, maxTokens, kvHeads, scale: 0.4, softcap, window };
      const y = cachedAttention({ q: tf.tensor3d(q.slice(), [order.length, heads, headDim]) }, attrs).y;
      const ours = await readCopy(y);
      for (let i = 0; i < order.length; i++) {
        const n = lengths[i];
        const part = (x: Float32Array) =>
          tf.tensor3d(x.slice(order[i] * maxTokens * width, (order[i] * maxTokens + n) * width), [n, kvHeads, headDim]);
        const own = q.slice(i * heads * headDim, (i + 1) * heads * headDim);
        const queries = new Float32Array(n * heads * headDim);
        queries.set(own, (n - 1) * heads * headDim);
        const whole = attention(
          { q: tf.tensor3d(queries, [n, heads, headDim]), k: part(keys), v: part(values) },
          { cuSeqlens: Int32Array.of(0, n), causal: true, scale: 0.4, softcap, ...(window > 0 && { window }) },
        ).y;
        const expected = (await readCopy(whole)).slice((n - 1) * heads * headDim);
        expected.forEach((x, j) => void expect(ours[i * heads * headDim + j]).toBeCloseTo(x, 5));
      }
    }
  });
});
