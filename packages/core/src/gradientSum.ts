import * as tf from '@tensorflow/tfjs-core';
import { readScalars } from './scope.js';
import type { Parameter } from './types.js';

/** What `gradients` returns for one micro-batch. */
export type MicroGradients = { loss: tf.Scalar; metrics?: Record<string, tf.Scalar>; grads: Map<Parameter, tf.Tensor> };

export type GradientSum = {
  /** Adds one micro-batch and takes its tensors over. */
  add(micro: MicroGradients): void;
  /** The sums of losses and metrics, and `gradNorm`, the global L2 norm of the summed gradients, in one transfer. */
  read(): Promise<Record<string, number>>;
  readonly grads: Map<Parameter, tf.Tensor>;
  dispose(): void;
};

/**
 * Gradients of one step, summed over its micro-batches. Losses and metrics are sums too: what should come out as the mean of the
 * step is divided by the step's rows or tokens before it is added, so that the split into micro-batches cannot matter.
 *
 * @param parameters the parameters whose gradients are expected; one that no loss reaches has no entry in `grads`
 */
export function gradientSum(parameters: readonly Parameter[]): GradientSum {
  const expected = new Set(parameters);
  const grads = new Map<Parameter, tf.Tensor>();
  const scalars = new Map<string, tf.Scalar>();
  const accumulate = <K>(into: Map<K, tf.Tensor>, key: K, tensor: tf.Tensor) => {
    const before = into.get(key);
    into.set(key, before ? tf.add(before, tensor) : tensor);
    if (before) tf.dispose([before, tensor]);
  };
  return {
    grads,
    add: ({ loss, metrics = {}, grads: more }) => {
      for (const parameter of more.keys())
        if (!expected.has(parameter))
          throw new RangeError(`gradientSum: "${parameter.name}" is not among the ${expected.size} parameters of this sum`);
      for (const reserved of ['loss', 'gradNorm'])
        if (reserved in metrics) throw new RangeError(`gradientSum: "${reserved}" is no name for a metric, it is computed here`);
      accumulate(scalars, 'loss', loss);
      for (const [name, value] of Object.entries(metrics)) accumulate(scalars, name, value);
      for (const [parameter, grad] of more) accumulate(grads, parameter, grad);
    },
    read: async () => {
      if (scalars.size === 0) throw new RangeError('gradientSum: read before any micro-batch was added');
      const gradNorm = globalNorm([...grads.values()]);
      try {
        return await readScalars({ ...Object.fromEntries(scalars), gradNorm });
      } finally {
        gradNorm.dispose();
      }
    },
    dispose: () => {
      tf.dispose([...grads.values(), ...scalars.values()]);
      grads.clear();
      scalars.clear();
    },
  };
}

/** The L2 norm over all entries of all tensors; 0 for none. The caller disposes it. */
export function globalNorm(tensors: readonly tf.Tensor[]): tf.Scalar {
  return tf.tidy(() => {
    const squares = tensors.map((tensor) => tf.reshape(tf.sum(tf.square(tensor)), [1]));
    return tf.sqrt(tf.sum(squares.length === 0 ? tf.zeros([1]) : tf.concat(squares))) as tf.Scalar;
  });
}

/**
 * The factor that scales gradients of global norm `norm` down to `max`: `min(1, max / (norm + 1e-6))`, as PyTorch's `clip_grad_norm_`.
 * @param max the largest norm; Infinity does not clip
 */
export function clipScale(norm: number, max: number): number {
  if (!(max > 0)) throw new RangeError(`clipScale: max must be > 0, got ${max}`);
  if (!(norm >= 0)) throw new RangeError(`clipScale: norm must be at least 0, got ${norm}`);
  return Math.min(1, max / (norm + 1e-6));
}
