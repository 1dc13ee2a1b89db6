/** Run by webgpu.node.test.ts in a process of its own, on SwiftShader: prints one JSON line a check. */
import * as tf from '@tensorflow/tfjs-core';
import { adamW, createParameters, gradients, initBackend, readCopy, readScalars, updateInPlace } from '../index.node.js';
import { testKernel } from '../testing.js';
import { checkGradient, ops } from './gradientOps.js';
import { kernelSuites } from './kernelSuites.js';

const say = (name: string, error?: unknown): void =>
  console.log(
    JSON.stringify({
      name,
      error: error === undefined ? null : error instanceof Error ? `${error.message}\n${error.stack}` : String(error),
    }),
  );
const check = async (name: string, run: () => Promise<void>): Promise<void> => {
  try {
    await run();
    say(name);
  } catch (error) {
    say(name, error);
  }
};
const same = (found: ArrayLike<number>, expected: number[], digits = 1e-5): void => {
  if (found.length !== expected.length || expected.some((x, i) => !(Math.abs(found[i] - x) <= digits)))
    throw new Error(`found ${[...Array.from(found)]}, expected ${expected}`);
};

await check('a software adapter is refused unless it is asked for', async () => {
  const info = await initBackend();
  if (info.name === 'webgpu') throw new Error('took the software adapter by itself');
});
let device = '';
await check('starts when asked for, and names the adapter', async () => {
  device = (await initBackend({ backend: 'webgpu' })).device ?? '';
  if (!/swiftshader/i.test(device)) throw new Error(`the adapter is ${device}`);
});
tf.env().set('WEBGPU_CPU_FORWARD', false); // otherwise small ops run on the CPU, and hide what the GPU does

await check('a parameter changed in place is seen by all who use it, and by nobody who holds a view', async () => {
  const x = tf.mul(tf.tensor2d([1, 2, 3, 4], [2, 2]), 1) as tf.Tensor2D;
  const p = tf.mul(tf.tensor2d([1, 0, 0, 1], [2, 2]), 1) as tf.Tensor2D;
  const row = tf.slice(p, 0, 1);
  same(await readCopy(tf.matMul(x, p)), [1, 2, 3, 4]);
  const held = readCopy(p);
  const refused = tf.mul(p, 2);
  if (updateInPlace(p, refused)) throw new Error('changed what a pending read holds');
  same(await held, [1, 0, 0, 1]);
  for (const factor of [2, 3]) if (!updateInPlace(p, tf.mul(p, factor))) throw new Error('did not change in place');
  same(await readCopy(p), [6, 0, 0, 6]);
  same(await readCopy(row), [1, 0]);
  same(await readCopy(tf.matMul(x, p)), [6, 12, 18, 24]);
});
await check('a tensor may be freed while it is read', async () => {
  const x = tf.mul(tf.tensor1d([-1, 2]), 1);
  const reading = readCopy(x);
  x.dispose();
  same(await reading, [-1, 2]);
});
await check('refuses a reshape of a freed tensor', async () => {
  const x = tf.mul(tf.ones([2]), 2);
  x.dispose();
  try {
    tf.reshape(x, [1, 2]);
  } catch (error) {
    if (String(error).includes('after it was freed')) return;
  }
  throw new Error('accepted it');
});
await check('a product keeps its axes where it is asked to', async () => {
  const x = tf.tensor2d([1, 2, 3, 4], [2, 2]);
  const kept = tf.prod(x, 1, true);
  if (kept.shape.join() !== '2,1') throw new Error(`has shape [${kept.shape}]`);
  same(await readCopy(kept), [2, 12]);
});
await check('learns what cpu learns', async () => {
  const losses = async (backend: string): Promise<number[]> => {
    await initBackend({ backend });
    const tree = createParameters({
      w: { shape: [3, 4], data: Float32Array.from({ length: 12 }, (_, i) => Math.sin(i)) },
      v: { shape: [4, 1], data: Float32Array.from([1, -1, 0.5, 2]) },
    });
    const [w, v] = tree.trainable();
    const optimizer = adamW({});
    const x = tf.tensor2d(
      Float32Array.from({ length: 15 }, (_, i) => Math.cos(i)),
      [5, 3],
    );
    const seen: number[] = [];
    for (let step = 0; step < 12; step++) {
      const { loss, grads } = gradients(
        () => ({
          loss: tf.mean(
            tf.square(tf.sub(tf.matMul(tf.tanh(tf.matMul(x, w.value as tf.Tensor2D)), v.value as tf.Tensor2D), 1)),
          ) as tf.Scalar,
        }),
        [w, v],
      );
      seen.push((await readScalars({ loss })).loss);
      optimizer.apply(grads, { scale: 1, learningRate: 0.05 });
      tf.dispose([loss, ...grads.values()]);
    }
    return seen;
  };
  same(await losses('webgpu'), await losses('cpu'), 1e-3);
});
const small = ({ shapes }: { shapes: Record<string, readonly number[]> }): boolean =>
  Object.values(shapes).every((shape) => shape.reduce((a, b) => a * b, 1) < 5000);
for (const { kernel, cases, tolerance } of kernelSuites)
  for (const { name, run } of testKernel(kernel, cases.filter(small), { backends: ['webgpu'], tolerance: Math.max(tolerance ?? 0, 5e-4) }))
    await check(name, run);
const mendedOps = /^(cum|prod|conv3d|einsum|matMul over|gather|topk|stridedSlice|softmax|mean|max)/;
for (const [name, op] of Object.entries(ops)) {
  if (op.lacking?.webgpu || !(process.env.PLUMB_FULL || mendedOps.test(name))) continue; // the others take a minute more
  await initBackend({ backend: 'webgpu' });
  await check(`the gradient of ${name}`, () => checkGradient(name, op));
}
await readCopy(tf.add(tf.tensor1d([1, 2]), 1)); // nothing is left to compute: SwiftShader crashes a process that ends before
