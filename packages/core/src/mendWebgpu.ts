/** Kernels that tfjs's WebGPU backend has wrong; called once, after its package is loaded. */
import * as tf from '@tensorflow/tfjs-core';
import { broadcastBothSides } from './broadcastMatMul.js';
import { conv3dBackpropFilter, conv3dBackpropInput } from './conv3dGradients.js';
import { einsum } from './einsum.js';

let mended = false;

export function mendWebgpu(): void {
  if (mended) return;
  mended = true;
  replace(tf.Einsum, () => einsum as unknown as tf.KernelFunc);
  replace(tf.BatchMatMul, broadcastBothSides);
  replace(tf.Prod, keepDims);
  tf.registerKernel({
    kernelName: tf.Conv3DBackpropInputV2,
    backendName: 'webgpu',
    kernelFunc: conv3dBackpropInput as unknown as tf.KernelFunc,
  });
  tf.registerKernel({
    kernelName: tf.Conv3DBackpropFilterV2,
    backendName: 'webgpu',
    kernelFunc: conv3dBackpropFilter as unknown as tf.KernelFunc,
  });
  replace(tf.Cumsum, (original) => scan(original, tf.cumsum));
  replace(tf.Cumprod, (original) => scan(original, tf.cumprod));
}

function replace(kernelName: string, make: (original: tf.KernelFunc) => tf.KernelFunc): void {
  const config = tf.getKernel(kernelName, 'webgpu');
  tf.unregisterKernel(kernelName, 'webgpu');
  tf.registerKernel({ ...config, kernelFunc: make(config.kernelFunc) });
}

/** tfjs's shader of a reversed scan holds the axis' length, and its key does not: the second length in a process comes out wrong. */
function scan(original: tf.KernelFunc, op: typeof tf.cumsum): tf.KernelFunc {
  return (call) => {
    const { axis, exclusive, reverse } = call.attrs as unknown as { axis: number; exclusive: boolean; reverse: boolean };
    if (!reverse) return original(call);
    return tf.tidy(() => tf.reverse(op(tf.reverse(call.inputs.x as tf.Tensor, axis), axis, exclusive, false), axis));
  };
}

/** tfjs's forgets to keep the axes. */
function keepDims(original: tf.KernelFunc): tf.KernelFunc {
  return (call) => {
    const made = original(call) as tf.TensorInfo;
    const { axis, keepDims: kept } = call.attrs as unknown as { axis: number | number[]; keepDims: boolean };
    const { shape } = call.inputs.x as tf.TensorInfo;
    if (!kept || made.shape.length === shape.length) return made;
    const axes = tf.util.parseAxisParam(axis, shape);
    return { ...made, shape: shape.map((n, i) => (axes.includes(i) ? 1 : n)) };
  };
}
