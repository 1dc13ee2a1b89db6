/** What the WebAssembly backend lacks for training, and what it does otherwise than the rest. */
import * as tf from '@tensorflow/tfjs-core';
import type { AdamWStepKernel } from './optimizers/adamW.js';
import { refreshStorage } from './wasmStorage.js';

type Shaped = { shape: number[]; dtype: tf.DataType; dataId: object };
export type WasmBackend = tf.KernelBackend & {
  incRef(id: object): void;
  makeOutput(shape: number[], dtype: tf.DataType): tf.TensorInfo;
  typedArrayFromHeap(x: Shaped): Float32Array | Int32Array | Uint8Array;
};
type Call<I extends string, A = object> = { inputs: Record<I, tf.TensorInfo>; attrs: A; backend: WasmBackend };

/** Registers what is missing or wrong on `wasm`, once its package is loaded. */
export function mendWasm(): void {
  replace(tf.Identity, identity);
  replace(tf.UnsortedSegmentSum, unsortedSegmentSum);
  replace(tf.Einsum, einsum);
  replace(tf.Conv2DBackpropFilter, conv2dBackpropFilter);
  replace(tf.DepthwiseConv2dNativeBackpropInput, depthwiseBackpropInput);
  replace(tf.DepthwiseConv2dNativeBackpropFilter, depthwiseBackpropFilter);
  replace('AdamWStep', adamWStep as unknown as Kernel);
}

type Kernel = (call: never) => tf.TensorInfo | tf.TensorInfo[];

function replace(kernelName: string, kernelFunc: Kernel): void {
  if (tf.getKernel(kernelName, 'wasm')) tf.unregisterKernel(kernelName, 'wasm');
  tf.registerKernel({ kernelName, backendName: 'wasm', kernelFunc: kernelFunc as unknown as tf.KernelFunc });
}

/** An alias, as on every other backend; the original copies, and with it every tensor that is saved for the backward pass. */
function identity({ inputs: { x }, backend }: Call<'x'>): tf.TensorInfo {
  backend.incRef(x.dataId);
  return { dataId: x.dataId, shape: x.shape, dtype: x.dtype };
}

function unsortedSegmentSum({ inputs: { x, segmentIds }, attrs: { numSegments }, backend }: Call<'x' | 'segmentIds', { numSegments: number }>): tf.TensorInfo {
  const shape = [numSegments, ...x.shape.slice(1)];
  const out = backend.makeOutput(shape, x.dtype);
  const [xs, ids, sums] = [x, segmentIds, out].map((t) => backend.typedArrayFromHeap(t)); // after all allocations: the heap may have moved
  const width = tf.util.sizeFromShape(x.shape.slice(1));
  sums.fill(0);
  for (let row = 0; row < ids.length; row++) {
    const id = ids[row];
    if (id < 0 || id >= numSegments) continue;
    for (let i = 0, from = row * width, to = id * width; i < width; i++) sums[to + i] += xs[from + i];
  }
  return out;
}

/** One or two terms, through a product of matrices. */
function einsum({ inputs, attrs: { equation } }: { inputs: tf.TensorInfo[]; attrs: { equation: string }; backend: WasmBackend }): tf.TensorInfo {
  return tf.tidy(() => {
    const [left, out] = equation.replace(/\s/g, '').split('->');
    const terms = left.split(',');
    const tensors = Object.values(inputs) as tf.Tensor[];
    const sizes = new Map<string, number>();
    terms.forEach((term, i) => {
      [...term].forEach((letter, axis) => {
        sizes.set(letter, tensors[i].shape[axis]);
      });
    });
    const size = (letters: string[]): number => letters.reduce((n, letter) => n * sizes.get(letter)!, 1);
    const arrange = (x: tf.Tensor, from: string[], to: string[]): tf.Tensor => tf.transpose(x, to.map((letter) => from.indexOf(letter)));
    /** Sums over the letters that nobody else has. */
    const reduced = terms.map((term, i) => {
      const letters = [...term];
      const lonely = letters.filter((letter) => !out.includes(letter) && !terms.some((other, j) => j !== i && other.includes(letter)));
      const axes = lonely.map((letter) => letters.indexOf(letter));
      return { x: axes.length > 0 ? tf.sum(tensors[i], axes) : tensors[i], letters: letters.filter((letter) => !lonely.includes(letter)) };
    });
    if (reduced.length === 1) return tf.clone(arrange(reduced[0].x, reduced[0].letters, [...out]));
    const [a, b] = reduced;
    const both = a.letters.filter((letter) => b.letters.includes(letter));
    const batch = both.filter((letter) => out.includes(letter));
    const inner = both.filter((letter) => !out.includes(letter));
    const mine = a.letters.filter((letter) => !both.includes(letter));
    const yours = b.letters.filter((letter) => !both.includes(letter));
    const p = tf.reshape(arrange(a.x, a.letters, [...batch, ...mine, ...inner]), [size(batch), size(mine), size(inner)]);
    const q = tf.reshape(arrange(b.x, b.letters, [...batch, ...inner, ...yours]), [size(batch), size(inner), size(yours)]);
    const product = tf.reshape(tf.matMul(p, q), [...batch, ...mine, ...yours].map((letter) => sizes.get(letter)!));
    return tf.clone(arrange(product, [...batch, ...mine, ...yours], [...out]));
  });
}

