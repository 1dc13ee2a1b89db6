/** Gradients of convolutions, pooling, resizing and batch normalization: tfjs's backprop kernels, given names here. */
import * as tf from '@tensorflow/tfjs-core';
import { unbroadcast } from './elementwise.js';
import { gradient } from './register.js';

const run = (kernelName: string, inputs: tf.NamedTensorMap, attrs: object): tf.Tensor =>
  tf.engine().runKernel(kernelName, inputs, attrs as tf.NamedAttrMap);

type Conv = { strides: number | number[]; pad: unknown; dataFormat?: string; dilations?: number | number[]; dimRoundingMode?: string };

/** One dilation for each of the spatial axes. */
const each = (dilations: number | number[] | undefined, axes: number): number[] =>
  typeof dilations === 'object'
    ? dilations.length === axes
      ? dilations
      : Array<number>(axes).fill(dilations[0])
    : Array<number>(axes).fill(dilations ?? 1);

/** The filter of a dilated convolution as that of a plain one: zeros between its entries along each spatial axis. */
function spread(filter: tf.Tensor, dilations: number[]): tf.Tensor {
  return dilations.reduce((y, dilation, axis) => {
    if (dilation === 1) return y;
    const [before, n, after] = around(y.shape, axis);
    const apart = tf.pad(tf.reshape(y, [before * n, 1, after]), [
      [0, 0],
      [0, dilation - 1],
      [0, 0],
    ]);
    const whole = tf.slice(tf.reshape(apart, [before, n * dilation, after]), [0, 0, 0], [before, (n - 1) * dilation + 1, after]);
    return tf.reshape(whole, y.shape.with(axis, (n - 1) * dilation + 1));
  }, filter);
}
/** The other way: the entries that `spread` put apart. */
function gathered(filter: tf.Tensor, dilations: number[]): tf.Tensor {
  return dilations.reduce((y, dilation, axis) => {
    if (dilation === 1) return y;
    const [before, size, after] = around(y.shape, axis);
    const n = (size - 1) / dilation + 1;
    const whole = tf.pad(tf.reshape(y, [before, size, after]), [
      [0, 0],
      [0, dilation - 1],
      [0, 0],
    ]);
    const kept = tf.slice(tf.reshape(whole, [before * n, dilation, after]), [0, 0, 0], [before * n, 1, after]);
    return tf.reshape(kept, y.shape.with(axis, n));
  }, filter);
}
function around(shape: number[], axis: number): [number, number, number] {
  const size = (dims: number[]) => dims.reduce((a, b) => a * b, 1);
  return [size(shape.slice(0, axis)), shape[axis], size(shape.slice(axis + 1))];
}

/**
 * A convolution's two gradients by the backend's backward kernels. tfjs's know no dilation: they get the filter with zeros between its
 * entries, and what they answer for those is left out. `native`'s know it.
 */
function convolutionGradients(
  [inputKernel, filterKernel]: [string, string],
  dy: tf.Tensor,
  x: tf.Tensor,
  filter: tf.Tensor,
  dilations: number[],
  attrs: object,
) {
  const plain = dilations.every((d) => d === 1);
  if (plain || tf.getBackend() === 'native') {
    const all = { ...attrs, dilations };
    return {
      x: () => run(inputKernel, { dy, filter }, { ...all, inputShape: x.shape }),
      filter: () => run(filterKernel, { x, dy }, { ...all, filterShape: filter.shape }),
    };
  }
  const all = { ...attrs, dilations: dilations.map(() => 1) };
  return {
    x: () => run(inputKernel, { dy, filter: spread(filter, dilations) }, { ...all, inputShape: x.shape }),
    filter: () => {
      const filterShape = filter.shape.map((n, axis) => (axis < dilations.length ? (n - 1) * dilations[axis] + 1 : n));
      return gathered(run(filterKernel, { x, dy }, { ...all, filterShape }), dilations);
    },
  };
}

