/** Backward kernels of convolution and pooling that wasm lacks, or has wrong. Plain loops: right, not fast. */
import * as tf from '@tensorflow/tfjs-core';
import type { Call } from './mend.js';

type ConvAttrs = {
  strides: number | [number, number];
  pad: tf.backend_util.PadInfo | number | 'same' | 'valid';
  dataFormat?: 'NHWC' | 'NCHW';
  dimRoundingMode?: 'floor' | 'round' | 'ceil';
};

export function conv2dBackpropFilter({
  inputs: { x, dy },
  attrs,
}: Call<'x' | 'dy', ConvAttrs & { filterShape: [number, number, number, number] }>): tf.TensorInfo {
  const { strides, pad, dimRoundingMode, filterShape, dataFormat = 'NHWC' } = attrs;
  const format = tf.backend_util.convertConv2DDataFormat(dataFormat);
  if (format !== 'channelsLast') throw new Error('wasm: the gradient of conv2d is there for NHWC only.');
  const info = tf.backend_util.computeConv2DInfo(
    x.shape as [number, number, number, number],
    filterShape,
    strides,
    1,
    pad as 'same',
    dimRoundingMode,
    false,
    format,
  );
  return tf.tidy(() => {
    const { top, bottom, left, right } = info.padInfo;
    const padded = tf.pad(x as tf.Tensor4D, [
      [0, 0],
      [top, bottom],
      [left, right],
      [0, 0],
    ]);
    const [high, wide] = [(info.outHeight - 1) * info.strideHeight + 1, (info.outWidth - 1) * info.strideWidth + 1];
    const g = tf.reshape(dy as tf.Tensor, [-1, info.outChannels]);
    const places: tf.Tensor[] = [];
    for (let r = 0; r < info.filterHeight; r++)
      for (let c = 0; c < info.filterWidth; c++) {
        // Every input that this place of the filter met, against what came out.
        const met = tf.stridedSlice(
          padded,
          [0, r, c, 0],
          [info.batchSize, r + high, c + wide, info.inChannels],
          [1, info.strideHeight, info.strideWidth, 1],
        );
        places.push(tf.matMul(tf.reshape(met, [-1, info.inChannels]), g as tf.Tensor2D, true));
      }
    return tf.reshape(tf.stack(places), filterShape);
  });
}

type DepthwiseAttrs = {
  strides: number | [number, number];
  pad: 'same' | 'valid' | number;
  dilations: number | [number, number];
  dimRoundingMode?: 'floor' | 'round' | 'ceil';
};

export function depthwiseBackpropInput({
  inputs: { dy, filter },
  attrs,
  backend,
}: Call<'dy' | 'filter', DepthwiseAttrs & { inputShape: [number, number, number, number] }>): tf.TensorInfo {
  const { strides, pad, dilations, dimRoundingMode, inputShape } = attrs;
  const info = tf.backend_util.computeConv2DInfo(
    inputShape,
    filter.shape as [number, number, number, number],
    strides,
    dilations,
    pad,
    dimRoundingMode,
    true,
  );
  const out = backend.makeOutput(inputShape, 'float32');
  const [g, w, dx] = [dy, filter, out].map((t) => backend.typedArrayFromHeap(t));
  dx.fill(0);
  eachDepthwise(info, (x, y, f) => {
    dx[x] += g[y] * w[f];
  });
  return out;
}

export function depthwiseBackpropFilter({
  inputs: { x, dy },
  attrs,
  backend,
}: Call<'x' | 'dy', DepthwiseAttrs & { filterShape: [number, number, number, number] }>): tf.TensorInfo {
  const { strides, pad, dilations, dimRoundingMode, filterShape } = attrs;
  const info = tf.backend_util.computeConv2DInfo(
    x.shape as [number, number, number, number],
    filterShape,
    strides,
    dilations,
    pad,
    dimRoundingMode,
    true,
  );
  const out = backend.makeOutput(filterShape, 'float32');
  const [xs, g, dw] = [x, dy, out].map((t) => backend.typedArrayFromHeap(t));
  dw.fill(0);
  eachDepthwise(info, (xi, yi, f) => {
    dw[f] += xs[xi] * g[yi];
  });
  return out;
}

