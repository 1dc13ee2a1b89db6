/** Importing this makes tfjs ready: the cpu backend registered and chosen, gradients registered, internals checked. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import './gradients/index.js';
import { assertEngine } from './engine.js';
import { mendCpu } from './mendCpu.js';

mendCpu();

if (!tf.engine().backendName) void tf.setBackend('cpu');
assertEngine();
