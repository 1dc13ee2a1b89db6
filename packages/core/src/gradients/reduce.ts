/** Gradients of reductions, scans and softmax. */
import * as tf from '@tensorflow/tfjs-core';
import { gradient } from './register.js';

type Axes = { axis?: number | number[]; keepDims?: boolean };

const axesOf = (x: tf.Tensor, axis: number | number[] | null | undefined): number[] =>
  tf.util.parseAxisParam(axis ?? x.shape.map((_, i) => i), x.shape);
const keptShape = (x: tf.Tensor, axes: number[]): number[] => x.shape.map((n, i) => (axes.includes(i) ? 1 : n));
/** `dy` of a reduction, back over the axes that it reduced. */
const expand = (dy: tf.Tensor, x: tf.Tensor, axes: number[]): tf.Tensor =>
  x.size === 0 ? tf.zeros(x.shape) : tf.broadcastTo(tf.reshape(dy, keptShape(x, axes)), x.shape);

gradient<Axes>(tf.Sum, { saves: ['x'], shapesOnly: true }, (dy, [x], { axis }) => ({ x: () => expand(dy, x, axesOf(x, axis)) }));
gradient<Axes>(tf.Mean, { saves: ['x'], shapesOnly: true }, (dy, [x], { axis }) => ({
  x: () => {
    const axes = axesOf(x, axis);
    return expand(
      tf.div(
        dy,
        axes.reduce((n, a) => n * x.shape[a], 1),
      ),
      x,
      axes,
    );
  },
}));
// Tied entries share the gradient, so that it sums to dy.
for (const kernelName of [tf.Max, tf.Min])
  gradient<{ reductionIndices?: number | number[]; axis?: number | number[] }>(
    kernelName,
    { saves: ['x'], savesOutput: true },
    (dy, [x, y], attrs) => ({
      x: () => {
        const axes = axesOf(x, attrs.reductionIndices ?? attrs.axis);
        const kept = keptShape(x, axes);
        const ties = tf.cast(tf.equal(x, tf.reshape(y, kept)), 'float32');
        return tf.mul(ties, tf.div(tf.reshape(dy, kept), tf.sum(ties, axes, true)));
      },
    }),
  );
gradient<Axes>(tf.Prod, { saves: ['x'] }, (dy, [x], { axis }) => ({
  x: () => {
    // The product of all the others, from the left and from the right: right where entries are 0.
    const axes = axesOf(x, axis);
    const rest = x.shape.map((_, i) => i).filter((i) => !axes.includes(i));
    const order = [...rest, ...axes];
    const moved = tf.transpose(x, order);
    const flat = tf.reshape(moved, [-1, axes.reduce((n, a) => n * x.shape[a], 1)]);
    const others = tf.mul(tf.cumprod(flat, 1, true, false), tf.cumprod(flat, 1, true, true));
    return tf.transpose(tf.reshape(tf.mul(others, tf.reshape(dy, [-1, 1])), moved.shape), invert(order));
  },
}));

type Scan = { axis: number; exclusive: boolean; reverse: boolean };
gradient<Scan>(tf.Cumsum, {}, (dy, _saved, { axis, exclusive, reverse }) => ({ x: () => tf.cumsum(dy, axis, exclusive, !reverse) }));
gradient<Scan>(tf.Cumprod, { saves: ['x'] }, (dy, [x], { axis, exclusive, reverse }) => ({
  x: () => {
    // dx[i] = Σ_j dy[j] · Π of the factors of y[j] but x[i]: along the last axis as a matrix, right where entries are 0.
    const last = x.rank - 1;
    const order = x.shape.map((_, i) => i);
    [order[axis], order[last]] = [order[last], order[axis]];
    const turn = (t: tf.Tensor): tf.Tensor => {
      const moved = tf.transpose(t, order);
      const n = moved.shape[last];
      const flat = tf.reshape(moved, [-1, n]);
      return reverse ? tf.reverse(flat, 1) : flat;
    };
    const xs = turn(x);
    const g = turn(dy);
    const n = xs.shape[1] as number;
    const columns: tf.Tensor[] = [];
    for (let i = 0; i < n; i++) {
      const one = tf.onesLike(tf.slice(xs, [0, i], [-1, 1]));
      const without = tf.concat([tf.slice(xs, [0, 0], [-1, i]), one, tf.slice(xs, [0, i + 1], [-1, n - i - 1])], 1);
      const products = tf.cumprod(without, 1, exclusive);
      const from = exclusive ? i + 1 : i; // the first y that has x[i] as a factor
      columns.push(
        from >= n
          ? tf.zerosLike(one)
          : tf.sum(tf.mul(tf.slice(products, [0, from], [-1, n - from]), tf.slice(g, [0, from], [-1, n - from])), 1, true),
      );
    }
    const dx = tf.concat(columns, 1);
    const back = tf.reshape(
      reverse ? tf.reverse(dx, 1) : dx,
      order.map((i) => x.shape[i]),
    );
    return tf.transpose(back, invert(order));
  },
}));

gradient<{ dim: number }>(tf.Softmax, { savesOutput: true }, (dy, [y], { dim }) => ({
  x: () => softmaxGrad(dy, y, dim),
  logits: () => softmaxGrad(dy, y, dim),
}));
const softmaxGrad = (dy: tf.Tensor, y: tf.Tensor, dim: number): tf.Tensor => {
  const weighted = tf.mul(dy, y);
  return tf.sub(weighted, tf.mul(tf.sum(weighted, [dim], true), y));
};
gradient<{ axis: number }>(tf.LogSoftmax, { savesOutput: true }, (dy, [y], { axis }) => ({
  logits: () => tf.sub(dy, tf.mul(tf.sum(dy, [axis], true), tf.exp(y))),
}));

export function invert(order: number[]): number[] {
  const inverse = new Array<number>(order.length);
  order.forEach((axis, i) => {
    inverse[axis] = i;
  });
  return inverse;
}
