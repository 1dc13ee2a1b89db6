import * as tf from '@tensorflow/tfjs-core';
import { ShapeError } from '../errors.js';
import { frozenTensor } from '../frozen.js';
import { defineKernel } from '../kernel.js';
import type { FrozenMatrix, Products } from '../types.js';
import { expectIndices, expectShapes, expectWeight } from './check.js';
import { indexTensor } from './embedding.js';
import { roundedFor } from './products.js';

export type TokenLogpsAttrs = {
  targets: Int32Array;
  /** Divides the logits, after the softcap; 1 if left out. */
  temperature?: number;
  /** Logits become `softcap · tanh(logits / softcap)`, as in Gemma 2. */
  softcap?: number;
  entropy?: boolean;
  squaredSum?: boolean;
  /** The weight, in place of the input of that name; without a gradient. */
  frozen?: FrozenMatrix;
  /** Of the logits and of both gradients; f32 if left out. */
  products?: Products;
};
type Inputs = { hidden: tf.Tensor2D; weight?: tf.Tensor2D; bias?: tf.Tensor1D };
type Outputs = { logps: tf.Tensor1D; entropy?: tf.Tensor1D; squaredSum?: tf.Tensor1D };

/** Logits that exist at once in the composite; but 128 tokens at least, since each block adds to the whole gradient of the weight. */
const blockLogits = 1 << 20;
const blockTokens = 128;

/**
 * Log-probabilities of tokens straight from hidden states: `log softmax(hidden · weightᵀ + bias)[target]`, in nats.
 *
 * `hidden` [n, d], `weight` [v, d], `bias` [v] if there is one. `logps`, and on request `entropy` (`-Σ p log p`, nats) and
 * `squaredSum` (`Σ p²`), each [n]. Works in blocks of tokens, in both directions: the logits [n, v] never exist at once.
 *
 * @throws RangeError if a target is outside [0, v), or temperature or softcap is not above 0
 */
export const tokenLogps = defineKernel<Inputs, TokenLogpsAttrs, Outputs, { logZ: tf.Tensor1D }>({
  name: 'TokenLogps',
  outputs: ['logps', 'entropy', 'squaredSum'],
  residuals: ['logZ'], // log Σ exp(logits), [n]
  saves: ['hidden', 'weight', 'bias', 'logZ'],
  prepare: ({ hidden, weight, bias }, attrs) => {
    const [v, d] = expectWeight('tokenLogps', weight, attrs);
    const { n } = expectShapes('tokenLogps', { hidden: [hidden, ['n', d]], bias: [bias, [v]] });
    if (attrs.targets.length !== n) throw new ShapeError(`tokenLogps: ${attrs.targets.length} targets for ${n} tokens.`);
    expectIndices('tokenLogps', 'targets', attrs.targets, v);
    for (const name of ['temperature', 'softcap'] as const)
      if (attrs[name] !== undefined && !(attrs[name] > 0)) throw new RangeError(`tokenLogps: ${name} must be > 0, got ${attrs[name]}.`);
    return attrs;
  },
  present: ({ entropy, squaredSum }) => [
    'logps',
    ...(entropy ? (['entropy'] as const) : []),
    ...(squaredSum ? (['squaredSum'] as const) : []),
    'logZ',
  ],
  forward: (given, attrs) => {
    const rounded = roundedFor(attrs.products);
    const inputs = { ...given, hidden: rounded(given.hidden), weight: rounded(weightOf(given, attrs)) };
    const { hidden, weight } = inputs;
    const parts = blocks(hidden.shape[0], weight.shape[0]).map(([from, to]) =>
      tf.tidy(() => {
        const h = tf.slice(hidden, [from, 0], [to - from, -1]);
        const { logits } = squash(products(h, inputs), attrs);
        const max = tf.max(logits, 1, true);
        const e = tf.exp(tf.sub(logits, max));
        const total = tf.sum(e, 1, true);
        const logZ = tf.add(tf.log(total), max);
        const { logits: chosen } = squash(targetProducts(h, inputs, attrs.targets.subarray(from, to)), attrs);
        const p = attrs.entropy || attrs.squaredSum ? tf.div(e, total) : null;
        return {
          logps: tf.minimum(tf.sub(chosen, tf.squeeze(logZ, [1])), 0), // two ways of summing the same products may differ in the last bit
          logZ: tf.squeeze(logZ, [1]),
          ...(attrs.entropy && { entropy: tf.squeeze(tf.sub(logZ, tf.sum(tf.mul(p!, logits), 1, true)), [1]) }),
          ...(attrs.squaredSum && { squaredSum: tf.sum(tf.square(p!), 1) }),
        };
      }),
    );
    const joined = (name: 'logps' | 'logZ' | 'entropy' | 'squaredSum'): tf.Tensor1D =>
      parts.length === 0 ? tf.zeros([0]) : tf.concat1d(parts.map((part) => (part as Record<string, tf.Tensor1D>)[name]));
    return {
      logps: joined('logps'),
      ...(attrs.entropy && { entropy: joined('entropy') }),
      ...(attrs.squaredSum && { squaredSum: joined('squaredSum') }),
      logZ: joined('logZ'),
    };
  },
  backward: (dy, saved, attrs, needs) => {
    // p = softmax(z). d logp = c·(onehot − p), d entropy = −e·p·(log p + H), d Σp² = 2s·p·(p − Σp²); then back through temperature and softcap.
    const rounded = roundedFor(attrs.products);
    const operands = { ...saved, hidden: rounded(saved.hidden), weight: rounded(weightOf(saved, attrs)) };
    const { hidden, weight, logZ } = operands;
    const [n, d] = hidden.shape;
    const v = weight.shape[0];
    const dHidden: tf.Tensor2D[] = [];
    let dWeight: tf.Tensor2D | null = null;
    let dBias: tf.Tensor1D | null = null;
    const plus = <T extends tf.Tensor>(sum: T | null, x: T): T => {
      if (!sum) return x;
      const next = tf.add(sum, x) as T;
      tf.dispose([sum, x]);
      return next;
    };
    for (const [from, to] of blocks(n, v)) {
      const part = tf.tidy(() => {
        const column = (x: tf.Tensor1D) => tf.expandDims(tf.slice(x, [from], [to - from]), 1) as tf.Tensor2D;
        const h = tf.slice(hidden, [from, 0], [to - from, -1]);
        const targets = attrs.targets.subarray(from, to);
        const { logits, slope } = squash(products(h, operands), attrs);
        const logP = tf.sub(logits, column(logZ));
        const p = tf.exp(logP);
        let dz: tf.Tensor2D | null = null; // without the one-hot part, which goes through the target's row alone
        if (dy.logps) dz = tf.mul(p, tf.neg(column(dy.logps)));
        if (dy.entropy) {
          const h1 = tf.neg(tf.sum(tf.mul(p, logP), 1, true));
          const g = tf.mul(tf.mul(p, tf.neg(column(dy.entropy))), tf.add(logP, h1)) as tf.Tensor2D;
          dz = dz ? tf.add(dz, g) : g;
        }
        if (dy.squaredSum) {
          const g = tf.mul(tf.mul(p, tf.mul(column(dy.squaredSum), 2)), tf.sub(p, tf.sum(tf.square(p), 1, true))) as tf.Tensor2D;
          dz = dz ? tf.add(dz, g) : g;
        }
        dz = rounded(tf.mul(dz!, slope) as tf.Tensor2D);
        const c = dy.logps && tf.mul(column(dy.logps), tf.expandDims(squash(targetProducts(h, operands, targets), attrs).slopeOf(), 1));
        const ids = indexTensor(targets);
        return {
          ...(needs.has('hidden') && {
            hidden: c ? tf.add(tf.matMul(dz, weight), tf.mul(tf.gather(weight, ids), c)) : tf.matMul(dz, weight),
          }),
          ...(needs.has('weight') && {
            weight: c ? tf.add(tf.matMul(dz, h, true), tf.unsortedSegmentSum(tf.mul(h, c), ids, v)) : tf.matMul(dz, h, true),
          }),
          ...(needs.has('bias') && {
            bias: c ? tf.add(tf.sum(dz, 0), tf.unsortedSegmentSum(tf.squeeze(c, [1]), ids, v)) : tf.sum(dz, 0),
          }),
        } as { hidden?: tf.Tensor2D; weight?: tf.Tensor2D; bias?: tf.Tensor1D };
      });
      if (part.hidden) dHidden.push(part.hidden);
      if (part.weight) dWeight = plus(dWeight, part.weight);
      if (part.bias) dBias = plus(dBias, part.bias);
    }
    return {
      ...(needs.has('hidden') && { hidden: dHidden.length === 0 ? tf.zeros([0, d]) : tf.concat2d(dHidden, 0) }),
      ...(needs.has('weight') && { weight: dWeight ?? tf.zeros([v, d]) }),
      ...(needs.has('bias') && { bias: dBias ?? tf.zeros([v]) }),
    };
  },
});

