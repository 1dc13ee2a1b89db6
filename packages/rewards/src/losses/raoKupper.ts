import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs, tieMask } from './check.js';
import type { PairRewardLoss } from './types.js';

/**
 * Preferences with ties: `P(chosen) = e^c / (e^c + θ e^r)`, `P(tie) = (θ² - 1) P(chosen) P(rejected)`, in nats. Rao & Kupper 1967. θ = 1 is Bradley-Terry,
 * under which there are no ties.
 *
 * @param ties 1 where the pair is a tie, [pairs] on the host; none by default
 * @returns minus the log-probability of each outcome, [pairs]; the caller disposes it
 * @throws RangeError for θ below 1, or ties at θ = 1; ShapeError for unlike lengths
 */
export function raoKupperLoss(
  { chosen, rejected, ties }: { chosen: tf.Tensor1D; rejected: tf.Tensor1D; ties?: ArrayLike<number> },
  { theta = 1.5 }: { theta?: number } = {},
): tf.Tensor1D {
  if (!(theta >= 1 && Number.isFinite(theta))) throw new RangeError(`raoKupperLoss: theta must be at least 1, got ${theta}`);
  checkPairs('raoKupperLoss', { chosen, rejected });
  const tied = tieMask('raoKupperLoss', chosen.shape[0], ties);
  if (theta === 1 && tied.includes(1)) throw new RangeError('raoKupperLoss: with theta = 1 a tie has no probability');
  return tf.tidy(() => {
    const d = tf.sub(chosen, rejected);
    const won = logSigmoid(tf.sub(d, Math.log(theta)));
    const lost = logSigmoid(tf.sub(tf.neg(d), Math.log(theta)));
    const tie = tf.add(lost, theta === 1 ? 0 : Math.log(theta * theta - 1)); // times P(chosen), which both outcomes have
    return tf.neg(tf.add(won, tf.mul(tf.tensor1d(tied), tie))) as tf.Tensor1D;
  });
}

const Options = z.strictObject({ theta: z.number().min(1).default(1.5).describe('Above 1: how wide the band of ties is') });
export const raoKupper = {
  kind: 'pairs',
  heads: 1,
  scope: 'item',
  options: Options,
  apply: ({ chosen, rejected, labels, weight }, options) => {
    const loss = raoKupperLoss({ chosen, rejected, ties: labels }, options);
    return { loss: weight ? tf.mul(loss, weight) : loss };
  },
} satisfies PairRewardLoss<z.infer<typeof Options>>;
