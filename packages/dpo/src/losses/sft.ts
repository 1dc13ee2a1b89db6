import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { checkPairs } from './inputs.js';
import type { PairLengths, PairLogps, PairLoss, PairLossSpec } from './types.js';

export type SftOptions = { normalization: 'tokens' | 'sequence' | 'sum' | 'total' };

/**
 * Cross-entropy of the chosen completions, as a pair loss for mixtures.
 *
 * `normalization` says what the mean over pairs of the result is: `'tokens'` (TRL `sft`) one mean over all chosen tokens of the batch,
 * `'sequence'` the mean of each completion's token mean, `'sum'` the mean of each completion's sum, `'total'` the sum divided by prompt and
 * completion tokens together (Pang et al. 2024, arXiv:2404.19733). Best-of-two fine-tuning (`bo2`) is the same on fresh pairs.
 *
 * @param policy  log-probabilities summed over the completion, [pairs]
 * @param lengths completion tokens, [pairs]; with `prompt` for `'total'`
 * @returns the loss in nats and, as rewards, the log-probabilities themselves, each [pairs]; the caller disposes them
 */
export function sftLoss(policy: PairLogps, lengths: PairLengths, { normalization = 'tokens' }: Partial<SftOptions> = {}): PairLoss {
  checkPairs('sftLoss', { policy, lengths });
  if (normalization === 'total' && !lengths.prompt) throw new TypeError("sftLoss: normalization 'total' needs lengths.prompt");
  return tf.tidy(() => {
    const nll = tf.neg(policy.chosen);
    const loss = {
      tokens: () => tf.div(nll, tf.mean(lengths.chosen)),
      sequence: () => tf.div(nll, lengths.chosen),
      sum: () => nll,
      total: () => tf.div(nll, tf.add(lengths.chosen, lengths.prompt!)),
    }[normalization]() as tf.Tensor1D;
    return { loss, chosenRewards: tf.clone(policy.chosen), rejectedRewards: tf.clone(policy.rejected) };
  });
}

/** In a trainer the token mean is over the whole step, which only the trainer knows: it comes as `nll`. */
export const sft = {
  needs: ['nll', 'lengths'],
  scope: 'pair',
  options: z.strictObject({
    normalization: z.enum(['tokens', 'sequence', 'sum', 'total']).default('tokens').describe('What the loss is a mean of'),
  }),
  apply: ({ policy, lengths, nll }, options) => {
    if (options.normalization !== 'tokens') return sftLoss(policy, lengths!, options);
    return tf.tidy(() => ({ loss: tf.clone(nll!), chosenRewards: tf.clone(policy.chosen), rejectedRewards: tf.clone(policy.rejected) }));
  },
} satisfies PairLossSpec<SftOptions>;
