/** Kernels that tfjs's cpu backend has wrong, or far too slow. `native` copies what it has no kernel of its own for, so it gets these too. */
import * as tf from '@tensorflow/tfjs-core';
import { broadcastBothSides } from './broadcastMatMul.js';
import { einsum } from './einsum.js';
import { unsortedSegmentSum } from './unsortedSegmentSum.js';

export function mendCpu(): void {
  replace(tf.Einsum, () => einsum as unknown as tf.KernelFunc);
  replace(tf.BatchMatMul, broadcastBothSides);
  // tfjs's own makes one masked copy of all rows for each segment: a vocabulary of them in an embedding's gradient.
  replace(tf.UnsortedSegmentSum, () => unsortedSegmentSum as unknown as tf.KernelFunc);
}

function replace(kernelName: string, make: (original: tf.KernelFunc) => tf.KernelFunc): void {
  const config = tf.getKernel(kernelName, 'cpu');
  tf.unregisterKernel(kernelName, 'cpu');
  tf.registerKernel({ ...config, kernelFunc: make(config.kernelFunc) });
}
