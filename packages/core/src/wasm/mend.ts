/** What the WebAssembly backend lacks for training, and what it does otherwise than the rest. */
import * as tf from '@tensorflow/tfjs-core';
import { einsum } from '../einsum.js';
import type { AdamWStepKernel } from '../optimizers/adamW.js';
import { batchMatMul, exp, fusedMatMul } from './gemm.js';
import { gatherRows, rotaryBackward, rotaryForward, selectEqual, sliceLast, splitLast, sumRows, transposeMatrix } from './rows.js';
import {
  conv2dBackpropFilter,
  conv3dBackpropFilter,
  conv3dBackpropInput,
  depthwiseBackpropFilter,
  depthwiseBackpropInput,
  dilation2d,
  dilation2dBackpropFilter,
  dilation2dBackpropInput,
  maxPoolGrad,
} from './spatial.js';
import { refreshStorage } from './storage.js';

type Shaped = { shape: number[]; dtype: tf.DataType; dataId: object };
export type WasmBackend = tf.KernelBackend & {
  incRef(id: object): void;
  makeOutput(shape: number[], dtype: tf.DataType): tf.TensorInfo;
  typedArrayFromHeap(x: Shaped): Float32Array | Int32Array | Uint8Array;
};
export type Call<I extends string, A = object> = { inputs: Record<I, tf.TensorInfo>; attrs: A; backend: WasmBackend };

/** Registers what is missing or wrong on `wasm`, once its package is loaded. */
export function mendWasm(): void {
  replace(tf.Identity, identity);
  replace(tf.UnsortedSegmentSum, unsortedSegmentSum);
  replace(tf.Einsum, einsum as Kernel);
  replace(tf.Conv2DBackpropFilter, conv2dBackpropFilter);
  replace(tf.DepthwiseConv2dNativeBackpropInput, depthwiseBackpropInput);
  replace(tf.DepthwiseConv2dNativeBackpropFilter, depthwiseBackpropFilter);
  extend(tf.BatchMatMul, batchMatMul);
  replace(tf._FusedMatMul, fusedMatMul as Kernel);
  extend(tf.Exp, exp);
  replace(tf.MaxPoolGrad, maxPoolGrad);
  replace(tf.Conv3DBackpropInputV2, conv3dBackpropInput);
  replace(tf.Conv3DBackpropFilterV2, conv3dBackpropFilter);
  replace(tf.Dilation2D, dilation2d);
  replace(tf.Dilation2DBackpropInput, dilation2dBackpropInput);
  replace(tf.Dilation2DBackpropFilter, dilation2dBackpropFilter);
  extend(tf.Cast, castToBool);
  extend(tf.ClipByValue, clipNaN);
  extend(tf.GatherV2, gatherRows);
  extend(tf.Sum, sumRows);
  extend(tf.Transpose, transposeMatrix);
  extend(tf.Select, selectEqual);
  extend(tf.Slice, sliceLast);
  extend(tf.SplitV, splitLast);
  replace('Rotary', rotaryForward);
  replace('RotaryGrad', rotaryBackward);
  replace('AdamWStep', adamWStep as unknown as Kernel);
}

type Kernel = (call: never) => tf.TensorInfo | tf.TensorInfo[];

function replace(kernelName: string, kernelFunc: Kernel): void {
  if (tf.getKernel(kernelName, 'wasm')) tf.unregisterKernel(kernelName, 'wasm');
  tf.registerKernel({ kernelName, backendName: 'wasm', kernelFunc: kernelFunc as unknown as tf.KernelFunc });
}

/** Puts `kernelFunc` before tfjs's own, which gets what it declines by returning null. */
function extend(kernelName: string, kernelFunc: (call: never) => tf.TensorInfo | tf.TensorInfo[] | null): void {
  const original = tf.getKernel(kernelName, 'wasm');
  tf.unregisterKernel(kernelName, 'wasm');
  tf.registerKernel({ ...original, kernelFunc: (call) => kernelFunc(call as never) ?? original.kernelFunc(call) });
}

/** tfjs's copies the bytes of the numbers. */
function castToBool({ inputs: { x }, attrs: { dtype } }: Call<'x', { dtype: tf.DataType }>): tf.TensorInfo | null {
  if (dtype !== 'bool' || x.dtype === 'bool') return null;
  return tf.tidy(() => tf.notEqual(x as tf.Tensor, tf.scalar(0, x.dtype as 'float32')));
}

/** NaN stays NaN, where tfjs's kernel makes it the lower bound. */
function clipNaN({
  inputs: { x },
  attrs: { clipValueMin, clipValueMax },
  backend,
}: Call<'x', { clipValueMin: number; clipValueMax: number }>): tf.TensorInfo | null {
  if (x.dtype !== 'float32') return null;
  const out = backend.makeOutput(x.shape, 'float32');
  const [from, to] = [x, out].map((t) => backend.typedArrayFromHeap(t));
  for (let i = 0; i < from.length; i++) {
    const v = from[i];
    to[i] = v < clipValueMin ? clipValueMin : v > clipValueMax ? clipValueMax : v;
  }
  return out;
}

/** An alias, as on every other backend; the original copies, and with it every tensor that is saved for the backward pass. */
function identity({ inputs: { x }, backend }: Call<'x'>): tf.TensorInfo {
  backend.incRef(x.dataId);
  return { dataId: x.dataId, shape: x.shape, dtype: x.dtype };
}

function unsortedSegmentSum({
  inputs: { x, segmentIds },
  attrs: { numSegments },
  backend,
}: Call<'x' | 'segmentIds', { numSegments: number }>): tf.TensorInfo {
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
