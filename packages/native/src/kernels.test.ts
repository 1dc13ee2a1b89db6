import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildNative, type NativeBackend, registerNativeBackend, setThreads } from './index.js';

let ready = false;
beforeAll(async () => {
  const a = await buildNative();
  ready = a.ok && registerNativeBackend();
  if (!a.ok) console.warn(`native kernels are not tested: ${a.why}`);
}, 120_000);

let state = 12345;
function random(): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}
type Make = (shape: number[], scale?: number, shift?: number) => tf.Tensor;
const values = (n: number, scale = 2, shift = -1) => Float32Array.from({ length: n }, () => random() * scale + shift);

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

function same(name: string, f: (make: Make) => tf.Tensor | tf.Tensor[], tolerance = 2e-6) {
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

describe('elementwise', () => {
  const special = () =>
    tf.tensor1d([
      0,
      -0,
      1,
      -1,
      0.5,
      -0.5,
      1e-20,
      -1e-20,
      1e-39,
      88,
      -88,
      90,
      -104,
      1e10,
      -1e10,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      2.5,
      -2.5,
      3.5,
      6,
      7,
      0.1,
    ]);
  const one: Record<string, [(x: tf.Tensor) => tf.Tensor, number?]> = {
    abs: [tf.abs],
    neg: [tf.neg],
    exp: [tf.exp],
    expm1: [tf.expm1],
    log: [tf.log],
    log1p: [tf.log1p],
    sqrt: [tf.sqrt],
    rsqrt: [tf.rsqrt],
    square: [tf.square],
    sigmoid: [tf.sigmoid],
    tanh: [tf.tanh],
    relu: [tf.relu],
    relu6: [tf.relu6],
    softplus: [tf.softplus],
    reciprocal: [tf.reciprocal],
    sign: [tf.sign],
    floor: [tf.floor],
    ceil: [tf.ceil],
    round: [tf.round],
    elu: [tf.elu],
    selu: [tf.selu],
    leakyRelu: [(x) => tf.leakyRelu(x, 0.3)],
    erf: [tf.erf, 1e-6],
    step: [(x) => tf.step(x, 0.2)],
    clip: [(x) => tf.clipByValue(x, -0.7, 0.4)],
    sin: [tf.sin],
    cos: [tf.cos],
  };
  for (const [name, [f, tolerance]] of Object.entries(one)) {
    same(`${name} of an odd shape`, (make) => f(make([7, 13, 3], 8, -4)), tolerance ?? 1e-6);
    if (!['sin', 'cos', 'sign', 'round', 'softplus'].includes(name)) same(`${name} at the limits`, () => f(special()), tolerance ?? 1e-6);
  }
  it('keeps NaN where the sign of NaN or a large angle is asked for', async (ctx) => {
    if (!ready) return ctx.skip();
    await tf.setBackend('native');
    const y = tf.tidy(() => tf.softplus(special()).dataSync());
    expect(y[15]).toBeNaN();
    expect(y[16]).toBe(Number.POSITIVE_INFINITY);
    expect(y[17]).toBe(0);
  });
  const two: Record<string, (a: tf.Tensor, b: tf.Tensor) => tf.Tensor> = {
    add: tf.add,
    sub: tf.sub,
    mul: tf.mul,
    div: tf.div,
    maximum: tf.maximum,
    minimum: tf.minimum,
    squaredDifference: tf.squaredDifference,
    mod: tf.mod,
    equal: tf.equal,
    notEqual: tf.notEqual,
    less: tf.less,
    lessEqual: tf.lessEqual,
    greater: tf.greater,
    greaterEqual: tf.greaterEqual,
    prelu: tf.prelu,
    pow: (a, b) => tf.pow(tf.abs(a), b),
  };
  for (const [name, f] of Object.entries(two)) {
    for (const [a, b] of [
      [
        [5, 7],
        [5, 7],
      ],
      [[5, 7], [7]],
      [[7], [5, 7]],
      [
        [5, 1],
        [1, 7],
      ],
      [[5, 7], []],
      [[], [5, 7]],
      [
        [2, 3, 5, 7],
        [3, 1, 7],
      ],
      [
        [2, 1, 5, 1],
        [1, 3, 1, 37],
      ],
      [[0, 4], [4]],
      [
        [33, 40],
        [33, 1],
      ],
    ])
      if (name !== 'prelu' || a.length >= b.length) same(`${name} of [${a}] and [${b}]`, (make) => f(make(a), make(b)), 1e-6);
  }
  same('integer arithmetic', () => tf.add(tf.tensor1d([1, 2, 3], 'int32'), tf.tensor1d([4, 5, 6], 'int32')));
  same('maximum and minimum with NaN', () => [tf.maximum(special(), 0.3), tf.minimum(0.3, special())]);
  same('where', (make) => tf.where(tf.greater(make([5, 9]), 0), make([5, 9]), make([5, 9])));
  same('addN', (make) => tf.addN([make([3, 5]), make([3, 5]), make([3, 5])]));
  same('a large array in blocks', (make) => tf.add(tf.exp(make([3, 20011])), make([20011])));
});

describe('logarithms', () => {
  it('are right to two units in the last place over all exponents, and at their limits', async (ctx) => {
    if (!ready) return ctx.skip();
    await tf.setBackend('native');
    const x = Float32Array.from({ length: 40_000 }, (_, i) => (1 + random()) * 2 ** ((i % 275) - 148)); // subnormal numbers too
    const unit = (y: number) => 2 ** (Math.floor(Math.log2(Math.abs(y) || 1e-38)) - 23);
    const logs = tf.tidy(() => tf.log(tf.tensor1d(x)).dataSync());
    expect([...x].filter((v, i) => !(Math.abs(logs[i] - Math.log(v)) <= 2 * unit(Math.log(v))))).toEqual([]);
    const limits = tf.tidy(() =>
      tf.log(tf.tensor1d([0, -0, -1, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 1])).dataSync(),
    );
    expect([...limits]).toEqual([
      Number.NEGATIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NaN,
      Number.NaN,
      0,
    ]);
    const z = Float32Array.from({ length: 20_000 }, () => random() * 160 - 80);
    const softplus = tf.tidy(() => tf.softplus(tf.tensor1d(z)).dataSync());
    const exact = (v: number) => (v > 0 ? v + Math.log1p(Math.exp(-v)) : Math.log1p(Math.exp(v)));
    expect([...z].filter((v, i) => !(Math.abs(softplus[i] - exact(v)) <= 4 * unit(exact(v))))).toEqual([]);
  });
});

describe('reductions', () => {
  for (const [name, f] of Object.entries({ sum: tf.sum, mean: tf.mean, max: tf.max, min: tf.min }))
    for (const [shape, axes] of [
      [[7], [0]],
      [[7, 5], [0]],
      [[7, 5], [1]],
      [
        [2, 3, 4, 5],
        [1, 3],
      ],
      [
        [2, 3, 4, 5],
        [0, 2],
      ],
      [
        [2, 3, 4, 5],
        [1, 2],
      ],
      [
        [2, 3, 4, 5],
        [0, 1, 2, 3],
      ],
      [[3, 1, 5], [1]],
      [[300, 70], [0]],
      [[2, 20000], [1]],
      [[3000, 3], [0]],
      [[2, 700, 130], [1]],
    ] as [number[], number[]][])
      for (const keep of [false, true])
        same(`${name} of [${shape}] over [${axes}]${keep ? ', kept' : ''}`, (make) => f(make(shape), axes, keep), 1e-5);
  same('a maximum with NaN', () => tf.max(tf.tensor2d([1, Number.NaN, 3, 4, 5, 6], [2, 3]), 1));
  same('argMax', (make) => [tf.argMax(make([5, 6, 7]), 1), tf.argMin(make([5, 6, 7]), 2), tf.argMax(make([9]))]);
  same('softmax', (make) => tf.softmax(make([5, 37], 20, -10)), 1e-6);
  same('softmax of large numbers', (make) => tf.softmax(make([5, 3], 20, 1e4)), 1e-6);
  same('logSoftmax', (make) => tf.logSoftmax(make([5, 37], 20, -10)), 1e-6);
  same('logSumExp', (make) => tf.logSumExp(make([5, 37, 4], 20, -10), [1]), 1e-6);
  for (const axis of [0, 1, 2])
    same(`cumsum along ${axis}`, (make) => [tf.cumsum(make([4, 5, 6]), axis), tf.cumsum(make([4, 5, 6]), axis, true, true)], 1e-6);
});

describe('reductions of columns', () => {
  // Few columns, whose rows are taken together; long rows, eight at a time; and what is left over of each.
  for (const shape of [
    [700, 3],
    [5003, 17],
    [1500, 48],
    [301, 49],
    [203, 640],
    [77, 1030],
    [3, 700, 5],
    [2, 0, 4],
  ]) {
    const axis = shape.length - 2;
    const name = `[${shape}] over axis ${axis}`;
    same(`a sum of ${name}`, (make) => tf.sum(make(shape), axis), 1e-5);
    if (shape[axis] === 0) continue;
    same(`extremes of ${name}`, (make) => [tf.max(make(shape), axis), tf.min(make(shape), axis)]);
    same(`places of extremes of ${name}`, (make) => {
      const x = tf.round(make(shape, 40, -20)); // with many that are equal
      return [tf.argMax(x, axis), tf.argMin(x, axis), tf.argMax(tf.neg(tf.abs(x)), axis)];
    });
  }
  same('a maximum with NaN', (make) => {
    const x = make([900, 20]);
    return tf.max(tf.where(tf.greater(x, 0.9995), tf.fill([900, 20], Number.NaN), x), 0);
  });
  same('the places of extremes of one long row', (make) => {
    const x = tf.round(make([200_001], 2000, -1000));
    return [tf.argMax(x), tf.argMin(x), tf.argMax(tf.concat([x, tf.tensor1d([5000])]))];
  });
  same('running sums of seven rows', (make) => [tf.cumsum(make([7, 33]), 1), tf.cumsum(make([7, 33]), 1, true, true)]);
});

describe('moves', () => {
  for (const perm of [
    [0, 1, 2, 3],
    [3, 2, 1, 0],
    [0, 2, 1, 3],
    [1, 0, 2, 3],
    [0, 1, 3, 2],
    [2, 3, 0, 1],
  ])
    same(`transpose by [${perm}]`, (make) => tf.transpose(make([3, 40, 2, 37]), perm));
  same('slice', (make) => [
    tf.slice(make([5, 6, 7]), [1, 2, 3], [3, 2, 4]),
    tf.slice(make([5, 6]), [2, 0], [2, -1]),
    tf.slice(make([40]), [7], [20]),
  ]);
  same('split and unstack', (make) => [...tf.split(make([4, 9]), [2, 3, 4], 1), ...tf.unstack(make([3, 4, 5]), 1)]);
  same('concat', (make) => [
    tf.concat([make([2, 3]), make([2, 5])], 1),
    tf.concat([make([2, 3]), make([0, 3]), make([4, 3])], 0),
    tf.stack([make([2, 3]), make([2, 3])], 1),
  ]);
  same('pad', (make) => [
    tf.pad(
      make([3, 4]),
      [
        [1, 2],
        [0, 3],
      ],
      7,
    ),
    tf.pad(make([5]), [[0, 1]]),
  ]);
  same('tile', (make) => [tf.tile(make([2, 3]), [2, 3]), tf.tile(make([1, 3, 2]), [4, 1, 2])]);
  same('gather', (make) => [
    tf.gather(make([5, 6, 7]), [4, 0, 2, 2], 0),
    tf.gather(
      make([5, 6, 7]),
      [
        [4, 0],
        [2, 2],
      ],
      1,
    ),
    tf.gather(make([6]), [5, 0]),
  ]);
  same('unsortedSegmentSum', (make) => tf.unsortedSegmentSum(make([6, 5]), tf.tensor1d([2, 0, 2, 4, 0, 2], 'int32'), 5));
  same('cast', (make) => [
    tf.cast(make([9], 20, -10), 'int32'),
    tf.cast(tf.tensor1d([true, false], 'bool'), 'float32'),
    tf.cast(make([3]), 'bool'),
    tf.cast(tf.tensor1d([3, 4], 'int32'), 'float32'),
  ]);
  same('oneHot, fill, zerosLike, reshape', (make) => [
    tf.oneHot([1, 0, 3, 9], 4),
    tf.fill([2, 3], 0.5),
    tf.zerosLike(make([2, 2])),
    tf.reshape(make([2, 6]), [3, 4]),
  ]);
  same('topk', (make) => {
    const { values: v, indices } = tf.topk(make([3, 9]), 4);
    return [v, indices];
  });
  same('reverse and stridedSlice', (make) => [tf.reverse(make([3, 4]), 1), tf.stridedSlice(make([6, 5]), [0, 1], [6, 5], [2, 2])]);

  it('names the index that is out of range', async (ctx) => {
    if (!ready) return ctx.skip();
    await tf.setBackend('native');
    const x = tf.ones([3, 2]);
    expect(() => tf.gather(x, [0, 3])).toThrow(/the index value 3 is not in \[0, 2\]/);
    x.dispose();
  });
});

describe('convolutions', () => {
  const image = (make: Make, shape: number[]) => make(shape) as tf.Tensor4D;
  // tfjs-core registers no gradients in Node: their kernels are called by name.
  const run = (name: string, inputs: Record<string, tf.Tensor>, attrs: object) =>
    tf.engine().runKernel(name, inputs, attrs as tf.NamedAttrMap) as tf.Tensor;
  const wave = (y: tf.Tensor) => tf.sin(tf.reshape(tf.range(0, y.size), y.shape));
  for (const [h, w, c, f, o, strides, pad] of [
    [7, 9, 3, 3, 5, 1, 'same'],
    [7, 9, 3, 3, 5, 2, 'same'],
    [8, 8, 4, 2, 17, 2, 'valid'],
    [5, 6, 2, 1, 3, 1, 'valid'],
    [12, 11, 1, 5, 33, 3, 'valid'],
    [9, 9, 5, 3, 4, 1, 1],
  ] as const) {
    const attrs = { strides, pad, dataFormat: 'NHWC' as const, dilations: 1, inputShape: [2, h, w, c] };
    const name = `${h}x${w}x${c}, filter ${f}, stride ${strides}, ${pad}`;
    same(
      `conv2d with its gradients, ${name}`,
      (make) => {
        const [x, filter] = [image(make, [2, h, w, c]), make([f, f, c, o]) as tf.Tensor4D];
        const y = tf.conv2d(x, filter, strides, pad);
        const dy = wave(y);
        return [
          y,
          run('Conv2DBackpropInput', { dy, filter }, attrs),
          run('Conv2DBackpropFilter', { x, dy }, { ...attrs, filterShape: filter.shape }),
        ];
      },
      2e-5,
    );
    same(
      `depthwise conv2d with its gradients, ${name}`,
      (make) => {
        const [x, filter] = [image(make, [2, h, w, c]), make([f, f, c, 2]) as tf.Tensor4D];
        const y = tf.depthwiseConv2d(x, filter, strides, pad);
        const dy = wave(y);
        return [
          y,
          run('DepthwiseConv2dNativeBackpropInput', { dy, filter }, attrs),
          run('DepthwiseConv2dNativeBackpropFilter', { x, dy }, { ...attrs, filterShape: filter.shape }),
        ];
      },
      2e-5,
    );
    same(
      `pools with their gradients, ${name}`,
      (make) => {
        const input = image(make, [2, h, w, c]);
        const [max, avg] = [tf.maxPool(input, f, strides, pad), tf.avgPool(input, f, strides, pad)];
        const of = { filterSize: [f, f], strides, pad };
        return [max, avg, run('MaxPoolGrad', { dy: wave(max), input, output: max }, of), run('AvgPoolGrad', { dy: wave(avg), input }, of)];
      },
      2e-5,
    );
  }
  same(
    'a dilated conv2d',
    (make) => tf.conv2d(image(make, [1, 9, 8, 3]), make([3, 3, 3, 4]) as tf.Tensor4D, 1, 'same', 'NHWC', [2, 2]),
    1e-5,
  );
  same(
    'conv2d with channels first',
    (make) => tf.conv2d(image(make, [1, 3, 6, 5]), make([3, 3, 3, 4]) as tf.Tensor4D, 1, 'same', 'NCHW'),
    1e-5,
  );
  for (const activation of ['relu', 'elu', 'linear'] as const) {
    same(
      `fused conv2d with ${activation}`,
      (make) =>
        tf.fused.conv2d({
          x: image(make, [2, 6, 5, 3]),
          filter: make([3, 3, 3, 4]) as tf.Tensor4D,
          strides: 1,
          pad: 'same',
          bias: make([4]),
          activation,
        }),
      1e-5,
    );
    same(
      `fused depthwise with ${activation}`,
      (make) =>
        tf.fused.depthwiseConv2d({
          x: image(make, [2, 6, 5, 3]),
          filter: make([3, 3, 3, 2]) as tf.Tensor4D,
          strides: 1,
          pad: 'same',
          bias: make([6]),
          activation,
        }),
      1e-5,
    );
  }
  same(
    'a transposed conv2d',
    (make) => tf.conv2dTranspose(image(make, [2, 5, 6, 4]), make([3, 3, 2, 4]) as tf.Tensor4D, [2, 10, 12, 2], 2, 'same'),
    1e-5,
  );
});

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

describe('whole numbers, truth values and order', () => {
  const whole = (shape: number[], from = -9, to = 9) =>
    tf.tensor(
      Array.from({ length: tf.util.sizeFromShape(shape) }, () => from + Math.floor(random() * (to - from))),
      shape,
      'int32',
    );
  const truth = (shape: number[]) =>
    tf.tensor(
      Array.from({ length: tf.util.sizeFromShape(shape) }, () => random() > 0.5),
      shape,
      'bool',
    );
  const two: Record<string, (a: tf.Tensor, b: tf.Tensor) => tf.Tensor> = {
    add: tf.add,
    sub: tf.sub,
    mul: tf.mul,
    maximum: tf.maximum,
    minimum: tf.minimum,
    floorDiv: tf.floorDiv,
    mod: tf.mod,
    squaredDifference: tf.squaredDifference,
    equal: tf.equal,
    notEqual: tf.notEqual,
    less: tf.less,
    lessEqual: tf.lessEqual,
    greater: tf.greater,
    greaterEqual: tf.greaterEqual,
  };
  for (const [name, f] of Object.entries(two))
    for (const [a, b] of [
      [
        [5, 7],
        [5, 7],
      ],
      [
        [3, 5, 7],
        [5, 1],
      ],
      [[], [9]],
      [
        [4, 1],
        [1, 33],
      ],
    ])
      same(`${name} of int32 [${a}] and [${b}]`, () => f(whole(a), whole(b, 1, 7)));
  same('a sum that wraps', () => tf.add(tf.tensor1d([2147483647, -2147483648], 'int32'), tf.tensor1d([1, -1], 'int32')));
  same('mod and floorDiv by 0', () => [tf.mod(whole([6]), tf.zeros([6], 'int32')), tf.floorDiv(whole([6]), tf.zeros([6], 'int32'))]);
  for (const axis of [0, 1, 2, [0, 2], [0, 1, 2]])
    same(`sum, max, min and prod of int32 over ${axis}`, () => {
      const x = whole([3, 5, 7], 1, 4);
      return [tf.sum(x, axis), tf.max(x, axis, true), tf.min(x, axis), tf.prod(tf.minimum(x, tf.scalar(2, 'int32')), axis)];
    });
  same('and, or, xor and not', () => {
    const [a, b] = [truth([5, 9]), truth([9])];
    return [tf.logicalAnd(a, b), tf.logicalOr(a, b), tf.logicalXor(a, b), tf.logicalNot(a)];
  });
  same('casts', (make) => {
    const x = tf.concat([make([40], 20, -10), tf.tensor1d([3e9, -3e9, 1e20, Number.NaN, Number.POSITIVE_INFINITY, -0.5, 0])]);
    return [
      tf.cast(x, 'int32'),
      tf.cast(x, 'bool'),
      tf.cast(whole([9]), 'float32'),
      tf.cast(whole([9], -1, 2), 'bool'),
      tf.cast(truth([9]), 'int32'),
    ];
  });
  same('isNaN', () => tf.isNaN(tf.tensor1d([1, Number.NaN, Number.POSITIVE_INFINITY])));
  for (const k of [1, 3, 40, 97])
    same(`the ${k} largest of 97, with equal ones among them`, (make) => {
      const { values, indices } = tf.topk(tf.round(make([7, 97], 40, -20)), k);
      return [values, indices];
    });
  it('counts NaN as the largest', async (ctx) => {
    if (!ready) return ctx.skip();
    await tf.setBackend('native');
    const { values, indices } = tf.topk(tf.tensor1d([1, Number.NaN, 3, 2]), 3);
    expect([...values.dataSync()]).toEqual([Number.NaN, 3, 2]);
    expect([...indices.dataSync()]).toEqual([1, 2, 3]);
    tf.dispose([values, indices]);
  });
  same('argMax and argMin of odd widths, over each axis', (make) => {
    const x = tf.round(make([5, 37, 19], 8, -4));
    return [0, 1, 2].flatMap((axis) => [tf.argMax(x, axis), tf.argMin(x, axis)]);
  });
  it('passes over NaN in argMax as tfjs does', async (ctx) => {
    if (!ready) return ctx.skip();
    const x = [1, Number.NaN, 5, 2, ...Array.from({ length: 60 }, (_, i) => i / 100)];
    for (const backend of ['cpu', 'native']) {
      await tf.setBackend(backend);
      const [a, b] = [tf.argMax(tf.tensor1d(x)), tf.argMax(tf.tensor1d([Number.NaN, ...x]))];
      expect([a.dataSync()[0], b.dataSync()[0]]).toEqual([2, 0]);
      tf.dispose([a, b]);
    }
  });
});

describe('powers, angles and the rest of the functions', () => {
  same('pow of a wide range', (make) => tf.pow(make([3, 101], 8, 0.01), make([101], 6, -3)), 2e-6);
  same('pow at its limits', () =>
    tf.pow(
      tf.tensor1d([0, -0, 0, 1, -2, -2, 2, 2, 1e-30, 1e30, -1, Number.POSITIVE_INFINITY, 0.5, 1e-40]),
      tf.tensor1d([0, 3, -1, 9, 3, 0.5, 300, -300, 2, 2, 3, -1, Number.POSITIVE_INFINITY, 1]),
    ),
  );
  same('sin and cos of angles near and far', (make) => {
    const x = tf.concat([make([200], 40, -20), make([50], 2e4, -1e4), tf.tensor1d([0, 1e6, -1e7])]);
    return [tf.sin(x), tf.cos(x)];
  });
  const bounded = {
    tan: tf.tan,
    asin: tf.asin,
    acos: tf.acos,
    atan: tf.atan,
    sinh: tf.sinh,
    cosh: tf.cosh,
    asinh: tf.asinh,
    atanh: tf.atanh,
  };
  for (const [name, f] of Object.entries(bounded)) same(name, (make) => f(make([7, 13], 1.8, -0.9)), 1e-6);
  same('acosh', (make) => tf.acosh(make([7, 13], 3, 1)), 1e-6);
  same('softplus, tanh and expm1 where they bend', (make) => {
    const x = make([333], 40, -20);
    return [tf.softplus(x), tf.tanh(x), tf.expm1(x)];
  });
});

describe('images and volumes', () => {
  const attrs = (o: object) => o as unknown as tf.NamedAttrMap;
  const kernel = (name: string, inputs: Record<string, tf.Tensor>, o: object) => tf.engine().runKernel(name, inputs, attrs(o)) as tf.Tensor;
  for (const [alignCorners, half] of [
    [false, false],
    [true, false],
    [false, true],
  ])
    for (const size of [
      [7, 9],
      [2, 3],
      [4, 5],
      [1, 1],
    ] as [number, number][]) {
      same(`resize to ${size}, corners ${alignCorners}, half pixels ${half}`, (make) => {
        const x = make([2, 4, 5, 3]) as tf.Tensor4D;
        return [tf.image.resizeBilinear(x, size, alignCorners, half), tf.image.resizeNearestNeighbor(x, size, alignCorners, half)];
      });
      if (!half)
        same(`the gradients of that resize`, (make) => {
          const [dy, images] = [make([1, ...size, 3]), make([1, 4, 4, 3])]; // of more pictures, or not square, tfjs has it wrong
          const o = { alignCorners, halfPixelCenters: false, size };
          return [kernel('ResizeBilinearGrad', { dy, images }, o), kernel('ResizeNearestNeighborGrad', { dy, images }, o)];
        });
    }
  for (const [strides, pad] of [
    [1, 'same'],
    [2, 'same'],
    [2, 'valid'],
    [[1, 2, 3], 'valid'],
  ] as [number | [number, number, number], 'same' | 'valid'][]) {
    same(
      `conv3d, strides ${strides}, ${pad}, and its gradients`,
      (make) => {
        const [x, filter] = [make([2, 5, 6, 7, 2]) as tf.Tensor5D, make([2, 3, 2, 2, 3]) as tf.Tensor5D];
        const y = tf.conv3d(x, filter, strides, pad);
        const dy = make(y.shape);
        return [
          y,
          kernel('Conv3DBackpropInputV2', { dy, filter }, { strides, pad, inputShape: x.shape }),
          kernel('Conv3DBackpropFilterV2', { x, dy }, { strides, pad, filterShape: filter.shape }),
        ];
      },
      1e-5,
    );
    same(
      `pools of volumes, strides ${strides}, ${pad}, and their gradients`,
      (make) => {
        const input = make([2, 5, 6, 7, 19]) as tf.Tensor5D;
        const [max, avg] = [tf.maxPool3d(input, 2, strides, pad), tf.avgPool3d(input, [2, 3, 2], strides, pad)];
        return [
          max,
          avg,
          kernel('MaxPool3DGrad', { dy: make(max.shape), input, output: max }, { filterSize: [2, 2, 2], strides, pad }),
          kernel('AvgPool3DGrad', { dy: make(avg.shape), input }, { filterSize: [2, 3, 2], strides, pad }),
        ];
      },
      1e-5,
    );
  }
  same('batch normalization, parameters of a row and of a scalar', (make) => {
    const x = make([5, 3, 7]) as tf.Tensor3D;
    const row = () => make([7], 1, 0.5) as tf.Tensor1D;
    return [
      tf.batchNorm(x, row(), row(), row(), row(), 1e-3),
      tf.batchNorm(x, row(), row()),
      tf.batchNorm(x, make([5, 3, 7]) as tf.Tensor3D, make([5, 3, 7], 1, 0.5) as tf.Tensor3D),
    ];
  });
  same('scatterND, gatherND, reverse and strided slices', (make) => {
    const places = tf.tensor2d([0, 1, 2, 0, 0, 1], [3, 2], 'int32');
    const x = make([3, 5, 7]);
    return [
      tf.scatterND(places, make([3, 4]), [3, 2, 4]),
      tf.gatherND(x, places),
      tf.reverse(x, [0, 2]),
      tf.stridedSlice(x, [2, 4, 6], [0, 0, 1], [-1, -2, -3]),
      tf.stridedSlice(x, [0, 1], [3, 5], [2, 2]),
    ];
  });
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
});

describe('large arrays, which are stored past the caches', () => {
  // Beyond the sizes from which stores are streamed; odd, so that ends and beginnings of blocks count.
  it('give what small ones give, with any number of threads', { timeout: 120_000 }, async (ctx) => {
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
