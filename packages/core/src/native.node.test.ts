import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { initBackend } from './index.node.js';
import type { Kernel, Some } from './kernel.js';
import { attention } from './kernels/attention.js';
import { embedding } from './kernels/embedding.js';
import { layerNorm } from './kernels/layerNorm.js';
import { linear } from './kernels/linear.js';
import { rmsNorm } from './kernels/rmsNorm.js';
import { rotary } from './kernels/rotary.js';
import { segmentMean } from './kernels/rows.js';
import { swiGlu } from './kernels/swiGlu.js';
import { tokenLogps } from './kernels/tokenLogps.js';
import { adamW } from './optimizers/adamW.js';
import { createParameters } from './parameters.js';
import { gradients } from './tape.js';
import { type KernelCase, testKernel } from './testing.js';
import type { Parameter } from './types.js';

const native = await initBackend({ backend: 'native' }).then(
  () => true,
  (e: Error) => {
    console.warn(`the fused kernels of native are not tested: ${e.message}`);
    return false;
  },
);

/** Cumulative lengths. */
function cu(...lengths: number[]): Int32Array {
  const sums = new Int32Array(lengths.length + 1);
  for (let i = 0; i < lengths.length; i++) sums[i + 1] = sums[i] + lengths[i];
  return sums;
}
const ids = (n: number, below: number): Int32Array => Int32Array.from({ length: n }, (_, i) => (i * 7919 + 13) % below);

/** Sizes beyond one block of whatever the kernels are cut into. */
function suite<I extends Some, A extends object, O extends Some, R extends Some>(
  kernel: Kernel<I, A, O, R>,
  cases: KernelCase<A>[],
  tolerance = 5e-4,
): void {
  if (!native) return;
  describe(`${kernel.definition.name}, beyond one block`, () => {
    for (const { name, run } of testKernel(kernel, cases, { backends: ['native'], tolerance })) it(name, run);
  });
}
suite(attention, [
  { shapes: { q: [301, 2, 8], k: [301, 1, 8], v: [301, 1, 8] }, attrs: { cuSeqlens: cu(1, 290, 10), causal: true, scale: 0.35 } },
  { shapes: { q: [290, 1, 3], k: [290, 1, 3], v: [290, 1, 3] }, attrs: { cuSeqlens: cu(290), causal: false, scale: 0.5 } },
  {
    shapes: { q: [300, 1, 4], k: [300, 1, 4], v: [300, 1, 4] },
    attrs: { cuSeqlens: cu(300), causal: true, scale: 0.5, window: 20, softcap: 3 },
  },
  {
    shapes: { q: [400, 2, 4], k: [400, 2, 4], v: [400, 2, 4] },
    attrs: { cuSeqlens: cu(270, 70, 40, 20), causal: true, scale: 0.5, prefixOf: Int32Array.of(-1, 0, 0, -1) },
  },
]);
suite(tokenLogps as never, [
  {
    shapes: { hidden: [70, 9], weight: [130, 9], bias: [130] },
    attrs: { targets: ids(70, 130), entropy: true, squaredSum: true, temperature: 1.5 },
    spread: 0.5,
  },
  { shapes: { hidden: [1100, 3], weight: [37, 3] }, attrs: { targets: ids(1100, 37) }, spread: 0.5 },
]);
suite(rmsNorm, [{ shapes: { x: [150, 70], weight: [70] }, attrs: { eps: 1e-5 } }]);
suite(layerNorm, [{ shapes: { x: [150, 70], weight: [70], bias: [70] }, attrs: { eps: 1e-5 } }]);
suite(swiGlu, [{ shapes: { gate: [130, 140], up: [130, 140] }, attrs: {} }]);
suite(rotary, [
  {
    shapes: { x: [130, 4, 34] },
    attrs: { positions: ids(130, 60), inverseFrequencies: Float32Array.from({ length: 17 }, (_, i) => 0.8 ** i) },
  },
]);
suite(linear as never, [{ shapes: { x: [190, 70], weight: [67, 70], bias: [67] }, attrs: {} }]);
suite(embedding, [{ shapes: { weight: [50, 33] }, attrs: { ids: ids(700, 50) } }]);
suite(segmentMean, [
  { shapes: { x: [90, 21] }, attrs: { cuSeqlens: cu(30, 0, 60), mask: Uint8Array.from({ length: 90 }, (_, i) => i % 3 && 1) } },
]);

