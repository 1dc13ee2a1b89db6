/**
 * The kernels as plain functions over typed arrays, for those who register fused kernels or decode by hand. All arrays are
 * contiguous and row-major; outputs come last and are overwritten. Lengths are checked, since the C++ below does not.
 */
import { type Addon, need } from './addon.js';
import { binaryIndex, unaryIndex } from './kernels.js';

export {
  type DecoderStepShape,
  decoderStep,
  type PagedShape,
  pagedAttention,
  type StepUpdates,
  type StepWeights,
  stepUpdates,
  stepWeights,
} from './decode.js';

type F32 = Float32Array;

/** @throws RangeError naming the first array that is not as long as it should be */
export function expect(kernel: string, lengths: Record<string, [ArrayLike<number> | null | undefined, number]>): void {
  for (const [name, [array, length]] of Object.entries(lengths))
    if (array && array.length !== length) throw new RangeError(`${kernel}: ${name} has ${array.length} entries, not ${length}`);
}
/** Cumulative lengths that begin at 0, never fall and end at `tokens`. */
function expectSegments(kernel: string, cuSeqlens: Int32Array, tokens: number): void {
  let last = 0;
  if (cuSeqlens.length === 0 || cuSeqlens[0] !== 0) throw new RangeError(`${kernel}: cuSeqlens must begin with 0`);
  for (const end of cuSeqlens) {
    if (end < last) throw new RangeError(`${kernel}: cuSeqlens falls from ${last} to ${end}`);
    last = end;
  }
  if (last !== tokens) throw new RangeError(`${kernel}: cuSeqlens ends at ${last}, but there are ${tokens} tokens`);
}

/**
 * `y [m, n] = op(a) · op(b) + bias [n]`; `op(a)` is [m, k], `op(b)` [k, n]. `accumulate` adds to what y holds. `bf16` rounds both
 * operands to bfloat16 first; sums stay float32.
 */
export function gemm(
  a: F32,
  b: F32,
  y: F32,
  o: {
    m: number;
    n: number;
    k: number;
    transA?: boolean;
    transB?: boolean;
    bias?: F32 | null;
    relu?: boolean;
    accumulate?: boolean;
    bf16?: boolean;
  },
): void {
  const { m, n, k, transA = false, transB = false, relu = false, accumulate = false, bf16 = false } = o;
  expect('gemm', { a: [a, m * k], b: [b, k * n], y: [y, m * n], bias: [o.bias, n] });
  need().gemm(a, b, y, o.bias ?? null, m, n, k, transA ? m : k, transA, transB ? k : n, transB, n, relu, accumulate, bf16);
}

/** A weight [out, in] in the kernels' own order, made by `packMatrix`. Nothing needs to be freed. */
export type PackedMatrix = {
  readonly bytes: Uint8Array;
  readonly storage: keyof typeof storages;
  readonly out: number;
  readonly in: number;
};
export const storages = { f32: 0, bf16: 1, int8: 2 } as const;
/** Outputs that lie together; a matrix takes the memory of a whole number of these. */
const panel = 32;

/**
 * Packs `values` [out, in]: floats for `f32`, the bits of bfloat16 numbers for `bf16`, and for `int8` whole numbers that stand for
 * themselves times the scale of their row, `scales` [out].
 */