/** Every product of a depthwise convolution, by place in input, output and filter. */
function eachDepthwise(info: tf.backend_util.Conv2DInfo, visit: (x: number, y: number, f: number) => void): void {
  const {
    batchSize,
    inHeight,
    inWidth,
    inChannels,
    outHeight,
    outWidth,
    outChannels,
    filterHeight,
    filterWidth,
    strideHeight,
    strideWidth,
    dilationHeight,
    dilationWidth,
    padInfo,
  } = info;
  const multiplier = outChannels / inChannels;
  for (let b = 0; b < batchSize; b++)
    for (let yr = 0; yr < outHeight; yr++)
      for (let yc = 0; yc < outWidth; yc++)
        for (let fr = 0; fr < filterHeight; fr++) {
          const xr = yr * strideHeight - padInfo.top + fr * dilationHeight;
          if (xr < 0 || xr >= inHeight) continue;
          for (let fc = 0; fc < filterWidth; fc++) {
            const xc = yc * strideWidth - padInfo.left + fc * dilationWidth;
            if (xc < 0 || xc >= inWidth) continue;
            for (let c = 0; c < inChannels; c++)
              for (let q = 0; q < multiplier; q++)
                visit(
                  ((b * inHeight + xr) * inWidth + xc) * inChannels + c,
                  ((b * outHeight + yr) * outWidth + yc) * outChannels + c * multiplier + q,
                  ((fr * filterWidth + fc) * inChannels + c) * multiplier + q,
                );
          }
        }
}

type PoolAttrs = {
  filterSize: number | [number, number];
  strides: number | [number, number];
  pad: 'same' | 'valid' | number;
  dimRoundingMode?: 'floor' | 'round' | 'ceil';
};

/** tfjs's own takes the largest entry of a window for above 0, and loses the gradient where none is. */
export function maxPoolGrad({ inputs: { dy, input }, attrs, backend }: Call<'dy' | 'input', PoolAttrs>): tf.TensorInfo {
  const { filterSize, strides, pad, dimRoundingMode } = attrs;
  const info = tf.backend_util.computePool2DInfo(
    input.shape as [number, number, number, number],
    filterSize,
    strides,
    1,
    pad,
    dimRoundingMode,
  );
  const out = backend.makeOutput(input.shape, 'float32');
  const [g, x, dx] = [dy, input, out].map((t) => backend.typedArrayFromHeap(t));
  dx.fill(0);
  const {
    batchSize,
    inHeight,
    inWidth,
    inChannels: channels,
    outHeight,
    outWidth,
    strideHeight,
    strideWidth,
    filterHeight,
    filterWidth,
    padInfo,
  } = info;
  for (let b = 0; b < batchSize; b++)
    for (let yr = 0; yr < outHeight; yr++)
      for (let yc = 0; yc < outWidth; yc++)
        for (let c = 0; c < channels; c++) {
          let best = -1;
          for (
            let r = Math.max(0, yr * strideHeight - padInfo.top);
            r < Math.min(inHeight, yr * strideHeight - padInfo.top + filterHeight);
            r++
          )
            for (
              let q = Math.max(0, yc * strideWidth - padInfo.left);
              q < Math.min(inWidth, yc * strideWidth - padInfo.left + filterWidth);
              q++
            ) {
              const at = ((b * inHeight + r) * inWidth + q) * channels + c;
              if (best < 0 || x[at] > x[best]) best = at;
            }
          if (best >= 0) dx[best] += g[((b * outHeight + yr) * outWidth + yc) * channels + c];
        }
  return out;
}

type Shape5 = [number, number, number, number, number];
type Conv3dAttrs = { strides: number | [number, number, number]; pad: 'same' | 'valid' };

export function conv3dBackpropInput({
  inputs: { dy, filter },
  attrs: { strides, pad, inputShape },
  backend,
}: Call<'dy' | 'filter', Conv3dAttrs & { inputShape: Shape5 }>): tf.TensorInfo {
  const info = tf.backend_util.computeConv3DInfo(inputShape, filter.shape as Shape5, strides, 1, pad);
  const out = backend.makeOutput(inputShape, 'float32');
  const [g, w, dx] = [dy, filter, out].map((t) => backend.typedArrayFromHeap(t));
  dx.fill(0);
  eachConv3d(info, (x, y, f) => {
    dx[x] += g[y] * w[f];
  });
  return out;
}

export function conv3dBackpropFilter({
  inputs: { x, dy },
  attrs: { strides, pad, filterShape },
  backend,
}: Call<'x' | 'dy', Conv3dAttrs & { filterShape: Shape5 }>): tf.TensorInfo {
  const info = tf.backend_util.computeConv3DInfo(x.shape as Shape5, filterShape, strides, 1, pad);
  const out = backend.makeOutput(filterShape, 'float32');
  const [xs, g, dw] = [x, dy, out].map((t) => backend.typedArrayFromHeap(t));
  dw.fill(0);
  eachConv3d(info, (xi, yi, f) => {
    dw[f] += xs[xi] * g[yi];
  });
  return out;
}

