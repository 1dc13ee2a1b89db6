import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { initBackend, logSigmoid, logSumExp, readCopy } from '../index.node.js';
import { kernelSuites } from '../testing/kernelSuites.js';
import { testKernel } from '../testing.js';
import { attention } from './attention.js';
import { embedding } from './embedding.js';
import { linear } from './linear.js';
import { rmsNorm } from './rmsNorm.js';
import { tokenLogps } from './tokenLogps.js';

const backends: string[] = [];
for (const backend of ['cpu', 'native', 'wasm'])
  await initBackend({ backend }).then(
    () => backends.push(backend),
    () => {},
  );

const ints = (...x: number[]): Int32Array => Int32Array.from(x);

it('covers cpu and wasm at least', () => expect(backends).toEqual(expect.arrayContaining(['cpu', 'wasm'])));

for (const { kernel, cases, tolerance } of kernelSuites)
  describe(kernel.definition.name, () => {
    for (const { name, run } of testKernel(kernel, cases, { backends, tolerance })) it(name, run);
  });

describe('arguments', () => {
  const q = tf.zeros([4, 4, 2]) as tf.Tensor3D;
  const k = tf.zeros([4, 3, 2]) as tf.Tensor3D;
  it('are named when they do not fit', () => {
    expect(() => rmsNorm({ x: tf.zeros([2, 3]), weight: tf.zeros([4]) }, { eps: 1e-6 })).toThrow(
      'rmsNorm: weight must have shape [width = 3], got [4]',
    );
    expect(() => linear({ x: tf.zeros([2, 3], 'int32'), weight: tf.zeros([4, 3]) }, {})).toThrow('linear: x must be float32, got int32');
    expect(() => embedding({ weight: tf.zeros([4, 3]) }, { ids: ints(0, 4) })).toThrow('embedding: ids[1] is 4, outside [0, 4)');
    expect(() => attention({ q, k, v: k }, { cuSeqlens: ints(0, 4), causal: true, scale: 1 })).toThrow(
      '3 key heads do not divide 4 query heads',
    );
    expect(() => attention({ q, k: q, v: q }, { cuSeqlens: ints(0, 3), causal: true, scale: 1 })).toThrow(
      'cuSeqlens ends at 3, but there are 4 tokens',
    );
    expect(() => tokenLogps({ hidden: tf.zeros([2, 3]), weight: tf.zeros([4, 3]) }, { targets: ints(0, 1), temperature: 0 })).toThrow(
      'temperature must be > 0, got 0',
    );
    expect(() => logSumExp(tf.zeros([2, 3]), 2)).toThrow('axis 2 of a tensor of rank 2');
  });
});

describe.each(backends)('limits on %s', (backend) => {
  it('log σ is linear far below 0 and 0 far above; log Σ exp of nothing but -∞ is -∞', async () => {
    await initBackend({ backend });
    const x = tf.tensor1d([-200, -1, 0, 200]);
    const y = await readCopy(logSigmoid(x));
    [-200, -1.3132617, -Math.LN2, 0].forEach((expected, i) => void expect(y[i]).toBeCloseTo(expected, 5));
    const z = await readCopy(
      logSumExp(
        tf.tensor2d([
          [1000, 1000],
          [-Infinity, -Infinity],
          [-Infinity, 3],
        ]),
      ),
    );
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
