/** Losses of supervised fine-tuning, per token. */
import { ConfigError, stopGradient } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';

/**
 * Maximum likelihood: `−log π` of each token. Its mean over the tokens of the step is the objective.
 *
 * @param logps log π(token), nats, [tokens]
 * @returns nats, [tokens]; the caller disposes it
 */
export function nllLoss(logps: tf.Tensor1D): tf.Tensor1D {
  return tf.neg(logps);
}

/**
 * Dynamic fine-tuning: `−π·log π` of each token, the probability without gradient, so that unlikely tokens do not pull the harder. Wu et al. 2025, arXiv:2508.05629; TRL `loss_type='dft'`.
 * The gradient to a log-probability is `−π`, where that of maximum likelihood is −1.
 *
 * @param logps log π(token), nats, [tokens]; of several dimensions alike
 * @returns nats, [tokens]; the caller disposes it
 */
export function dftLoss(logps: tf.Tensor1D): tf.Tensor1D {
  return tf.tidy(() => tf.neg(tf.mul(tf.exp(stopGradient(logps)), logps)) as tf.Tensor1D);
}

/** Both under TRL's names. */
export const sftLosses = { nll: nllLoss, dft: dftLoss } as const;
export type SftLossName = keyof typeof sftLosses;

/** The loss of that name, for names that come from a file or a flag. @throws ConfigError listing the names there are */
export function sftTokenLoss(name: string): (logps: tf.Tensor1D) => tf.Tensor1D {
  if (!Object.hasOwn(sftLosses, name))
    throw new ConfigError(`there is no loss of supervised fine-tuning "${name}"; there are ${Object.keys(sftLosses).join(', ')}`);
  return sftLosses[name as SftLossName];
}