describe.runIf(native)('a step on native', () => {
  /** A little of everything, with the gradients of all parameters and one optimizer step. */
  function step(threads: number): number[] {
    const noise = (n: number, shift: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 + shift) * 0.3);
    const [tokens, width, heads, vocab] = [150, 32, 4, 97];
    const tree = createParameters({
      table: { shape: [vocab, width], data: noise(vocab * width, 1) },
      q: { shape: [width, width], data: noise(width * width, 2) },
      up: { shape: [width, width], data: noise(width * width, 3) },
      norm: { shape: [width], data: noise(width, 4) },
    });
    const value = (name: string) => (tree.get(name) as Parameter).value;
    raw(threads);
    const found = gradients(() => {
      const x = embedding({ weight: value('table') as tf.Tensor2D }, { ids: ids(tokens, vocab) }).y;
      const normed = rmsNorm({ x, weight: value('norm') }, { eps: 1e-5 }).y as tf.Tensor2D;
      const q = tf.reshape(linear({ x: normed, weight: value('q') as tf.Tensor2D }, {}).y, [tokens, heads, width / heads]) as tf.Tensor3D;
      const a = attention({ q, k: q, v: q }, { cuSeqlens: cu(100, 50), causal: true, scale: 0.3 }).y;
      const h = swiGlu({ gate: linear({ x: tf.reshape(a, [tokens, width]), weight: value('up') as tf.Tensor2D }, {}).y, up: x }, {}).y;
      const { logps } = tokenLogps({ hidden: h, weight: value('table') as tf.Tensor2D }, { targets: ids(tokens, vocab) });
      return { loss: tf.neg(tf.mean(logps)) as tf.Scalar };
    }, tree.trainable());
    const optimizer = adamW({ weightDecay: 0.1 });
    optimizer.apply(found.grads, { scale: 0.7, learningRate: 0.01 });
    const all = [...tree.trainable().map((p) => p.value), ...found.grads.values(), found.loss].flatMap((x) => [...x.dataSync()]);
    tf.dispose([found.loss, ...found.grads.values()]);
    optimizer.dispose();
    tree.dispose();
    return all;
  }
  let raw: (threads: number) => void = () => {};

  it('has the same bits with 1, 2, 3 and 5 threads, and leaves nothing behind', async () => {
    const { setThreads, poolStats } = await import('@plumbline/native');
    raw = setThreads;
    const one = step(1);
    expect(one.every(Number.isFinite)).toBe(true);
    const [tensors, bytes] = [tf.memory().numTensors, poolStats()!.usedBytes];
    for (const threads of [2, 3, 5, 2]) expect(step(threads)).toEqual(one);
    expect(tf.memory().numTensors).toBe(tensors);
    expect(poolStats()!.usedBytes).toBe(bytes);
  });

  it('is the same step of AdamW as in plain ops', async () => {
    const run = async (backend: string) => {
      await tf.setBackend(backend);
      const tree = createParameters({
        w: { shape: [301], data: Float32Array.from({ length: 301 }, (_, i) => Math.sin(i)) },
        b: { shape: [], data: Float32Array.of(2) },
      });
      const optimizer = adamW({ weightDecay: 0.1, decays: (name) => name === 'w' });
      for (let i = 1; i <= 5; i++) {
        const grads = new Map(tree.trainable().map((p) => [p, tf.tidy(() => tf.mul(p.value, i * 0.3))]));
        optimizer.apply(grads, { scale: 0.5, learningRate: 0.02 });
        tf.dispose([...grads.values()]);
      }
      const values = tree.trainable().flatMap((p) => [...p.value.dataSync()]);
      optimizer.dispose();
      tree.dispose();
      return values;
    };
    const expected = await run('cpu');
    const got = await run('native');
    expect(Math.max(...got.map((x, i) => Math.abs(x - expected[i])))).toBeLessThan(1e-5);
  });
});
