import * as tf from '@tensorflow/tfjs-core';
import { defineKernel } from './kernel.js';

/** `log σ(x)` by element: finite and linear where σ underflows. tfjs's own throws in the backward pass. */
const logSigmoidKernel = defineKernel<{ x: tf.Tensor }, object, { y: tf.Tensor }>({
  name: 'LogSigmoid',
  outputs: ['y'],
  saves: ['x'],
  forward: ({ x }) => ({ y: tf.sub(tf.minimum(x, 0), tf.log1p(tf.exp(tf.neg(tf.abs(x))))) }),
  backward: ({ y: dy }, { x }) => ({ x: tf.mul(dy!, tf.sigmoid(tf.neg(x))) }), // d log σ(x) = σ(-x)
});

export const logSigmoid = <T extends tf.Tensor>(x: T): T => logSigmoidKernel({ x }, {}).y as T;

const logSumExpKernel = defineKernel<{ x: tf.Tensor }, { axis: number }, { y: tf.Tensor }>({
  name: 'LogSumExp',
  outputs: ['y'],
  saves: ['x', 'y'],
  prepare: ({ x }, { axis }) => {
    const counted = axis < 0 ? axis + x.rank : axis;
    if (!(Number.isInteger(counted) && counted >= 0 && counted < x.rank))
      throw new RangeError(`logSumExp: axis ${axis} of a tensor of rank ${x.rank}`);
    return { axis: counted };
  },
  forward: ({ x }, { axis }) => {
    const max = tf.max(x, axis, true);
    const shift = tf.where(tf.isFinite(max), max, tf.zerosLike(max)); // all -∞ gives -∞, not NaN
    return { y: tf.add(tf.log(tf.sum(tf.exp(tf.sub(x, shift)), axis)), tf.squeeze(shift, [axis])) };
  },
  backward: ({ y: dy }, { x, y }, { axis }) => ({ x: tf.mul(tf.expandDims(dy!, axis), tf.exp(tf.sub(x, tf.expandDims(y, axis)))) }), // dy · softmax(x)
});

/** `log Σ exp(x)` along one axis (default: the last). */
export const logSumExp = <T extends tf.Tensor = tf.Tensor>(x: tf.Tensor, axis = -1): T => logSumExpKernel({ x }, { axis }).y as T;
