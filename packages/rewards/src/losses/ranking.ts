/** Losses that know only an order, a sum, or that demonstrations are better. */
import { logSigmoid, logSumExp, ShapeError } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';

/**
 * CoSENT: similarities must rank as their labels do, `ln(1 + Σ_{y_i > y_j} exp(scale · (c_j − c_i)))` over the pairs of a batch. Su 2022 (kexue.fm/archives/8847), as sentence-transformers has it; for
 * retrieval of examples across languages arXiv:2412.08090. Only the order of labels matters, and only differences of similarities do; where no two labels differ it is 0.
 *
 * @param similarities cosines of pairs of texts, [pairs]; gradients flow through these
 * @param labels on the host, [pairs]
 * @param scale 20 unless given
 * @returns a scalar in nats: the pairs of a batch belong together, so that it cannot be split; the caller disposes it
 * @throws RangeError for a scale that is not above 0, or a label that is not finite; ShapeError for unlike lengths
 */
export function cosentLoss(similarities: tf.Tensor1D, labels: ArrayLike<number>, { scale = 20 } = {}): tf.Scalar {
  if (!(scale > 0)) throw new RangeError(`cosentLoss: scale must be > 0, got ${scale}`);
  if (similarities.size !== labels.length)
    throw new ShapeError(`cosentLoss: ${similarities.size} similarities and ${labels.length} labels`);
  const bad = Array.from(labels).findIndex((label) => !Number.isFinite(label));
  if (bad >= 0) throw new RangeError(`cosentLoss: label ${bad} is ${labels[bad]}`);
  const better: number[] = [];
  const worse: number[] = [];
  for (let i = 0; i < labels.length; i++)
    for (let j = 0; j < labels.length; j++)
      if (labels[i] > labels[j]) {
        better.push(i);
        worse.push(j);
      }
  if (better.length === 0) return tf.tidy(() => tf.mul(0, tf.sum(similarities)) as tf.Scalar);
  return tf.tidy(() => {
    const at = (places: number[]) => tf.gather(similarities, tf.tensor1d(places, 'int32'));
    const exponents = tf.mul(scale, tf.sub(at(worse), at(better)));
    return logSumExp(tf.concat([tf.zeros([1]), exponents]) as tf.Tensor1D, 0) as tf.Scalar;
  });
}

/**
 * Whether the contributions of an episode's turns add up to what it earned: `(Σ_turns c − R)²` of each trajectory. Wang et al. 2025 (SPA-RL), arXiv:2505.20732. It fixes the sums alone: that a turn's
 * share is its own comes from seeing many episodes.
 *
 * @param contributions [turns] over all trajectories; gradients flow through these
 * @param trajectoryIds which trajectory each turn belongs to, from 0, on the host; a trajectory without turns predicts 0
 * @param returns [trajectories], on the host
 * @returns [trajectories]; the caller disposes it
 * @throws ShapeError for unlike lengths; RangeError for an id that is none
 */
export function progressLoss(contributions: tf.Tensor1D, trajectoryIds: ArrayLike<number>, returns: ArrayLike<number>): tf.Tensor1D {
  if (contributions.size !== trajectoryIds.length)
    throw new ShapeError(`progressLoss: ${contributions.size} contributions and ${trajectoryIds.length} trajectory ids`);
  const bad = Array.from(trajectoryIds).findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < returns.length));
  if (bad >= 0) throw new RangeError(`progressLoss: turn ${bad} belongs to trajectory ${trajectoryIds[bad]}; there are ${returns.length}`);
  return tf.tidy(() => {
    const ids = tf.tensor1d(Int32Array.from(trajectoryIds), 'int32');
    const sums = tf.unsortedSegmentSum(contributions, ids, returns.length);
    return tf.square(tf.sub(sums, tf.tensor1d(Float32Array.from(returns)))) as tf.Tensor1D;
  });
}

/**
 * Reward from demonstrations: what was demonstrated above what the policy wrote for the same prompt. `logistic` (the default) is `−log σ(r_demo − r_own)`; `linear` is `−(r_demo − r_own)` plus
 * `l2 · (r_demo² + r_own²) / 2`, whose gradient is that of maximum-entropy inverse reinforcement learning up to 1 / β. arXiv:2503.18991.
 *
 * @param demonstrated, generated rewards of the pairs, [pairs]; gradients flow through both, the texts are constants
 * @param l2 of `linear`, 1e-3 unless given
 * @returns nats, or points, [pairs]; the caller disposes it
 */
export function demonstrationLoss(
  { demonstrated, generated }: { demonstrated: tf.Tensor1D; generated: tf.Tensor1D },
  { kind = 'logistic', l2 = 1e-3 }: { kind?: 'logistic' | 'linear'; l2?: number } = {},
): tf.Tensor1D {
  if (demonstrated.size !== generated.size)
    throw new ShapeError(`demonstrationLoss: ${demonstrated.size} demonstrated and ${generated.size} generated rewards`);
  if (!(l2 >= 0)) throw new RangeError(`demonstrationLoss: l2 must be at least 0, got ${l2}`);
  return tf.tidy(() => {
    const gap = tf.sub(demonstrated, generated) as tf.Tensor1D;
    if (kind === 'logistic') return tf.neg(logSigmoid(gap)) as tf.Tensor1D;
    return tf.add(tf.neg(gap), tf.mul(l2 / 2, tf.add(tf.square(demonstrated), tf.square(generated)))) as tf.Tensor1D;
  });
}