function blocks(n: number, v: number): [number, number][] {
  const size = Math.max(blockTokens, Math.floor(blockLogits / v));
  return Array.from({ length: Math.ceil(n / size) }, (_, i) => [i * size, Math.min(n, (i + 1) * size)]);
}

function weightOf({ weight }: Inputs, { frozen }: TokenLogpsAttrs): tf.Tensor2D {
  return frozen ? frozenTensor(frozen) : weight!;
}

type Operands = { weight: tf.Tensor2D; bias?: tf.Tensor1D };

function products(h: tf.Tensor2D, { weight, bias }: Operands): tf.Tensor2D {
  const logits = tf.matMul(h, weight, false, true) as tf.Tensor2D;
  return bias ? tf.add(logits, bias) : logits;
}

function targetProducts(h: tf.Tensor2D, { weight, bias }: Operands, targets: Int32Array): tf.Tensor1D {
  const ids = indexTensor(targets);
  const logits = tf.sum(tf.mul(h, tf.gather(weight, ids)), 1) as tf.Tensor1D;
  return bias ? tf.add(logits, tf.gather(bias, ids)) : logits;
}

/** Softcap and temperature, with the derivative of both. */
function squash<T extends tf.Tensor>(
  raw: T,
  { softcap, temperature = 1 }: TokenLogpsAttrs,
): { logits: T; slope: tf.Tensor; slopeOf: () => tf.Tensor } {
  if (softcap === undefined) {
    const logits = temperature === 1 ? raw : (tf.div(raw, temperature) as T);
    const slope = tf.scalar(1 / temperature);
    return { logits, slope, slopeOf: () => tf.fill(raw.shape, 1 / temperature) };
  }
  const t = tf.tanh(tf.div(raw, softcap));
  const slope = tf.div(tf.sub(1, tf.square(t)), temperature);
  return { logits: tf.mul(t, softcap / temperature) as T, slope, slopeOf: () => slope };
}
