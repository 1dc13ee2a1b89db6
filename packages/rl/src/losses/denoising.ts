/** Policies that denoise: each step of a chain is an action, drawn from a Gaussian whose density is known. */
import { ShapeError, stopGradient } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { type ClippedOptions, clippedPolicyLoss } from './clipped.js';
import type { PolicyLoss } from './types.js';

/**
 * Log-density of Gaussian steps, `−(x − μ)² / 2σ² − ln σ − ½ ln 2π`, over each row's elements.
 *
 * A clip range or a penalty means something only together with `reduction`: DDPO takes the `mean` over elements, planners and controllers the `sum` (the default).
 *
 * @param sample what was drawn, a constant, and `mean` [rows, elements]; gradients flow through `mean`
 * @param std of each row, [rows]
 * @returns nats, [rows]; the caller disposes it
 * @throws RangeError for a std that is not above 0: a deterministic step has no density
 */
export function gaussianStepLogp(
  { sample, mean, std }: { sample: tf.Tensor2D; mean: tf.Tensor2D; std: ArrayLike<number> },
  { reduction = 'sum' }: { reduction?: 'sum' | 'mean' } = {},
): tf.Tensor1D {
  if (sample.shape.join() !== mean.shape.join() || std.length !== mean.shape[0])
    throw new ShapeError(`gaussianStepLogp: sample is [${sample.shape}], mean [${mean.shape}] and std [${std.length}]`);
  const flat = Array.from(std).findIndex((value) => !(value > 0));
  if (flat >= 0)
    throw new RangeError(`gaussianStepLogp: row ${flat} has a std of ${std[flat]}; a deterministic step has no log-probability`);
  return tf.tidy(() => {
    const scale = tf.tensor2d(Array.from(std), [std.length, 1]);
    const z = tf.div(tf.sub(stopGradient(sample), mean), scale);
    const logp = tf.sub(tf.mul(-0.5, tf.square(z)), tf.add(tf.log(scale), 0.5 * Math.log(2 * Math.PI)));
    return (reduction === 'sum' ? tf.sum(logp, 1) : tf.mean(logp, 1)) as tf.Tensor1D;
  });
}

/**
 * The clipped policy loss over the steps of denoising chains. A chain's reward comes at its end, so that every step has its advantage A; steps that are farther from the end count less,
 * `A_t = gammaDenoise^t · A` with t the number of steps that are still to come.
 *
 * Black et al. 2023 (DDPO), arXiv:2305.13301, at gammaDenoise 1; with the discount as Ren et al. 2024 (DPPO), arXiv:2409.00588, and IRL-VLA (arXiv:2508.06571) have it. Unlike tokens the two steps of one
 * chain have clips of their own and are averaged over chains and steps.
 *
 * @param logps, oldLogps log-densities now and when drawn, [chains, steps], the noisiest first; gradients flow through `logps`
 * @param advantages [chains], constants
 * @returns [chains · steps] each, chain by chain; the caller disposes them
 * @throws RangeError for gammaDenoise outside (0, 1], or shapes that differ
 */
export function denoisingPolicyLoss(
  { logps, oldLogps, advantages }: { logps: tf.Tensor2D; oldLogps: tf.Tensor2D; advantages: tf.Tensor1D },
  { gammaDenoise = 0.99, ...clip }: { gammaDenoise?: number } & Pick<ClippedOptions, 'epsilon' | 'epsilonHigh'> = {},
): PolicyLoss {
  const [chains, steps] = logps.shape;
  if (!(gammaDenoise > 0 && gammaDenoise <= 1))
    throw new RangeError(`denoisingPolicyLoss: gammaDenoise must be in (0, 1], got ${gammaDenoise}`);
  if (oldLogps.shape.join() !== logps.shape.join() || advantages.size !== chains)
    throw new ShapeError(
      `denoisingPolicyLoss: logps is [${logps.shape}], oldLogps [${oldLogps.shape}] and advantages [${advantages.shape}]`,
    );
  return tf.tidy(() => {
    const discounts = tf.tensor2d(
      Float32Array.from({ length: steps }, (_, i) => gammaDenoise ** (steps - 1 - i)),
      [1, steps],
    );
    const flat = (x: tf.Tensor) => tf.reshape(x, [chains * steps]) as tf.Tensor1D;
    return clippedPolicyLoss(
      {
        logps: flat(logps),
        oldLogps: flat(oldLogps),
        advantages: flat(tf.mul(tf.reshape(advantages, [chains, 1]), discounts)),
        completionMask: tf.ones([chains * steps]),
        seqIds: tf.tensor1d(
          Int32Array.from({ length: chains * steps }, (_, i) => Math.floor(i / steps)),
          'int32',
        ),
        sequences: chains,
      },
      clip,
    );
  });
}
