import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkTokens, ratioOf } from './ratio.js';
import type { PolicyLoss, PolicyLossSpec, TokenLosses } from './types.js';

/**
 * REINFORCE: `−A·log π` per token, without a ratio. Williams 1992. With the right advantages it is RLOO, ReMax or GPG with one update a batch.
 * @returns [tokens] each, unreduced; nothing is ever clipped; the caller disposes them
 */
export function reinforceLoss(t: TokenLosses): PolicyLoss {
  checkTokens('reinforceLoss', t);
  return tf.tidy(() => {
    const loss: tf.Tensor1D = tf.neg(tf.mul(t.completionMask, tf.mul(t.advantages, t.logps)));
    return { loss, ratio: ratioOf(t), clipped: tf.zerosLike(t.logps) };
  });
}

export const reinforce = {
  aggregation: 'token-mean',
  options: z.strictObject({}),
  apply: (t) => reinforceLoss(t),
} satisfies PolicyLossSpec<object>;
