import * as tf from '@tensorflow/tfjs-core';
import { describe } from 'vitest';
import { same } from './testing/agreement.js';

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
