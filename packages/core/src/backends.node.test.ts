import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  adamW,
  attention,
  BackendError,
  backendInfo,
  createParameters,
  describeBackends,
  embedding,
  gradients,
  initBackend,
  linear,
  readCopy,
  readScalars,
  rmsNorm,
  rotary,
  swiGlu,
  tokenLogps,
  updateInPlace,
} from './index.node.js';

afterEach(() => vi.unstubAllEnvs());

describe('the ladder', () => {
  it('names the valid backends when asked for one that does not exist', async () => {
    await expect(initBackend({ backend: 'cuda' })).rejects.toThrow(
      'There is no backend "cuda" (backend). Valid: tensorflow, webgpu, native, tensorflow-cpu, wasm, cpu.',
    );
    vi.stubEnv('PLUMB_BACKEND', 'gpu');
    await expect(initBackend()).rejects.toThrow('"gpu" (PLUMB_BACKEND)');
  });
  it('refuses 0 threads', async () => {
    await expect(initBackend({ threads: 0 })).rejects.toThrow(BackendError);
    vi.stubEnv('PLUMB_THREADS', 'many');
    await expect(initBackend()).rejects.toThrow('PLUMB_THREADS must be a whole number of at least 1, got many');
  });
  it('says why a rung that was asked for does not start', async () => {
    vi.stubEnv('PLUMB_TENSORFLOW', join(tmpdir(), 'no-such-tensorflow'));
    await expect(initBackend({ backend: 'tensorflow' })).rejects.toThrow(
      /PLUMB_TENSORFLOW names .*no-such-tensorflow: there is no such file or folder/,
    );
  });
  it('refuses a process that has loaded a second copy of tfjs-core, and says where both are', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'plumbline-two-copies-'));
    const copy = join(folder, '@tensorflow', 'tfjs-core', 'dist', 'tf-core.node.js');
    mkdirSync(dirname(copy), { recursive: true });
    writeFileSync(copy, 'module.exports = {};');
    const require = createRequire(import.meta.url);
    require(copy);
    await expect(initBackend()).rejects.toThrow(/^Two copies of @tensorflow\/tfjs-core are loaded: .* and .*Install one/);
    delete require.cache[copy];
    rmSync(folder, { recursive: true });
  });
  it('takes one rung, and says in one line why not the others', async () => {
    const rungs = await describeBackends();
    expect(rungs.map((rung) => rung.name)).toEqual(['tensorflow', 'webgpu', 'native', 'tensorflow-cpu', 'wasm', 'cpu']);
    expect(rungs.filter((rung) => rung.taken)).toHaveLength(1);
    for (const { why } of rungs) expect(why).toMatch(/^.+$/);
  });
});

