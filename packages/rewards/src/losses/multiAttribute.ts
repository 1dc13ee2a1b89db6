import { ShapeError } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { TargetRewardLoss } from './types.js';

/**
 * Regression on one or several attributes: the squared error of each that is present, `Σ_k w_k (prediction_k - target_k)²`. `predictions` [items, attributes];
 * `targets` row by row on the host, NaN where absent. The objective divides by `Σ w_k` over all that are present (`presentWeight`), so that it is a
 * mean of squares whatever is missing. HelpSteer (arXiv:2311.09528) has five attributes from 0 to 4.
 *
 * @returns [items]; the caller disposes it
 * @throws ShapeError where they do not fit; RangeError for an infinite target, a weight that is negative, or weights that are all 0
 */
export function multiAttributeLoss(
  { predictions, targets }: { predictions: tf.Tensor2D; targets: ArrayLike<number> },
  { attributeWeights }: { attributeWeights?: readonly number[] } = {},
): tf.Tensor1D {
  const [items, attributes] = predictions.shape;
  if (predictions.rank !== 2 || items * attributes !== targets.length)
    throw new ShapeError(
      `multiAttributeLoss: predictions are [${predictions.shape}] and there are ${targets.length} targets; both must be of [items, attributes]`,
    );
  if (items === 0) throw new ShapeError('multiAttributeLoss: the batch is empty');
  const weights = checkWeights(attributes, attributeWeights);
  const infinite = Array.from(targets).findIndex((target) => Math.abs(target) === Infinity);
  if (infinite >= 0)
    throw new RangeError(
      `multiAttributeLoss: the target of item ${Math.floor(infinite / attributes)}, attribute ${infinite % attributes} is ${targets[infinite]}`,
    );
  return tf.tidy(() => {
    const shape: [number, number] = [items, attributes];
    const target = tf.tensor2d(
      Float32Array.from(targets, (x) => (Number.isNaN(x) ? 0 : x)),
      shape,
    );
    const mask = tf.tensor2d(
      Float32Array.from(targets, (x, i) => (Number.isNaN(x) ? 0 : weights[i % attributes])),
      shape,
    );
    return tf.sum(tf.mul(mask, tf.square(tf.sub(predictions, target))), 1) as tf.Tensor1D;
  });
}

/** What the sum of `multiAttributeLoss` is divided by: the weights of all targets that are present. */
export function presentWeight(targets: ArrayLike<number>, attributes: number, attributeWeights?: readonly number[]): number {
  const weights = checkWeights(attributes, attributeWeights);
  let sum = 0;
  for (let i = 0; i < targets.length; i++) if (!Number.isNaN(targets[i])) sum += weights[i % attributes];
  return sum;
}

function checkWeights(attributes: number, given?: readonly number[]): readonly number[] {
  const weights = given ?? new Array<number>(attributes).fill(1);
  if (weights.length !== attributes)
    throw new ShapeError(`multiAttributeLoss: ${weights.length} attributeWeights for ${attributes} attributes`);
  const bad = weights.findIndex((weight) => !(weight >= 0 && Number.isFinite(weight)));
  if (bad >= 0) throw new RangeError(`multiAttributeLoss: attributeWeights[${bad}] is ${weights[bad]}; it must be at least 0`);
  if (!weights.some((weight) => weight > 0)) throw new RangeError('multiAttributeLoss: attributeWeights add up to 0');
  return weights;
}

const Options = z.strictObject({
  attributeWeights: z.array(z.number().min(0)).optional().describe('Weight of each attribute in the loss; all 1 by default'),
});
export const regression = {
  kind: 'targets',
  heads: 'targets',
  scope: 'item',
  options: Options,
  size: ({ targets, columns, weights }, { attributeWeights }) => {
    if (!weights) return presentWeight(targets, columns, attributeWeights);
    return weights.reduce(
      (sum, weight, i) => sum + weight * presentWeight(targets.subarray(i * columns, (i + 1) * columns), columns, attributeWeights),
      0,
    );
  },
  apply: ({ outputs, targets, weights }, options) => {
    const loss = multiAttributeLoss({ predictions: outputs, targets }, options);
    return { loss: weights ? tf.mul(loss, tf.tensor1d(weights)) : loss };
  },
} satisfies TargetRewardLoss<z.infer<typeof Options>>;