export function packMatrix(
  values: F32 | Uint16Array | Int8Array,
  o: { out: number; in: number; storage: PackedMatrix['storage']; scales?: F32 },
): PackedMatrix {
  const { out, in: width, storage, scales } = o;
  expect('packMatrix', { values: [values, out * width], scales: [scales, out] });
  const panels = Math.ceil(out / panel);
  const row = storage === 'f32' ? 4 * width : storage === 'bf16' ? 4 * Math.ceil(width / 2) : width;
  const bytes = roomFor(panels * panel * (row + (storage === 'int8' ? 4 : 0)) + 64); // the kernels begin at a multiple of 64
  need().frozenPack(values, bytes, storages[storage], out, width, scales ?? null);
  return { bytes, storage, out, in: width };
}
let slab: { buffer: WeakRef<ArrayBuffer>; size: number; used: number } | undefined;
/** Bytes for a packed matrix. Those of a model lie side by side, so that the system can give them a few large pages; memory goes back with the last of them. */
function roomFor(size: number): Uint8Array {
  const step = Math.ceil(size / 64) * 64;
  let buffer = slab?.buffer.deref();
  if (slab && buffer && slab.used + step <= slab.size) {
    const bytes = new Uint8Array(buffer, slab.used, size);
    slab.used += step;
    return bytes;
  }
  // The more there is already, the more is likely to follow: from 4 to 64 MiB.
  const next = buffer && slab ? Math.min(2 * slab.size, 2 ** 26) : 2 ** 22;
  const alone = size > next / 2;
  const bytes = new Uint8Array(alone ? size : next);
  need().hugePages(bytes);
  if (alone) return bytes;
  buffer = bytes.buffer as ArrayBuffer;
  slab = { buffer: new WeakRef(buffer), size: next, used: step };
  return bytes.subarray(0, size);
}
/** `y [rows, out] = x · Wᵀ + bias`; `y [rows, in] = x · W` if `backward`. One row gives the bits that it gives among many. */
export function packedProduct(
  x: F32,
  w: PackedMatrix,
  y: F32,
  o: { rows: number; bias?: F32 | null; backward?: boolean; accumulate?: boolean; bf16?: boolean },
): void {
  const { rows, backward = false, accumulate = false, bf16 = false } = o;
  const [to, from] = backward ? [w.in, w.out] : [w.out, w.in];
  expect('packedProduct', { x: [x, rows * from], y: [y, rows * to], bias: [o.bias, to] });
  need().frozenGemm(x, w.bytes, y, o.bias ?? null, rows, storages[w.storage], w.out, w.in, backward, accumulate, bf16);
}
/** Rows `ids` as floats, to `y` [ids.length, in]. */
export function packedRows(w: PackedMatrix, ids: Int32Array, y: F32): void {
  for (const id of ids) if (!(id >= 0 && id < w.out)) throw new RangeError(`packedRows: row ${id} is outside [0, ${w.out})`);
  expect('packedRows', { y: [y, ids.length * w.in] });
  need().frozenRows(w.bytes, storages[w.storage], w.out, w.in, ids, y);
}

