/** Convolutions and pooling over [batch, height, width, channels], or with a depth before the height, in float32; the rest is left to the CPU backend's kernels. */
import * as tf from '@tensorflow/tfjs-core';
import { need } from './addon.js';
import type { NativeBackend } from './backend.js';
import type { Kernel } from './kernels.js';

type Info = tf.TensorInfo;
type ConvInfo = tf.backend_util.Conv2DInfo;
type VolumeInfo = tf.backend_util.Conv3DInfo;
type Attrs = Record<string, unknown>;
type Pair = number | [number, number];
type Pad = 'same' | 'valid' | number | tf.backend_util.ExplicitPadding;

// The numbers by which src/cc/addon.cc knows them.
const which = {
  conv: 0,
  convInputGrad: 1,
  convFilterGrad: 2,
  depthwise: 3,
  depthwiseInputGrad: 4,
  depthwiseFilterGrad: 5,
  maxPool: 6,
  avgPool: 7,
  maxPoolGrad: 8,
  avgPoolGrad: 9,
  maxPool3dGrad: 10,
} as const;

function run(
  backend: NativeBackend,
  kind: keyof typeof which,
  c: ConvInfo | VolumeInfo,
  a: Info,
  b: Info | null,
  shape: number[],
  bias: Info | null = null,
  relu = false,
): Info {
  const y = backend.empty(shape, 'float32');
  const of = (x: Info | null) => (x ? (backend.values(x) as Float32Array) : null);
  const numbers = Float64Array.of(
    c.batchSize,
    c.inHeight,
    c.inWidth,
    c.inChannels,
    c.filterHeight,
    c.filterWidth,
    c.outHeight,
    c.outWidth,
    c.outChannels,
    c.strideHeight,
    c.strideWidth,
    c.dilationHeight,
    c.dilationWidth,
    c.padInfo.top,
    c.padInfo.left,
    ...('inDepth' in c ? [c.inDepth, c.filterDepth, c.outDepth, c.strideDepth, c.dilationDepth, c.padInfo.front] : [1, 1, 1, 1, 1, 0]),
  );
  if (tf.util.sizeFromShape(shape) > 0) need().convolve(which[kind], of(a)!, of(b), of(bias), of(y)!, relu, numbers);
  return y;
}

function convInfo(inShape: number[], filterShape: number[], attrs: Attrs, dilations: Pair, depthwise = false): ConvInfo | undefined {
  const format = tf.backend_util.convertConv2DDataFormat((attrs.dataFormat as 'NHWC' | 'NCHW') ?? 'NHWC');
  if (format !== 'channelsLast') return undefined;
  return tf.backend_util.computeConv2DInfo(
    inShape as [number, number, number, number],
    filterShape as [number, number, number, number],
    attrs.strides as Pair,
    dilations,
    attrs.pad as Pad,
    attrs.dimRoundingMode as 'floor' | undefined,
    depthwise,
    format,
  );
}
type Volume = [number, number, number, number, number];
type Triple = number | [number, number, number];
function volumeInfo(inShape: number[], filterShape: number[], attrs: Attrs): VolumeInfo {
  const dilations = (attrs.dilations as Triple) ?? 1;
  return tf.backend_util.computeConv3DInfo(
    inShape as Volume,
    filterShape as Volume,
    attrs.strides as Triple,
    dilations,
    attrs.pad as 'same' | 'valid',
  );
}
function pooledVolume(inShape: number[], attrs: Attrs): VolumeInfo {
  return tf.backend_util.computePool3DInfo(
    inShape as Volume,
    attrs.filterSize as Triple,
    attrs.strides as Triple,
    1,
    attrs.pad as 'same' | 'valid' | number,
    attrs.dimRoundingMode as 'floor' | undefined,
  );
}
const isFloat = (...xs: Info[]) => xs.every((x) => x.dtype === 'float32');
const sameShape = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((d, i) => d === b[i]);
/** Of a window of one, tfjs makes the identity where the shape stays, whatever stride and padding. */
const isIdentity = (c: ConvInfo) => c.filterHeight === 1 && c.filterWidth === 1 && sameShape(c.inShape, c.outShape);

type Activate = (
  backend: NativeBackend,
  y: Info,
  activation: string | undefined,
  prelu: Info | undefined,
  alpha: number | undefined,
) => Info | undefined;

