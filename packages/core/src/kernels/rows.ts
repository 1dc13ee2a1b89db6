import * as tf from '@tensorflow/tfjs-core';
import { ShapeError } from '../errors.js';
import { defineKernel } from '../kernel.js';
import { expectIndices, expectSegments, expectShapes } from './check.js';
import { indexTensor } from './embedding.js';

/**
 * The rows of `x` [n, d] that `rows` name, in their order and as often as they are named.
 * `count`, the number n, is filled in.
 */
export const gatherRows = defineKernel<{ x: tf.Tensor2D }, { rows: Int32Array; count?: number }, { y: tf.Tensor2D }>({
  name: 'GatherRows',
  outputs: ['y'],
  saves: [],
  prepare: ({ x }, { rows }) => {
    const { n } = expectShapes('gatherRows', { x: [x, ['n', 'd']] });
    expectIndices('gatherRows', 'rows', rows, n);
    return { rows, count: n };
  },
  forward: ({ x }, { rows }) => ({ y: tf.gather(x, indexTensor(rows)) }),
  backward: ({ y: dy }, _saved, { rows, count }) => ({ x: tf.unsortedSegmentSum(dy!, indexTensor(rows), count!) }),
});

export type SegmentAttrs = {
  cuSeqlens: Int32Array;
  /** One byte a row: 0 leaves the row out of the sum and of the mean's denominator. */
  mask?: Uint8Array;
};

/**
 * The mean of each segment's rows: `x` [n, d] to [segments, d]. A segment without rows, or with all of them masked, gives 0.
 */
export const segmentMean = defineKernel<{ x: tf.Tensor2D }, SegmentAttrs, { y: tf.Tensor2D }>({
  name: 'SegmentMean',
  outputs: ['y'],
  saves: [],
  prepare: ({ x }, attrs) => {
    const { n } = expectShapes('segmentMean', { x: [x, ['n', 'd']] });
    return expectMask('segmentMean', attrs, n);
  },
  forward: ({ x }, attrs) => ({
    y: tf.unsortedSegmentSum(tf.mul(x, tf.expandDims(weights(attrs, true), 1)), owners(attrs), attrs.cuSeqlens.length - 1),
  }),
  backward: ({ y: dy }, _saved, attrs) => ({ x: tf.mul(spread(dy!, attrs), tf.expandDims(weights(attrs, true), 1)) }),
});

/** The sum of each segment's numbers: `x` [n] to [segments]. */
export const segmentSum = defineKernel<{ x: tf.Tensor1D }, SegmentAttrs, { y: tf.Tensor1D }>({
  name: 'SegmentSum',
  outputs: ['y'],
  saves: [],
  prepare: ({ x }, attrs) => {
    const { n } = expectShapes('segmentSum', { x: [x, ['n']] });
    return expectMask('segmentSum', attrs, n);
  },
  forward: ({ x }, attrs) => ({
    y: tf.unsortedSegmentSum(attrs.mask ? tf.mul(x, weights(attrs, false)) : x, owners(attrs), attrs.cuSeqlens.length - 1),
  }),
  backward: ({ y: dy }, _saved, attrs) => {
    const dx = spread(dy!, attrs);
    return { x: attrs.mask ? tf.mul(dx, weights(attrs, false)) : dx };
  },
});

function expectMask(kernel: string, attrs: SegmentAttrs, n: number): SegmentAttrs {
  expectSegments(kernel, attrs.cuSeqlens, n);
  if (attrs.mask && attrs.mask.length !== n) throw new ShapeError(`${kernel}: the mask has ${attrs.mask.length} entries for ${n} rows.`);
  return attrs;
}

/** The segment of each row. */
function owners({ cuSeqlens }: SegmentAttrs): tf.Tensor1D {
  const segment = new Int32Array(cuSeqlens[cuSeqlens.length - 1]);
  for (let s = 0; s + 1 < cuSeqlens.length; s++) segment.fill(s, cuSeqlens[s], cuSeqlens[s + 1]);
  return tf.tensor1d(segment, 'int32');
}

function spread<T extends tf.Tensor>(dy: T, attrs: SegmentAttrs): T {
  return tf.gather(dy, owners(attrs)) as T;
}

/** 1 where a row counts, else 0; divided by the number of rows that count in its segment for a mean. */
function weights({ cuSeqlens, mask }: SegmentAttrs, mean: boolean): tf.Tensor1D {
  const weight = new Float32Array(cuSeqlens[cuSeqlens.length - 1]);
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    let count = 0;
    for (let i = cuSeqlens[s]; i < cuSeqlens[s + 1]; i++) count += !mask || mask[i] ? 1 : 0;
    for (let i = cuSeqlens[s]; i < cuSeqlens[s + 1]; i++) weight[i] = !mask || mask[i] ? 1 / (mean ? count : 1) : 0;
  }
  return tf.tensor1d(weight);
}