gradient<Conv>(tf.Conv2D, { saves: ['x', 'filter'] }, (dy, [x, filter], { strides, pad, dataFormat, dilations, dimRoundingMode }) =>
  convolutionGradients([tf.Conv2DBackpropInput, tf.Conv2DBackpropFilter], dy as tf.Tensor, x, filter, each(dilations, 2), {
    strides,
    pad,
    dataFormat,
    dimRoundingMode,
  }),
);
gradient<Conv>(tf.Conv2DBackpropInput, { saves: ['dy', 'filter'] }, (ddx, [dy, filter], { strides, pad, dataFormat, dimRoundingMode }) => ({
  dy: () => run(tf.Conv2D, { x: ddx, filter }, { strides, pad, dataFormat, dilations: [1, 1], dimRoundingMode }),
  filter: () => run(tf.Conv2DBackpropFilter, { x: ddx, dy }, { strides, pad, dataFormat, dimRoundingMode, filterShape: filter.shape }),
}));
gradient<Conv>(tf.DepthwiseConv2dNative, { saves: ['x', 'filter'] }, (dy, [x, filter], { strides, pad, dilations, dimRoundingMode }) =>
  convolutionGradients(
    [tf.DepthwiseConv2dNativeBackpropInput, tf.DepthwiseConv2dNativeBackpropFilter],
    dy as tf.Tensor,
    x,
    filter,
    each(dilations, 2),
    { strides, pad, dimRoundingMode },
  ),
);
gradient<Conv>(tf.Conv3D, { saves: ['x', 'filter'] }, (dy, [x, filter], { strides, pad, dilations }) =>
  convolutionGradients([tf.Conv3DBackpropInputV2, tf.Conv3DBackpropFilterV2], dy as tf.Tensor, x, filter, each(dilations, 3), {
    strides,
    pad,
  }),
);

type Pool = { filterSize: number | number[]; strides: number | number[]; pad: unknown; dimRoundingMode?: string };
gradient<Pool>(tf.MaxPool, { saves: ['x'], savesOutput: true }, (dy, [x, y], attrs) => ({
  x: () => run(tf.MaxPoolGrad, { dy, input: x, output: y }, { ...attrs }),
}));
gradient<Pool>(tf.MaxPool3D, { saves: ['x'], savesOutput: true }, (dy, [x, y], attrs) => ({
  x: () => run(tf.MaxPool3DGrad, { dy, input: x, output: y }, { ...attrs }),
}));
// A window that reaches over the edge is averaged over the entries that are there, which tfjs's backward kernel forgets: dy is
// scaled beforehand by the window's size over their number. TensorFlow's own remembers it.
const remembers = (): boolean => tf.getBackend() === 'tensorflow';
gradient<Pool>(tf.AvgPool, { saves: ['x'] }, (dy, [x], attrs) => ({
  x: () => {
    if (remembers()) return run(tf.AvgPoolGrad, { dy, input: x }, { ...attrs });
    const { filterSize, strides, pad, dimRoundingMode } = attrs;
    const shape = x.shape as [number, number, number, number];
    const info = tf.backend_util.computePool2DInfo(
      shape,
      filterSize as number,
      strides as number,
      1,
      pad as 'same',
      dimRoundingMode as 'floor',
    );
    const rows = shares(info.outHeight, info.strideHeight, info.padInfo.top, info.filterHeight, info.inHeight);
    const columns = shares(info.outWidth, info.strideWidth, info.padInfo.left, info.filterWidth, info.inWidth);
    const scale = tf.mul(tf.tensor(rows, [1, rows.length, 1, 1]), tf.tensor(columns, [1, 1, columns.length, 1]));
    return run(tf.AvgPoolGrad, { dy: tf.mul(dy, scale), input: x }, { ...attrs });
  },
}));
gradient<Pool>(tf.AvgPool3D, { saves: ['x'] }, (dy, [x], attrs) => ({
  x: () => {
    if (remembers()) return run(tf.AvgPool3DGrad, { dy, input: x }, { ...attrs });
    const { filterSize, strides, pad, dimRoundingMode } = attrs;
    const shape = x.shape as [number, number, number, number, number];
    const info = tf.backend_util.computePool3DInfo(
      shape,
      filterSize as number,
      strides as number,
      1,
      pad as 'same',
      dimRoundingMode as 'floor',
    );
    const depths = shares(info.outDepth, info.strideDepth, info.padInfo.front, info.filterDepth, info.inDepth);
    const rows = shares(info.outHeight, info.strideHeight, info.padInfo.top, info.filterHeight, info.inHeight);
    const columns = shares(info.outWidth, info.strideWidth, info.padInfo.left, info.filterWidth, info.inWidth);
    const plane = tf.mul(tf.tensor(rows, [1, 1, rows.length, 1, 1]), tf.tensor(columns, [1, 1, 1, columns.length, 1]));
    const scale = tf.mul(tf.tensor(depths, [1, depths.length, 1, 1, 1]), plane);
    return run(tf.AvgPool3DGrad, { dy: tf.mul(dy, scale), input: x }, { ...attrs });
  },
}));

/** Along one axis, for each window: its size over the number of its entries that are inside. */
function shares(windows: number, stride: number, before: number, window: number, inside: number): number[] {
  return Array.from({ length: windows }, (_, i) => {
    const from = i * stride - before;
    return window / (Math.min(from + window, inside) - Math.max(from, 0));
  });
}

