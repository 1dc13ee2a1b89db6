import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { initBackend, logSigmoid, logSumExp, readCopy } from '../index.node.js';
import type { Kernel, Some } from '../kernel.js';
import { type KernelCase, testKernel } from '../testing.js';
import { attention } from './attention.js';
import { embedding } from './embedding.js';
import { geluTanh } from './gelu.js';
import { layerNorm } from './layerNorm.js';
import { linear } from './linear.js';
import { rmsNorm } from './rmsNorm.js';
import { rotary } from './rotary.js';
import { gatherRows, segmentMean, segmentSum } from './rows.js';
import { swiGlu } from './swiGlu.js';
import { tokenLogps } from './tokenLogps.js';

const backends: string[] = [];
for (const backend of ['cpu', 'native', 'wasm'])
  await initBackend({ backend }).then(
    () => backends.push(backend),
    () => {},
  );

function suite<I extends Some, A extends object, O extends Some, R extends Some>(kernel: Kernel<I, A, O, R>, cases: KernelCase<A>[], tolerance?: number): void {
  describe(kernel.definition.name, () => {
    for (const { name, run } of testKernel(kernel, cases, { backends, tolerance })) it(name, run);
  });
}
const ints = (...x: number[]): Int32Array => Int32Array.from(x);

it('covers cpu and wasm at least', () => expect(backends).toEqual(expect.arrayContaining(['cpu', 'wasm'])));

suite(rmsNorm, [
  { shapes: { x: [5, 7], weight: [7] }, attrs: { eps: 1e-6 } },
  { shapes: { x: [2, 3, 33], weight: [33] }, attrs: { eps: 1e-6 } },
  { shapes: { x: [1, 1], weight: [1] }, attrs: { eps: 1e-2 } },
]);
suite(layerNorm, [
  { shapes: { x: [5, 7], weight: [7], bias: [7] }, attrs: { eps: 1e-5 } },
  { shapes: { x: [2, 3, 33], weight: [33], bias: [33] }, attrs: { eps: 1e-5 } },
]);
suite(rotary, [
  { shapes: { x: [5, 3, 6] }, attrs: { positions: ints(0, 1, 2, 0, 7), inverseFrequencies: Float32Array.of(1, 0.1, 0.01) } },
  { shapes: { x: [2, 1, 2] }, attrs: { positions: ints(3, 100), inverseFrequencies: Float32Array.of(0.5), scale: 1.3 } },
]);
suite(swiGlu, [
  { shapes: { gate: [5, 7], up: [5, 7] }, attrs: {} },
  { shapes: { gate: [1, 1], up: [1, 1] }, attrs: {}, spread: 4 },
]);
suite(geluTanh, [{ shapes: { x: [3, 11] }, attrs: {} }]);
suite(linear as never, [
  { shapes: { x: [5, 7], weight: [3, 7] }, attrs: {} },
  { shapes: { x: [33, 17], weight: [19, 17], bias: [19] }, attrs: {} },
  { shapes: { x: [1, 1], weight: [1, 1], bias: [1] }, attrs: {} },
]);
suite(embedding, [
  { shapes: { weight: [7, 5] }, attrs: { ids: ints(3, 0, 3, 6) } },
  { shapes: { weight: [2, 1] }, attrs: { ids: ints(1) } },
]);
suite(gatherRows, [{ shapes: { x: [6, 3] }, attrs: { rows: ints(5, 0, 0, 2) } }]);
suite(segmentMean, [
  { shapes: { x: [6, 3] }, attrs: { cuSeqlens: ints(0, 1, 1, 6) } },
  { shapes: { x: [6, 3] }, attrs: { cuSeqlens: ints(0, 2, 4, 6), mask: Uint8Array.of(1, 0, 0, 0, 1, 1) } },
]);
suite(segmentSum, [
  { shapes: { x: [6] }, attrs: { cuSeqlens: ints(0, 1, 1, 6) } },
  { shapes: { x: [6] }, attrs: { cuSeqlens: ints(0, 2, 4, 6), mask: Uint8Array.of(1, 0, 0, 0, 1, 1) } },
]);
suite(tokenLogps as never, [
  { shapes: { hidden: [5, 7], weight: [11, 7] }, attrs: { targets: ints(0, 10, 3, 3, 1) }, spread: 0.7 },
  { shapes: { hidden: [5, 7], weight: [11, 7], bias: [11] }, attrs: { targets: ints(0, 10, 3, 3, 1), temperature: 0.7, entropy: true, squaredSum: true }, spread: 0.7 },
  { shapes: { hidden: [3, 4], weight: [9, 4], bias: [9] }, attrs: { targets: ints(8, 2, 2), softcap: 3, temperature: 2, entropy: true } },
  { shapes: { hidden: [1, 1], weight: [2, 1] }, attrs: { targets: ints(1) } },
]);
const cu = ints(0, 3, 3, 7, 10, 11);
suite(attention, [
  { shapes: { q: [11, 4, 5], k: [11, 2, 5], v: [11, 2, 5] }, attrs: { cuSeqlens: cu, causal: true, scale: 0.45 } },
  { shapes: { q: [11, 3, 4], k: [11, 3, 4], v: [11, 3, 4] }, attrs: { cuSeqlens: cu, causal: false, scale: 0.5 } },
  { shapes: { q: [11, 2, 4], k: [11, 1, 4], v: [11, 1, 4] }, attrs: { cuSeqlens: cu, causal: true, scale: 0.5, window: 2, softcap: 2 } },
  { shapes: { q: [11, 2, 4], k: [11, 1, 4], v: [11, 1, 4] }, attrs: { cuSeqlens: cu, causal: false, scale: 0.5, window: 2 } },
  { shapes: { q: [11, 2, 3], k: [11, 1, 3], v: [11, 1, 3] }, attrs: { cuSeqlens: cu, causal: true, scale: 0.5, prefixOf: ints(-1, 0, 0, 0, -1) } },
  { shapes: { q: [1, 1, 1], k: [1, 1, 1], v: [1, 1, 1] }, attrs: { cuSeqlens: ints(0, 1), causal: true, scale: 1 } },
  { shapes: { q: [40, 2, 8], k: [40, 2, 8], v: [40, 2, 8] }, attrs: { cuSeqlens: ints(0, 20, 40), causal: true, scale: 0.35 } },
]);

