import { initBackend } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { it } from 'vitest';
import { pacedTraining } from './training.js';

it('profiles', async () => {
  await initBackend({ backend: 'native', threads: 2 });
  const calibrate = () => {
    const [m, n, k] = [2048, 683, 256];
    const make = (size: number) => tf.randomNormal([size]);
    const [x, w] = [tf.reshape(make(m * k), [m, k]) as tf.Tensor2D, tf.reshape(make(n * k), [n, k]) as tf.Tensor2D];
    const times: number[] = [];
    for (let i = 0; i < 30; i++) {
      const t = performance.now();
      const y = tf.matMul(x, w, false, true);
      times.push(performance.now() - t);
      y.dispose();
    }
    times.sort((a, b) => a - b);
    console.log(
      'calibrate GF/s best',
      ((2 * m * n * k) / times[0] / 1e6).toFixed(0),
      'median',
      ((2 * m * n * k) / times[15] / 1e6).toFixed(0),
      'worst',
      ((2 * m * n * k) / times[29] / 1e6).toFixed(0),
    );
    const t2: number[] = [];
    const keep: tf.Tensor[] = [];
    for (let i = 0; i < 30; i++) {
      const t = performance.now();
      keep.push(tf.matMul(x, w, false, true));
      t2.push(performance.now() - t);
    }
    t2.sort((a, b) => a - b);
    console.log('fresh outputs: best', ((2 * m * n * k) / t2[0] / 1e6).toFixed(0), 'median', ((2 * m * n * k) / t2[15] / 1e6).toFixed(0));
    tf.dispose([x, w, ...keep]);
  };
  calibrate();
  const engine = tf.engine() as unknown as { runKernel: (name: string, inputs: object, attrs?: object) => unknown };
  const run = engine.runKernel;
  const spent = new Map<string, [number, number]>();
  let inner = 0;
  engine.runKernel = function (this: unknown, name: string, inputs: object, attrs?: object) {
    const start = performance.now();
    const before = inner;
    inner = 0;
    const y = run.call(engine, name, inputs, attrs);
    const whole = performance.now() - start;
    const key =
      name === 'LinearGrad' || name === 'Linear' || name === 'BatchMatMul'
        ? `${name} ${Object.entries(inputs)
            .map(([k, x]) => `${k}[${(x as tf.Tensor)?.shape}]`)
            .join(' ')} ${(attrs as { needs?: string[] })?.needs ?? ''}`
        : name;
    const [t, c] = spent.get(key) ?? [0, 0];
    spent.set(key, [t + whole - inner, c + 1]);
    inner = before + whole;
    return y;
  };
  for (const products of (process.env.PRODUCTS ?? 'f32,bf16').split(',') as ('f32' | 'bf16')[]) {
    const training = pacedTraining({
      model: { vocabSize: 4096, width: 256, layers: 6, heads: 8, mlpWidth: 683 },
      sequences: 16,
      tokens: 128,
      products,
    } as never);
    for (let i = 0; i < 3; i++) await training.step();
    spent.clear();
    const times: number[] = [];
    const n = Number(process.env.STEPS ?? 8);
    for (let i = 0; i < n; i++) times.push((await training.step()).seconds);
    times.sort((a, b) => a - b);
    console.log(products, 'step', times[0], 'median', times[n >> 1]);
    let all = 0;
    for (const [k, [t, c]] of [...spent].sort((a, b) => b[1][0] - a[1][0]).slice(0, 32)) {
      console.log((t / n).toFixed(2).padStart(8), 'ms', (c / n).toFixed(0).padStart(4), k);
      all += t / n;
    }
    console.log('in kernels', all.toFixed(1));
    await training.dispose();
    calibrate();
  }
}, 200000);
