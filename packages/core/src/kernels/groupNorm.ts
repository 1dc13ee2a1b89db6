import * as tf from '@tensorflow/tfjs-core';
import { defineKernel } from '../kernel.js';
import { expectShapes } from './check.js';

export type GroupNormAttrs = {
  /** How many groups the channels fall into; they must divide them. */
  groups: number;
  eps: number;
  /** SiLU, `z·σ(z)`, of the result; off unless given. */
  silu?: boolean;
};

/**
 * Group normalization of channels-last pictures or volumes: `z = (x − mean) / sqrt(var + eps) · weight + bias`, mean and variance over all
 * positions and the channels of a group, and with `silu` z·σ(z). Wu & He 2018, arXiv:1803.08494, eq. 1 and 7. `x` [batch, ..., channels],
 * `weight` and `bias` [channels]; the output is shaped as `x`.
 */
export const groupNorm = defineKernel<
  { x: tf.Tensor; weight: tf.Tensor; bias: tf.Tensor },
  GroupNormAttrs,
  { y: tf.Tensor },
  { mean: tf.Tensor; r: tf.Tensor }
>({
  name: 'GroupNorm',
  outputs: ['y'],
  residuals: ['mean', 'r'], // mean and 1 / sqrt(var + eps), each [batch, 1, groups, 1]
  saves: ['x', 'weight', 'bias', 'mean', 'r'],
  prepare: ({ x, weight, bias }, attrs) => {
    if (x.rank < 2) throw new RangeError(`groupNorm: x must be [batch, ..., channels], got [${x.shape}].`);
    const spatial = x.shape.slice(1, -1);
    expectShapes('groupNorm', { x: [x, ['batch', ...spatial, 'channels']], weight: [weight, ['channels']], bias: [bias, ['channels']] });
    const channels = x.shape[x.rank - 1];
    if (!(Number.isInteger(attrs.groups) && attrs.groups >= 1 && channels % attrs.groups === 0))
      throw new RangeError(`groupNorm: groups is ${attrs.groups}, which does not divide ${channels} channels.`);
    return attrs;
  },
  forward: ({ x, weight, bias }, { groups, eps, silu }) => {
    const blocks = inGroups(x, groups);
    const mean = tf.mean(blocks, [1, 3], true);
    const centred = tf.sub(blocks, mean);
    const r = tf.rsqrt(tf.add(tf.mean(tf.square(centred), [1, 3], true), eps));
    const z = tf.add(tf.mul(tf.reshape(tf.mul(centred, r), x.shape), weight), bias);
    return { y: silu ? tf.mul(z, tf.sigmoid(z)) : z, mean, r };
  },
  backward: ({ y: dy }, { x, weight, bias, mean, r }, { groups, silu }, needs) => {
    // n = (x − mean)·r, dz = dy·silu'(z), g = dz·weight:  dx = r·(g − mean(g) − n·mean(g·n)) over each group.
    const n = tf.reshape(tf.mul(tf.sub(inGroups(x, groups), mean), r), x.shape);
    let dz = dy!;
    if (silu) {
      const z = tf.add(tf.mul(n, weight), bias);
      const s = tf.sigmoid(z);
      dz = tf.mul(dz, tf.mul(s, tf.add(1, tf.mul(z, tf.sub(1, s)))));
    }
    const dx = () => {
      const [g, h] = [inGroups(tf.mul(dz, weight), groups), inGroups(n, groups)];
      const rest = tf.sub(tf.sub(g, tf.mean(g, [1, 3], true)), tf.mul(h, tf.mean(tf.mul(g, h), [1, 3], true)));
      return tf.reshape(tf.mul(r, rest), x.shape);
    };
    return {
      ...(needs.has('x') && { x: dx() }),
      ...(needs.has('weight') && { weight: tf.sum(tf.reshape(tf.mul(dz, n), [-1, weight.size]), 0) }),
      ...(needs.has('bias') && { bias: tf.sum(tf.reshape(dz, [-1, weight.size]), 0) }),
    };
  },
});

/** [batch, positions, groups, channels of a group] */
function inGroups(x: tf.Tensor, groups: number): tf.Tensor {
  const channels = x.shape[x.rank - 1];
  return tf.reshape(x, [x.shape[0], x.size / Math.max(1, x.shape[0] * channels), groups, channels / groups]);
}