/** `y = x / sqrt(mean(x²) + eps) · weight` over rows of `weight.length`; `r` [rows] keeps `1 / sqrt(...)`. */
export function rmsNorm(x: F32, weight: F32, eps: number, y: F32, r: F32): void {
  const n = weight.length;
  expect('rmsNorm', { y: [y, x.length], x: [x, r.length * n] });
  need().rmsNorm(x, weight, y, r, r.length, n, eps);
}
export function rmsNormGrad(dy: F32, x: F32, weight: F32, r: F32, dx: F32 | null, dWeight: F32 | null): void {
  const n = weight.length;
  expect('rmsNormGrad', { dy: [dy, x.length], x: [x, r.length * n], dx: [dx, x.length], dWeight: [dWeight, n] });
  need().rmsNormGrad(dy, x, weight, r, dx, dWeight, r.length, n);
}
/** `y = (x − mean) / sqrt(var + eps) · weight + bias`; `mean` and `r` [rows] keep the mean and `1 / sqrt(...)`. */
export function layerNorm(x: F32, weight: F32, bias: F32, eps: number, y: F32, mean: F32, r: F32): void {
  const n = weight.length;
  expect('layerNorm', { bias: [bias, n], y: [y, x.length], x: [x, r.length * n], mean: [mean, r.length] });
  need().layerNorm(x, weight, bias, y, mean, r, r.length, n, eps);
}
export function layerNormGrad(
  dy: F32,
  x: F32,
  weight: F32,
  mean: F32,
  r: F32,
  dx: F32 | null,
  dWeight: F32 | null,
  dBias: F32 | null,
): void {
  const n = weight.length;
  expect('layerNormGrad', {
    dy: [dy, x.length],
    x: [x, r.length * n],
    mean: [mean, r.length],
    dx: [dx, x.length],
    dWeight: [dWeight, n],
    dBias: [dBias, n],
  });
  need().layerNormGrad(dy, x, weight, mean, r, dx, dWeight, dBias, r.length, n);
}
export type GroupNormShape = { batch: number; positions: number; groups: number; eps: number; silu?: boolean };
/** `z = (x − mean) / sqrt(var + eps) · weight + bias` over groups of channels, then SiLU where asked; x [batch, positions, weight.length], `mean` and `r` [batch, groups]. */
export function groupNorm(x: F32, weight: F32, bias: F32, o: GroupNormShape, y: F32, mean: F32, r: F32): void {
  const channels = weight.length;
  if (channels % o.groups !== 0) throw new RangeError(`groupNorm: ${o.groups} groups do not divide ${channels} channels`);
  const n = o.batch * o.groups;
  expect('groupNorm', { x: [x, o.batch * o.positions * channels], bias: [bias, channels], y: [y, x.length], mean: [mean, n], r: [r, n] });
  need().groupNorm(x, weight, bias, y, mean, r, o.batch, o.positions, channels, o.groups, o.eps, o.silu ?? false);
}
export function groupNormGrad(
  dy: F32,
  x: F32,
  weight: F32,
  bias: F32,
  mean: F32,
  r: F32,
  o: GroupNormShape,
  dx: F32 | null,
  dWeight: F32 | null,
  dBias: F32 | null,
): void {
  const channels = weight.length;
  const n = o.batch * o.groups;
  expect('groupNormGrad', {
    x: [x, o.batch * o.positions * channels],
    dy: [dy, x.length],
    bias: [bias, channels],
    mean: [mean, n],
    r: [r, n],
  });
  expect('groupNormGrad', { dx: [dx, x.length], dWeight: [dWeight, channels], dBias: [dBias, channels] });
  need().groupNormGrad(dy, x, weight, bias, mean, r, dx, dWeight, dBias, o.batch, o.positions, channels, o.groups, o.eps, o.silu ?? false);
}
/** Turns the pairs (x[i], x[i + headDim / 2]) of `x` [tokens, heads, headDim] by the angles of `cos` and `sin` [tokens, headDim / 2]. */
export function rotary(x: F32, cos: F32, sin: F32, o: { tokens: number; heads: number; headDim: number; inverse?: boolean }, y: F32): void {
  const table = (o.tokens * o.headDim) / 2;
  expect('rotary', { x: [x, o.tokens * o.heads * o.headDim], y: [y, x.length], cos: [cos, table], sin: [sin, table] });
  need().rotary(x, cos, sin, y, o.tokens, o.heads, o.headDim, o.inverse ?? false);
}
/** `y = gate · σ(gate) · up` */
export function swiGlu(gate: F32, up: F32, y: F32): void {
  expect('swiGlu', { up: [up, gate.length], y: [y, gate.length] });
  need().swiGlu(gate, up, y, gate.length);
}
export function swiGluGrad(dy: F32, gate: F32, up: F32, dGate: F32 | null, dUp: F32 | null): void {
  expect('swiGluGrad', { dy: [dy, gate.length], up: [up, gate.length], dGate: [dGate, gate.length], dUp: [dUp, gate.length] });
  need().swiGluGrad(dy, gate, up, dGate, dUp, gate.length);
}
/** `y = x/2 · (1 + tanh(sqrt(2/π) · (x + 0.044715·x³)))` */
export function geluTanh(x: F32, y: F32): void {
  expect('geluTanh', { y: [y, x.length] });
  need().unary(unaryIndex('GeluTanh'), x, y, x.length, 0, 0);
}
export function geluTanhGrad(dy: F32, x: F32, dx: F32): void {
  expect('geluTanhGrad', { dy: [dy, x.length], dx: [dx, x.length] });
  need().geluGrad(dy, x, dx, x.length);
}

