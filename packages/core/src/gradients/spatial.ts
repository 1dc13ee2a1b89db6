/** Gradients of convolutions, pooling, resizing and batch normalization: tfjs's backprop kernels, given names here. */
import * as tf from '@tensorflow/tfjs-core';
import { unbroadcast } from './elementwise.js';
import { gradient } from './register.js';

const run = (kernelName: string, inputs: tf.NamedTensorMap, attrs: object): tf.Tensor =>
  tf.engine().runKernel(kernelName, inputs, attrs as tf.NamedAttrMap);

type Conv = { strides: number | number[]; pad: unknown; dataFormat?: string; dilations?: number | number[]; dimRoundingMode?: string };

function refuseDilation(op: string, dilations: number | number[] | undefined): void {
  if (dilations !== undefined && [dilations].flat().some((d) => d !== 1))
    throw new Error(`There is no gradient for ${op} with dilations [${dilations}].`);
}

gradient<Conv>(tf.Conv2D, { saves: ['x', 'filter'] }, (dy, [x, filter], { strides, pad, dataFormat, dilations, dimRoundingMode }) => {
  refuseDilation('conv2d', dilations);
  return {
    x: () => run(tf.Conv2DBackpropInput, { dy, filter }, { strides, pad, dataFormat, dimRoundingMode, inputShape: x.shape }),
    filter: () => run(tf.Conv2DBackpropFilter, { x, dy }, { strides, pad, dataFormat, dimRoundingMode, filterShape: filter.shape }),
  };
});
gradient<Conv>(tf.Conv2DBackpropInput, { saves: ['dy', 'filter'] }, (ddx, [dy, filter], { strides, pad, dataFormat, dimRoundingMode }) => ({
  dy: () => run(tf.Conv2D, { x: ddx, filter }, { strides, pad, dataFormat, dilations: [1, 1], dimRoundingMode }),
  filter: () => run(tf.Conv2DBackpropFilter, { x: ddx, dy }, { strides, pad, dataFormat, dimRoundingMode, filterShape: filter.shape }),
}));
gradient<Conv>(tf.DepthwiseConv2dNative, { saves: ['x', 'filter'] }, (dy, [x, filter], { strides, pad, dilations, dimRoundingMode }) => {
  const attrs = { strides, pad, dilations: dilations ?? [1, 1], dimRoundingMode };
  refuseDilation('depthwiseConv2d', dilations);
  return {
    x: () => run(tf.DepthwiseConv2dNativeBackpropInput, { dy, filter }, { ...attrs, inputShape: x.shape }),
    filter: () => run(tf.DepthwiseConv2dNativeBackpropFilter, { x, dy }, { ...attrs, filterShape: filter.shape }),
  };
});
gradient<Conv>(tf.Conv3D, { saves: ['x', 'filter'] }, (dy, [x, filter], { strides, pad, dilations }) => {
  refuseDilation('conv3d', dilations);
  return {
    x: () => run(tf.Conv3DBackpropInputV2, { dy, filter }, { strides, pad, inputShape: x.shape }),
    filter: () => run(tf.Conv3DBackpropFilterV2, { x, dy }, { strides, pad, filterShape: filter.shape }),
  };
});

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

gradient(tf.ResizeBilinear, { saves: ['images'] }, (dy, [images], attrs) => ({
  images: () => run(tf.ResizeBilinearGrad, { dy, images }, attrs),
}));
gradient(tf.ResizeNearestNeighbor, { saves: ['images'] }, (dy, [images], attrs) => ({
  images: () => run(tf.ResizeNearestNeighborGrad, { dy, images }, attrs),
}));
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
