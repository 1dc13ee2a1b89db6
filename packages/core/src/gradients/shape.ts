/** Gradients of ops that move entries about: reshape, slice, gather and their kin. */
import * as tf from '@tensorflow/tfjs-core';
import { unbroadcast } from './elementwise.js';
import { invert } from './reduce.js';
import { gradient } from './register.js';

for (const kernelName of [tf.Reshape, tf.ExpandDims])
  gradient(kernelName, { saves: [kernelName === tf.Reshape ? 'x' : 'input'], shapesOnly: true }, (dy, [x]) => {
    const back = () => tf.reshape(dy, x.shape);
    return { x: back, input: back };
  });
gradient(tf.BroadcastTo, { saves: ['x'], shapesOnly: true }, (dy, [x]) => ({ x: () => unbroadcast(dy, x.shape) }));
gradient<{ reps: number[] }>(tf.Tile, { saves: ['x'], shapesOnly: true }, (dy, [x], { reps }) => ({
  x: () => {
    const split = x.shape.flatMap((n, i) => [reps[i], n]); // copy number and place, axis by axis
    return tf.reshape(
      tf.sum(
        tf.reshape(dy, split),
        x.shape.map((_, i) => 2 * i),
      ),
      x.shape,
    );
  },
}));
gradient<{ perm: number[] }>(tf.Transpose, {}, (dy, _saved, { perm }) => ({ x: () => tf.transpose(dy, invert(perm)) }));
gradient<{ dims: number | number[] }>(tf.Reverse, { saves: ['x'], shapesOnly: true }, (dy, [x], { dims }) => ({
  x: () => tf.reverse(dy, tf.util.parseAxisParam(dims, x.shape)),
}));
gradient<{ paddings: [number, number][] }>(tf.PadV2, { saves: ['x'], shapesOnly: true }, (dy, [x], { paddings }) => ({
  x: () =>
    tf.slice(
      dy,
      paddings.map(([before]) => before),
      x.shape,
    ),
}));
gradient<{ paddings: [number, number][]; mode: 'reflect' | 'symmetric' }>(
  tf.MirrorPad,
  { saves: ['x'], shapesOnly: true },
  (dy, [x], { paddings, mode }) => ({
    x: () => {
      let grad = dy;
      x.shape.forEach((n, axis) => {
        const [before, after] = paddings[axis];
        if (before + after === 0) return;
        const offset = mode === 'reflect' ? 1 : 0; // a reflection does not repeat the border
        const places = Array.from({ length: before + n + after }, (_, i) => {
          const at = i - before;
          return at < 0 ? -at - 1 + offset : at >= n ? 2 * n - at - 1 - offset : at;
        });
        grad = scatterAlong(grad, tf.tensor1d(places, 'int32'), axis, n);
      });
      return grad;
    },
  }),
);

gradient<{ begin: number | number[]; size: number | number[] }>(
  tf.Slice,
  { saves: ['x'], shapesOnly: true },
  (dy, [x], { begin, size }) => ({
    x: () => {
      const [from, count] = tf.slice_util.parseSliceParams(x, begin, size);
      return tf.pad(
        dy,
        x.shape.map((n, i) => [from[i], n - from[i] - count[i]] as [number, number]),
      );
    },
  }),
);
type Strided = {
  begin: number[];
  end: number[];
  strides: number[];
  beginMask: number;
  endMask: number;
  ellipsisMask: number;
  newAxisMask: number;
  shrinkAxisMask: number;
};
gradient<Strided>(tf.StridedSlice, { saves: ['x'], shapesOnly: true }, (dy, [x], attrs) => ({
  x: () => {
    const { begin, end, strides, beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask } = attrs;
    // Where each entry came from: the same slice of the entries' own numbers.
    const numbers = tf.reshape(tf.range(0, x.size), x.shape); // as floats: wasm's kernel takes nothing else
    const places = tf.stridedSlice(numbers, begin, end, strides, beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask);
    return tf.reshape(
      tf.unsortedSegmentSum(tf.reshape(dy, [-1]), tf.cast(tf.reshape(places, [-1]), 'int32') as tf.Tensor1D, x.size),
      x.shape,
    );
  },
}));
gradient<{ axis: number }>(tf.Concat, { savesAll: true, shapesOnly: true }, (dy, saved, { axis }) => {
  const $axis = tf.util.parseAxisParam(axis, saved[0].shape)[0];
  let from = 0;
  return Object.fromEntries(
    saved.map((x, i) => {
      const begin = x.shape.map(() => 0);
      begin[$axis] = from;
      from += x.shape[$axis];
      return [String(i), () => tf.slice(dy, begin, x.shape)];
    }),
  );
});
gradient<{ axis: number }>(tf.SplitV, {}, (dy, _saved, { axis }) => ({ x: () => tf.concat(many(dy), axis) }));
gradient<{ axis: number }>(tf.Pack, { savesAll: true, shapesOnly: true }, (dy, saved, { axis }) =>
  Object.fromEntries(saved.map((x, i) => [String(i), () => tf.reshape(tf.gather(dy, tf.scalar(i, 'int32'), axis), x.shape)])),
);
gradient<{ axis: number }>(tf.Unpack, {}, (dy, _saved, { axis }) => ({ value: () => tf.stack(many(dy), axis) }));
const many = (dy: tf.Tensor | tf.Tensor[]): tf.Tensor[] => (Array.isArray(dy) ? dy : [dy]);

