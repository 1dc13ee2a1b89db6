/** Every fused kernel on shapes and attributes drawn at random, and on none at all. */
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { gradients, initBackend, readCopy } from '../index.node.js';
import type { Kernel, Some } from '../kernel.js';
import { rng } from '../rng.js';
import { testKernel } from '../testing.js';
import type { Parameter } from '../types.js';
import { attention } from './attention.js';
import { embedding } from './embedding.js';
import { gelu, geluTanh } from './gelu.js';
import { layerNorm } from './layerNorm.js';
import { linear } from './linear.js';
import { lowRankLinear } from './lowRankLinear.js';
import { rmsNorm } from './rmsNorm.js';
import { rotary } from './rotary.js';
import { gatherRows, segmentMean, segmentSum } from './rows.js';
import { swiGlu } from './swiGlu.js';
import { tokenLogps } from './tokenLogps.js';

const backends: string[] = [];
for (const backend of ['native', 'wasm'])
  await initBackend({ backend }).then(
    () => backends.push(backend),
    () => {},
  );

const draws = 8;
const dice = rng(20261125);
const from = (least: number, most: number): number => least + dice.below(most - least + 1);
const maybe = <T extends object>(x: T): Partial<T> => (dice.below(2) ? x : {});
const indices = (n: number, below: number): Int32Array => Int32Array.from({ length: n }, () => dice.below(below));
const mask = (n: number): Uint8Array => Uint8Array.from({ length: n }, () => dice.below(2));
/** Segments of lengths 0 and up: their cumulative lengths. */
function segments(most: number): Int32Array {
  const cu = [0];
  for (let s = from(1, 6); s > 0; s--) cu.push(cu[cu.length - 1] + from(0, most));
  if (cu[cu.length - 1] === 0) cu.push(1);
  return Int32Array.from(cu);
}
const total = (cu: Int32Array): number => cu[cu.length - 1];

type Drawn = { shapes: Record<string, number[]>; attrs: object; spread?: number };
const kernels: [Kernel<Some, object, Some>, () => Drawn][] = [
  [rmsNorm, () => ({ n: from(1, 9), w: from(1, 70) })],
  [layerNorm, () => ({ n: from(1, 9), w: from(2, 70), bias: true })],
].map(([kernel, sizes]) => [
  kernel as unknown as Kernel<Some, object, Some>,
  () => {
    const { n, w, bias } = (sizes as () => { n: number; w: number; bias?: boolean })();
    return { shapes: { x: [n, w], weight: [w], ...(bias && { bias: [w] }) }, attrs: { eps: 1e-2 } };
  },
]);
const add = (kernel: unknown, draw: () => Drawn): void => void kernels.push([kernel as Kernel<Some, object, Some>, draw]);
add(rotary, () => {
  const [tokens, half] = [from(1, 9), from(1, 20)];
  const inverseFrequencies = Float32Array.from({ length: half }, (_, i) => 100 ** (-i / half));
  return {
    shapes: { x: [tokens, from(1, 5), 2 * half] },
    attrs: { positions: indices(tokens, 200), inverseFrequencies, ...maybe({ scale: 1.2 }) },
  };
});
add(swiGlu, () => {
  const shape = [from(1, 9), from(1, 70)];
  return { shapes: { gate: shape, up: shape }, attrs: {} };
});
add(geluTanh, () => ({ shapes: { x: [from(1, 9), from(1, 70)] }, attrs: {} }));
add(gelu, () => ({ shapes: { x: [from(1, 9), from(1, 70)] }, attrs: {} }));
add(linear, () => {
  const [n, inner, out] = [from(1, 40), from(1, 40), from(1, 40)];
  return { shapes: { x: [n, inner], weight: [out, inner], ...maybe({ bias: [out] }) }, attrs: {} };
});
add(lowRankLinear, () => {
  const [n, inner, out, r] = [from(1, 40), from(1, 40), from(1, 40), from(1, 9)];
  const shapes = { x: [n, inner], weight: [out, inner], a: [r, inner], b: [out, r], ...maybe({ bias: [out] }) };
  return { shapes, attrs: { scale: from(1, 4) / 2 } };
});
add(embedding, () => {
  const [v, n] = [from(1, 20), from(1, 30)];
  return { shapes: { weight: [v, from(1, 40)] }, attrs: { ids: indices(n, v) } };
});
add(gatherRows, () => {
  const n = from(1, 20);
  return { shapes: { x: [n, from(1, 40)] }, attrs: { rows: indices(from(1, 30), n) } };
});
add(segmentMean, () => {
  const cuSeqlens = segments(9);
  return { shapes: { x: [total(cuSeqlens), from(1, 40)] }, attrs: { cuSeqlens, ...maybe({ mask: mask(total(cuSeqlens)) }) } };
});
add(segmentSum, () => {
  const cuSeqlens = segments(9);
  return { shapes: { x: [total(cuSeqlens)] }, attrs: { cuSeqlens, ...maybe({ mask: mask(total(cuSeqlens)) }) } };
});
add(tokenLogps, () => {
  const [n, d, v] = [from(1, 20), from(1, 20), from(2, 60)];
  const attrs = {
    targets: indices(n, v),
    ...maybe({ temperature: 0.8 }),
    ...maybe({ softcap: 4 }),
    ...maybe({ entropy: true }),
    ...maybe({ squaredSum: true }),
  };
  return { shapes: { hidden: [n, d], weight: [v, d], ...maybe({ bias: [v] }) }, attrs, spread: 0.6 };
});
add(attention, () => {
  const [kvHeads, group, headDim, cuSeqlens] = [from(1, 3), from(1, 3), from(1, 20), segments(12)];
  const count = cuSeqlens.length - 1;
  // A prefix has none itself: only odd segments have one, and only even ones are one.
  const prefixOf = Int32Array.from({ length: count }, (_, s) => (s % 2 === 1 ? 2 * dice.below(Math.ceil(count / 2)) : -1));
  const attrs = {
    cuSeqlens,
    causal: dice.below(2) === 1,
    scale: headDim ** -0.5,
    ...maybe({ window: from(1, 9) }),
    ...maybe({ softcap: 3 }),
    ...maybe({ prefixOf }),
  };
  const [q, kv] = [[total(cuSeqlens), kvHeads * group, headDim], [total(cuSeqlens), kvHeads, headDim]]; // biome-ignore format: one line
  return { shapes: { q, k: kv, v: kv }, attrs };
});