/** Every product of a three-dimensional convolution, by place in input, output and filter. */
function eachConv3d(info: tf.backend_util.Conv3DInfo, visit: (x: number, y: number, f: number) => void): void {
  const {
    batchSize,
    inDepth,
    inHeight,
    inWidth,
    inChannels,
    outDepth,
    outHeight,
    outWidth,
    outChannels,
    filterDepth,
    filterHeight,
    filterWidth,
    strideDepth,
    strideHeight,
    strideWidth,
    padInfo,
  } = info;
  for (let b = 0; b < batchSize; b++)
    for (let yd = 0; yd < outDepth; yd++)
      for (let yr = 0; yr < outHeight; yr++)
        for (let yc = 0; yc < outWidth; yc++)
          for (let fd = 0; fd < filterDepth; fd++)
            for (let fr = 0; fr < filterHeight; fr++)
              for (let fc = 0; fc < filterWidth; fc++) {
                const [xd, xr, xc] = [
                  yd * strideDepth - padInfo.front + fd,
                  yr * strideHeight - padInfo.top + fr,
                  yc * strideWidth - padInfo.left + fc,
                ];
                if (xd < 0 || xd >= inDepth || xr < 0 || xr >= inHeight || xc < 0 || xc >= inWidth) continue;
                const x = (((b * inDepth + xd) * inHeight + xr) * inWidth + xc) * inChannels;
                const y = (((b * outDepth + yd) * outHeight + yr) * outWidth + yc) * outChannels;
                const f = ((fd * filterHeight + fr) * filterWidth + fc) * inChannels * outChannels;
                for (let c = 0; c < inChannels; c++) for (let q = 0; q < outChannels; q++) visit(x + c, y + q, f + c * outChannels + q);
              }
}

type DilationAttrs = { strides: number | [number, number]; pad: 'same' | 'valid' | number; dilations: number | [number, number] };
type DilationCall = Call<'x' | 'filter' | 'dy', DilationAttrs>;

/** tfjs's kernels, this one and its gradients, go wrong where no entry of a window is above 0. */
export function dilation2d({ inputs: { x, filter }, attrs, backend }: Call<'x' | 'filter', DilationAttrs>): tf.TensorInfo {
  const { outShape } = tf.backend_util.computeDilation2DInfo(
    x.shape as [number, number, number, number],
    filter.shape as [number, number, number],
    attrs.strides,
    attrs.pad as 'same',
    'NHWC',
    attrs.dilations,
  );
  const out = backend.makeOutput(outShape, x.dtype);
  const [xs, w, y] = [x, filter, out].map((t) => backend.typedArrayFromHeap(t));
  y.fill(Number.NEGATIVE_INFINITY);
  eachDilation(x.shape, filter.shape, attrs, xs, w, (at, to, f) => {
    y[to] = xs[at] + w[f];
  });
  return out;
}

export function dilation2dBackpropInput({ inputs: { x, filter, dy }, attrs, backend }: DilationCall): tf.TensorInfo {
  const out = backend.makeOutput(x.shape, 'float32');
  const [xs, w, g, dx] = [x, filter, dy, out].map((t) => backend.typedArrayFromHeap(t));
  dx.fill(0);
  eachDilation(x.shape, filter.shape, attrs, xs, w, (at, y) => {
    dx[at] += g[y];
  });
  return out;
}

export function dilation2dBackpropFilter({ inputs: { x, filter, dy }, attrs, backend }: DilationCall): tf.TensorInfo {
  const out = backend.makeOutput(filter.shape, 'float32');
  const [xs, w, g, dw] = [x, filter, dy, out].map((t) => backend.typedArrayFromHeap(t));
  dw.fill(0);
  eachDilation(x.shape, filter.shape, attrs, xs, w, (_, y, f) => {
    dw[f] += g[y];
  });
  return out;
}

/** The place in input, output and filter from which each output of a dilation comes: the first of the largest sums. */
function eachDilation(
  xShape: number[],
  filterShape: number[],
  { strides, pad, dilations }: DilationAttrs,
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  visit: (x: number, y: number, f: number) => void,
): void {
  const info = tf.backend_util.computeDilation2DInfo(
    xShape as [number, number, number, number],
    filterShape as [number, number, number],
    strides,
    pad as 'same',
    'NHWC',
    dilations,
  );
  const { inHeight, inWidth, inChannels, outHeight, outWidth, filterHeight, filterWidth, padInfo } = info;
  for (let b = 0; b < info.batchSize; b++)
    for (let yr = 0; yr < outHeight; yr++)
      for (let yc = 0; yc < outWidth; yc++)
        for (let c = 0; c < inChannels; c++) {
          let best = Number.NEGATIVE_INFINITY;
          let [at, place] = [-1, -1];
          for (let fr = 0; fr < filterHeight; fr++)
            for (let fc = 0; fc < filterWidth; fc++) {
              const xr = yr * info.strideHeight - padInfo.top + fr * info.dilationHeight;
              const xc = yc * info.strideWidth - padInfo.left + fc * info.dilationWidth;
              if (xr < 0 || xr >= inHeight || xc < 0 || xc >= inWidth) continue;
              const from = ((b * inHeight + xr) * inWidth + xc) * inChannels + c;
              const f = (fr * filterWidth + fc) * inChannels + c;
              if (x[from] + w[f] > best) [best, at, place] = [x[from] + w[f], from, f];
            }
          if (at >= 0) visit(at, ((b * outHeight + yr) * outWidth + yc) * inChannels + c, place);
        }
}