describe.each(['cpu', 'native', 'wasm'])('on %s', (backend) => {
  it('starts, or says why not', async ({ skip }) => {
    const rung = (await describeBackends({ backend })).find((r) => r.name === backend)!;
    if (!rung.taken) skip(rung.why);
    const info = await initBackend({ backend });
    expect(info.name).toBe(backend);
    expect(backendInfo()).toBe(info);
    expect(tf.getBackend()).toBe(backend);
  });
  it('changes a parameter in place for all who use it, and for nobody who holds a view', async ({ skip }) => {
    if (tf.getBackend() !== backend) skip(`${backend} does not start here`);
    const before = tf.memory().numTensors;
    const x = tf.tensor2d([1, 2, 3, 4], [2, 2]);
    const p = tf.tensor2d([1, 0, 0, 1], [2, 2]);
    const first = [tf.matMul(x, p), tf.matMul(p, x)];
    const views = [tf.slice(p, 0, 1), ...tf.unstack(p), ...tf.split(p, 2), tf.stridedSlice(p, [0, 0], [1, 2])];
    const held = tf.clone(p);
    const refused = tf.fill([2, 2], 5);
    expect(updateInPlace(p, refused)).toBe(false);
    held.dispose();
    refused.dispose();
    for (const factor of [2, 3]) {
      expect(updateInPlace(p, tf.mul(p, factor))).toBe(true);
    }
    const after = [tf.matMul(x, p), tf.matMul(p, x), tf.matMul(x, p, false, true), tf.matMul(x, p, true, false)];
    expect(await readCopy(p)).toEqual(Float32Array.from([6, 0, 0, 6]));
    expect(await readCopy(first[0])).toEqual(Float32Array.from([1, 2, 3, 4]));
    expect(await readCopy(after[0])).toEqual(Float32Array.from([6, 12, 18, 24]));
    expect(await readCopy(after[1])).toEqual(Float32Array.from([6, 12, 18, 24]));
    expect(await readCopy(after[2])).toEqual(Float32Array.from([6, 12, 18, 24]));
    expect(await readCopy(after[3])).toEqual(Float32Array.from([6, 18, 12, 24]));
    expect(await readCopy(views[0])).toEqual(Float32Array.from([1, 0]));
    expect(await readCopy(views[1])).toEqual(Float32Array.from([1, 0]));
    expect(await readCopy(views[3])).toEqual(Float32Array.from([1, 0]));
    expect(await readCopy(views[5])).toEqual(Float32Array.from([1, 0]));
    tf.dispose([x, p, first, views, after]);
    expect(tf.memory().numTensors).toBe(before);
  });
});

it('trains a small network to the same losses on every backend that starts here', async () => {
  const wave = (n: number, pace: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * pace) / 2);
  const cuSeqlens = Int32Array.of(0, 5, 8);
  const ids = Int32Array.of(1, 2, 3, 4, 5, 6, 7, 0);
  const positions = Int32Array.of(0, 1, 2, 3, 4, 0, 1, 2);
  const losses = async (backend: string): Promise<number[]> => {
    await initBackend({ backend });
    const tree = createParameters({
      embedding: { shape: [9, 8], data: wave(72, 1.1) },
      norm: { shape: [8], data: new Float32Array(8).fill(1) },
      mix: { shape: [8, 8], data: wave(64, 1.7) },
    });
    const [table, norm, mix] = tree.trainable();
    const optimizer = adamW({ weightDecay: 0.01 });
    const seen: number[] = [];
    for (let step = 0; step < 20; step++) {
      const { loss, grads } = gradients(() => {
        const x = embedding({ weight: table.value as tf.Tensor2D }, { ids }).y;
        const h = linear({ x: rmsNorm({ x, weight: norm.value }, { eps: 1e-6 }).y as tf.Tensor2D, weight: mix.value as tf.Tensor2D }, {}).y;
        const q = rotary({ x: tf.reshape(h, [8, 2, 4]) }, { positions, inverseFrequencies: Float32Array.of(1, 0.1) }).y;
        const a = attention({ q, k: q, v: tf.reshape(x, [8, 2, 4]) }, { cuSeqlens, causal: true, scale: 0.5 }).y;
        const hidden = swiGlu({ gate: tf.reshape(a, [8, 8]), up: h }, {}).y;
        const targets = Int32Array.from(ids, (id) => (id + 1) % 9);
        return { loss: tf.neg(tf.mean(tokenLogps({ hidden, weight: table.value as tf.Tensor2D }, { targets }).logps)) as tf.Scalar };
      }, tree.trainable());
      seen.push((await readScalars({ loss })).loss);
      optimizer.apply(grads, { scale: 1, learningRate: 0.03 });
      tf.dispose([loss, ...grads.values()]);
    }
    optimizer.dispose();
    tree.dispose();
    return seen;
  };
  const expected = await losses('cpu');
  expect(expected[19]).toBeLessThan(expected[0] / 2);
  for (const { name, why } of await describeBackends()) {
    if (!['native', 'wasm'].includes(name) || /compiler|not installed|cannot/.test(why)) continue;
    const found = await losses(name);
    found.forEach((loss, step) => void expect(Math.abs(loss - expected[step]), `${name}, step ${step}`).toBeLessThan(1e-3));
  }
});
