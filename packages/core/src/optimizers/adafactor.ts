import * as tf from '@tensorflow/tfjs-core';
import type { Optimizer } from '../types.js';
import { checkRange, type Decay, perParameter } from './state.js';

export type AdafactorSettings = Decay & {
  /** Decay of the mean of the updates; none unless given, which saves a state as large as the parameters. */
  beta1?: number;
  /** The second moment's decay at step t is 1 − t^-decayPower; 0.8 unless given. */
  decayPower?: number;
  /** Updates are scaled down to this root mean square; 1 unless given. */
  clipThreshold?: number;
  /** Multiplies the rate by the parameter's own root mean square, at least 1e-3; on unless given. */
  scaleParameter?: boolean;
  /** Caps the rate at 1/√t; off unless given. */
  relativeStep?: boolean;
};

const smallestSquare = 1e-30; // ε1 of the paper
const smallestScale = 1e-3; // ε2 of the paper

/**
 * Adafactor: of a matrix's second moment only row and column means are kept. Shazeer & Stern 2018, arXiv:1804.04235, algorithms 4 to 6.
 * The last two axes are factored; vectors keep all their second moments. Weight decay is decoupled and multiplied by
 * the learning rate alone. The paper's own schedule is `relativeStep` with a learning rate of 0.01.
 */
export function adafactor({
  beta1,
  decayPower = 0.8,
  clipThreshold = 1,
  scaleParameter = true,
  relativeStep = false,
  weightDecay = 0,
  decays,
}: AdafactorSettings = {}): Optimizer {
  if (beta1 !== undefined) checkRange('adafactor', { beta1 }, 0, 1);
  checkRange('adafactor', { decayPower, clipThreshold }, 0, Infinity);
  const shapes = (shape: readonly number[]): Record<string, readonly number[]> => ({
    ...(shape.length >= 2 ? { rows: shape.slice(0, -1), columns: [...shape.slice(0, -2), shape.at(-1)!] } : { squares: shape }),
    ...(beta1 !== undefined && { mean: shape }),
  });
  return perParameter('adafactor', { weightDecay, decays }, shapes, ({ value, grad, slots, step, learningRate, decay }) => {
    const kept = 1 - step ** -decayPower; // 0 on the first step
    const follow = (slot: tf.Tensor, now: tf.Tensor) => tf.add(tf.mul(slot, kept), tf.mul(now, 1 - kept));
    const squares = tf.add(tf.square(grad), smallestSquare);
    const next: Record<string, tf.Tensor> = {};
    let update: tf.Tensor;
    if (slots.rows) {
      next.rows = follow(slots.rows, tf.mean(squares, -1));
      next.columns = follow(slots.columns, tf.mean(squares, -2));
      const rows = tf.rsqrt(tf.div(next.rows, tf.mean(next.rows, -1, true)));
      update = tf.mul(grad, tf.mul(tf.expandDims(rows, -1), tf.expandDims(tf.rsqrt(next.columns), -2)));
    } else {
      next.squares = follow(slots.squares, squares);
      update = tf.mul(grad, tf.rsqrt(next.squares));
    }
    update = tf.div(update, tf.maximum(tf.div(rootMeanSquare(update), clipThreshold), 1));
    const rate = relativeStep ? Math.min(learningRate, 1 / Math.sqrt(step)) : learningRate;
    update = tf.mul(update, scaleParameter ? tf.mul(tf.maximum(rootMeanSquare(value), smallestScale), rate) : rate);
    if (slots.mean) {
      next.mean = tf.add(tf.mul(slots.mean, beta1!), tf.mul(update, 1 - beta1!));
      update = next.mean;
    }
    return { value: tf.sub(tf.mul(value, 1 - learningRate * decay), update), slots: next };
  });
}

const rootMeanSquare = (x: tf.Tensor) => tf.sqrt(tf.mean(tf.square(x)));
