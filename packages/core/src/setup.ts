/** Importing this makes tfjs ready: the cpu backend registered and chosen, gradients registered, internals checked. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import './gradients/index.js';
import { einsum } from './einsum.js';
import { assertEngine } from './engine.js';

tf.unregisterKernel(tf.Einsum, 'cpu');
tf.registerKernel({ kernelName: tf.Einsum, backendName: 'cpu', kernelFunc: einsum as unknown as tf.KernelFunc });

if (!tf.engine().backendName) void tf.setBackend('cpu');
assertEngine();