export function convolutionKernels(
  activate: Activate,
  addBias: (backend: NativeBackend, y: Info, bias: Info) => Info | undefined,
): Record<string, Kernel> {
  const pooled = (inShape: number[], attrs: Attrs) =>
    tf.backend_util.computePool2DInfo(
      inShape as [number, number, number, number],
      attrs.filterSize as Pair,
      attrs.strides as Pair,
      1,
      attrs.pad as Pad,
      attrs.dimRoundingMode as 'floor' | undefined,
    );
  return {
    Conv2D: ({ inputs: { x, filter }, attrs, backend }) => {
      const c = isFloat(x, filter) && convInfo(x.shape, filter.shape, attrs, attrs.dilations as Pair);
      return c ? run(backend, 'conv', c, x, filter, c.outShape) : undefined;
    },
    FusedConv2D: ({ inputs: { x, filter, bias, preluActivationWeights }, attrs, backend }) => {
      const c = isFloat(x, filter) && convInfo(x.shape, filter.shape, attrs, attrs.dilations as Pair);
      if (!c || (bias && !(isFloat(bias) && bias.shape.length === 1 && bias.shape[0] === c.outChannels))) return undefined;
      const activation = attrs.activation as string | undefined;
      const y = run(backend, 'conv', c, x, filter, c.outShape, bias ?? null, activation === 'relu');
      return activate(backend, y, activation, preluActivationWeights, attrs.leakyreluAlpha as number);
    },
    Conv2DBackpropInput: ({ inputs: { dy, filter }, attrs, backend }) => {
      const c = isFloat(dy, filter) && convInfo(attrs.inputShape as number[], filter.shape, attrs, (attrs.dilations as Pair) ?? 1);
      return c && sameShape(dy.shape, c.outShape) ? run(backend, 'convInputGrad', c, dy, filter, c.inShape) : undefined;
    },
    Conv2DBackpropFilter: ({ inputs: { x, dy }, attrs, backend }) => {
      const c = isFloat(x, dy) && convInfo(x.shape, attrs.filterShape as number[], attrs, (attrs.dilations as Pair) ?? 1);
      return c && sameShape(dy.shape, c.outShape) ? run(backend, 'convFilterGrad', c, x, dy, c.filterShape) : undefined;
    },
    DepthwiseConv2dNative: ({ inputs: { x, filter }, attrs, backend }) => {
      const dilations = (attrs.dilations as Pair) ?? 1;
      if (!isFloat(x, filter) || !tf.backend_util.eitherStridesOrDilationsAreOne(attrs.strides as Pair, dilations)) return undefined;
      const c = convInfo(x.shape, filter.shape, { ...attrs, dataFormat: 'NHWC' }, dilations, true);
      return c && run(backend, 'depthwise', c, x, filter, c.outShape);
    },
    FusedDepthwiseConv2D: ({ inputs: { x, filter, bias, preluActivationWeights }, attrs, backend }) => {
      const dilations = (attrs.dilations as Pair) ?? 1;
      if (
        !isFloat(x, filter) ||
        (bias && !isFloat(bias)) ||
        !tf.backend_util.eitherStridesOrDilationsAreOne(attrs.strides as Pair, dilations)
      )
        return undefined;
      const c = convInfo(x.shape, filter.shape, { ...attrs, dataFormat: 'NHWC' }, dilations, true);
      if (!c) return undefined;
      const y = run(backend, 'depthwise', c, x, filter, c.outShape);
      const biased = bias ? addBias(backend, y, bias) : y;
      if (biased !== y) backend.disposeIntermediateTensorInfo(y);
      if (!biased) return undefined;
      const activation = attrs.activation as string | undefined;
      if (activation !== 'relu') return activate(backend, biased, activation, preluActivationWeights, attrs.leakyreluAlpha as number);
      (backend.values(biased) as Float32Array).forEach((v, i, all) => {
        if (v < 0) all[i] = 0;
      });
      return biased;
    },
    DepthwiseConv2dNativeBackpropInput: ({ inputs: { dy, filter }, attrs, backend }) => {
      const c =
        isFloat(dy, filter) &&
        convInfo(attrs.inputShape as number[], filter.shape, { ...attrs, dataFormat: 'NHWC' }, (attrs.dilations as Pair) ?? 1, true);
      return c && sameShape(dy.shape, c.outShape) ? run(backend, 'depthwiseInputGrad', c, dy, filter, c.inShape) : undefined;
    },
    DepthwiseConv2dNativeBackpropFilter: ({ inputs: { x, dy }, attrs, backend }) => {
      const c =
        isFloat(x, dy) &&
        convInfo(x.shape, attrs.filterShape as number[], { ...attrs, dataFormat: 'NHWC' }, (attrs.dilations as Pair) ?? 1, true);
      return c && sameShape(dy.shape, c.outShape) ? run(backend, 'depthwiseFilterGrad', c, x, dy, c.filterShape) : undefined;
    },
    MaxPool: ({ inputs: { x }, attrs, backend }) => {
      if (!isFloat(x) || !tf.backend_util.eitherStridesOrDilationsAreOne(attrs.strides as Pair, 1)) return undefined;
      const c = pooled(x.shape, attrs);
      return isIdentity(c) ? backend.view(x, x.shape) : run(backend, 'maxPool', c, x, null, c.outShape);
    },
    AvgPool: ({ inputs: { x }, attrs, backend }) => {
      if (!isFloat(x) || !tf.backend_util.eitherStridesOrDilationsAreOne(attrs.strides as Pair, 1)) return undefined;
      const c = pooled(x.shape, attrs);
      return isIdentity(c) ? backend.view(x, x.shape) : run(backend, 'avgPool', c, x, null, c.outShape);
    },
    MaxPoolGrad: ({ inputs: { dy, input }, attrs, backend }) => {
      const c = pooled(input.shape, attrs);
      return isFloat(dy, input) && sameShape(dy.shape, c.outShape) ? run(backend, 'maxPoolGrad', c, dy, input, input.shape) : undefined;
    },
    AvgPoolGrad: ({ inputs: { dy, input }, attrs, backend }) => {
      const c = pooled(input.shape, attrs);
      return isFloat(dy, input) && sameShape(dy.shape, c.outShape) ? run(backend, 'avgPoolGrad', c, dy, input, input.shape) : undefined;
    },
    Conv3D: ({ inputs: { x, filter }, attrs, backend }) => {
      if (!isFloat(x, filter)) return undefined;
      const c = volumeInfo(x.shape, filter.shape, attrs);
      return run(backend, 'conv', c, x, filter, c.outShape);
    },
    Conv3DBackpropInputV2: ({ inputs: { dy, filter }, attrs, backend }) => {
      if (!isFloat(dy, filter)) return undefined;
      const c = volumeInfo(attrs.inputShape as number[], filter.shape, attrs);
      return sameShape(dy.shape, c.outShape) ? run(backend, 'convInputGrad', c, dy, filter, c.inShape) : undefined;
    },
    Conv3DBackpropFilterV2: ({ inputs: { x, dy }, attrs, backend }) => {
      if (!isFloat(x, dy)) return undefined;
      const c = volumeInfo(x.shape, attrs.filterShape as number[], attrs);
      return sameShape(dy.shape, c.outShape) ? run(backend, 'convFilterGrad', c, x, dy, c.filterShape) : undefined;
    },
    MaxPool3D: ({ inputs: { x }, attrs, backend }) => {
      if (!isFloat(x) || (attrs.dataFormat ?? 'NDHWC') !== 'NDHWC') return undefined;
      const c = pooledVolume(x.shape, attrs);
      return run(backend, 'maxPool', c, x, null, c.outShape);
    },
    AvgPool3D: ({ inputs: { x }, attrs, backend }) => {
      if (!isFloat(x) || (attrs.dataFormat ?? 'NDHWC') !== 'NDHWC') return undefined;
      const c = pooledVolume(x.shape, attrs);
      return run(backend, 'avgPool', c, x, null, c.outShape);
    },
    MaxPool3DGrad: ({ inputs: { dy, input }, attrs, backend }) => {
      const c = pooledVolume(input.shape, attrs);
      return isFloat(dy, input) && sameShape(dy.shape, c.outShape) ? run(backend, 'maxPool3dGrad', c, dy, input, input.shape) : undefined;
    },
    AvgPool3DGrad: ({ inputs: { dy, input }, attrs, backend }) => {
      const c = pooledVolume(input.shape, attrs);
      return isFloat(dy, input) && sameShape(dy.shape, c.outShape) ? run(backend, 'avgPoolGrad', c, dy, input, input.shape) : undefined;
    },
  };
}
