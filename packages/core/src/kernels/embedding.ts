import * as tf from '@tensorflow/tfjs-core';
import { defineKernel } from '../kernel.js';
import { expectIndices, expectShapes } from './check.js';

/**
 * The rows of `weight` [v, d] that `ids` name: [n, d]. The gradient adds each row's gradient where the row came from.
 * @throws RangeError naming the first id outside [0, v)
 */
export const embedding = defineKernel<{ weight: tf.Tensor2D }, { ids: Int32Array }, { y: tf.Tensor2D }>({
  name: 'Embedding',
  outputs: ['y'],
  saves: ['weight'], // for its shape; a parameter is there anyway
  prepare: ({ weight }, attrs) => {
    const { v } = expectShapes('embedding', { weight: [weight, ['v', 'd']] });
    expectIndices('embedding', 'ids', attrs.ids, v);
    return attrs;
  },
  forward: ({ weight }, { ids }) => ({ y: tf.gather(weight, indexTensor(ids)) }),
  backward: ({ y: dy }, { weight }, { ids }) => ({ weight: tf.unsortedSegmentSum(dy!, indexTensor(ids), weight.shape[0]) }),
});

/** A copy: several backends keep the array that they are given. */
export const indexTensor = (indices: Int32Array): tf.Tensor1D => tf.tensor1d(indices.slice(), 'int32');
