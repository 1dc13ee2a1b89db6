import * as tf from '@tensorflow/tfjs-core';
import { beforeEach, describe, expect, it } from 'vitest';
import {
  adamW,
  attention,
  createParameters,
  describeBackends,
  gradients,
  initBackend,
  readCopy,
  readScalars,
  tokenLogps,
  updateInPlace,
} from './index.node.js';
import { checkGradient, ops } from './testing/gradientOps.js';
import { kernelSuites } from './testing/kernelSuites.js';
import { testKernel } from './testing.js';

/** Why these do not run here, or an empty string. */
const reason = process.env.PLUMB_FULL
  ? ((await describeBackends({ backend: 'tensorflow' })).find(({ name, taken }) => name === 'tensorflow' && !taken)?.why ?? '')
  : 'it takes a second of start and 600 MB of memory; PLUMB_FULL=1 runs it where TensorFlow is set up';

/** Largest amount of tensor data at once while `f` runs, in bytes beyond what there was before. */
function peak(f: () => void): number {
  type Tracking = { trackTensor(a: tf.Tensor, backend: unknown): void };
  const engine = tf.engine() as unknown as Tracking;
  const { trackTensor } = engine;
  const before = tf.memory().numBytes;
  let most = before;
  engine.trackTensor = (a, backend) => {
    trackTensor.call(engine, a, backend);
    most = Math.max(most, tf.memory().numBytes);
  };
  try {
    f();
  } finally {
    engine.trackTensor = trackTensor;
  }
  return most - before;
}

/** Values that come back from TensorFlow while `f` runs. Those that have not gone there yet do not count. */
function reads(f: () => void): number {
  type Storage = { readSync(id: object): unknown; tensorMap: { get(id: object): { values: unknown } } };
  const backend = tf.backend() as unknown as Storage;
  let count = 0;
  backend.readSync = function (this: Storage, id) {
    if (this.tensorMap.get(id).values === null) count++;
    return Object.getPrototypeOf(this).readSync.call(this, id);
  };
  try {
    f();
  } finally {
    delete (backend as { readSync?: unknown }).readSync;
  }
  return count;
}

