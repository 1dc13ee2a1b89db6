import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import {
  bfloat16ToFloat32,
  embedding,
  type FrozenMatrix,
  float32ToBfloat16,
  frozenMatrix,
  gradients,
  initBackend,
  linear,
  lowRankLinear,
  type Parameter,
  readCopy,
  tokenLogps,
} from '../index.node.js';
import { testKernel } from '../testing.js';

const backends: string[] = [];
for (const backend of ['cpu', 'native', 'wasm'])
  await initBackend({ backend }).then(
    () => backends.push(backend),
    () => {},
  );
const storages = ['f32', 'bf16', 'int8'] as const;
const noise = (n: number, seed: number) =>
  Float32Array.from({ length: n }, (_, i) => Math.sin((i + 1) * (12.9898 + seed) + 78.233 * seed) * (1 + (i % 7) / 5));
const parameter = (value: tf.Tensor): Parameter => ({ name: 'x', shape: value.shape, trainable: true, value });
const largest = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  expect(a.length).toBe(b.length);
  let worst = 0;
  for (let i = 0; i < a.length; i++) {
    const apart = Math.abs(a[i] - b[i]);
    if (!(apart <= worst)) worst = apart; // NaN stays
  }
  return worst;
};
const roundedTo16 = (x: Float32Array) => bfloat16ToFloat32(float32ToBfloat16(x));
/** In double precision. */
function product(x: Float32Array, w: Float32Array, [rows, width, out]: number[], bias?: Float32Array): Float64Array {
  return Float64Array.from({ length: rows * out }, (_, i) => {
    const [r, o] = [Math.floor(i / out), i % out];
    let sum = bias?.[o] ?? 0;
    for (let k = 0; k < width; k++) sum += x[r * width + k] * w[o * width + k];
    return sum;
  });
}
const shapes = [
  [1, 1],
  [33, 7],
  [70, 65],
  [100, 130],
] as const;

