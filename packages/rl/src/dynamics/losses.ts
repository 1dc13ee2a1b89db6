/** What a probabilistic model of the world learns by, and how much its members disagree. */
import { ShapeError, stopGradient } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';

/**
 * Gaussian negative log-likelihood without its constants, the mean over dimensions of `(μ − y)² · exp(−ln σ²) + ln σ²`. Chua et al. 2018, arXiv:1805.12114; as in MOPO (arXiv:2005.13239).
 *
 * @param inputs each [rows, width]; gradients flow through `mean` and `logVar`
 * @returns [rows]; the caller disposes it
 */
export function gaussianNll({ mean, logVar, target }: { mean: tf.Tensor2D; logVar: tf.Tensor2D; target: tf.Tensor2D }): tf.Tensor1D {
  if (mean.shape.join() !== target.shape.join() || logVar.shape.join() !== target.shape.join())
    throw new ShapeError(`gaussianNll: mean is [${mean.shape}], logVar [${logVar.shape}], target [${target.shape}]`);
  return tf.tidy(
    () => tf.mean(tf.add(tf.mul(tf.square(tf.sub(mean, stopGradient(target))), tf.exp(tf.neg(logVar))), logVar), 1) as tf.Tensor1D,
  );
}

/** Keeps log-variances between two learned bounds [width], smoothly: `max − softplus(max − x)`, then `min + softplus(x − min)`. Same papers. The caller disposes it. */
export function boundedLogVar(logVar: tf.Tensor2D, { min, max }: { min: tf.Tensor1D; max: tf.Tensor1D }): tf.Tensor2D {
  return tf.tidy(() => {
    const above = tf.sub(max, tf.softplus(tf.sub(max, logVar)));
    return tf.add(min, tf.softplus(tf.sub(above, min))) as tf.Tensor2D;
  });
}

/** What draws the bounds together, `weight · (Σ max − Σ min)`, with a weight of 0.01. Same papers. The caller disposes it. */
export function logVarBound({ min, max }: { min: tf.Tensor1D; max: tf.Tensor1D }, { weight = 0.01 } = {}): tf.Scalar {
  return tf.tidy(() => tf.mul(weight, tf.sub(tf.sum(max), tf.sum(min))) as tf.Scalar);
}

export type Uncertainty = 'aleatoric' | 'pairwise' | 'ensembleStd';

/**
 * How unsure an ensemble is of each row: `aleatoric` the largest member's |σ| (MOPO's penalty); `pairwise` the largest distance of a member's mean from their mean; `ensembleStd` √ of the mean over
 * dimensions of the variance of the members' means. Yu et al. 2020, arXiv:2005.13239; as in MOREC, arXiv:2310.05422.
 *
 * @param means, deviations of each member, [members][rows · width]
 * @returns [rows]
 */
export function ensembleUncertainty(
  kind: Uncertainty,
  { means, deviations, width }: { means: readonly Float32Array[]; deviations: readonly Float32Array[]; width: number },
): Float64Array {
  const members = means.length;
  if (members === 0 || means[0].length % width !== 0)
    throw new RangeError(`ensembleUncertainty: ${members} members with ${means[0]?.length ?? 0} numbers in rows of ${width}`);
  return Float64Array.from({ length: means[0].length / width }, (_, row) => {
    const own = (values: readonly Float32Array[]) => values.map((member) => member.subarray(row * width, (row + 1) * width));
    const average = Array.from({ length: width }, (_, k) => own(means).reduce((sum, member) => sum + member[k], 0) / members);
    const away = own(means).map((member) => Array.from(member, (value, k) => value - average[k]));
    switch (kind) {
      case 'aleatoric':
        return Math.max(...own(deviations).map((member) => Math.hypot(...member)));
      case 'pairwise':
        return Math.max(...away.map((difference) => Math.hypot(...difference)));
      case 'ensembleStd':
        return Math.sqrt(away.reduce((sum, difference) => sum + difference.reduce((s, d) => s + d * d, 0), 0) / (members * width));
      default:
        throw new RangeError(`ensembleUncertainty: there is no "${kind satisfies never}"; there are aleatoric, pairwise, ensembleStd`);
    }
  });
}

/**
 * The reward of a transition from what M discriminators say of it: each logit between its mean on generated and on real transitions becomes −1 to 1, D is the mean of their sigmoids, and the reward
 * `−ln(1 − D + 1e-9)`, from 0.313 to 1.313. Luo et al. 2024 (MOREC), arXiv:2310.05422, and its code: the mean comes first, then the logarithm.
 *
 * @param logits  [discriminators][transitions]
 * @param expert  each discriminator's mean logit on real transitions, and `learner` on generated ones; expert above learner
 */
export function dynamicsRewardFromLogits(
  logits: readonly ArrayLike<number>[],
  expert: ArrayLike<number>,
  learner: ArrayLike<number>,
): Float64Array {
  if (logits.length === 0) throw new RangeError('dynamicsRewardFromLogits: there are no discriminators');
  for (let m = 0; m < logits.length; m++)
    if (!(expert[m] > learner[m]))
      throw new RangeError(
        `dynamicsRewardFromLogits: discriminator ${m} gives real transitions ${expert[m]} and generated ones ${learner[m]}; it tells nothing apart`,
      );
  return Float64Array.from({ length: logits[0].length }, (_, i) => {
    const total = logits.reduce((sum, own, m) => {
      const z = Math.min(expert[m], Math.max(learner[m], own[i]));
      return sum + 1 / (1 + Math.exp(1 - (2 * (z - learner[m])) / (expert[m] - learner[m] + 1e-7)));
    }, 0);
    return -Math.log(1 - total / logits.length + 1e-9);
  });
}