describe.skipIf(reason)(`tensorflow${reason && ` (not run: ${reason})`}`, () => {
  beforeEach(async () => {
    await initBackend({ backend: 'tensorflow' });
  });

  it('says its version and device', async () => {
    const info = await initBackend({ backend: 'tensorflow' });
    expect(info.version).toMatch(/^2\.\d+\.\d+/);
    expect(info.device).toBeTruthy();
  });
  it('rounds whole numbers to themselves', async () => {
    expect([...(await readCopy(tf.round(tf.tensor1d([3, -2, 7], 'int32'))))]).toEqual([3, -2, 7]);
  });
  it('keeps the whole number that an exponential is taken of', async () => {
    const x = tf.tensor1d([0, 1], 'int32');
    expect((await readCopy(tf.exp(x)))[1]).toBeCloseTo(Math.E, 5);
    expect([...(await readCopy(x))]).toEqual([0, 1]);
  });
  it('changes a parameter in place for all who use it, and for nobody who holds a view', async () => {
    const x = tf.tensor2d([1, 2, 3, 4], [2, 2]);
    const p = tf.tensor2d([1, 0, 0, 1], [2, 2]);
    const row = tf.slice(p, 0, 1);
    expect([...(await readCopy(tf.matMul(x, p)))]).toEqual([1, 2, 3, 4]);
    const held = tf.clone(p);
    const refused = tf.mul(p, 5);
    expect(updateInPlace(p, refused)).toBe(false);
    held.dispose();
    for (const factor of [2, 3]) expect(updateInPlace(p, tf.mul(p, factor))).toBe(true);
    expect([...(await readCopy(p))]).toEqual([6, 0, 0, 6]);
    expect([...(await readCopy(row))]).toEqual([1, 0]);
    expect([...(await readCopy(tf.matMul(x, p)))]).toEqual([6, 12, 18, 24]);
  });
  it('learns what cpu learns', async () => {
    const losses = async (backend: string): Promise<number[]> => {
      await initBackend({ backend });
      const wave = (n: number, f: (x: number) => number): Float32Array => Float32Array.from({ length: n }, (_, i) => f(i));
      const tree = createParameters({ w: { shape: [3, 4], data: wave(12, Math.sin) }, v: { shape: [4, 1], data: wave(4, Math.cos) } });
      const [w, v] = tree.trainable();
      const optimizer = adamW({});
      const x = tf.tensor2d(wave(15, Math.cos), [5, 3]);
      const seen: number[] = [];
      for (let step = 0; step < 12; step++) {
        const { loss, grads } = gradients(() => {
          const h = tf.tanh(tf.matMul(x, w.value as tf.Tensor2D));
          return { loss: tf.mean(tf.square(tf.sub(tf.matMul(h, v.value as tf.Tensor2D), 1))) as tf.Scalar };
        }, [w, v]);
        seen.push((await readScalars({ loss })).loss);
        optimizer.apply(grads, { scale: 1, learningRate: 0.05 });
        tf.dispose([loss, ...grads.values()]);
      }
      tree.dispose();
      return seen;
    };
    const [here, there] = [await losses('tensorflow'), await losses('cpu')];
    here.forEach((loss, step) => {
      expect(Math.abs(loss - there[step])).toBeLessThan(1e-5);
    });
    expect(here.at(-1)!).toBeLessThan(here[0]);
  });
  it('reads nothing back inside a step', () => {
    const tree = createParameters({ w: { shape: [11, 8], data: new Float32Array(88).fill(0.1) } });
    const [w] = tree.trainable();
    const attrs = { cuSeqlens: Int32Array.from([0, 4, 6]), causal: true, scale: 1 };
    const targets = Int32Array.from([1, 2, 3, 4, 5, 6]);
    const step = (): void => {
      const { loss, grads } = gradients(() => {
        const q = tf.reshape(tf.gather(w.value, tf.tensor1d(targets, 'int32')), [6, 2, 4]) as tf.Tensor3D;
        const { y } = attention({ q, k: q, v: q }, attrs);
        const { logps } = tokenLogps({ hidden: tf.reshape(y, [6, 8]) as tf.Tensor2D, weight: w.value as tf.Tensor2D }, { targets });
        return { loss: tf.neg(tf.sum(logps)) as tf.Scalar };
      }, [w]);
      adamW({}).apply(grads, { scale: 1, learningRate: 0.01 });
      tf.dispose([loss, ...grads.values()]);
    };
    expect(reads(step)).toBe(0);
    expect(reads(() => void tf.add(w.value, 1).dataSync())).toBe(1); // or the count could not fail
    tree.dispose();
  });
  it('holds logits by the block: twice the tokens do not take twice the memory of their logits', () => {
    const vocabulary = 2048;
    const weight = tf.mul(tf.ones([vocabulary, 8]), 0.1) as tf.Tensor2D;
    const bytes = (tokens: number): number => {
      const hidden = tf.mul(tf.ones([tokens, 8]), 0.1) as tf.Tensor2D;
      return peak(() => tokenLogps({ hidden, weight }, { targets: new Int32Array(tokens) }).logps.dispose());
    };
    const [one, four] = [bytes(4096), bytes(16384)];
    expect(four - one).toBeLessThan((16384 - 4096) * vocabulary * 4 * 0.05);
  });
  it('holds the scores of a segment, never those of all tokens with all', () => {
    const bytes = (segments: number): number => {
      const q = tf.mul(tf.ones([segments * 64, 2, 8]), 0.1) as tf.Tensor3D;
      const cuSeqlens = Int32Array.from({ length: segments + 1 }, (_, i) => i * 64);
      return peak(() => attention({ q, k: q, v: q }, { cuSeqlens, causal: true, scale: 1 }).y.dispose());
    };
    const [few, many] = [bytes(8), bytes(32)];
    expect(many).toBeLessThan(few * 5); // 4 times the tokens; a full matrix would be 16 times
  });

  for (const { kernel, cases, tolerance } of kernelSuites)
    describe(kernel.definition.name, () => {
      for (const { name, run } of testKernel(kernel, cases, { backends: ['tensorflow'], tolerance })) it(name, run);
    });
  describe('the gradient, by central differences, of', () => {
    it.for(Object.entries(ops))('%s', async ([name, op], { skip }) => {
      skip('tensorflow' in (op.lacking ?? {}), op.lacking?.tensorflow);
      await checkGradient(name, op);
    });
  });
});
