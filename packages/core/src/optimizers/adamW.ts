import * as tf from '@tensorflow/tfjs-core';
import { unshare } from '../parameters.js';
import type { Optimizer, Parameter } from '../types.js';
import './adamWStepCpu.js';
import {
  checkApply,
  checkRange,
  type Decay,
  optimizerState,
  perParameter,
  type RuleInput,
  type RuleOutput,
  type Slots,
  step,
} from './state.js';

export type AdamSettings = {
  /** Decay of the mean of the gradients; 0.9 unless given. */
  beta1?: number;
  /** Decay of the mean of their squares; 0.999 unless given. */
  beta2?: number;
  /** Added to the root of the second moment; 1e-8 unless given. */
  eps?: number;
};
export type AdamWSettings = AdamSettings & Decay & { amsgrad?: boolean };

/**
 * The inputs of the kernel `AdamWStep`, entry i of each list belonging to the same parameter. The kernel writes the new values into
 * `values`, `m` and `v` themselves (their storage is referred to by nothing else, as far as reference counts tell) and returns nothing.
 * With t = `steps[i]`, counted from 1, and g = `gradScale`·grad, all in float32:
 *
 *     m ← β1·m + (1 − β1)·g        v ← β2·v + (1 − β2)·g²
 *     value ← value·(1 − learningRate·decays[i]) − learningRate/(1 − β1^t) · m / (√v/√(1 − β2^t) + eps)
 */
export type AdamWStepInputs = { values: tf.TensorInfo[]; grads: tf.TensorInfo[]; m: tf.TensorInfo[]; v: tf.TensorInfo[] };
export type AdamWStepAttrs = {
  learningRate: number;
  gradScale: number;
  beta1: number;
  beta2: number;
  eps: number;
  /** Weight decay of each parameter. */
  decays: Float32Array;
  steps: Int32Array;
};
/** What a backend registers under `AdamWStep`; its kernel function is called with these and the backend. */
export type AdamWStepKernel = (call: { inputs: AdamWStepInputs; attrs: AdamWStepAttrs; backend: tf.KernelBackend }) => void;

/**
 * Adam with decoupled weight decay. Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2, with PyTorch's placement of eps
 * and decay multiplied by the learning rate; Kingma & Ba 2015, arXiv:1412.6980, for the moments. `amsgrad` divides by the largest
 * second moment so far (Reddi et al. 2018, arXiv:1904.09237).
 *
 * All parameters are stepped by one kernel call where the backend has `AdamWStep`, else one by one in plain ops.
 * `decays` says by name which parameters `weightDecay` applies to: all unless given.
 */
export function adamW({
  beta1 = 0.9,
  beta2 = 0.999,
  eps = 1e-8,
  weightDecay = 0,
  decays = () => true,
  amsgrad = false,
}: AdamWSettings = {}): Optimizer {
  const rule = adamRule({ beta1, beta2, eps });
  if (amsgrad)
    return perParameter('adamW-amsgrad', { weightDecay, decays }, (shape) => ({ m: shape, v: shape, vMax: shape }), decoupled(rule));
  checkRange('adamW', { weightDecay }, 0, Infinity);
  const state = optimizerState('adamW');
  return {
    apply: (grads, { scale, learningRate }) => {
      checkApply('adamW', grads, scale, learningRate);
      const parameters = [...grads.keys()];
      const slots = parameters.map((parameter) => state.of(parameter, { m: parameter.shape, v: parameter.shape }));
      const decayOf = (parameter: Parameter) => (decays(parameter.name) ? weightDecay : 0);
      const kernel = tf.getKernel('AdamWStep', tf.getBackend());
      if (kernel && parameters.length > 0) {
        for (const parameter of parameters) unshare(parameter);
        for (const slot of slots) slot.steps++;
        const attrs = {
          learningRate,
          gradScale: scale,
          beta1,
          beta2,
          eps,
          decays: Float32Array.from(parameters, decayOf),
          steps: Int32Array.from(slots, (s) => s.steps),
        };
        (kernel.kernelFunc as unknown as AdamWStepKernel)({ inputs: stepInputs(parameters, grads, slots), attrs, backend: tf.backend() });
        return;
      }
      parameters.forEach((parameter, i) => {
        const { tensors, steps } = slots[i];
        const decay = decayOf(parameter);
        step(parameter, grads.get(parameter)!, slots[i], scale, (grad) =>
          decoupled(rule)({ value: parameter.value, grad, slots: tensors, step: steps + 1, learningRate, decay }),
        );
      });
    },
    save: state.save,
    load: state.load,
    dispose: state.dispose,
  };
}

/** Adam with L2 regularization: `weightDecay · value` is added to the gradient, and so goes through the moments. Kingma & Ba 2015, arXiv:1412.6980. */
export function adam({ beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = 0, decays }: AdamSettings & Decay = {}): Optimizer {
  const rule = adamRule({ beta1, beta2, eps });
  return perParameter(
    'adam',
    { weightDecay, decays },
    (shape) => ({ m: shape, v: shape }),
    (input) => rule(input.decay === 0 ? input : { ...input, grad: tf.add(input.grad, tf.mul(input.value, input.decay)) }),
  );
}

function stepInputs(parameters: readonly Parameter[], grads: ReadonlyMap<Parameter, tf.Tensor>, slots: readonly Slots[]): AdamWStepInputs {
  return {
    values: parameters.map((parameter) => parameter.value),
    grads: parameters.map((parameter) => grads.get(parameter)!),
    m: slots.map(({ tensors }) => tensors.m),
    v: slots.map(({ tensors }) => tensors.v),
  };
}

/** The update without weight decay. A slot `vMax` makes it AMSGrad. */
function adamRule({ beta1, beta2, eps }: Required<AdamSettings>): (input: RuleInput) => RuleOutput {
  checkRange('adam', { beta1, beta2 }, 0, 1);
  checkRange('adam', { eps }, 0, Infinity);
  return ({ value, grad, slots, step, learningRate }) => {
    const m = tf.add(tf.mul(slots.m, beta1), tf.mul(grad, 1 - beta1));
    const v = tf.add(tf.mul(slots.v, beta2), tf.mul(tf.square(grad), 1 - beta2));
    const vMax = slots.vMax && tf.maximum(slots.vMax, v);
    const root = tf.add(tf.div(tf.sqrt(vMax ?? v), Math.sqrt(1 - beta2 ** step)), eps);
    const change = tf.mul(tf.div(m, root), learningRate / (1 - beta1 ** step));
    return { value: tf.sub(value, change), slots: { m, v, ...(vMax && { vMax }) } };
  };
}

function decoupled(rule: (input: RuleInput) => RuleOutput): (input: RuleInput) => RuleOutput {
  return (input) => {
    const kept = 1 - input.learningRate * input.decay;
    return rule(kept === 1 ? input : { ...input, value: tf.mul(input.value, kept) });
  };
}
