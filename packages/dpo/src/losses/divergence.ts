import { ConfigError, logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { logRatios } from './inputs.js';
import type { PairLossSpec } from './types.js';

/** An f-divergence by TRL's name, as `withDivergence` takes it. */
export const Divergence = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('reverse_kl') }),
  z.strictObject({ type: z.literal('forward_kl') }),
  z.strictObject({ type: z.literal('js_divergence') }),
  z.strictObject({ type: z.literal('alpha_divergence'), coef: z.number().default(0.5).describe('α; 1 is reverse KL, 0 forward KL') }),
]);
export type Divergence = z.input<typeof Divergence>;

const largestExponent = 80; // e^80 is the last round number that float32 holds with room for the arithmetic after it

/**
 * The score f(u) that takes a log-ratio's place under an f-divergence: reverse KL `u`, forward KL `1 − e^−u`, Jensen-Shannon
 * `ln 2 + log σ(u)`, α-divergence `(e^((α−1)u) − 1)/(α−1)` (reverse KL within 1e-6 of α = 1).
 *
 * Wang et al. 2023 (f-DPO), arXiv:2309.16240; TRL `f_divergence_type`. The constants are TRL's: they cancel in a difference of scores
 * but not once each score is divided by a length. Exponents stop at 80, with no gradient above; TRL stops only those of the α-divergence.
 *
 * @param ratio log π − log π_ref, any shape
 * @returns the score, shaped as `ratio`; the caller disposes it
 */
export function divergenceScore<T extends tf.Tensor>(ratio: T, divergence: Divergence): T {
  const capped = (x: tf.Tensor) => tf.exp(tf.clipByValue(x, -Number.MAX_VALUE, largestExponent));
  return tf.tidy(() => {
    switch (divergence.type) {
      case 'reverse_kl':
        return tf.clone(ratio);
      case 'forward_kl':
        return tf.sub(1, capped(tf.neg(ratio))) as T;
      case 'js_divergence':
        return tf.add(Math.LN2, logSigmoid(ratio)) as T;
      case 'alpha_divergence': {
        const power = (divergence.coef ?? 0.5) - 1;
        return Math.abs(power) < 1e-6 ? tf.clone(ratio) : (tf.div(tf.sub(capped(tf.mul(power, ratio)), 1), power) as T);
      }
      default:
        return divergence satisfies never;
    }
  });
}

/**
 * `loss` under an f-divergence other than the reverse KL: its log-ratios become `divergenceScore`s. Rewards stay `β·Δ`, as in TRL.
 * @throws ConfigError for a loss that sees more than a difference of log-ratios (nca_pair, bco_pair, sppo_hard, aot, apo, ...)
 */
export function withDivergence<O>(loss: PairLossSpec<O>, divergence: Divergence): PairLossSpec<O> {
  if (!loss.divergences)
    throw new ConfigError(
      'withDivergence: f-divergences are defined for sigmoid, sigmoid_norm, hinge, ipo, exo_pair, robust and discopop only',
    );
  return {
    ...loss,
    apply: (inputs, options) =>
      tf.tidy(() => {
        const ratios = logRatios('withDivergence', inputs.policy, inputs.reference);
        const policy = { chosen: divergenceScore(ratios.chosen, divergence), rejected: divergenceScore(ratios.rejected, divergence) };
        const reference = { chosen: tf.zerosLike(policy.chosen), rejected: tf.zerosLike(policy.rejected) };
        const { chosenRewards, rejectedRewards } = loss.apply(inputs, options);
        return { loss: loss.apply({ ...inputs, policy, reference }, options).loss, chosenRewards, rejectedRewards };
      }),
  };
}
