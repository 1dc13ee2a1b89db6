import { logSumExp } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs, tieMask } from './check.js';
import type { PairRewardLoss } from './types.js';

/**
 * Preferences with ties: the outcomes chosen, tie and rejected weigh `e^c`, `ν √(e^c e^r)` and `e^r`, in nats. Davidson 1970. ν = 0 is Bradley-Terry.
 *
 * @param ties 1 where the pair is a tie, [pairs] on the host; none by default
 * @returns minus the log-probability of each outcome, [pairs]; the caller disposes it
 * @throws RangeError for ν below 0, or ties at ν = 0; ShapeError for unlike lengths
 */
export function davidsonLoss(
  { chosen, rejected, ties }: { chosen: tf.Tensor1D; rejected: tf.Tensor1D; ties?: ArrayLike<number> },
  { nu = 1 }: { nu?: number } = {},
): tf.Tensor1D {
  if (!(nu >= 0 && Number.isFinite(nu))) throw new RangeError(`davidsonLoss: nu must be at least 0, got ${nu}`);
  checkPairs('davidsonLoss', { chosen, rejected });
  const tied = tieMask('davidsonLoss', chosen.shape[0], ties);
  if (nu === 0 && tied.includes(1)) throw new RangeError('davidsonLoss: with nu = 0 a tie has no probability');
  return tf.tidy(() => {
    const half = tf.mul(0.5, tf.sub(chosen, rejected)); // all three logits less their mean
    const logits = [half, tf.neg(half), ...(nu > 0 ? [tf.fill(half.shape, Math.log(nu))] : [])];
    const mask = tf.tensor1d(tied);
    const taken = tf.add(tf.mul(tf.sub(1, mask), half), tf.mul(mask, nu > 0 ? Math.log(nu) : 0));
    return tf.sub(logSumExp(tf.stack(logits), 0), taken) as tf.Tensor1D;
  });
}

const Options = z.strictObject({
  nu: z.number().min(0).default(1).describe('Weight of a tie between equals: 1 makes it as likely as either side'),
});
export const davidson = {
  kind: 'pairs',
  heads: 1,
  scope: 'item',
  options: Options,
  apply: ({ chosen, rejected, labels, weight }, options) => {
    const loss = davidsonLoss({ chosen, rejected, ties: labels }, options);
    return { loss: weight ? tf.mul(loss, weight) : loss };
  },
} satisfies PairRewardLoss<z.infer<typeof Options>>;