type ConvAttrs = { strides: number | [number, number]; pad: tf.backend_util.PadInfo | number | 'same' | 'valid'; dataFormat?: 'NHWC' | 'NCHW'; dimRoundingMode?: 'floor' | 'round' | 'ceil' };

function conv2dBackpropFilter({ inputs: { x, dy }, attrs }: Call<'x' | 'dy', ConvAttrs & { filterShape: [number, number, number, number] }>): tf.TensorInfo {
  const { strides, pad, dimRoundingMode, filterShape, dataFormat = 'NHWC' } = attrs;
  const format = tf.backend_util.convertConv2DDataFormat(dataFormat);
  if (format !== 'channelsLast') throw new Error('wasm: the gradient of conv2d is there for NHWC only.');
  const info = tf.backend_util.computeConv2DInfo(x.shape as [number, number, number, number], filterShape, strides, 1, pad as 'same', dimRoundingMode, false, format);
  return tf.tidy(() => {
    const { top, bottom, left, right } = info.padInfo;
    const padded = tf.pad(x as tf.Tensor4D, [[0, 0], [top, bottom], [left, right], [0, 0]]);
    const [high, wide] = [(info.outHeight - 1) * info.strideHeight + 1, (info.outWidth - 1) * info.strideWidth + 1];
    const g = tf.reshape(dy as tf.Tensor, [-1, info.outChannels]);
    const places: tf.Tensor[] = [];
    for (let r = 0; r < info.filterHeight; r++)
      for (let c = 0; c < info.filterWidth; c++) {
        // Every input that this place of the filter met, against what came out.
        const met = tf.stridedSlice(padded, [0, r, c, 0], [info.batchSize, r + high, c + wide, info.inChannels], [1, info.strideHeight, info.strideWidth, 1]);
        places.push(tf.matMul(tf.reshape(met, [-1, info.inChannels]), g as tf.Tensor2D, true));
      }
    return tf.reshape(tf.stack(places), filterShape);
  });
}

type DepthwiseAttrs = { strides: number | [number, number]; pad: 'same' | 'valid' | number; dilations: number | [number, number]; dimRoundingMode?: 'floor' | 'round' | 'ceil' };

function depthwiseBackpropInput({ inputs: { dy, filter }, attrs, backend }: Call<'dy' | 'filter', DepthwiseAttrs & { inputShape: [number, number, number, number] }>): tf.TensorInfo {
  const { strides, pad, dilations, dimRoundingMode, inputShape } = attrs;
  const info = tf.backend_util.computeConv2DInfo(inputShape, filter.shape as [number, number, number, number], strides, dilations, pad, dimRoundingMode, true);
  const out = backend.makeOutput(inputShape, 'float32');
  const [g, w, dx] = [dy, filter, out].map((t) => backend.typedArrayFromHeap(t));
  dx.fill(0);
  eachDepthwise(info, (x, y, f) => {
    dx[x] += g[y] * w[f];
  });
  return out;
}

function depthwiseBackpropFilter({ inputs: { x, dy }, attrs, backend }: Call<'x' | 'dy', DepthwiseAttrs & { filterShape: [number, number, number, number] }>): tf.TensorInfo {
  const { strides, pad, dilations, dimRoundingMode, filterShape } = attrs;
  const info = tf.backend_util.computeConv2DInfo(x.shape as [number, number, number, number], filterShape, strides, dilations, pad, dimRoundingMode, true);
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
  const { batchSize, inHeight, inWidth, inChannels, outHeight, outWidth, outChannels, filterHeight, filterWidth, strideHeight, strideWidth, dilationHeight, dilationWidth, padInfo } = info;
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

const adamWStep: AdamWStepKernel = ({ inputs, attrs, backend }) => {
  const wasm = backend as WasmBackend;
  const { learningRate, gradScale, beta1, beta2, eps, decays, steps } = attrs;
  const float = (x: tf.TensorInfo) => wasm.typedArrayFromHeap(x) as Float32Array;
  inputs.values.forEach((value, i) => {
    const [p, g, m, v] = [value, inputs.grads[i], inputs.m[i], inputs.v[i]].map(float);
    const rate = learningRate / (1 - beta1 ** steps[i]);
    const root = Math.sqrt(1 - beta2 ** steps[i]);
    const kept = 1 - learningRate * decays[i];
    for (let j = 0; j < p.length; j++) {
      const grad = g[j] * gradScale;
      m[j] = beta1 * m[j] + (1 - beta1) * grad;
      v[j] = beta2 * v[j] + (1 - beta2) * grad * grad;
      p[j] = p[j] * kept - (rate * m[j]) / (Math.sqrt(v[j]) / root + eps);
    }
    refreshStorage(wasm, value);
  });
};
