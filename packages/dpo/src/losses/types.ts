/** What pair losses take and give. Records are `type`s, since only a `type` is accepted by `tf.tidy` and `tf.dispose`. */
import type * as tf from '@tensorflow/tfjs-core';
import type { z } from 'zod';

/** log π(completion | prompt) of each pair, summed over the completion's tokens, in nats. Each has shape [pairs]. */
export type PairLogps = { chosen: tf.Tensor1D; rejected: tf.Tensor1D };
/** Unreduced, so that the trainer can weight pairs and split batches exactly. Each has shape [pairs]. */
export type PairLoss = { loss: tf.Tensor1D; chosenRewards: tf.Tensor1D; rejectedRewards: tf.Tensor1D };

/** Tokens of each completion (end token included), [pairs], at least 1; `prompt` only where a loss divides by it. */
export type PairLengths = { chosen: tf.Tensor1D; rejected: tf.Tensor1D; prompt?: tf.Tensor1D };
/** Rewards of the two completions, or their probabilities of beating the current policy, [pairs]; `preference` is P(chosen beats rejected). */
export type PairScores = { chosen: tf.Tensor1D; rejected: tf.Tensor1D; preference?: tf.Tensor1D };
/**
 * One side's log-probabilities token by token: all completions of the batch one after the other, [tokens]. `lengths` cuts them and
 * stays on the host. `squaredSum` is the log of Σ p² over the vocabulary.
 */
export type TokenLogps = { policy: tf.Tensor1D; reference?: tf.Tensor1D; squaredSum?: tf.Tensor1D; lengths: Int32Array };
export type PairTokenLogps = { chosen: TokenLogps; rejected: TokenLogps };

/**
 * Everything a pair loss may ask for. `nll` [pairs] is the negative log-likelihood of each chosen completion, scaled so that its mean over
 * the step's pairs is the mean over the step's chosen tokens: `−log π(chosen) · pairs / tokens`; `goldNll` is the same of a third, gold completion (TPO).
 */
export type PairInputs = {
  policy: PairLogps;
  reference?: PairLogps;
  lengths?: PairLengths;
  scores?: PairScores;
  tokens?: PairTokenLogps;
  nll?: tf.Tensor1D;
  goldNll?: tf.Tensor1D;
  /** P(chosen beats rejected), and 1 where the reference drew the chosen completion: of sampled pairs, [pairs]. */
  preference?: tf.Tensor1D;
  chosenByReference?: tf.Tensor1D;
};
export type PairNeed = 'reference' | 'lengths' | 'scores' | 'tokens' | 'squaredSum' | 'nll' | 'gold' | 'preference' | 'drawnBy';

/**
 * A pair loss as a trainer names it. `needs` says what has to be computed (no `'reference'`: no reference model is loaded). `scope` is
 * `'batch'` where the loss is not a sum over pairs. `divergences` says that it sees nothing but a difference of
 * log-ratios, so that `withDivergence` may replace them.
 */
export type PairLossSpec<O> = {
  needs: readonly PairNeed[];
  scope: 'pair' | 'batch';
  options: z.ZodType<O>;
  divergences?: boolean;
  apply(inputs: PairInputs, options: O): PairLoss;
};
