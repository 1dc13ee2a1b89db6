import { logSumExp, ShapeError } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { bradleyTerryLoss } from './bradleyTerry.js';

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

/**
 * The mean Bradley-Terry loss over all pairs of a ranking, `scores` [candidates], best first, in nats: Ouyang et al. 2022, arXiv:2203.02155, eq. 1. The pairs of one prompt
 * belong in one batch; `rewardBatches` of groups gives the same from one forward of each candidate.
 *
 * @returns a scalar; the caller disposes it
 */
export function listwisePairsLoss(scores: tf.Tensor1D): tf.Scalar {
  const n = scores.shape[0];
  if (scores.rank !== 1 || n < 2)
    throw new ShapeError(`listwisePairsLoss: scores are [${scores.shape}]; a ranking needs at least two of [candidates]`);
  return tf.tidy(() => {
    const rows = Array.from({ length: n }, (_, i) => tf.slice(scores, i, 1) as tf.Tensor1D);
    const pairs = rows.flatMap((chosen, i) => rows.slice(i + 1).map((rejected) => ({ chosen, rejected })));
    const { loss } = bradleyTerryLoss({
      chosen: tf.concat1d(pairs.map(({ chosen }) => chosen)),
      rejected: tf.concat1d(pairs.map(({ rejected }) => rejected)),
    });
    return tf.mean(loss) as tf.Scalar;
  });
}