describe('arguments', () => {
  const q = tf.zeros([4, 4, 2]) as tf.Tensor3D;
  const k = tf.zeros([4, 3, 2]) as tf.Tensor3D;
  it('are named when they do not fit', () => {
    expect(() => rmsNorm({ x: tf.zeros([2, 3]), weight: tf.zeros([4]) }, { eps: 1e-6 })).toThrow('rmsNorm: weight must have shape [width = 3], got [4]');
    expect(() => linear({ x: tf.zeros([2, 3], 'int32'), weight: tf.zeros([4, 3]) }, {})).toThrow('linear: x must be float32, got int32');
    expect(() => embedding({ weight: tf.zeros([4, 3]) }, { ids: ints(0, 4) })).toThrow('embedding: ids[1] is 4, outside [0, 4)');
    expect(() => attention({ q, k, v: k }, { cuSeqlens: ints(0, 4), causal: true, scale: 1 })).toThrow('3 key heads do not divide 4 query heads');
    expect(() => attention({ q, k: q, v: q }, { cuSeqlens: ints(0, 3), causal: true, scale: 1 })).toThrow('cuSeqlens ends at 3, but there are 4 tokens');
    expect(() => tokenLogps({ hidden: tf.zeros([2, 3]), weight: tf.zeros([4, 3]) }, { targets: ints(0, 1), temperature: 0 })).toThrow('temperature must be > 0, got 0');
    expect(() => logSumExp(tf.zeros([2, 3]), 2)).toThrow('axis 2 of a tensor of rank 2');
  });
});

describe.each(backends)('limits on %s', (backend) => {
  it('log σ is linear far below 0 and 0 far above; log Σ exp of nothing but -∞ is -∞', async () => {
    await initBackend({ backend });
    const x = tf.tensor1d([-200, -1, 0, 200]);
    const y = await readCopy(logSigmoid(x));
    [-200, -1.3132617, -0.6931472, 0].forEach((expected, i) => expect(y[i]).toBeCloseTo(expected, 5));
    const z = await readCopy(logSumExp(tf.tensor2d([[1000, 1000], [-Infinity, -Infinity], [-Infinity, 3]])));
    expect(z[0]).toBeCloseTo(1000 + Math.LN2, 3);
    expect(z[1]).toBe(-Infinity);
    expect(z[2]).toBeCloseTo(3, 5);
  });
  it('attention over no tokens is empty', async () => {
    await initBackend({ backend });
    const none = tf.zeros([0, 2, 4]) as tf.Tensor3D;
    expect(attention({ q: none, k: none, v: none }, { cuSeqlens: ints(0), causal: true, scale: 1 }).y.shape).toEqual([0, 2, 4]);
  });
});