/** `cuSeqlens` [segments + 1]; `prefixOf` [segments], -1 for none; `window` in tokens; q [tokens, heads, headDim], k and v [tokens, kvHeads, headDim]. */
export type AttentionShape = {
  cuSeqlens: Int32Array;
  prefixOf?: Int32Array;
  heads: number;
  kvHeads: number;
  headDim: number;
  causal: boolean;
  scale: number;
  window?: number;
  softcap?: number;
};
function attentionArgs(
  q: F32,
  k: F32,
  v: F32,
  o: AttentionShape,
): [F32, F32, F32, Int32Array, Int32Array | null, number, number, number, boolean, number, number, number] {
  const tokens = o.cuSeqlens[o.cuSeqlens.length - 1];
  if (o.heads % o.kvHeads !== 0) throw new RangeError(`attention: ${o.kvHeads} key heads do not divide ${o.heads} query heads`);
  expectSegments('attention', o.cuSeqlens, q.length / (o.heads * o.headDim));
  expect('attention', {
    k: [k, tokens * o.kvHeads * o.headDim],
    v: [v, tokens * o.kvHeads * o.headDim],
    prefixOf: [o.prefixOf, o.cuSeqlens.length - 1],
  });
  return [q, k, v, o.cuSeqlens, o.prefixOf ?? null, o.heads, o.kvHeads, o.headDim, o.causal, o.scale, o.window ?? 0, o.softcap ?? 0];
}
/** `y` as q; `lse` [tokens, heads] keeps the logarithm of each softmax's sum. Memory is linear in tokens. */
export function attention(q: F32, k: F32, v: F32, o: AttentionShape, y: F32, lse: F32): void {
  const args = attentionArgs(q, k, v, o);
  expect('attention', { y: [y, q.length], lse: [lse, q.length / o.headDim] });
  need().attention(...args, y, lse);
}
export function attentionGrad(
  dy: F32,
  q: F32,
  k: F32,
  v: F32,
  y: F32,
  lse: F32,
  o: AttentionShape,
  dq: F32 | null,
  dk: F32 | null,
  dv: F32 | null,
): void {
  const args = attentionArgs(q, k, v, o);
  expect('attentionGrad', {
    dy: [dy, q.length],
    y: [y, q.length],
    lse: [lse, q.length / o.headDim],
    dq: [dq, q.length],
    dk: [dk, k.length],
    dv: [dv, v.length],
  });
  need().attentionGrad(...args, dy, y, lse, dq, dk, dv);
}
export type DecodeShape = {
  heads: number;
  kvHeads: number;
  headDim: number;
  scale: number;
  /** In entries: from slot to slot, token to token and head to head of the caches. */
  slotStride: number;
  tokenStride: number;
  headStride: number;
  window?: number;
  softcap?: number;
};
/**
 * One query a row, `q` [rows, heads, headDim], against a cache: row i reads the first `lengths[i]` tokens of slot `slots[i]`,
 * its own token among them. `y` as q. A row does not depend on the others.
 */
export function attentionDecode(q: F32, k: F32, v: F32, slots: Int32Array, lengths: Int32Array, o: DecodeShape, y: F32): void {
  const rows = slots.length;
  expect('attentionDecode', { q: [q, rows * o.heads * o.headDim], y: [y, q.length], lengths: [lengths, rows], v: [v, k.length] });
  for (let i = 0; i < rows; i++) {
    const end = slots[i] * o.slotStride + (lengths[i] - 1) * o.tokenStride + (o.kvHeads - 1) * o.headStride + o.headDim;
    if (!(lengths[i] >= 1 && slots[i] >= 0 && end <= k.length))
      throw new RangeError(`attentionDecode: row ${i} reads ${lengths[i]} tokens of slot ${slots[i]}, beyond the cache`);
  }
  need().attentionDecode(
    q,
    k,
    v,
    slots,
    lengths,
    y,
    rows,
    o.heads,
    o.kvHeads,
    o.headDim,
    o.slotStride,
    o.tokenStride,
    o.headStride,
    o.window ?? 0,
    o.scale,
    o.softcap ?? 0,
  );
}

/**
 * `hidden` [n, d], `weight` [v, d], `bias` [v], `targets` [n]. Logits are capped, then divided by the temperature. `bf16` rounds what
 * is multiplied.
 */