describe.each(backends)('a frozen matrix on %s', (backend) => {
  it.each(storages)('in %s gives back its rounded values, whole and by rows', async (storage) => {
    await initBackend({ backend });
    for (const [out, width] of shapes) {
      const values = noise(out * width, 3);
      const matrix = frozenMatrix(values, [out, width], storage);
      const found = matrix.unpack();
      if (storage === 'f32') expect(found).toEqual(values);
      if (storage === 'bf16') expect(found).toEqual(roundedTo16(values));
      if (storage === 'int8')
        for (let r = 0; r < out; r++) {
          const row = values.subarray(r * width, (r + 1) * width);
          const step = row.reduce((m, x) => Math.max(m, Math.abs(x)), 0) / 127;
          expect(largest(found.subarray(r * width, (r + 1) * width), row)).toBeLessThanOrEqual(step * 0.5001);
        }
      const ids = Int32Array.of(out - 1, 0, out - 1);
      expect([...matrix.rows(ids)]).toEqual([...ids].flatMap((id) => [...found.subarray(id * width, (id + 1) * width)]));
      values.fill(0); // it is a copy
      expect(matrix.unpack()).toEqual(found);
      matrix.dispose();
    }
  });
  it('takes bfloat16 bits as they are', async () => {
    await initBackend({ backend });
    const bits = float32ToBfloat16(noise(6, 1));
    for (const storage of ['f32', 'bf16'] as const) {
      const matrix = frozenMatrix(bits, [2, 3], storage);
      expect(matrix.unpack()).toEqual(bfloat16ToFloat32(bits));
      matrix.dispose();
    }
    const whole = frozenMatrix(bits, [2, 3], 'int8');
    expect(largest(whole.unpack(), bfloat16ToFloat32(bits))).toBeLessThan(0.01);
    whole.dispose();
  });
  it('keeps a row of zeros', async () => {
    await initBackend({ backend });
    const matrix = frozenMatrix(Float32Array.of(0, 0, 1, -2), [2, 2], 'int8');
    expect([...matrix.unpack().subarray(0, 2)]).toEqual([0, 0]);
    matrix.dispose();
  });

  for (const storage of storages)
    for (const products of ['f32', 'bf16'] as const)
      it(`multiplies in ${storage} with ${products} products as its unpacked values do, and so do its gradients`, async () => {
        await initBackend({ backend });
        const tolerance = products === 'bf16' ? (storage === 'int8' ? 2e-2 : 1e-5) : 1e-5;
        for (const [out, width] of shapes) {
          const matrix = frozenMatrix(noise(out * width, 5), [out, width], storage);
          const before = tf.memory();
          const w = matrix.unpack();
          const operand = products === 'bf16' ? roundedTo16 : (x: Float32Array) => x;
          for (const rows of [1, 3, 20]) {
            const [xs, bias, dys] = [noise(rows * width, 1), noise(out, 2), noise(rows * out, 4)];
            const x = tf.tensor2d(xs, [rows, width]);
            const b = tf.tensor1d(bias);
            const dy = tf.tensor2d(dys, [rows, out]);
            const { loss, grads } = gradients(() => {
              const { y } = linear({ x, bias: b }, { frozen: matrix, products });
              return { loss: tf.sum(tf.mul(y, dy)) as tf.Scalar };
            }, [parameter(x), parameter(b)]);
            const y = linear({ x, bias: b }, { frozen: matrix, products }).y;
            const scale = (size: number) => tolerance * (1 + 2 * size);
            expect(largest(await readCopy(y), product(operand(xs), operand(w), [rows, width, out], bias))).toBeLessThan(scale(width));
            const wT = Float32Array.from({ length: out * width }, (_, i) => w[(i % out) * width + Math.floor(i / out)]);
            const [dx, dBias] = await Promise.all([...grads.values()].map((g) => readCopy(g)));
            expect(largest(dx, product(operand(dys), operand(wT), [rows, out, width]))).toBeLessThan(scale(out));
            const sums = Float32Array.from({ length: out }, (_, o) => dys.reduce((s, d, i) => (i % out === o ? s + d : s), 0));
            expect(largest(dBias, sums)).toBeLessThan(1e-4);
            tf.dispose([x, b, dy, y, loss, ...grads.values()]);
          }
          expect(tf.memory()).toMatchObject({ numTensors: before.numTensors, numDataBuffers: before.numDataBuffers });
          matrix.dispose();
        }
      });

  it.each(storages)('in %s adds an update of low rank, with gradients, as its unpacked values do', async (storage) => {
    await initBackend({ backend });
    const [n, out, width, r] = [21, 37, 19, 4];
    const matrix = frozenMatrix(noise(out * width, 3), [out, width], storage);
    const weight = tf.tensor2d(matrix.unpack(), [out, width]);
    const before = tf.memory().numTensors;
    const inputs = {
      x: tf.tensor2d(noise(n * width, 1), [n, width]),
      a: tf.tensor2d(noise(r * width, 2), [r, width]),
      b: tf.tensor2d(noise(out * r, 4), [out, r]),
    };
    const dy = tf.tensor2d(noise(n * out, 5), [n, out]);
    const of = async (base: { weight?: tf.Tensor2D }, attrs: { frozen?: FrozenMatrix }) => {
      const { loss, grads } = gradients(
        () => ({ loss: tf.sum(tf.mul(lowRankLinear({ ...inputs, ...base }, { ...attrs, scale: 1.5 }).y, dy)) as tf.Scalar }),
        [parameter(inputs.x), parameter(inputs.a), parameter(inputs.b)],
      );
      const y = lowRankLinear({ ...inputs, ...base }, { ...attrs, scale: 1.5 }).y;
      const values = await Promise.all([y, ...grads.values()].map((x) => readCopy(x)));
      tf.dispose([y, loss, ...grads.values()]);
      return values;
    };
    const [ours, theirs] = [await of({}, { frozen: matrix }), await of({ weight }, {})];
    expect(ours).toHaveLength(4);
    ours.forEach((values, i) => void expect(largest(values, theirs[i])).toBeLessThan(2e-4));
    tf.dispose([dy, ...Object.values(inputs)]);
    expect(tf.memory().numTensors).toBe(before);
    weight.dispose();
    matrix.dispose();
  });

  it.each(storages)('in %s embeds, and gives log-probabilities with gradients, as its unpacked values do', async (storage) => {
    await initBackend({ backend });
    const [v, d, n] = [37, 9, 5];
    const matrix = frozenMatrix(noise(v * d, 2), [v, d], storage);
    const weight = tf.tensor2d(matrix.unpack(), [v, d]);
    const before = tf.memory().numTensors;
    const ids = Int32Array.of(3, 36, 0, 3, 35);
    const hidden = tf.tensor2d(noise(n * d, 7), [n, d]);
    const bias = tf.tensor1d(noise(v, 8));
    const attrs = { targets: ids, entropy: true, squaredSum: true, temperature: 1.3, softcap: 5 };
    const both = async (w: { weight: tf.Tensor2D } | Record<never, never>, frozen?: FrozenMatrix) => {
      const { loss, grads } = gradients(() => {
        const out = tokenLogps({ hidden, bias, ...w }, { ...attrs, frozen });
        return { loss: tf.addN([tf.sum(out.logps), tf.sum(out.entropy!), tf.sum(out.squaredSum!)]) as tf.Scalar };
      }, [parameter(hidden), parameter(bias)]);
      const { y } = embedding(w, { ids, frozen });
      const all = await Promise.all([loss, y, ...grads.values()].map(async (x) => [...(await readCopy(x))]));
      tf.dispose([loss, y, ...grads.values()]);
      return all.flat();
    };
    expect(largest(await both({}, matrix), await both({ weight }))).toBeLessThan(2e-5);
    tf.dispose([hidden, bias]);
    expect(tf.memory().numTensors).toBe(before);
    weight.dispose();
    matrix.dispose();
  });

  it('says how much memory it takes, and gives it back', async () => {
    await initBackend({ backend });
    const before = tf.memory().numTensors;
    const bytes = storages.map((storage) => {
      const matrix = frozenMatrix(noise(64 * 96, 1), [64, 96], storage);
      const taken = matrix.bytes;
      matrix.dispose();
      expect(() => matrix.unpack()).toThrow('A frozen matrix of shape [64, 96] was used after it was freed');
      return taken;
    });
    expect(tf.memory().numTensors).toBe(before);
    const whole = 4 * 64 * 96;
    const expected =
      backend === 'native' ? [whole + 64, whole / 2 + 64, whole / 4 + 4 * 64 + 64] : [2 * whole, 1.5 * whole, 1.25 * whole + 256];
    expect(bytes).toEqual(expected);
  });
});

