import * as tf from '@tensorflow/tfjs-core';
import type { AdamWStepKernel } from './adamW.js';

/** `AdamWStep` on tfjs's cpu backend: one pass over each parameter instead of a dozen (a tenth of the time, or less). */
const adamWStep: AdamWStepKernel = ({ inputs: { values, grads, m, v }, attrs, backend }) => {
  const records = (backend as unknown as { data: { get(id: object): { values: Float32Array } } }).data;
  const { learningRate, gradScale, beta1, beta2, eps, decays, steps } = attrs;
  for (let i = 0; i < values.length; i++) {
    const before = records.get(values[i].dataId).values;
    const grad = records.get(grads[i].dataId).values;
    const mean = records.get(m[i].dataId).values;
    const square = records.get(v[i].dataId).values;
    const after = new Float32Array(before.length);
    const kept = 1 - learningRate * decays[i];
    const rate = learningRate / (1 - beta1 ** steps[i]);
    const root = Math.sqrt(1 - beta2 ** steps[i]);
    for (let j = 0; j < after.length; j++) {
      const g = gradScale * grad[j];
      mean[j] = beta1 * mean[j] + (1 - beta1) * g;
      square[j] = beta2 * square[j] + (1 - beta2) * g * g;
      after[j] = before[j] * kept - (rate * mean[j]) / (Math.sqrt(square[j]) / root + eps);
    }
    records.get(values[i].dataId).values = after; // a slice on this backend is a view of the old array, without a reference
  }
};

tf.registerKernel({ kernelName: 'AdamWStep', backendName: 'cpu', kernelFunc: adamWStep as unknown as tf.KernelFunc });
