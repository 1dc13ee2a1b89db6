/** What policy losses take and give. All of a micro-batch's completion tokens lie on one [tokens] axis. */
import type { Rng } from '@plumbline/core';
import type * as tf from '@tensorflow/tfjs-core';
import type { z } from 'zod';
import type { Aggregation } from '../aggregate.js';

export type TokenLosses = {
  /** log π(token) now, in nats; gradients flow through these. */
  logps: tf.Tensor1D;
  /** The same when the tokens were sampled, from the training path; constants. */
  oldLogps: tf.Tensor1D;
  /** log π_ref(token), where there is a reference; constants. */
  refLogps?: tf.Tensor1D;
  /** log of what corrects for the sampler, summed over each sequence, [sequences], for losses that take it themselves; constants. */
  samplingLogRatio?: tf.Tensor1D;
  /** A sequence's value repeated on its tokens, unless the method gives one a token; constants. */
  advantages: tf.Tensor1D;
  /** 1 on tokens that count. */
  completionMask: tf.Tensor1D;
  /** Which sequence each token belongs to, int32, from 0 to `sequences` − 1. */
  seqIds: tf.Tensor1D;
  sequences: number;
};
/** Unreduced, [tokens]: `loss` and `clipped` (1 where the clip took the gradient away) are 0 where masked. The caller disposes them. */
export type PolicyLoss = { loss: tf.Tensor1D; ratio: tf.Tensor1D; clipped: tf.Tensor1D };

/**
 * A policy loss as a trainer names it: how its tokens are added up unless configuration says otherwise, and its options. `rng` is for losses that draw;
 * `correctsSampler` is for those that take the correction for the sampler (`samplingLogRatio`) themselves, which multiplies all others.
 */
export type PolicyLossSpec<O> = {
  aggregation: Aggregation;
  options: z.ZodType<O>;
  correctsSampler?: true;
  apply(tokens: TokenLosses, options: O, rng?: Rng): PolicyLoss;
};