it.runIf(backends.includes('native'))('is packed for the backend that uses it, wherever it was made', async () => {
  await initBackend({ backend: 'cpu' });
  const made = storages.map((storage) => frozenMatrix(noise(40 * 33, 1), [40, 33], storage));
  const use = async () => {
    const x = tf.tensor2d(noise(2 * 33, 2), [2, 33]);
    const ys = await Promise.all(made.map(async (frozen) => readCopy(linear({ x }, { frozen }).y)));
    return ys.flatMap((y) => [...y]);
  };
  const first = await use();
  await initBackend({ backend: 'native' });
  expect(largest(await use(), first)).toBeLessThan(1e-4);
  const unpacked = made.map((matrix) => matrix.unpack());
  await initBackend({ backend: 'wasm' });
  expect(largest(await use(), first)).toBeLessThan(1e-4);
  expect(made.map((matrix) => matrix.unpack())).toEqual(unpacked);
  for (const matrix of made) matrix.dispose();
});

describe.runIf(backends.includes('native'))('on native', () => {
  it('one row is to the bit what it is among many, in every storage and product, forward and backward, with any threads', async () => {
    await initBackend({ backend: 'native' });
    const { setThreads } = await import('@plumbline/native');
    const [out, width, rows] = [130, 77, 190];
    const bits = (x: tf.Tensor) => Buffer.from(x.dataSync().slice().buffer);
    const [xs, dys] = [noise(rows * width, 1), noise(rows * out, 2)];
    for (const storage of [...storages, 'tensor'] as const)
      for (const products of ['f32', 'bf16'] as const) {
        const values = noise(out * width, 3);
        const frozen = storage === 'tensor' ? undefined : frozenMatrix(values, [out, width], storage);
        const weight = frozen ? undefined : tf.tensor2d(values, [out, width]);
        const run = (from: number, count: number) => {
          const x = tf.tensor2d(xs.slice(from * width, (from + count) * width), [count, width]);
          const dy = tf.tensor2d(dys.slice(from * out, (from + count) * out), [count, out]);
          const { loss, grads } = gradients(() => {
            const { y } = linear({ x, weight }, { frozen, products });
            return { loss: tf.sum(tf.mul(y, dy)) as tf.Scalar };
          }, [parameter(x)]);
          const y = linear({ x, weight }, { frozen, products }).y;
          const read = { y: bits(y), dx: bits([...grads.values()][0]) };
          tf.dispose([x, dy, loss, y, ...grads.values()]);
          return read;
        };
        setThreads(1);
        const whole = run(0, rows);
        for (const threads of [1, 2, 5]) {
          setThreads(threads);
          const again = run(0, rows);
          expect([again.y.equals(whole.y), again.dx.equals(whole.dx)]).toEqual([true, true]);
          for (const count of [1, 2, 5, 8, 12, 13, 32]) {
            const part = run(rows - count, count);
            expect(part.y.equals(whole.y.subarray((rows - count) * out * 4))).toBe(true);
            expect(part.dx.equals(whole.dx.subarray((rows - count) * width * 4))).toBe(true);
          }
        }
        setThreads(2);
        frozen?.dispose();
        weight?.dispose();
      }
  });
});