gradient<{ axis: number; batchDims: number }>(tf.GatherV2, { saves: ['x', 'indices'] }, (dy, [x, indices], { axis, batchDims }) => ({
  x: () => {
    const $axis = tf.util.parseAxisParam(axis, x.shape)[0];
    if (!batchDims) {
      const outer = x.shape.slice(0, $axis);
      const inner = x.shape.slice($axis + 1);
      return tf.reshape(
        scatterAlong(tf.reshape(dy, [...outer, indices.size, ...inner]), tf.reshape(indices, [-1]) as tf.Tensor1D, $axis, x.shape[$axis]),
        x.shape,
      );
    }
    // Batch dimensions: number the places of all batches through, so that one scatter does.
    const batch = x.shape.slice(0, batchDims).reduce((a, b) => a * b, 1);
    const outer = x.shape.slice(batchDims, $axis).reduce((a, b) => a * b, 1);
    const inner = x.shape.slice($axis + 1).reduce((a, b) => a * b, 1);
    const n = x.shape[$axis];
    const each = indices.size / batch;
    const shifted = tf.add(
      tf.reshape(tf.cast(indices, 'int32'), [batch, each]),
      tf.reshape(tf.range(0, batch * n, n, 'int32'), [batch, 1]),
    );
    const rows = tf.reshape(tf.transpose(tf.reshape(dy, [batch, outer, each, inner]), [0, 2, 1, 3]), [batch * each, outer * inner]);
    const sums = tf.unsortedSegmentSum(rows, tf.reshape(shifted, [-1]) as tf.Tensor1D, batch * n);
    return tf.reshape(tf.transpose(tf.reshape(sums, [batch, n, outer, inner]), [0, 2, 1, 3]), x.shape);
  },
}));
gradient(tf.GatherNd, { saves: ['params', 'indices'] }, (dy, [params, indices]) => ({
  params: () => {
    const depth = indices.shape[indices.rank - 1];
    const outer = params.shape.slice(0, depth);
    const inner = params.shape.slice(depth).reduce((a, b) => a * b, 1);
    const places = flatPlaces(tf.reshape(indices, [-1, depth]), outer);
    return tf.reshape(
      tf.unsortedSegmentSum(
        tf.reshape(dy, [-1, inner]),
        places,
        outer.reduce((a, b) => a * b, 1),
      ),
      params.shape,
    );
  },
}));
gradient(tf.ScatterNd, { saves: ['indices', 'updates'] }, (dy, [indices, updates]) => ({
  updates: () => tf.reshape(tf.gatherND(dy, indices), updates.shape),
}));
gradient(tf.TensorScatterUpdate, { saves: ['tensor', 'indices', 'updates'] }, (dy, [tensor, indices, updates]) => ({
  // Written over: nothing of the old value is left there.
  tensor: () => {
    const written = tf.scatterND(indices, tf.onesLike(updates), tensor.shape);
    return tf.where(tf.greater(written, 0), tf.zerosLike(dy), dy);
  },
  updates: () => tf.reshape(tf.gatherND(dy, indices), updates.shape),
}));
gradient<{ k: number }>(tf.TopK, { saves: ['x'] }, (dy, [x], { k }) => ({
  x: () => {
    const n = x.shape[x.rank - 1];
    const rows = x.size / n;
    const { indices } = tf.topk(x, k); // values first, indices second; only the values carry a gradient
    const shifted = tf.add(tf.reshape(indices, [rows, k]), tf.reshape(tf.range(0, rows * n, n, 'int32'), [rows, 1]));
    return tf.reshape(
      tf.unsortedSegmentSum(tf.reshape(many(dy)[0], [-1]), tf.reshape(tf.cast(shifted, 'int32'), [-1]) as tf.Tensor1D, rows * n),
      x.shape,
    );
  },
}));
gradient(tf.UnsortedSegmentSum, { saves: ['segmentIds'] }, (dy, [segmentIds]) => ({
  x: () => {
    // A negative id was left out of every sum.
    const rows = tf.gather(dy, tf.maximum(segmentIds, tf.zerosLike(segmentIds)) as tf.Tensor1D);
    const valid = tf.reshape(tf.greaterEqual(segmentIds, tf.scalar(0, 'int32')), [segmentIds.size, ...dy.shape.slice(1).map(() => 1)]);
    return tf.where(valid, rows, tf.zerosLike(rows));
  },
}));
gradient(tf.OneHot, { saves: ['indices'], shapesOnly: true }, (_dy, [indices]) => ({ indices: () => tf.zeros(indices.shape) }));
gradient<{ blockShape: number[]; paddings: number[][] }>(tf.SpaceToBatchND, {}, (dy, _saved, { blockShape, paddings }) => ({
  x: () => tf.batchToSpaceND(dy, blockShape, paddings),
}));
gradient<{ blockShape: number[]; crops: number[][] }>(tf.BatchToSpaceND, {}, (dy, _saved, { blockShape, crops }) => ({
  x: () => tf.spaceToBatchND(dy, blockShape, crops),
}));

/** Adds the slices of `x` along `axis` into `size` places. */
function scatterAlong(x: tf.Tensor, places: tf.Tensor1D, axis: number, size: number): tf.Tensor {
  if (axis === 0) return tf.unsortedSegmentSum(x, places, size);
  const order = [axis, ...x.shape.map((_, i) => i).filter((i) => i !== axis)];
  return tf.transpose(tf.unsortedSegmentSum(tf.transpose(x, order), places, size), invert(order));
}

/** [n, depth] indices into axes of these sizes, as [n] places in row-major order. */
function flatPlaces(indices: tf.Tensor, sizes: number[]): tf.Tensor1D {
  const strides = sizes.map((_, i) => sizes.slice(i + 1).reduce((a, b) => a * b, 1));
  return tf.cast(tf.sum(tf.mul(tf.cast(indices, 'int32'), tf.tensor2d(strides, [1, sizes.length], 'int32')), 1), 'int32') as tf.Tensor1D;
}