export type TokenLogpsInputs = {
  hidden: F32;
  weight: F32 | PackedMatrix;
  bias?: F32 | null;
  targets: Int32Array;
  d: number;
  temperature?: number;
  softcap?: number;
  bf16?: boolean;
};
const packedOrNull = (weight: F32 | PackedMatrix): PackedMatrix | null => (weight instanceof Float32Array ? null : weight);
const vocabularyOf = ({ weight, d }: TokenLogpsInputs): number => (weight instanceof Float32Array ? weight.length / d : weight.out);
function tokenLogpsArgs(
  x: TokenLogpsInputs,
): [F32, F32 | Uint8Array, F32 | null, Int32Array, number, number, number, number, number, number, boolean] {
  const [n, v, packed] = [x.targets.length, vocabularyOf(x), packedOrNull(x.weight)];
  expect('tokenLogps', { hidden: [x.hidden, n * x.d], bias: [x.bias, v] });
  if (packed && packed.in !== x.d) throw new RangeError(`tokenLogps: the matrix takes ${packed.in} inputs, not ${x.d}`);
  for (const t of x.targets) if (!(t >= 0 && t < v)) throw new RangeError(`tokenLogps: target ${t} is outside [0, ${v})`);
  const [weight, storage] = packed ? [packed.bytes, storages[packed.storage]] : [x.weight as F32, -1];
  return [x.hidden, weight, x.bias ?? null, x.targets, n, x.d, v, x.temperature ?? 1, x.softcap ?? 0, storage, x.bf16 ?? false];
}
/** Log-probabilities of the targets and `lse`, the logarithm of the softmax's sum, both [n]; entropy and Σp² where asked for. */
export function tokenLogps(x: TokenLogpsInputs, logps: F32, lse: F32, entropy: F32 | null = null, squaredSum: F32 | null = null): void {
  const args = tokenLogpsArgs(x);
  const n = x.targets.length;
  expect('tokenLogps', { logps: [logps, n], lse: [lse, n], entropy: [entropy, n], squaredSum: [squaredSum, n] });
  need().tokenLogps(...args, logps, lse, entropy, squaredSum);
}
export function tokenLogpsGrad(
  x: TokenLogpsInputs,
  lse: F32,
  dy: { logps?: F32 | null; entropy?: F32 | null; squaredSum?: F32 | null },
  to: { hidden?: F32 | null; weight?: F32 | null; bias?: F32 | null },
): void {
  const args = tokenLogpsArgs(x);
  const n = x.targets.length;
  expect('tokenLogpsGrad', { lse: [lse, n], logps: [dy.logps, n], entropy: [dy.entropy, n], squaredSum: [dy.squaredSum, n] });
  expect('tokenLogpsGrad', {
    hidden: [to.hidden, x.hidden.length],
    weight: [to.weight, vocabularyOf(x) * x.d],
    bias: [to.bias, vocabularyOf(x)],
  });
  if (to.weight && packedOrNull(x.weight)) throw new RangeError('tokenLogpsGrad: a packed matrix has no gradient');
  need().tokenLogpsGrad(
    ...args,
    lse,
    dy.logps ?? null,
    dy.entropy ?? null,
    dy.squaredSum ?? null,
    to.hidden ?? null,
    to.weight ?? null,
    to.bias ?? null,
  );
}

export type SamplingRule = { temperature: number; topK?: number; topP?: number; minP?: number };
/**
 * Draws one token a row from `logits` [rows, n], with one number from [0, 1) a row, by inverting the distribution in the order of ids.
 * Temperature first (0 takes the likeliest), then top-k, top-p and min-p, each on what the one before left. `logps` are under the
 * distribution that was drawn from; greedy decoding reports them at temperature 1. `tokens` and `logps` [rows]. A row whose logits
 * are not finite at their largest gets token -1, and that logit as its logp.
 */
export function sampleRows(logits: F32, uniforms: F32, rule: SamplingRule, tokens: Int32Array, logps: F32): void {
  const rows = uniforms.length;
  const n = rows ? logits.length / rows : 0;
  if (!Number.isInteger(n)) throw new RangeError(`sampleRows: ${logits.length} logits do not make ${rows} rows`);
  expect('sampleRows', { tokens: [tokens, rows], logps: [logps, rows] });
  need().sampleRows(logits, uniforms, rows, n, rule.temperature, rule.topK ?? 0, rule.topP ?? 1, rule.minP ?? 0, tokens, logps);
}