for (const [kernel, draw] of kernels)
  describe(`${kernel.definition.name}, drawn`, () => {
    const cases = Array.from({ length: draws }, draw);
    for (const { name, run } of testKernel(kernel, cases, { backends, tolerance: 5e-4 })) it(name, run);
  });

describe.each(['cpu', ...backends])('no rows at all, on %s', (backend) => {
  const none = new Int32Array(0);
  const empty: [string, () => tf.Tensor, number[]][] = [
    ['rmsNorm', () => rmsNorm({ x: tf.zeros([0, 4]), weight: weight([4]) }, { eps: 1e-6 }).y, [0, 4]],
    ['layerNorm', () => layerNorm({ x: tf.zeros([0, 4]), weight: weight([4]), bias: weight([4]) }, { eps: 1e-6 }).y, [0, 4]],
    ['rotary', () => rotary({ x: tf.zeros([0, 2, 4]) }, { positions: none, inverseFrequencies: Float32Array.of(1, 0.1) }).y, [0, 2, 4]],
    ['swiGlu', () => swiGlu({ gate: tf.zeros([0, 4]), up: tf.zeros([0, 4]) }, {}).y, [0, 4]],
    ['linear', () => linear({ x: tf.zeros([0, 4]), weight: weight([3, 4]) as tf.Tensor2D }, {}).y, [0, 3]],
    ['embedding', () => embedding({ weight: weight([3, 4]) as tf.Tensor2D }, { ids: none }).y, [0, 4]],
    ['gatherRows', () => gatherRows({ x: weight([3, 4]) as tf.Tensor2D }, { rows: none }).y, [0, 4]],
    ['tokenLogps', () => tokenLogps({ hidden: tf.zeros([0, 4]), weight: weight([3, 4]) as tf.Tensor2D }, { targets: none }).logps, [0]],
    ['segmentMean', () => segmentMean({ x: tf.zeros([0, 4]) }, { cuSeqlens: Int32Array.of(0, 0) }).y, [1, 4]],
  ];
  let parameter: Parameter;
  const weight = (shape: number[]): tf.Tensor =>
    tf.reshape(
      tf.slice(
        parameter.value,
        0,
        shape.reduce((a, b) => a * b, 1),
      ),
      shape,
    );

  it.each(empty)('%s', async (_name, make, shape) => {
    await initBackend({ backend });
    parameter = { name: 'p', shape: [12], trainable: true, value: tf.ones([12]) };
    const { loss, grads } = gradients(() => {
      const y = make();
      expect(y.shape).toEqual(shape);
      return { loss: tf.add(tf.sum(y), tf.sum(parameter.value)) as tf.Scalar };
    }, [parameter]);
    expect([...(await readCopy(grads.get(parameter)!))]).toEqual(new Array(12).fill(1)); // the kernel adds nothing
    tf.dispose([loss, ...grads.values(), parameter.value]);
  });
});
