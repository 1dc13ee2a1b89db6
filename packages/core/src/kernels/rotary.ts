import * as tf from '@tensorflow/tfjs-core';
import { ShapeError } from '../errors.js';
import { defineKernel } from '../kernel.js';
import { expectShapes } from './check.js';

export type RotaryAttrs = {
  /** The position of each token in its sequence. */
  positions: Int32Array;
  /** Radians a position, [headDim / 2]. */
  inverseFrequencies: Float32Array;
  /** Multiplies sine and cosine (YaRN's attention factor); 1 if left out. */
  scale?: number;
};

/**
 * Rotary position embedding: each pair (x[i], x[i + headDim / 2]) is turned by `position · inverseFrequencies[i]`.
 * Su et al. 2021, arXiv:2104.09864, eq. 34; halves are paired as Hugging Face's Llama does, not neighbours as in the paper.
 * `x` [tokens, heads, headDim]; the output is shaped as `x`. Its backward pass is the opposite turn and saves nothing.
 */
export const rotary = defineKernel<{ x: tf.Tensor3D }, RotaryAttrs, { y: tf.Tensor3D }>({
  name: 'Rotary',
  outputs: ['y'],
  saves: [],
  prepare: ({ x }, attrs) => {
    expectShapes('rotary', { x: [x, ['tokens', 'heads', 'headDim']] });
    const [tokens, , headDim] = x.shape;
    if (attrs.positions.length !== tokens) throw new ShapeError(`rotary: ${attrs.positions.length} positions for ${tokens} tokens.`);
    if (attrs.inverseFrequencies.length * 2 !== headDim)
      throw new ShapeError(
        `rotary: ${attrs.inverseFrequencies.length} inverseFrequencies for a headDim of ${headDim}, which needs half as many.`,
      );
    return attrs;
  },
  forward: ({ x }, attrs) => ({ y: turn(x, attrs, 1) }),
  backward: ({ y: dy }, _saved, attrs) => ({ x: turn(dy!, attrs, -1) }),
});

function turn(x: tf.Tensor3D, attrs: RotaryAttrs, direction: 1 | -1): tf.Tensor3D {
  const [tokens, , headDim] = x.shape;
  const half = headDim / 2;
  const tables = rotaryTables(attrs);
  const cos = tf.tensor3d(tables.cos.slice(), [tokens, 1, half]);
  const sin = tf.tensor3d(direction === 1 ? tables.sin.slice() : tables.sin.map((s) => -s), [tokens, 1, half]);
  const [a, b] = tf.split(x, 2, 2);
  return tf.concat([tf.sub(tf.mul(a, cos), tf.mul(b, sin)), tf.add(tf.mul(b, cos), tf.mul(a, sin))], 2);
}

type Tables = { inverseFrequencies: Float32Array; scale: number; cos: Float32Array; sin: Float32Array };
const cache = new WeakMap<Int32Array, Tables>();

/** Cosines and sines [tokens, headDim / 2]. All layers of a batch share them: kept for as long as `positions` lives. */
export function rotaryTables({ positions, inverseFrequencies, scale = 1 }: RotaryAttrs): { cos: Float32Array; sin: Float32Array } {
  const known = cache.get(positions);
  if (known && known.inverseFrequencies === inverseFrequencies && known.scale === scale) return known;
  const half = inverseFrequencies.length;
  const cos = new Float32Array(positions.length * half);
  const sin = new Float32Array(positions.length * half);
  for (let t = 0; t < positions.length; t++)
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(positions[t] * inverseFrequencies[i]); // rounded as the references round it
      cos[t * half + i] = scale * Math.cos(angle);
      sin[t * half + i] = scale * Math.sin(angle);
    }
  const tables = { inverseFrequencies, scale, cos, sin };
  cache.set(positions, tables);
  return tables;
}
