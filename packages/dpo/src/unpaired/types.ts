/** What losses on single completions with a thumb up or down take and give. */
import type * as tf from '@tensorflow/tfjs-core';
import type { z } from 'zod';

/** log π(completion | prompt) of each row, summed over its tokens, in nats, [rows]; `desirable` is 1 or 0. The reference's are constants. */
export type UnpairedInputs = {
  policy: tf.Tensor1D;
  reference: tf.Tensor1D;
  desirable: tf.Tensor1D;
  /** The same of completions that belong to other prompts of the batch, without gradient, [rows]: KTO's estimate of the KL. */
  mismatched?: { policy: tf.Tensor1D; reference: tf.Tensor1D };
  /** BCO's running mean of rewards. */
  shift?: number;
  /** Factor of each row's loss, [rows]. */
  weights?: tf.Tensor1D;
};
/** Unreduced, [rows]: the batch's loss is the mean over all rows. The caller disposes both. */
export type UnpairedLoss = { loss: tf.Tensor1D; rewards: tf.Tensor1D };

/** An unpaired loss as a trainer names it. */
export type UnpairedLossSpec<O> = {
  needs: readonly ('mismatched' | 'shift')[];
  options: z.ZodType<O>;
  apply(inputs: UnpairedInputs, options: O): UnpairedLoss;
};
