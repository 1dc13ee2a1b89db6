import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { random, ready, same } from './testing/agreement.js';

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
