import { ShapeError, stopGradient } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import type { TokenLosses } from './types.js';

/**
 * Over what the importance ratio is formed: each `token`; the whole `sequence`, as the exponential of its mean log-ratio (GSPO);
 * `sequence_token`, with that value but a gradient per token (GSPO-token); `sequence_sum`, the exponential of the sum (TRL's RLOO), where length matters.
 */
export type RatioLevel = 'token' | 'sequence' | 'sequence_token' | 'sequence_sum';

/** `log π − log π_old`, 0 where masked, [tokens]. The caller tidies. */
export function logRatio({ logps, oldLogps, completionMask }: TokenLosses): tf.Tensor1D {
  return tf.mul(completionMask, tf.sub(logps, oldLogps));
}

/** Sums over each sequence's tokens, [sequences]. */
export function sequenceSums(x: tf.Tensor1D, { seqIds, sequences }: Pick<TokenLosses, 'seqIds' | 'sequences'>): tf.Tensor1D {
  return tf.unsortedSegmentSum(x, seqIds, sequences) as tf.Tensor1D;
}

/** Counting tokens of each sequence, at least 1, [sequences]. */
export function sequenceLengths(t: TokenLosses): tf.Tensor1D {
  return tf.clipByValue(sequenceSums(t.completionMask, t), 1, Number.MAX_VALUE);
}

/** A value of each sequence on each of its tokens, [tokens]. */
export function onTokens(perSequence: tf.Tensor1D, { seqIds }: Pick<TokenLosses, 'seqIds'>): tf.Tensor1D {
  return tf.gather(perSequence, seqIds);
}

/** The ratio π/π_old at the given level, on every token. Group sequence policy optimization: Zheng et al. 2025, arXiv:2507.18071. */
export function ratioOf(t: TokenLosses, level: RatioLevel = 'token'): tf.Tensor1D {
  return tf.tidy(() => {
    const log = logRatio(t);
    switch (level) {
      case 'token':
        return tf.exp(log);
      case 'sequence':
        return onTokens(tf.exp(tf.div(sequenceSums(log, t), sequenceLengths(t)) as tf.Tensor1D), t);
      case 'sequence_token': {
        const mean = stopGradient(onTokens(tf.div(sequenceSums(log, t), sequenceLengths(t)) as tf.Tensor1D, t));
        return tf.exp(tf.add(mean, tf.sub(t.logps, stopGradient(t.logps)))) as tf.Tensor1D;
      }
      case 'sequence_sum':
        return onTokens(tf.exp(sequenceSums(log, t)), t);
      default:
        return level satisfies never;
    }
  });
}

/** @throws ShapeError naming both fields where one is not as long as `logps` */
export function checkTokens(loss: string, t: TokenLosses): void {
  for (const name of ['oldLogps', 'advantages', 'completionMask', 'seqIds'] as const)
    if (t[name].shape.length !== 1 || t[name].size !== t.logps.size)
      throw new ShapeError(`${loss}: logps is [${t.logps.shape}] and ${name} is [${t[name].shape}]; both must be [tokens]`);
}

/** @throws RangeError if `value` is not in (0, 1), or with `max` in (0, max) */
export function checkRange(loss: string, name: string, value: number, max = 1): void {
  if (!(value > 0 && value < max)) throw new RangeError(`${loss}: ${name} must be in (0, ${max}), got ${value}`);
}
