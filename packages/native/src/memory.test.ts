import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { type NativeBackend, setThreads } from './index.js';
import { ready, values } from './testing/agreement.js';

describe('memory', () => {
  it('hands freed memory to the next tensor, and never memory that is in use', async (ctx) => {
    if (!ready) return ctx.skip();
    await tf.setBackend('native');
    const backend = tf.backend() as NativeBackend;
    const idle = backend.poolStats().usedBytes;
    for (let i = 0; i < 300; i++) {
      const n = 100 + ((i * 37) % 500);
      const x = tf.fill([n], i);
      const parts = [tf.reshape(x, [n, 1]), tf.clone(x), tf.slice(x, [1], [n - 1]), tf.add(x, 1), tf.reverse(x), tf.cast(x, 'int32')];
      x.dispose();
      const noise = Array.from({ length: 8 }, () => tf.fill([n], -1));
      for (const p of parts) for (const v of p.dataSync()) if (v !== i && v !== i + 1) throw new Error(`step ${i}: ${v}`);
      tf.dispose([...parts, ...noise]);
    }
    const after = backend.poolStats();
    expect(after.usedBytes).toBe(idle);
    expect(after.reused / after.taken).toBeGreaterThan(0.5);
  });
  it('copies what it is given and what it gives', async (ctx) => {
    if (!ready) return ctx.skip();
    await tf.setBackend('native');
    const given = new Float32Array([1, 2, 3]);
    const x = tf.tensor1d(given);
    given[0] = 9;
    const read = x.dataSync();
    expect([...read]).toEqual([1, 2, 3]);
    read[1] = 9;
    expect([...(await x.data())]).toEqual([1, 2, 3]);
    x.dispose();
  });
  it('updates in place where the data is not shared, and refuses where it is', async (ctx) => {
    if (!ready) return ctx.skip();
    await tf.setBackend('native');
    const backend = tf.backend() as NativeBackend;
    const x = tf.tensor1d([1, 2]);
    const part = tf.slice(x, [0], [1]);
    backend.updateInPlace(x, (v) => {
      v[0] = 5;
    });
    expect([...x.dataSync(), ...part.dataSync()]).toEqual([5, 2, 1]);
    const shared = tf.clone(x);
    expect(() => backend.updateInPlace(x, () => undefined)).toThrow(/2 references/);
    tf.dispose([x, part, shared]);
  });
});

describe('large arrays, which are stored past the caches', () => {
  // Beyond the sizes from which stores are streamed; odd, so that ends and beginnings of blocks count.
  it('give what small ones give, with any number of threads', async (ctx) => {
    if (!ready) return ctx.skip();
    await tf.setBackend('native');
    const [rows, n] = [8207, 1031];
    const x = tf.tensor2d(values(rows * n), [rows, n]);
    const row = tf.tensor1d(values(n));
    const some = [0, 4100, rows - 1];
    const parts = some.map((r) => tf.slice(x, [r, 0], [1, n]));
    const ops: ((x: tf.Tensor) => tf.Tensor)[] = [
      tf.exp,
      (a) => tf.add(a, row),
      (a) => tf.mul(a, a),
      (a) => tf.softmax(a as tf.Tensor2D),
      (a) => tf.logSoftmax(a as tf.Tensor2D),
      (a) => tf.sum(a, 1, true),
      (a) => tf.max(a, 1, true),
      (a) => tf.where(tf.greater(a, 0), a, tf.zerosLike(a)),
    ];
    for (const op of ops)
      for (const threads of [1, 2, 3]) {
        setThreads(threads);
        const [whole, expected] = tf.tidy(() => {
          const y = op(x);
          return [some.map((r) => tf.slice(y, [r, 0], [1, y.shape[1] as number]).dataSync()), parts.map((part) => op(part).dataSync())];
        });
        expect(whole).toEqual(expected);
      }
    setThreads(2);
    const columns = tf.tidy(() => tf.sum(x, 0).dataSync());
    for (const threads of [1, 3]) {
      setThreads(threads);
      expect(tf.tidy(() => tf.sum(x, 0).dataSync())).toEqual(columns);
    }
    setThreads(2);
    tf.dispose([x, row, parts]);
  });
});
