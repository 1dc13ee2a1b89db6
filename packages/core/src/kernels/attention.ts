import * as tf from '@tensorflow/tfjs-core';
import { ShapeError } from '../errors.js';
import { defineKernel } from '../kernel.js';
import { expectSegments, expectShapes } from './check.js';
import { indexTensor } from './embedding.js';

export type AttentionAttrs = {
  /** Cumulative lengths of the packed segments: 0 first, the number of tokens last. */
  cuSeqlens: Int32Array;
  causal: boolean;
  /** Multiplies `q·k`; usually 1 / sqrt(headDim). */
  scale: number;
  /** A query sees keys fewer than this many places away, itself among them. */
  window?: number;
  /** Scores become `softcap · tanh(score / softcap)`, as in Gemma 2. */
  softcap?: number;
  /** For each segment, the segment that all its queries see first and in full; -1 for none. */
  prefixOf?: Int32Array;
};
type Heads = { q: tf.Tensor3D; k: tf.Tensor3D; v: tf.Tensor3D };

/**
 * Attention over packed segments: `softmax(scale · q·kᵀ) · v` inside each segment, causal or full.
 *
 * `q` [tokens, heads, headDim], `k` and `v` [tokens, kvHeads, headDim], where kvHeads divides heads and query head h reads
 * key head `floor(h · kvHeads / heads)` (Ainslie et al. 2023, arXiv:2305.13245). The output is shaped as `q`.
 *
 * The composite multiplies the segments of equal length together, a bounded number of scores at once, and computes the
 * scores again in the backward pass from the logarithms of their sums (Dao et al. 2022, arXiv:2205.14135, section 3.1).
 *
 * @throws ShapeError naming the argument that does not fit
 */
