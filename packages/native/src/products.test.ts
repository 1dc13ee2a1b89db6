import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { raw, setThreads } from './index.js';
import { ready, same, values } from './testing/agreement.js';

describe('products', () => {
  for (const [m, n, k] of [
    [1, 1, 1],
    [1, 7, 5],
    [3, 2, 9],
    [13, 33, 17],
    [14, 32, 64],
    [15, 65, 130],
    [129, 31, 40],
    [200, 100, 520],
    [300, 48, 1100],
    [1, 300, 600],
    [170, 1, 33],
  ])
    for (const [ta, tb] of [
      [false, false],
      [false, true],
      [true, false],
      [true, true],
    ])
      same(
        `[${m}, ${k}] x [${k}, ${n}] ${ta ? 'T' : 'N'}${tb ? 'T' : 'N'}`,
        (make) => tf.matMul(make(ta ? [k, m] : [m, k]), make(tb ? [n, k] : [k, n]), ta, tb),
        k > 1000 ? 4e-5 : 1e-5,
      );
  same('a batch', (make) => tf.matMul(make([2, 3, 17, 9]), make([2, 3, 9, 21])), 1e-5);
  same('a batch, both transposed', (make) => tf.matMul(make([5, 9, 17]), make([5, 21, 9]), true, true), 1e-5);
  same('a batch against one matrix', (make) => tf.matMul(make([4, 6, 8]), make([1, 8, 5])), 1e-5);
  same('one matrix against a batch', (make) => tf.matMul(make([1, 6, 8]), make([4, 8, 5])), 1e-5);
  it('broadcasts a batch on both sides, where the CPU backend is wrong', async (ctx) => {
    if (!ready) return ctx.skip();
    await tf.setBackend('native');
    const [a, b] = [tf.tensor(values(3 * 6 * 8), [3, 1, 6, 8]), tf.tensor(values(2 * 8 * 5), [1, 2, 8, 5])];
    const [got, expected] = tf.tidy(() => [
      tf.matMul(a, b).dataSync(),
      tf.matMul(tf.tile(a, [1, 2, 1, 1]), tf.tile(b, [3, 1, 1, 1])).dataSync(),
    ]);
    expect(got).toEqual(expected);
    tf.dispose([a, b]);
  });
  same('an empty product', (make) => tf.matMul(make([0, 4]), make([4, 3])));
  same('an empty sum', (make) => tf.matMul(make([3, 0]), make([0, 2])));
  for (const activation of ['linear', 'relu', 'relu6', 'elu', 'sigmoid', 'leakyrelu'] as const)
    same(`bias and ${activation}`, (make) => tf.fused.matMul({ a: make([19, 23]), b: make([23, 37]), bias: make([37]), activation }), 1e-5);
  for (const equation of ['ij,jk->ik', 'bij,bkj->bik', 'ij->ji', 'i,j->ij', 'ij,ij->', 'abcd,dbe->aec', 'bhd,hde->bhe'])
    same(
      `einsum ${equation}`,
      (make) => {
        const sizes: Record<string, number> = { a: 2, b: 3, c: 4, d: 5, e: 6, h: 4, i: 3, j: 5, k: 7 };
        const terms = equation.split('->')[0].split(',');
        return tf.einsum(equation, ...terms.map((term) => make([...term].map((letter) => sizes[letter]))));
      },
      1e-5,
    );

  it.for(['f32', 'bf16', 'int8'] as const)(
    'is exact for whole numbers against weights packed as %s, whatever the sizes',
    (storage, { skip }) => {
      skip(!ready, 'no kernels');
      for (const [out, width] of [
        [1, 1],
        [33, 1],
        [70, 33],
        [160, 578],
      ]) {
        const whole = (n: number) => values(n, 9, -4.5).map(Math.round);
        const w = whole(out * width);
        const stored = {
          f32: () => w,
          bf16: () => new Uint16Array(new Uint32Array(w.buffer).map((bits) => bits >>> 16)),
          int8: () => Int8Array.from(w),
        };
        const scales = storage === 'int8' ? Float32Array.from({ length: out }, (_, o) => 2 ** (o % 3)) : undefined;
        const packed = raw.packMatrix(stored[storage](), { out, in: width, storage, scales });
        for (const rows of [1, 2, 3, 7, 12, 13, 40]) {
          const [x, bias, start] = [whole(rows * width), whole(out), whole(rows * out)];
          const expected = start.map((from, i) => {
            const [r, o] = [Math.floor(i / out), i % out];
            let sum = 0;
            for (let k = 0; k < width; k++) sum += x[r * width + k] * w[o * width + k];
            return (from + sum) * (scales?.[o] ?? 1) + bias[o];
          });
          for (const bf16 of [false, true])
            for (const threads of [1, 3]) {
              setThreads(threads);
              const y = start.slice();
              raw.packedProduct(x, packed, y, { rows, bias, accumulate: true, bf16 });
              expect(y, `[${out}, ${width}], ${rows} rows, bf16 ${bf16}, ${threads} threads`).toEqual(expected);
            }
        }
      }
    },
  );
  it('gives a row the same bits whatever the other rows, columns and threads', async (ctx) => {
    if (!ready) return ctx.skip();
    await tf.setBackend('native');
    for (const transposed of [false, true])
      for (const [n, k] of [
        [33, 129],
        [128, 700],
        [352, 128],
      ]) {
        const x = values(400 * k);
        const w = tf.tensor(values(n * k), transposed ? [n, k] : [k, n]);
        const same32 = (a: Float32Array, b: Float32Array) =>
          Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(new Uint8Array(b.buffer, b.byteOffset, b.byteLength));
        const product = (rows: number): Float32Array =>
          tf.tidy(() => tf.matMul(tf.tensor(x.slice(0, rows * k), [rows, k]), w as tf.Tensor2D, false, transposed).dataSync<'float32'>());
        setThreads(1);
        const whole = product(400);
        for (const threads of [1, 2, 3]) {
          setThreads(threads);
          for (const rows of [1, 2, 5, 13, 14, 15, 29, 128, 167, 169, 400])
            expect(same32(product(rows), whole.subarray(0, rows * n)), `${rows} rows, ${threads} threads`).toBe(true);
        }
        w.dispose();
      }
  });
});
