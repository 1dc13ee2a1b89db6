import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { random, ready, same } from './testing/agreement.js';

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
  same('batch normalization, parameters of a row and of a scalar', (make) => {
    const x = make([5, 3, 7]) as tf.Tensor3D;
    const row = () => make([7], 1, 0.5) as tf.Tensor1D;
    return [
      tf.batchNorm(x, row(), row(), row(), row(), 1e-3),
      tf.batchNorm(x, row(), row()),
      tf.batchNorm(x, make([5, 3, 7]) as tf.Tensor3D, make([5, 3, 7], 1, 0.5) as tf.Tensor3D),
    ];
  });
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
