/** Kernels that tfjs's WebGPU backend has wrong; called once, after its package is loaded. */
import * as tf from '@tensorflow/tfjs-core';
import { broadcastBothSides } from './broadcastMatMul.js';
import { einsum } from './einsum.js';

let mended = false;

export function mendWebgpu(): void {
  if (mended) return;
  mended = true;
  replace(tf.Einsum, () => einsum as unknown as tf.KernelFunc);
  replace(tf.BatchMatMul, broadcastBothSides);
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
