import * as tf from '@tensorflow/tfjs-core';

/** How unreduced token losses become one number (verl's names; TRL's loss types in brackets). */
export type Aggregation =
  /** Sum / tokens of the step (dapo, cispo, vespo). */
  | 'token-mean'
  /** Mean over sequences of the mean over tokens (grpo, sapo). */
  | 'seq-mean-token-mean'
  /** Mean over sequences of the sum over tokens (luspo). */
  | 'seq-mean-token-sum'
  /** Sum / (sequences · maxCompletionLength) (dr_grpo). */
  | 'seq-mean-token-sum-norm'
  /** Mean over micro-batches of the sum / tokens of THIS micro-batch (bnpo): depends on the split; kept for parity. */
  | 'local-token-mean';

/** Numbers of the whole optimizer step, so that the split into micro-batches cannot matter. */
export type StepCounts = {
  /** Counting tokens of the step. */
  tokensInStep: number;
  /** Sequences of the step with at least one counting token. */
  sequencesInStep: number;
  /** Sequences of this micro-batch: `seqIds` go from 0 to one below. */
  sequences: number;
  maxCompletionLength?: number;
  /** Micro-batches of the step, 1 unless given; only `local-token-mean` reads it. */
  microBatches?: number;
};

/**
 * Adds up `x` [tokens]; summed over a step's micro-batches the result is the step's loss.
 *
 * A sequence without counting tokens adds nothing and is not in `sequencesInStep`; TRL's grpo keeps it in the denominator: count it there for parity.
 *
 * @param mask   1 on tokens that count; what `x` holds elsewhere does not matter as long as it is finite
 * @param seqIds sequence of each token, int32
 * @returns a scalar; the caller disposes it
 * @throws RangeError where nothing counts in the whole step, or maxCompletionLength is missing
 */
export function aggregate(x: tf.Tensor1D, mask: tf.Tensor1D, seqIds: tf.Tensor1D, how: Aggregation, counts: StepCounts): tf.Scalar {
  const { tokensInStep, sequencesInStep, sequences, maxCompletionLength, microBatches = 1 } = counts;
  if (!(tokensInStep > 0 && sequencesInStep > 0)) throw new RangeError('aggregate: no token of the step counts');
  return tf.tidy((): tf.Scalar => {
    const masked: tf.Tensor1D = tf.mul(x, mask);
    switch (how) {
      case 'token-mean':
        return tf.div(tf.sum(masked), tokensInStep);
      case 'seq-mean-token-mean': {
        const sums = tf.unsortedSegmentSum(masked, seqIds, sequences);
        const lengths = tf.clipByValue(tf.unsortedSegmentSum(mask, seqIds, sequences), 1, Number.MAX_VALUE);
        return tf.div(tf.sum(tf.div(sums, lengths)), sequencesInStep);
      }
      case 'seq-mean-token-sum':
        return tf.div(tf.sum(masked), sequencesInStep);
      case 'seq-mean-token-sum-norm':
        if (!(maxCompletionLength! > 0)) throw new RangeError(`aggregate: maxCompletionLength must be > 0, got ${maxCompletionLength}`);
        return tf.div(tf.sum(masked), sequencesInStep * maxCompletionLength!);
      case 'local-token-mean':
        return tf.div(tf.sum(masked), tf.mul(microBatches, tf.clipByValue(tf.sum(mask), 1, Number.MAX_VALUE)));
      default:
        return how satisfies never;
    }
  });
}
