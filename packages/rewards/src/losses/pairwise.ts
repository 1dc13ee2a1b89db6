import { logSumExp, ShapeError } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { TargetRewardLoss } from './types.js';

/**
 * Pairwise preference model: one sequence holds the prompt and both completions, and the head says which is better. Cross-entropy over `logits`
 * [items, 2 or 3] (first, second, and a tie where there are three), in nats; `labels` [items] on the host. Jiang et al. 2023, arXiv:2306.02561; unlike a scalar
 * score it can hold preferences that are not transitive, and it must be asked in both orders (`debiased`).
 *
 * @returns [items]; the caller disposes it
 * @throws RangeError naming the label that is none; ShapeError for unlike lengths
 */
export function pairwiseLoss({ logits, labels }: { logits: tf.Tensor2D; labels: ArrayLike<number> }): tf.Tensor1D {
  const [items, classes] = logits.shape;
  if (logits.rank !== 2 || items !== labels.length || items === 0 || classes < 2)
    throw new ShapeError(
      `pairwiseLoss: logits are [${logits.shape}] and there are ${labels.length} labels; they must be [items, 2 or 3] and [items]`,
    );
  const chosen = new Float32Array(items * classes);
  for (let i = 0; i < items; i++) {
    if (!(Number.isInteger(labels[i]) && labels[i] >= 0 && labels[i] < classes))
      throw new RangeError(`pairwiseLoss: label ${i} is ${labels[i]}, not a whole number from 0 to ${classes - 1}`);
    chosen[i * classes + labels[i]] = 1;
  }
  return tf.tidy(() => tf.sub(logSumExp(logits, 1), tf.sum(tf.mul(logits, tf.tensor2d(chosen, [items, classes])), 1)) as tf.Tensor1D);
}

const Options = z.strictObject({ ties: z.boolean().default(false).describe('Whether there is a third label, 2, for ties') });
export const pairwise = {
  kind: 'targets',
  heads: ({ ties }) => (ties ? 3 : 2),
  scope: 'item',
  options: Options,
  size: ({ targets, weights }) => (weights ? weights.reduce((a, b) => a + b, 0) : targets.length),
  apply: ({ outputs, targets, weights }) => {
    const loss = pairwiseLoss({ logits: outputs, labels: targets });
    return { loss: weights ? tf.mul(loss, tf.tensor1d(weights)) : loss };
  },
} satisfies TargetRewardLoss<z.infer<typeof Options>>;