/** Rows `ids` of `x` [n, d], to `y` [ids.length, d]. */
export function gatherRows(x: F32, ids: Int32Array, d: number, y: F32): void {
  expect('gatherRows', { y: [y, ids.length * d] });
  need().gather(x, ids, y, 1, x.length / d, ids.length, d);
}
/** Adds row i of `x` [ids.length, d] to row `ids[i]` of `y` [n, d], which is cleared first; negative ids are skipped. The sum's order is that of the rows. */
export function scatterRows(x: F32, ids: Int32Array, d: number, y: F32): void {
  expect('scatterRows', { x: [x, ids.length * d] });
  need().segmentScatter(x, ids, y, ids.length, y.length / d, d);
}
/** Sum or mean of each segment's rows that `mask` keeps: `x` [tokens, d] to `y` [segments, d]. */
export function segmentReduce(x: F32, cuSeqlens: Int32Array, d: number, o: { mean: boolean; mask?: Uint8Array }, y: F32): void {
  expectSegments('segmentReduce', cuSeqlens, x.length / d);
  expect('segmentReduce', { y: [y, (cuSeqlens.length - 1) * d], mask: [o.mask, x.length / d] });
  need().segmentReduce(x, cuSeqlens, o.mask ?? null, y, d, o.mean);
}
export function segmentReduceGrad(dy: F32, cuSeqlens: Int32Array, d: number, o: { mean: boolean; mask?: Uint8Array }, dx: F32): void {
  expectSegments('segmentReduceGrad', cuSeqlens, dx.length / d);
  expect('segmentReduceGrad', { dy: [dy, (cuSeqlens.length - 1) * d], mask: [o.mask, dx.length / d] });
  need().segmentReduceGrad(dy, cuSeqlens, o.mask ?? null, dx, d, o.mean);
}

/** Rows of `n`: softmax, or its logarithm. */
export function softmax(x: F32, n: number, y: F32, log = false): void {
  expect('softmax', { y: [y, x.length] });
  need().softmax(x, y, x.length / n, n, log);
}
export function softmaxGrad(y: F32, dy: F32, n: number, dx: F32, log = false): void {
  expect('softmaxGrad', { dy: [dy, y.length], dx: [dx, y.length] });
  need().softmaxGrad(y, dy, dx, y.length / n, n, log);
}
/** log Σ exp over rows of `n`: `y` [x.length / n]. */
export function logSumExp(x: F32, n: number, y: F32): void {
  expect('logSumExp', { y: [y, x.length / n] });
  need().logSumExp(x, y, x.length / n, n);
}
/** Sum over all columns: `x` [rows, n] to `y` [n]. */
export function columnSums(x: F32, n: number, y: F32): void {
  expect('columnSums', { y: [y, n] });
  need().reduce(0, x, y, 1, x.length / n, n);
}
/** The sum of all squares in all arrays, in double precision between blocks. */
export function sumSquares(arrays: readonly F32[]): number {
  return need().sumSquares(arrays);
}
/** `y += alpha · x` */
export function axpy(alpha: number, x: F32, y: F32): void {
  expect('axpy', { y: [y, x.length] });
  need().axpy(alpha, x, y, x.length);
}
/** `y = a + b`, entry by entry. */
export function add(a: F32, b: F32, y: F32): void {
  expect('add', { b: [b, a.length], y: [y, a.length] });
  need().binary(binaryIndex('Add'), a, b, y, Float64Array.of(1, a.length, 1, 1));
}

/**
 * One AdamW step over all parameters, in place: with g = gradScale·grad,
 * `m ← m + (1 − β1)(g − m)`, `v ← β2·v + (1 − β2)·g²`, `p ← p·(1 − learningRate·decays[i]) − learningRate / (1 − β1^step) · m / (sqrt(v) / sqrt(1 − β2^step) + eps)`.
 */
export function adamW(
  p: readonly F32[],
  grads: readonly F32[],
  m: readonly F32[],
  v: readonly F32[],
  o: { learningRate: number; gradScale: number; beta1: number; beta2: number; eps: number; decays: ArrayLike<number>; step: number },
): void {
  const decays = Float64Array.from(o.decays, (d) => d * o.learningRate);
  need().adamW(p, grads, m, v, decays, o.beta1, o.beta2, o.eps, o.learningRate, o.gradScale, 1 - o.beta1 ** o.step, 1 - o.beta2 ** o.step);
}

/** `y = x` by ordinary loads and stores, on all threads: what the bandwidth of other kernels is measured against. */
export function plainCopy(x: F32, y: F32): void {
  expect('plainCopy', { y: [y, x.length] });
  need().plainCopy(x, y);
}

/** The addon's functions as they are, unchecked. */
export const unchecked = (): Addon => need();
