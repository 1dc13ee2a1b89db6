/** What actors and critics of continuous actions learn by. */
import { ShapeError, stopGradient } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';

/**
 * Log-density of a squashed Gaussian action `scale · tanh(u)`, u ~ N(μ, σ): `Σ ln N(u) − 2·(ln 2 − u − softplus(−2u)) − ln scale`, which stays finite where tanh saturates.
 * Haarnoja et al. 2018 (SAC), arXiv:1801.01290, appendix C.
 *
 * @param raw u, before tanh, with `mean` and `logStd` [rows, width]; gradients flow through all three
 * @returns nats, [rows]; the caller disposes it
 */
export function squashedGaussianLogp(
  { raw, mean, logStd }: { raw: tf.Tensor2D; mean: tf.Tensor2D; logStd: tf.Tensor2D },
  { scale = 1 }: { scale?: number } = {},
): tf.Tensor1D {
  if (raw.shape.join() !== mean.shape.join() || logStd.shape.join() !== mean.shape.join())
    throw new ShapeError(`squashedGaussianLogp: raw is [${raw.shape}], mean [${mean.shape}], logStd [${logStd.shape}]`);
  if (!(scale > 0)) throw new RangeError(`squashedGaussianLogp: scale must be > 0, got ${scale}`);
  return tf.tidy(() => {
    const squash = tf.mul(2, tf.sub(tf.sub(Math.LN2, raw), tf.softplus(tf.mul(-2, raw))));
    const density = tf.sub(gaussianElements(raw, mean, logStd), tf.add(squash, Math.log(scale)));
    return tf.sum(density, 1) as tf.Tensor1D;
  });
}

/** Log-density of a Gaussian action, summed over its width, [rows]: the policy of implicit Q-learning. The caller disposes it. */
export function gaussianLogp({ action, mean, logStd }: { action: tf.Tensor2D; mean: tf.Tensor2D; logStd: tf.Tensor }): tf.Tensor1D {
  return tf.tidy(() => tf.sum(gaussianElements(action, mean, logStd), 1) as tf.Tensor1D);
}

const gaussianElements = (x: tf.Tensor2D, mean: tf.Tensor2D, logStd: tf.Tensor): tf.Tensor =>
  tf.sub(tf.mul(-0.5, tf.square(tf.div(tf.sub(x, mean), tf.exp(logStd)))), tf.add(logStd, 0.5 * Math.log(2 * Math.PI)));

/**
 * What a critic should say: `r + γ·(1 − done)·(min_j Q_j(s', a') − α·log π(a'|s'))`, a constant. Haarnoja et al. 2018 (SAC), arXiv:1801.01290; with alpha 0, which needs no `nextLogp`, TD3's
 * (Fujimoto et al. 2018, arXiv:1802.09477).
 *
 * @param nextQ of the slowly moving critics, [rows] each
 * @returns [rows]; the caller disposes it
 */
export function softBellmanTarget(
  { rewards, done, nextQ, nextLogp }: { rewards: tf.Tensor1D; done: tf.Tensor1D; nextQ: readonly tf.Tensor1D[]; nextLogp?: tf.Tensor1D },
  { gamma = 0.99, alpha = 0 }: { gamma?: number; alpha?: number } = {},
): tf.Tensor1D {
  if (!(gamma >= 0 && gamma <= 1)) throw new RangeError(`softBellmanTarget: gamma must be in [0, 1], got ${gamma}`);
  if (alpha !== 0 && !nextLogp) throw new RangeError(`softBellmanTarget: alpha is ${alpha}, and there is no nextLogp`);
  if (nextQ.length === 0) throw new RangeError('softBellmanTarget: there are no critics');
  return tf.tidy(() => {
    const least = nextQ.reduce((a, b) => tf.minimum(a, b));
    const soft = nextLogp && alpha !== 0 ? tf.sub(least, tf.mul(alpha, nextLogp)) : least;
    return stopGradient(tf.add(rewards, tf.mul(tf.mul(gamma, tf.sub(1, done)), soft)) as tf.Tensor1D);
  });
}

/** SAC's policy loss per state, `α·log π(a|s) − min_j Q_j(s, a)`, with a drawn so that gradients flow through it, [rows]. Same paper as SAC. The caller disposes it. */
export function softPolicyLoss({ logp, q }: { logp: tf.Tensor1D; q: readonly tf.Tensor1D[] }, { alpha }: { alpha: number }): tf.Tensor1D {
  if (!(alpha >= 0)) throw new RangeError(`softPolicyLoss: alpha must be at least 0, got ${alpha}`);
  return tf.tidy(
    () =>
      tf.sub(
        tf.mul(alpha, logp),
        q.reduce((a, b) => tf.minimum(a, b)),
      ) as tf.Tensor1D,
  );
}

/**
 * What holds a policy's entropy at `−target`: `−α·(log π + target)` per state, where only `logAlpha` has a gradient. The target is minus the width of the actions unless a paper says otherwise.
 * Haarnoja et al. 2018, arXiv:1812.05905. [rows]; the caller disposes it.
 */
export function temperatureLoss(logAlpha: tf.Tensor, logp: tf.Tensor1D, target: number): tf.Tensor1D {
  return tf.tidy(() => tf.neg(tf.mul(tf.exp(logAlpha), tf.add(stopGradient(logp), target))) as tf.Tensor1D);
}
