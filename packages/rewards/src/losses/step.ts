import { logSigmoid, ShapeError } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { StepRewardLoss } from './types.js';

/**
 * Process reward model: two-class cross-entropy at the end of each step, in nats. Lightman et al. 2023, arXiv:2305.20050; TRL's PRM trainer.
 *
 * `logits` [steps, 2] (wrong, right) or [steps, 1] (their difference: `softplus(z) - y z`); equal where the one logit is the difference of the two.
 * `labels` [steps] on the host: 0, 1 or a Monte-Carlo rate between them; NaN (and TRL's -100) is ignored, its loss is 0.
 *
 * The objective is the sum over the step's labelled entries divided by their number.
 * @returns [steps]; the caller disposes it
 * @throws RangeError naming the label outside of [0, 1]; ShapeError for unlike lengths
 */
export function stepLoss({ logits, labels }: { logits: tf.Tensor2D; labels: ArrayLike<number> }): tf.Tensor1D {
  const [steps, classes] = logits.shape;
  if (logits.rank !== 2 || steps !== labels.length || steps === 0 || !(classes === 1 || classes === 2))
    throw new ShapeError(
      `stepLoss: logits are [${logits.shape}] and there are ${labels.length} labels; they must be [steps, 1 or 2] and [steps]`,
    );
  const mask = Float32Array.from(labels, (label) => (isLabelled(label) ? 1 : 0));
  const bad = Array.from(labels).findIndex((label) => isLabelled(label) && !(label >= 0 && label <= 1));
  if (bad >= 0) throw new RangeError(`stepLoss: label ${bad} is ${labels[bad]}, outside of [0, 1]`);
  return tf.tidy(() => {
    const y = tf.tensor1d(Float32Array.from(labels, (label) => (isLabelled(label) ? label : 0)));
    const d =
      classes === 1
        ? tf.reshape(logits, [steps])
        : tf.reshape(tf.sub(tf.slice(logits, [0, 1], [steps, 1]), tf.slice(logits, [0, 0], [steps, 1])), [steps]);
    const loss = tf.neg(tf.add(tf.mul(y, logSigmoid(d)), tf.mul(tf.sub(1, y), logSigmoid(tf.neg(d)))));
    return tf.mul(tf.tensor1d(mask), loss) as tf.Tensor1D;
  });
}

/** Whether a step has a label: NaN and -100 say that it has none. */
export const isLabelled = (label: number): boolean => !Number.isNaN(label) && label !== -100;

/**
 * For models that write "+" or "-" at a step's tag: the same loss over two vocabulary entries of `logits` [steps, vocabulary], all others left out of the
 * softmax. Wang et al. 2024, arXiv:2312.08935 (Math-Shepherd).
 */
export function tokenStepLoss(
  { logits, labels }: { logits: tf.Tensor2D; labels: ArrayLike<number> },
  { right, wrong }: { right: number; wrong: number },
): tf.Tensor1D {
  const [steps, vocabulary] = logits.shape;
  for (const [name, id] of Object.entries({ right, wrong }))
    if (!(Number.isInteger(id) && id >= 0 && id < vocabulary))
      throw new RangeError(`tokenStepLoss: ${name} is ${id}, no token of ${vocabulary}`);
  if (right === wrong) throw new RangeError(`tokenStepLoss: right and wrong are the same token, ${right}`);
  return tf.tidy(() => {
    const column = (id: number) => tf.slice(logits, [0, id], [steps, 1]);
    return stepLoss({ logits: tf.sub(column(right), column(wrong)), labels });
  });
}

const Options = z.strictObject({
  heads: z
    .union([z.literal(1), z.literal(2)])
    .default(2)
    .describe('2 logits a step as in TRL, or their difference alone'),
});
export const step = {
  kind: 'steps',
  heads: ({ heads }) => heads,
  scope: 'item',
  options: Options,
  apply: ({ outputs, labels }) => ({ loss: stepLoss({ logits: outputs, labels }) }),
} satisfies StepRewardLoss<z.infer<typeof Options>>;
