import { segmentSum, stopGradient } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { PairLossSpec } from './types.js';

/**
 * Nash mirror descent: `β·Σ_t sg(log π_t − log ref_t)·log π_t − (P − ½)·Σ_t log π_t` of the policy's sample, sg = no gradient.
 *
 * Munos et al. 2023, arXiv:2312.00886; TRL's Nash-MD trainer. P is the probability that the policy's sample beats the mixture's. The
 * value means nothing; the gradient is that of `β·KL(π ‖ ref) − P`.
 *
 * @param policy, reference log-probabilities of the policy's samples, packed, [tokens]; the reference's are constants
 * @param cuSeqlens cuts between samples, on the host, [samples + 1]
 * @param preference P, [samples]
 * @returns the loss of each sample, [samples]; the caller disposes it
 */
export function nashMdLoss(
  policy: tf.Tensor1D,
  reference: tf.Tensor1D,
  cuSeqlens: Int32Array,
  preference: tf.Tensor1D,
  { beta = 0.1 } = {},
): tf.Tensor1D {
  if (!(beta > 0)) throw new RangeError(`nashMdLoss: beta must be > 0, got ${beta}`);
  return tf.tidy(() => {
    const pull = tf.mul(tf.mul(beta, tf.sub(stopGradient(policy), reference)), policy);
    const kl = segmentSum({ x: pull as tf.Tensor1D }, { cuSeqlens }).y;
    const sums = segmentSum({ x: policy }, { cuSeqlens }).y;
    return tf.sub(kl, tf.mul(tf.sub(preference, 0.5), sums));
  });
}

/** The distribution that Nash-MD samples the opponent from: `softmax(m·z_ref + (1−m)·z_π)`, logits [..., vocabulary]. */
export function geometricMixture(policyLogits: tf.Tensor, referenceLogits: tf.Tensor, mixtureCoef = 0.5): tf.Tensor {
  if (!(mixtureCoef >= 0 && mixtureCoef <= 1)) throw new RangeError(`geometricMixture: mixtureCoef must be in [0, 1], got ${mixtureCoef}`);
  return tf.tidy(() => tf.softmax(tf.add(tf.mul(mixtureCoef, referenceLogits), tf.mul(1 - mixtureCoef, policyLogits))));
}

export type NashMdOptions = { beta: number };

/** As a trainer names it, on pairs of `opponentPairs` with the mixture as opponent: the chosen answer is the policy's, `preference` is P. */
export const nashMd = {
  needs: ['reference', 'tokens', 'preference'],
  scope: 'pair',
  options: z.strictObject({ beta: z.number().positive().default(0.1).describe('Pull towards the reference, per nat') }),
  apply: ({ policy, reference, tokens, preference }, { beta }) => {
    const own = tokens?.chosen;
    if (!own?.reference || !reference || !preference)
      throw new TypeError("nash_md: the reference's log-probabilities token by token, and how likely each answer is to win, are required");
    const { policy: logps, reference: refLogps, lengths } = own;
    return tf.tidy(() => {
      const cuSeqlens = new Int32Array(lengths.length + 1);
      lengths.forEach((length, i) => {
        cuSeqlens[i + 1] = cuSeqlens[i] + length;
      });
      return {
        loss: nashMdLoss(logps, refLogps!, cuSeqlens, preference, { beta }),
        chosenRewards: tf.mul(beta, tf.sub(policy.chosen, reference.chosen)) as tf.Tensor1D,
        rejectedRewards: tf.mul(beta, tf.sub(policy.rejected, reference.rejected)) as tf.Tensor1D,
      };
    });
  },
} satisfies PairLossSpec<NashMdOptions>;
