/** Importing this makes tfjs ready: the cpu backend registered and chosen, gradients registered, internals checked. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import './gradients/index.js';
import { einsum } from './einsum.js';
import { assertEngine } from './engine.js';
import { unsortedSegmentSum } from './unsortedSegmentSum.js';

tf.unregisterKernel(tf.Einsum, 'cpu');
tf.registerKernel({ kernelName: tf.Einsum, backendName: 'cpu', kernelFunc: einsum as unknown as tf.KernelFunc });
// tfjs's own makes one masked copy of all rows for each segment: a vocabulary of them in an embedding's gradient.
tf.unregisterKernel(tf.UnsortedSegmentSum, 'cpu');
tf.registerKernel({ kernelName: tf.UnsortedSegmentSum, backendName: 'cpu', kernelFunc: unsortedSegmentSum as unknown as tf.KernelFunc });

if (!tf.engine().backendName) void tf.setBackend('cpu');
assertEngine();
