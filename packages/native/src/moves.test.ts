import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { ready, same } from './testing/agreement.js';

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
});
