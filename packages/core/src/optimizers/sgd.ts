import * as tf from '@tensorflow/tfjs-core';
import type { Optimizer } from '../types.js';
import { checkRange, type Decay, perParameter, type RuleOutput } from './state.js';

export type SgdSettings = Decay & { momentum?: number; dampening?: number; nesterov?: boolean };

/**
 * Stochastic gradient descent as PyTorch has it: `b ← momentum·b + (1 − dampening)·g` (b = g on the first step), then
 * `value ← value − learningRate·b`, with Nesterov's form `g + momentum·b` in place of b. `weightDecay·value` is added to the gradient.
 */
export function sgd({ momentum = 0, dampening = 0, nesterov = false, weightDecay = 0, decays }: SgdSettings = {}): Optimizer {
  checkRange('sgd', { momentum }, 0, 1);
  checkRange('sgd', { dampening }, 0, 1);
  if (nesterov && (momentum === 0 || dampening !== 0))
    throw new RangeError(`sgd: nesterov needs momentum above 0 and dampening 0, got momentum ${momentum} and dampening ${dampening}`);
  return perParameter(
    'sgd',
    { weightDecay, decays },
    (shape): Record<string, readonly number[]> => (momentum === 0 ? {} : { momentum: shape }),
    ({ value, slots, step, learningRate, decay, ...input }): RuleOutput => {
      const grad = decay === 0 ? input.grad : tf.add(input.grad, tf.mul(value, decay));
      if (momentum === 0) return { value: tf.sub(value, tf.mul(grad, learningRate)), slots: {} };
      const buffer = step === 1 ? tf.clone(grad) : tf.add(tf.mul(slots.momentum, momentum), tf.mul(grad, 1 - dampening));
      const direction = nesterov ? tf.add(grad, tf.mul(buffer, momentum)) : buffer;
      return { value: tf.sub(value, tf.mul(direction, learningRate)), slots: { momentum: buffer } };
    },
  );
}