type Resize = { alignCorners: boolean; halfPixelCenters: boolean; size: [number, number] };
gradient<Resize>(tf.ResizeBilinear, { saves: ['images'] }, (dy, [images], attrs) => ({
  images: () => (byKernel() ? run(tf.ResizeBilinearGrad, { dy, images }, attrs) : resizeGrad(dy as tf.Tensor, images, attrs, false)),
}));
gradient<Resize>(tf.ResizeNearestNeighbor, { saves: ['images'] }, (dy, [images], attrs) => ({
  images: () => (byKernel() ? run(tf.ResizeNearestNeighborGrad, { dy, images }, attrs) : resizeGrad(dy as tf.Tensor, images, attrs, true)),
}));
/**
 * tfjs's own backward kernels take the centres of pixels for their corners whatever they are told, exchange height and width of a picture
 * that is not square, and count the nearest pixels of a second picture from the wrong place.
 */
const byKernel = (): boolean => ['native', 'tensorflow'].includes(tf.getBackend());

/** A resize is a product with one matrix for the rows and one for the columns; its gradient, with their transposes. */
function resizeGrad(dy: tf.Tensor, images: tf.Tensor, { alignCorners, halfPixelCenters }: Resize, nearest: boolean): tf.Tensor {
  const [batch, inHeight, inWidth, channels] = images.shape;
  const [, outHeight, outWidth] = dy.shape;
  const weights = (inside: number, outside: number): tf.Tensor2D => {
    const values = new Float32Array(outside * inside);
    const ratio = alignCorners && outside > 1 ? (inside - 1) / (outside - 1) : inside / outside;
    for (let i = 0; i < outside; i++) {
      const centre = halfPixelCenters ? ratio * (i + 0.5) : ratio * i;
      const at = halfPixelCenters && !nearest ? centre - 0.5 : centre;
      const low = Math.min(inside - 1, Math.max(0, nearest && alignCorners ? Math.round(at) : Math.floor(at)));
      const high = nearest ? low : Math.min(inside - 1, Math.max(0, Math.ceil(at)));
      values[i * inside + low] += nearest ? 1 : 1 - (at - low);
      if (!nearest) values[i * inside + high] += at - low;
    }
    return tf.tensor2d(values, [outside, inside]);
  };
  const rows = tf.matMul(weights(inHeight, outHeight), tf.reshape(tf.transpose(dy, [1, 0, 2, 3]), [outHeight, -1]) as tf.Tensor2D, true);
  const columnsFirst = tf.transpose(tf.reshape(rows, [inHeight, batch, outWidth, channels]), [2, 1, 0, 3]);
  const both = tf.matMul(weights(inWidth, outWidth), tf.reshape(columnsFirst, [outWidth, -1]) as tf.Tensor2D, true);
  return tf.transpose(tf.reshape(both, [inWidth, batch, inHeight, channels]), [1, 2, 0, 3]);
}
gradient(tf.LRN, { saves: ['x'], savesOutput: true }, (dy, [x, y], attrs) => ({ x: () => run(tf.LRNGrad, { x, y, dy }, attrs) }));
gradient(tf.Dilation2D, { saves: ['x', 'filter'] }, (dy, [x, filter], attrs) => ({
  x: () => run(tf.Dilation2DBackpropInput, { x, filter, dy }, attrs),
  filter: () => run(tf.Dilation2DBackpropFilter, { x, filter, dy }, attrs),
}));

gradient<{ varianceEpsilon: number }>(
  tf.FusedBatchNorm,
  { saves: ['x', 'mean', 'variance', 'scale'] },
  (dy, [x, mean, variance, scale], { varianceEpsilon }) => {
    // y = (x − mean)·r·scale + offset, r = (variance + ε)^-½; mean and variance are inputs like the others.
    const r = () => tf.rsqrt(tf.add(variance, varianceEpsilon));
    const g = () => (scale ? tf.mul(dy, scale) : dy);
    return {
      x: () => tf.mul(g(), r()),
      mean: () => unbroadcast(tf.neg(tf.mul(g(), r())), mean.shape),
      variance: () => unbroadcast(tf.mul(tf.mul(g(), tf.sub(x, mean)), tf.mul(tf.pow(r(), 3), -0.5)), variance.shape),
      scale: () => unbroadcast(tf.mul(dy, tf.mul(tf.sub(x, mean), r())), mean.shape),
      offset: () => unbroadcast(dy, mean.shape),
    };
  },
);
