import { logSumExp, ShapeError } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';

/**
 * Plackett-Luce: minus the log-probability of a whole ranking, `-Σ_k (s_k - log Σ_{j ≥ k} exp s_j)` over `scores` [candidates], best first, in nats.
 * Plackett 1975, Luce 1959. Of two candidates it is the Bradley-Terry loss.
 *
 * @returns a scalar; the caller disposes it
 */
export function plackettLuceLoss(scores: tf.Tensor1D): tf.Scalar {
  const n = scores.shape[0];
  if (scores.rank !== 1 || n < 2)
    throw new ShapeError(`plackettLuceLoss: scores are [${scores.shape}]; a ranking needs at least two of [candidates]`);
  return tf.tidy(() => {
    const terms = Array.from({ length: n - 1 }, (_, k) => {
      const left = tf.slice(scores, k, n - k);
      return tf.sub(logSumExp(left, 0), tf.reshape(tf.slice(left, 0, 1), []));
    });
    return tf.addN(terms) as tf.Scalar;
  });
}
