/** Kernels that tfjs's cpu backend has wrong, or far too slow. `native` copies what it has no kernel of its own for, so it gets these too. */
import * as tf from '@tensorflow/tfjs-core';
import { einsum } from './einsum.js';
import { unsortedSegmentSum } from './unsortedSegmentSum.js';

export function mendCpu(): void {
  replace(tf.Einsum, () => einsum as unknown as tf.KernelFunc);
  replace(tf.BatchMatMul, matMul);
  // tfjs's own makes one masked copy of all rows for each segment: a vocabulary of them in an embedding's gradient.
  replace(tf.UnsortedSegmentSum, () => unsortedSegmentSum as unknown as tf.KernelFunc);
}

function replace(kernelName: string, make: (original: tf.KernelFunc) => tf.KernelFunc): void {
  const config = tf.getKernel(kernelName, 'cpu');
  tf.unregisterKernel(kernelName, 'cpu');
  tf.registerKernel({ ...config, kernelFunc: make(config.kernelFunc) });
}

/** tfjs counts matrices modulo each operand's number, which is right only where one side has them all: [2, 1] against [5] is not. */
function matMul(original: tf.KernelFunc): tf.KernelFunc {
  return (call) => {
    const { a, b } = call.inputs as { a: tf.Tensor; b: tf.Tensor };
    const [outerA, outerB] = [a.shape.slice(0, -2), b.shape.slice(0, -2)];
    const outer = tf.broadcast_util.assertAndGetBroadcastShape(outerA, outerB);
    const whole = (own: number[]): boolean =>
      tf.util.sizeFromShape(own) === 1 || tf.util.sizeFromShape(own) === tf.util.sizeFromShape(outer);
    if (whole(outerA) && whole(outerB)) return original(call);
    return tf.tidy(() =>
      tf.matMul(
        tf.broadcastTo(a, [...outer, ...a.shape.slice(-2)]),
        tf.broadcastTo(b, [...outer, ...b.shape.slice(-2)]),
        call.attrs?.transposeA as boolean,
        call.attrs?.transposeB as boolean,
      ),
    );
  };
}
