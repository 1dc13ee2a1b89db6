/** What the kernel tests share: an operation run on tfjs's own CPU backend and on ours, with the same inputs, any number of threads and no tensor left behind. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, it } from 'vitest';
import { buildNative, registerNativeBackend, setThreads } from '../index.js';

/** Whether there are kernels to test: known once a file's tests begin. */
export let ready = false;
beforeAll(async () => {
  const a = await buildNative();
  ready = a.ok && registerNativeBackend();
  if (!a.ok) console.warn(`native kernels are not tested: ${a.why}`);
});

let state = 12345;
/** The next of a fixed series in [0, 1). */
export function random(): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}
/** A tensor of numbers in [shift, shift + scale), from -1 to 1 if not said otherwise. */
export type Make = (shape: number[], scale?: number, shift?: number) => tf.Tensor;
/** So many of them. */
export const values = (n: number, scale = 2, shift = -1) => Float32Array.from({ length: n }, () => random() * scale + shift);

type Read = { values: (Float32Array | Int32Array | Uint8Array)[]; shapes: number[][]; dtypes: string[] };
/** Runs `f` on one backend with the same inputs, and checks that it leaves nothing behind. */
async function on(backend: 'cpu' | 'native', f: (make: Make) => tf.Tensor | tf.Tensor[], seed: number): Promise<Read> {
  await tf.setBackend(backend);
  state = seed;
  const before = tf.memory().numTensors;
  const out = tf.tidy(() => f((shape, scale, shift) => tf.tensor(values(tf.util.sizeFromShape(shape), scale, shift), shape)));
  const list = Array.isArray(out) ? out : [out];
  const read = { values: [] as Read['values'], shapes: list.map((t) => t.shape), dtypes: list.map((t) => t.dtype) };
  for (const t of list) read.values.push((await t.data()) as Float32Array);
  tf.dispose(list);
  expect(tf.memory().numTensors).toBe(before);
  return read;
}

function close(a: Read, b: Read, tolerance: number) {
  expect(a.shapes).toEqual(b.shapes);
  expect(a.dtypes).toEqual(b.dtypes);
  a.values.forEach((x, i) => {
    const y = b.values[i];
    expect(x.length).toBe(y.length);
    for (let j = 0; j < x.length; j++) {
      if (Object.is(x[j], y[j]) || x[j] === y[j]) continue;
      if (!(Math.abs(x[j] - y[j]) <= tolerance * (1 + Math.abs(y[j]))))
        throw new Error(`at ${j} of output ${i}: native ${x[j]}, cpu ${y[j]}`);
    }
  });
}

/** A test that both backends agree within `tolerance`, relative to 1 plus the magnitude, and that threads do not change a bit. */
export function same(name: string, f: (make: Make) => tf.Tensor | tf.Tensor[], tolerance = 2e-6) {
  it(`${name} agrees with the CPU backend`, async (ctx) => {
    if (!ready) return ctx.skip();
    const expected = await on('cpu', f, 99);
    close(await on('native', f, 99), expected, tolerance);
    for (const threads of [1, 3, 2]) {
      setThreads(threads);
      const again = await on('native', f, 99);
      if (threads !== 1) expect(again.values).toEqual(first);
      else first = again.values;
    }
  });
  let first: Read['values'];
}
