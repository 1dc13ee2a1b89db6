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
  replace(tf.Prod, keepDims);
  replace(tf.Tile, tileByAxis);
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

/** tfjs's reads tensors of five axes and more to the host, which fails under Node, and with it the gradient of their sum: an axis at a time instead. */
function tileByAxis(original: tf.KernelFunc): tf.KernelFunc {
  return (call) => {
    const x = call.inputs.x as tf.Tensor;
    if (x.shape.length < 5) return original(call);
    const { reps } = call.attrs as unknown as { reps: number[] };
    return tf.tidy(() => {
      const tiled = reps.reduce((y: tf.Tensor, count, axis) => {
        if (count === 1) return y;
        const before = y.shape.slice(0, axis).reduce((a, b) => a * b, 1);
        return tf.reshape(
          tf.tile(tf.reshape(y, [before, 1, y.size / Math.max(1, before)]), [1, count, 1]),
          y.shape.map((n, d) => (d === axis ? n * count : n)),
        );
      }, x);
      return tf.clone(tiled);
    });
  };
}
