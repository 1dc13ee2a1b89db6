import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { registerTensorflowBackend, tensorflowAvailable, tensorflowBackend } from './backend.js';
import { bf16Matrix, setProducts } from './bf16.js';
import { TensorflowError } from './errors.js';
import { selfTest } from './selfTest.js';

const available = tensorflowAvailable();
const reason = !process.env.PLUMB_FULL ? 'PLUMB_FULL=1 runs it where TensorFlow is set up' : available.ok ? '' : available.why;

describe('before it has started', () => {
  it('there is no backend, and what needs one says so', () => {
    expect(tensorflowBackend()).toBeNull();
    expect(() => setProducts('bf16')).toThrow(TensorflowError);
  });
});

describe.skipIf(reason)(`the backend${reason && ` (not run: ${reason})`}`, () => {
  beforeAll(async () => {
    registerTensorflowBackend();
    await tf.setBackend('tensorflow');
  });
  const handles = (): number => (tensorflowBackend() as unknown as { getNumOfTFTensors(): number }).getNumOfTFTensors();
  const wave = (rows: number, columns: number): tf.Tensor2D =>
    tf.tensor2d(
      Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * 0.7)),
      [rows, columns],
    );

  it('passes its self-test', async () => {
    const { gflops, version } = await selfTest();
    expect(gflops).toBeGreaterThan(1);
    expect(version).toBe(registerTensorflowBackend().version);
  });
  it('works without chained operations: prelu, argMax of booleans, exp of whole numbers', async () => {
    expect([...(await tf.prelu(tf.tensor1d([-2, 3]), tf.tensor1d([0.5, 0.5])).data())]).toEqual([-1, 3]);
    expect([...(await tf.argMax(tf.tensor1d([false, true], 'bool')).data())]).toEqual([1]);
    const x = tf.tensor1d([0, 2], 'int32');
    expect((await tf.exp(x).data())[1]).toBeCloseTo(Math.E ** 2, 4);
    expect([...(await x.data())]).toEqual([0, 2]);
  });
  it('still refuses indices outside of what they pick from', () => {
    expect(() => tf.gather(tf.ones([2, 2]), tf.tensor1d([0, 2], 'int32'))).toThrow('the index value 2 is not in [0, 1]');
  });
  it('multiplies by a frozen matrix in bf16, both ways, within its rounding, and leaves no handle', async () => {
    const [x, w, y] = [wave(5, 40), wave(40, 24), wave(5, 24)];
    const frozen = bf16Matrix(w);
    expect(frozen.bytes).toBe(2 * 40 * 24);
    for (const [left, transposed] of [
      [x, false],
      [y, true],
    ] as const) {
      const exact = tf.matMul(left, w, false, transposed);
      const size = tf.matMul(tf.abs(left), tf.abs(w), false, transposed); // rounding errors are in proportion to the terms, not to their sum
      const before = handles();
      const made = frozen.multiply(left, transposed);
      expect(handles()).toBe(before + 1);
      const share = (await tf.max(tf.div(tf.abs(tf.sub(made, exact)), size)).data())[0];
      expect(share).toBeLessThan(2 ** -7);
      expect(share).toBeGreaterThan(0); // or it would be float32
    }
    expect(() => frozen.multiply(y)).toThrow('[5,24] cannot be multiplied by [40,24]');
    frozen.dispose();
    expect(() => frozen.multiply(x)).toThrow('after it was freed');
  });
  it('computes all products in bf16 where asked to, and as before afterwards', async () => {
    const [a, b] = [wave(3, 33), wave(33, 4)];
    const exact = await tf.matMul(a, b).data();
    setProducts('bf16');
    const rounded = await tf.matMul(a, b).data();
    const whole = await tf.matMul(tf.ones([2, 2], 'int32') as tf.Tensor2D, tf.ones([2, 2], 'int32') as tf.Tensor2D).data();
    setProducts('float32');
    expect([...whole]).toEqual([2, 2, 2, 2]);
    expect([...rounded]).not.toEqual([...exact]);
    rounded.forEach((x, i) => void expect(Math.abs(x - exact[i])).toBeLessThan(0.05));
    expect(await tf.matMul(a, b).data()).toEqual(exact);
  });
  it('writes nothing into node_modules', () => {
    const core = dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-core/package.json'));
    expect(readdirSync(dirname(core)).filter((name) => name.startsWith('tfjs-node'))).toEqual([]);
    expect(existsSync(`${core}/lib`)).toBe(false);
  });
});
