import * as tf from '@tensorflow/tfjs-core';
import { defineKernel } from '../kernel.js';
import type { FrozenMatrix } from '../types.js';
import { expectIndices, expectWeight } from './check.js';

export type EmbeddingAttrs = {
  ids: Int32Array;
  /** The weight, in place of the input of that name; without a gradient. */
  frozen?: FrozenMatrix;
};

/**
 * The rows of `weight` [v, d] that `ids` name: [n, d]. The gradient adds each row's gradient where the row came from.
 * @throws RangeError naming the first id outside [0, v)
 */
export const embedding = defineKernel<{ weight?: tf.Tensor2D }, EmbeddingAttrs, { y: tf.Tensor2D }>({
  name: 'Embedding',
  outputs: ['y'],
  saves: ['weight'], // for its shape; a parameter is there anyway
  prepare: ({ weight }, attrs) => {
    const [v] = expectWeight('embedding', weight, attrs);
    expectIndices('embedding', 'ids', attrs.ids, v);
    return attrs;
  },
  forward: ({ weight }, { ids, frozen }) => ({
    y: frozen ? tf.tensor2d(frozen.rows(ids), [ids.length, frozen.shape[1]]) : tf.gather(weight!, indexTensor(ids)),
  }),
  backward: ({ y: dy }, { weight }, { ids }) => ({ weight: tf.unsortedSegmentSum(dy!, indexTensor(ids), weight!.shape[0]) }),
});

/** A copy: several backends keep the array that they are given. */
export const indexTensor = (indices: Int32Array): tf.Tensor1D => tf.tensor1d(indices.slice(), 'int32');
