/**
 * `import '@plumbline/tensorflow'` finds TensorFlow, opens it, and makes `tensorflow` tfjs's current backend, as importing
 * tfjs-node does. It throws a TensorflowError where there is none; `@plumbline/tensorflow/api` has the functions without that.
 */
import * as tf from '@tensorflow/tfjs-core';
import { registerTensorflowBackend } from './backend.js';
import { TensorflowError } from './errors.js';

registerTensorflowBackend();
if (!(await tf.setBackend('tensorflow'))) throw new TensorflowError('The backend tensorflow does not start.');

export type { Availability, SelfTest, SetupOptions, StartOptions, TensorflowInfo } from './api.js';
export { findTensorflow, registerTensorflowBackend, selfTest, setupTensorflow, tensorflowAvailable, tensorflowBackend } from './api.js';
export { TensorflowError };
