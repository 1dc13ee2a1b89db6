/** Whether what was set up computes: a product and a gradient against values done by hand, and the speed of products. */
import * as tf from '@tensorflow/tfjs-core';
import { registerTensorflowBackend, type StartOptions } from './backend.js';
import { TensorflowError } from './errors.js';

export type SelfTest = { version: string; device: string; gpu: boolean; gflops: number; mended: string[] };

/** @throws TensorflowError naming the first value that is wrong. Leaves `tensorflow` as the current backend. */
export async function selfTest(options: StartOptions = {}): Promise<SelfTest> {
  const info = registerTensorflowBackend(options);
  if (!(await tf.setBackend('tensorflow'))) throw new TensorflowError('the backend tensorflow does not start');
  const [a, b] = [tf.tensor2d([1, 2, 3, 4], [2, 2]), tf.tensor2d([5, 6, 7, 8], [2, 2])];
  await check('a product', tf.matMul(a, b), [19, 22, 43, 50]);
  // d sum(tanh(a b)) / da = (1 - tanh(ab)^2) b'; small numbers, so that tanh is not flat. The walk needs tfjs's own gradients of
  // these ops, which importing tfjs-core in Node does not register: the formula is applied in plain ops.
  const h = tf.tanh(tf.mul(tf.matMul(a, b), 0.01));
  const dy = tf.sub(1, tf.square(h));
  await check('the product of a gradient', tf.matMul(dy, b, false, true), [10.542476, 14.378219, 8.89726, 12.141584]);
  await check('round of int32', tf.round(tf.tensor1d([3, -2], 'int32')), [3, -2]);
  tf.dispose([a, b, h, dy]);
  const gflops = await speed(info.gpu ? 4096 : 1024);
  return { version: info.version, device: info.device, gpu: info.gpu, gflops, mended: info.mended };
}

async function check(what: string, x: tf.Tensor, expected: number[]): Promise<void> {
  const found = await x.data();
  x.dispose();
  expected.forEach((y, i) => {
    if (!(Math.abs(found[i] - y) <= 1e-3)) throw new TensorflowError(`self-test: ${what} gives ${[...found]}, and ${expected} is right`);
  });
}

/** GFLOP/s of a square float32 product, one number read back: the best of five. */
async function speed(n: number): Promise<number> {
  const [a, b] = [tf.fill([n, n], 0.5), tf.fill([n, n], 0.25)];
  let best = Infinity;
  for (let i = 0; i < 6; i++) {
    const start = performance.now();
    const c = tf.matMul(a, b);
    const one = tf.slice(c, [0, 0], [1, 1]);
    await one.data();
    if (i > 0) best = Math.min(best, performance.now() - start);
    tf.dispose([c, one]);
  }
  tf.dispose([a, b]);
  return Math.round((2 * n ** 3) / best / 1e6);
}
