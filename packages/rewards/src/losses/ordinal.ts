import { logSigmoid, ShapeError } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { ascendingThresholds, rawThresholds, symmetricThresholds } from './thresholds.js';
import type { PairRewardLoss, TargetRewardLoss } from './types.js';

/**
 * Cumulative link (proportional odds): `P(label ≤ k) = σ(threshold_k - score)`, and the loss is `-log P(label)`, in nats. McCullagh 1980.
 *
 * `score` [items], `thresholds` [grades - 1] ascending, `labels` [items] on the host in 0 … grades - 1. Written as
 * `log σ(u - s) + log σ(s - l) + log(1 - exp(l - u))` for the interval (l, u) of the label, it is finite where the difference of two σ underflows.
 *
 * @returns [items]; the caller disposes it
 * @throws RangeError naming the label that is none; ShapeError for unlike lengths
 */
export function cumulativeLinkLoss({
  score,
  labels,
  thresholds,
}: {
  score: tf.Tensor1D;
  labels: ArrayLike<number>;
  thresholds: tf.Tensor1D;
}): tf.Tensor1D {
  const [n, cuts] = [score.shape[0], thresholds.shape[0]];
  if (score.rank !== 1 || n !== labels.length)
    throw new ShapeError(`cumulativeLinkLoss: score is [${score.shape}] and there are ${labels.length} labels; both must be of [items]`);
  if (n === 0) throw new ShapeError('cumulativeLinkLoss: the batch is empty');
  for (let i = 0; i < n; i++)
    if (!(Number.isInteger(labels[i]) && labels[i] >= 0 && labels[i] <= cuts))
      throw new RangeError(`cumulativeLinkLoss: label ${i} is ${labels[i]}, not a whole number from 0 to ${cuts}`);
  return tf.tidy(() => {
    const pick = (cut: (label: number) => number) => {
      const chosen = new Float32Array(n * cuts);
      const has = new Float32Array(n);
      for (let i = 0; i < n; i++) {
        const k = cut(labels[i]);
        if (k < 0 || k >= cuts) continue;
        chosen[i * cuts + k] = 1;
        has[i] = 1;
      }
      const value = tf.reshape(tf.matMul(tf.tensor2d(chosen, [n, cuts]), tf.reshape(thresholds, [cuts, 1]) as tf.Tensor2D), [n]);
      return { value, has: tf.tensor1d(has) };
    };
    const [upper, lower] = [pick((label) => label), pick((label) => label - 1)];
    const below = tf.mul(upper.has, logSigmoid(tf.sub(upper.value, score)));
    const above = tf.mul(lower.has, logSigmoid(tf.sub(score, lower.value)));
    const both = tf.mul(upper.has, lower.has);
    const gap = tf.add(tf.mul(both, tf.sub(upper.value, lower.value)), tf.sub(1, both)); // 1 where there is one side alone
    const width = tf.mul(both, tf.log(tf.neg(tf.expm1(tf.neg(gap)))));
    return tf.neg(tf.add(tf.add(below, above), width)) as tf.Tensor1D;
  });
}

/** Probabilities of the grades, [grades], of one score; their mean grade is `Σ k p_k`. Plain numbers. */
export function gradeProbabilities(score: number, thresholds: readonly number[]): number[] {
  const cumulative = [...thresholds.map((threshold) => 1 / (1 + Math.exp(score - threshold))), 1];
  return cumulative.map((p, k) => p - (k === 0 ? 0 : cumulative[k - 1]));
}

/**
 * Ordinal strength of a preference ("much worse" to "much better"): the cumulative link of `chosen - rejected`, with thresholds symmetric about 0, so
 * that swapping the sides mirrors the grades.
 */
export function pairwiseOrdinalLoss({
  chosen,
  rejected,
  labels,
  thresholds,
}: {
  chosen: tf.Tensor1D;
  rejected: tf.Tensor1D;
  labels: ArrayLike<number>;
  thresholds: tf.Tensor1D;
}): tf.Tensor1D {
  return tf.tidy(() => cumulativeLinkLoss({ score: tf.sub(chosen, rejected), labels, thresholds }));
}

const Grades = z.strictObject({ grades: z.int().min(2).default(5).describe('How many grades there are; labels run from 0 to grades - 1') });
type Grades = z.infer<typeof Grades>;

/** Thresholds are learned; they start one apart around 0. */
export const ordinal = {
  kind: 'targets',
  heads: 1,
  scope: 'item',
  options: Grades,
  size: ({ targets, weights }) => (weights ? weights.reduce((a, b) => a + b, 0) : targets.length),
  parameters: ({ grades }) => ({
    thresholds: { shape: [grades - 1], data: rawThresholds(Array.from({ length: grades - 1 }, (_, k) => k - (grades - 2) / 2)) },
  }),
  apply: ({ outputs, targets, weights }, _, { thresholds }) => {
    const score = tf.reshape(outputs, [-1]) as tf.Tensor1D;
    const loss = cumulativeLinkLoss({ score, labels: targets, thresholds: ascendingThresholds(thresholds as tf.Tensor1D) });
    return { loss: weights ? tf.mul(loss, tf.tensor1d(weights)) : loss };
  },
} satisfies TargetRewardLoss<Grades>;

export const pairwiseOrdinal = {
  kind: 'pairs',
  heads: 1,
  scope: 'item',
  needs: ['labels'],
  options: Grades,
  parameters: ({ grades }) => ({
    thresholds: { shape: [Math.floor((grades - 1) / 2)], data: new Float32Array(Math.floor((grades - 1) / 2)).fill(Math.log(Math.E - 1)) },
  }),
  apply: ({ chosen, rejected, labels, weight }, { grades }, { thresholds }) => {
    const cuts = grades > 2 ? symmetricThresholds(thresholds as tf.Tensor1D, grades - 1) : tf.zeros([1]);
    const loss = pairwiseOrdinalLoss({ chosen, rejected, labels: labels!, thresholds: cuts as tf.Tensor1D });
    return { loss: weight ? tf.mul(loss, weight) : loss };
  },
} satisfies PairRewardLoss<Grades>;