export const attention = defineKernel<Heads, AttentionAttrs, { y: tf.Tensor3D }, { lse: tf.Tensor2D }>({
  name: 'Attention',
  outputs: ['y'],
  residuals: ['lse'], // log Σ exp(score), [tokens, heads]
  saves: ['q', 'k', 'v', 'y', 'lse'],
  prepare: ({ q, k, v }, attrs) => {
    const { tokens, heads, kvHeads } = expectShapes('attention', {
      q: [q, ['tokens', 'heads', 'headDim']],
      k: [k, ['tokens', 'kvHeads', 'headDim']],
      v: [v, ['tokens', 'kvHeads', 'headDim']],
    });
    if (heads % kvHeads !== 0) throw new ShapeError(`attention: ${kvHeads} key heads do not divide ${heads} query heads.`);
    const { cuSeqlens, window, softcap, prefixOf } = attrs;
    expectSegments('attention', cuSeqlens, tokens);
    if (window !== undefined && !(window >= 1)) throw new RangeError(`attention: window must be at least 1, got ${window}.`);
    if (softcap !== undefined && !(softcap > 0)) throw new RangeError(`attention: softcap must be > 0, got ${softcap}.`);
    if (prefixOf) {
      if (prefixOf.length !== cuSeqlens.length - 1)
        throw new ShapeError(`attention: prefixOf has ${prefixOf.length} entries for ${cuSeqlens.length - 1} segments.`);
      prefixOf.forEach((prefix, s) => {
        if (prefix < -1 || prefix >= prefixOf.length || prefix === s || (prefix >= 0 && prefixOf[prefix] >= 0))
          throw new RangeError(`attention: prefixOf[${s}] is ${prefix}; it must be -1 or another segment, which has no prefix itself.`);
      });
    }
    return attrs;
  },
  forward: ({ q, k, v }, attrs) => {
    const plan = planOf(attrs);
    if (plan.blocks.length === 0) return { y: tf.zerosLike(q), lse: tf.zeros([q.shape[0], q.shape[1]]) };
    const kvHeads = k.shape[1];
    const parts = plan.blocks.map((block) =>
      tf.tidy(() => {
        const s = scores(heads(q, block.queries, block.count, kvHeads), heads(k, block.keys, block.count, kvHeads), block, attrs).masked;
        const max = tf.max(s, 2, true);
        const e = tf.exp(tf.sub(s, max));
        const total = tf.sum(e, 2, true);
        const y = tf.div(tf.matMul(e, heads(v, block.keys, block.count, kvHeads)), total) as tf.Tensor3D;
        const lse = tf.add(tf.log(total), max) as tf.Tensor3D;
        return { y: tokensOf(y, block.count, kvHeads, q.shape[1], q.shape[2]), lse: tokensOf(lse, block.count, kvHeads, q.shape[1], 1) };
      }),
    );
    return {
      y: restore(
        parts.map((part) => part.y),
        plan.inverse,
      ),
      lse: tf.squeeze(
        restore(
          parts.map((part) => part.lse),
          plan.inverse,
        ),
        [2],
      ),
    };
  },
  backward: ({ y: dy }, { q, k, v, y, lse }, attrs, needs) => {
    // P = exp(S − lse), D = Σ dy·y:  dv = Pᵀ·dy,  dS = P·(dy·vᵀ − D),  dq = scale·dS·k,  dk = scale·dSᵀ·q.
    const plan = planOf(attrs);
    if (plan.blocks.length === 0) return { q: tf.zerosLike(q), k: tf.zerosLike(k), v: tf.zerosLike(v) };
    const [, queryHeads, headDim] = q.shape;
    const kvHeads = k.shape[1];
    const parts = plan.blocks.map((block) =>
      tf.tidy(() => {
        const { queries, keys, count } = block;
        const qs = heads(q, queries, count, kvHeads);
        const ks = heads(k, keys, count, kvHeads);
        const dys = heads(dy!, queries, count, kvHeads);
        const { masked, capped } = scores(qs, ks, block, attrs);
        const p = tf.exp(tf.sub(masked, heads(tf.expandDims(lse, 2), queries, count, kvHeads)));
        const part: { q?: tf.Tensor3D; k?: tf.Tensor3D; v?: tf.Tensor3D } = {};
        if (needs.has('v')) part.v = tokensOf(tf.matMul(p, dys, true), count, kvHeads, kvHeads, headDim);
        if (!needs.has('q') && !needs.has('k')) return part;
        const delta = tf.sum(tf.mul(dys, heads(y, queries, count, kvHeads)), 2, true);
        let ds = tf.mul(p, tf.sub(tf.matMul(dys, heads(v, keys, count, kvHeads), false, true), delta)) as tf.Tensor3D;
        if (attrs.softcap !== undefined) ds = tf.mul(ds, tf.sub(1, tf.square(tf.div(capped, attrs.softcap))));
        ds = tf.mul(ds, attrs.scale);
        if (needs.has('q')) part.q = tokensOf(tf.matMul(ds, ks), count, kvHeads, queryHeads, headDim);
        if (needs.has('k')) part.k = tokensOf(tf.matMul(ds, qs, true), count, kvHeads, kvHeads, headDim);
        return part;
      }),
    );
    const ofKeys = (name: 'k' | 'v'): tf.Tensor3D => {
      const all = parts.map((part) => part[name]!);
      if (!plan.keyRows) return restore(all, plan.inverse);
      return tf.unsortedSegmentSum(tf.concat(all), indexTensor(plan.keyRows), k.shape[0]); // a prefix is read by several segments
    };
    return {
      ...(needs.has('q') && {
        q: restore(
          parts.map((part) => part.q!),
          plan.inverse,
        ),
      }),
      ...(needs.has('k') && { k: ofKeys('k') }),
      ...(needs.has('v') && { v: ofKeys('v') }),
    };
  },
});

/** Rows of the packed axis: a stretch, or a list. */
type Rows = { from: number; count: number } | Int32Array;
/** `count` segments of `length` queries and `keyLength` keys each, multiplied together. */
type Block = { count: number; length: number; keyLength: number; queries: Rows; keys: Rows };
/** `inverse` puts the blocks' rows back into the batch's order (null: they are in it); `keyRows` says whose keys the blocks read, if shared. */
type Plan = { blocks: Block[]; inverse: Int32Array | null; keyRows: Int32Array | null };

/** Scores that exist at once. */
const blockScores = 1 << 21;
const plans = new WeakMap<Int32Array, Map<Int32Array | undefined, Plan>>();

