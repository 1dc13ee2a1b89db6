import { ConfigError } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { optimalAdvantageLoss } from './offline.js';
import { checkTokens, onTokens, ratioOf, sequenceLengths, sequenceSums } from './ratio.js';
import type { PolicyLoss, PolicyLossSpec, TokenLosses } from './types.js';

/**
 * A*PO's regression, `(β₂·Σ_t(log π − log π_ref) − A)²` of each sequence with `A = r − V*`, a share of it on each of its tokens, so that their sum gives it back.
 * Brantley et al. 2025, arXiv:2505.20686; TRL's `a2po`. Nothing is ever clipped.
 *
 * @returns [tokens] each, unreduced; the caller disposes them
 * @throws ConfigError without `refLogps`
 */
export function a2poLoss(t: TokenLosses, { beta2 = 1e-3 }: { beta2?: number } = {}): PolicyLoss {
  checkTokens('a2poLoss', t);
  const { refLogps, completionMask } = t;
  if (!refLogps) throw new ConfigError('a2poLoss: the loss compares with a reference, and there is none');
  return tf.tidy(() => {
    const lengths = sequenceLengths(t);
    const ratios = sequenceSums(tf.mul(completionMask, tf.sub(t.logps, refLogps)), t);
    const advantages = tf.div(sequenceSums(tf.mul(completionMask, t.advantages), t), lengths) as tf.Tensor1D;
    const shares = tf.div(optimalAdvantageLoss(ratios, advantages, { beta2 }), lengths) as tf.Tensor1D;
    return { loss: tf.mul(completionMask, onTokens(shares, t)) as tf.Tensor1D, ratio: ratioOf(t), clipped: tf.zerosLike(t.logps) };
  });
}

export const a2po = {
  aggregation: 'seq-mean-token-sum',
  options: z.strictObject({ beta2: z.number().positive().default(1e-3).describe('Weight of the log-ratio to the reference') }),
  apply: (t, options) => a2poLoss(t, options),
} satisfies PolicyLossSpec<{ beta2?: number }>;
