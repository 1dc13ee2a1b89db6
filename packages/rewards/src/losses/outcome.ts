import { logSigmoid, ShapeError } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { TargetRewardLoss } from './types.js';

/**
 * Outcome reward model: binary cross-entropy of one logit a completion, `softplus(z) - y z`, in nats. Cobbe et al. 2021, arXiv:2110.14168. Labels [items] on the
 * host: 0, 1, or a rate between them.
 *
 * @returns [items]; the caller disposes it
 * @throws RangeError naming the label outside of [0, 1]; ShapeError for unlike lengths
 */
export function outcomeLoss({ logits, labels }: { logits: tf.Tensor1D; labels: ArrayLike<number> }): tf.Tensor1D {
  if (logits.rank !== 1 || logits.shape[0] !== labels.length || labels.length === 0)
    throw new ShapeError(`outcomeLoss: logits are [${logits.shape}] and there are ${labels.length} labels; both must be of [items]`);
  const bad = Array.from(labels).findIndex((label) => !(label >= 0 && label <= 1));
  if (bad >= 0) throw new RangeError(`outcomeLoss: label ${bad} is ${labels[bad]}, outside of [0, 1]`);
  return tf.tidy(() => {
    const y = tf.tensor1d(Float32Array.from(labels));
    return tf.neg(tf.add(tf.mul(y, logSigmoid(logits)), tf.mul(tf.sub(1, y), logSigmoid(tf.neg(logits))))) as tf.Tensor1D;
  });
}

const Options = z.strictObject({});
export const outcome = {
  kind: 'targets',
  heads: 1,
  scope: 'item',
  options: Options,
  size: ({ targets, weights }) => (weights ? weights.reduce((a, b) => a + b, 0) : targets.length),
  apply: ({ outputs, targets, weights }) => {
    const loss = outcomeLoss({ logits: tf.reshape(outputs, [-1]) as tf.Tensor1D, labels: targets });
    return { loss: weights ? tf.mul(loss, tf.tensor1d(weights)) : loss };
  },
} satisfies TargetRewardLoss<z.infer<typeof Options>>;