/** All layers of a batch share the plan. */
function planOf({ cuSeqlens, prefixOf }: AttentionAttrs): Plan {
  const known = plans.get(cuSeqlens)?.get(prefixOf);
  if (known) return known;
  const byLength = new Map<string, number[]>();
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    const length = cuSeqlens[s + 1] - cuSeqlens[s];
    if (length === 0) continue;
    const prefix = prefixOf?.[s] ?? -1;
    const prefixLength = prefix < 0 ? 0 : cuSeqlens[prefix + 1] - cuSeqlens[prefix];
    const key = `${length} ${prefixLength + length}`;
    const segments = byLength.get(key);
    if (segments) segments.push(s);
    else byLength.set(key, [s]);
  }
  const blocks: Block[] = [];
  const order: number[] = [];
  const keyOrder: number[] = [];
  for (const [key, segments] of byLength) {
    const [length, keyLength] = key.split(' ').map(Number);
    const most = Math.max(1, Math.floor(blockScores / (length * keyLength)));
    for (let i = 0; i < segments.length; i += most) {
      const some = segments.slice(i, i + most);
      const queries: number[] = [];
      const keys: number[] = [];
      for (const s of some) {
        const prefix = prefixOf?.[s] ?? -1;
        if (prefix >= 0) for (let t = cuSeqlens[prefix]; t < cuSeqlens[prefix + 1]; t++) keys.push(t);
        for (let t = cuSeqlens[s]; t < cuSeqlens[s + 1]; t++) {
          keys.push(t);
          queries.push(t);
        }
      }
      blocks.push({ count: some.length, length, keyLength, queries: asRows(queries), keys: asRows(keys) });
      for (const t of queries) order.push(t);
      for (const t of keys) keyOrder.push(t);
    }
  }
  const inverse = new Int32Array(order.length);
  order.forEach((t, i) => {
    inverse[t] = i;
  });
  const plan: Plan = {
    blocks,
    inverse: order.every((t, i) => t === i) ? null : inverse,
    keyRows: keyOrder.length === order.length ? null : Int32Array.from(keyOrder),
  };
  if (!plans.has(cuSeqlens)) plans.set(cuSeqlens, new Map());
  plans.get(cuSeqlens)!.set(prefixOf, plan);
  return plan;
}

function asRows(rows: number[]): Rows {
  return rows.every((t, i) => t === rows[0] + i) ? { from: rows[0], count: rows.length } : Int32Array.from(rows);
}

/** [tokens, h, d] to [count · kvHeads, length · (h / kvHeads), d]: a segment's query heads that share a key head become rows of one product. */
function heads(x: tf.Tensor3D, rows: Rows, count: number, kvHeads: number): tf.Tensor3D {
  const [, h, d] = x.shape;
  const taken =
    rows instanceof Int32Array
      ? tf.gather(x, indexTensor(rows))
      : rows.count === x.shape[0]
        ? x
        : tf.slice(x, [rows.from, 0, 0], [rows.count, h, d]);
  const length = taken.shape[0] / count;
  const group = h / kvHeads;
  const split = tf.transpose(tf.reshape(taken, [count, length, kvHeads, group * d]), [0, 2, 1, 3]);
  return tf.reshape(split, [count * kvHeads, length * group, d]);
}

/** The way back: [count · kvHeads, length · (h / kvHeads), d] to [count · length, h, d]. */
function tokensOf(x: tf.Tensor, count: number, kvHeads: number, h: number, d: number): tf.Tensor3D {
  const group = h / kvHeads;
  const length = x.size / (count * h * d);
  const joined = tf.transpose(tf.reshape(x, [count, kvHeads, length, group * d]), [0, 2, 1, 3]);
  return tf.reshape(joined, [count * length, h, d]);
}

function restore(parts: tf.Tensor3D[], inverse: Int32Array | null): tf.Tensor3D {
  const all = parts.length === 1 ? parts[0] : tf.concat3d(parts, 0);
  return inverse ? tf.gather(all, indexTensor(inverse)) : all;
}

const far = -1e30;

function scores(
  q: tf.Tensor3D,
  k: tf.Tensor3D,
  { length, keyLength }: Block,
  { scale, softcap, causal, window }: AttentionAttrs,
): { capped: tf.Tensor3D; masked: tf.Tensor3D } {
  const raw = tf.mul(tf.matMul(q, k, false, true), scale) as tf.Tensor3D;
  const capped = softcap === undefined ? raw : (tf.mul(tf.tanh(tf.div(raw, softcap)), softcap) as tf.Tensor3D);
  if (!causal && window === undefined) return { capped, masked: capped };
  const group = q.shape[1] / length;
  const before = keyLength - length; // the prefix's tokens come first
  const mask = new Float32Array(length * group * keyLength);
  for (let i = 0; i < length; i++)
    for (let j = 0; j < keyLength; j++) {
      const ahead = j - (before + i);
      const seen = (!causal || ahead <= 0) && (window === undefined || Math.abs(ahead) < window);
      if (!seen) for (let g = 0; g < group; g++) mask[(i * group + g) * keyLength + j] = far;
    }
  return { capped, masked: tf.add(capped, tf.tensor3d(mask, [1, length * group, keyLength])) };
}