describe('bf16 products of tensors', () => {
  const attrs = { products: 'bf16' as const };
  // The composite on the cpu rounds in plain ops: the two ways of rounding are checked against one another.
  for (const { name, run } of [
    ...testKernel(
      linear as never,
      [
        { shapes: { x: [5, 7], weight: [3, 7] }, attrs },
        { shapes: { x: [33, 18], weight: [19, 18], bias: [19] }, attrs },
      ] as never,
      { backends, tolerance: 2e-3 },
    ),
    ...testKernel(
      tokenLogps as never,
      [
        {
          shapes: { hidden: [5, 7], weight: [11, 7], bias: [11] },
          attrs: { ...attrs, targets: Int32Array.of(0, 10, 3, 3, 1) },
          spread: 0.7,
        },
      ] as never,
      { backends, tolerance: 5e-3 },
    ),
  ])
    it(name, async () => {
      // Rounded operands make steps of a function whose slope is that of the unrounded one.
      await run().catch((error: Error) => {
        if (!error.message.startsWith('central differences')) throw error;
      });
    });
});

describe('arguments', () => {
  it('are named when they do not fit', async () => {
    await initBackend({ backend: 'cpu' });
    const values = new Float32Array(6);
    expect(() => frozenMatrix(values, [2, 4], 'f32')).toThrow('frozenMatrix: 6 values for shape [2, 4], which needs 8');
    expect(() => frozenMatrix(values, [0, 6], 'f32')).toThrow('frozenMatrix: shape must be [out, in]');
    expect(() => frozenMatrix(values, [2, 3], 'int4' as 'int8')).toThrow('storage must be f32, bf16 or int8, got int4');
    expect(() => frozenMatrix(Float32Array.of(1, Number.NaN), [1, 2], 'int8')).toThrow('values[1] is NaN, which int8 cannot hold');
    expect(() => frozenMatrix([1, 2] as unknown as Float32Array, [1, 2], 'f32')).toThrow('values must be a Float32Array');
    const frozen = frozenMatrix(values, [2, 3], 'bf16');
    const x = tf.zeros([4, 3]) as tf.Tensor2D;
    expect(() => linear({ x }, {})).toThrow('linear: a weight is missing');
    expect(() => linear({ x, weight: tf.zeros([2, 3]) }, { frozen })).toThrow('linear: weight and frozen exclude each other');
    expect(() => linear({ x: tf.zeros([4, 2]) }, { frozen })).toThrow('linear: x must have shape [n = 4, 3], got [4, 2]');
    expect(() => linear({ x, bias: tf.zeros([3]) }, { frozen })).toThrow('linear: bias must have shape [2], got [3]');
    expect(() => linear({ x }, { frozen, products: 'f16' as 'bf16' })).toThrow('products must be f32 or bf16, got f16');
    expect(() => embedding({}, { ids: Int32Array.of(0, 2), frozen })).toThrow('embedding: ids[1] is 2, outside [0, 2)');
    expect(() => tokenLogps({ hidden: x }, { targets: Int32Array.of(0, 1, 2, 0), frozen })).toThrow('targets[2] is 2, outside [0, 2)');
    expect(() => frozen.rows(Int32Array.of(-1))).toThrow('ids[0] is -1, outside [0, 2)');
    frozen.dispose();
    expect(() => linear({ x }, { frozen })).toThrow('used after it was freed');
  });
});

describe.each(backends)('what linear keeps for the backward pass on %s', (backend) => {
  it('is x for a weight that is trained, and not where the weight is frozen', async () => {
    await initBackend({ backend });
    const [x, weight] = [tf.ones([4, 3]) as tf.Tensor2D, tf.ones([2, 3]) as tf.Tensor2D];
    const frozen = frozenMatrix(new Float32Array(6).fill(1), [2, 3], 'bf16');
    /** Tensors that are there after the call, beyond those before and the output. */
    const kept = (wrt: tf.Tensor[], call: (input: tf.Tensor2D) => tf.Tensor) => {
      let count = 0;
      const { loss, grads } = gradients(() => {
        const input = tf.mul(x, 2) as tf.Tensor2D;
        const before = tf.memory().numTensors;
        const y = call(input);
        count = tf.memory().numTensors - before - 1;
        return { loss: tf.sum(y) as tf.Scalar };
      }, wrt.map(parameter));
      tf.dispose([loss, ...grads.values()]);
      return count;
    };
    expect(kept([x, weight], (input) => linear({ x: input, weight }, {}).y)).toBe(2);
    expect(kept([weight], (input) => linear({ x: input, weight }, {}).y)).toBe(1); // x
    expect(kept([x], (input) => linear({ x: input, weight }, {}).y)).toBe(1); // the weight, which is there anyway
    expect(kept([x], (input) => linear({ x: input }, { frozen }).y)).toBe(0);
    tf.dispose([x, weight]);
    frozen.dispose();
  });
});
