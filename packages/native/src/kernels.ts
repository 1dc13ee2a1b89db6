/**
 * The tfjs kernels in C++. Each takes the cases that training meets (float32; int32 and bool where only bytes move) and leaves the
 * rest, such as integer arithmetic and complex numbers, to the CPU backend's kernel of the same name.
 */
import * as tf from '@tensorflow/tfjs-core';
import { need } from './addon.js';
import type { NativeBackend } from './backend.js';
import { convolutionKernels } from './convolution.js';
import { broadcastWalk, copyWalk, strides, walk } from './layout.js';

type Info = tf.TensorInfo;
type Inputs = Record<string, Info>;
type Attrs = Record<string, unknown>;
/** Undefined: not one of ours, ask the CPU backend's kernel. */
export type Kernel = (x: { inputs: Inputs; attrs: Attrs; backend: NativeBackend }) => Info | Info[] | undefined;
type Dtype = 'float32' | 'int32' | 'bool';

const size = tf.util.sizeFromShape;
const f32 = (backend: NativeBackend, x: Info) => backend.values(x) as Float32Array;
const isFloat = (...xs: Info[]) => xs.every((x) => x.dtype === 'float32');
const isPlain = (x: Info) => x.dtype === 'float32' || x.dtype === 'int32' || x.dtype === 'bool';

// The order of UnaryOp, BinaryOp, CompareOp and ReduceOp in src/cc/kernels.h.
// biome-ignore format: as in the header
const unaryOps = [
  'Abs', 'Neg', 'Exp', 'Expm1', 'Log', 'Log1p', 'Sqrt', 'Rsqrt', 'Square', 'Sigmoid', 'Tanh', 'Relu', 'Relu6', 'Softplus', 'Reciprocal', 'Sign',
  'Floor', 'Ceil', 'Round', 'Elu', 'Selu', 'LeakyRelu', 'Erf', 'Step', 'ClipByValue', 'Sin', 'Cos', 'GeluTanh', 'Scale',
  'Tan', 'Asin', 'Acos', 'Atan', 'Sinh', 'Cosh', 'Asinh', 'Acosh', 'Atanh',
] as const;
const binaryOps = [
  'Add',
  'Sub',
  'Multiply',
  'RealDiv',
  'Maximum',
  'Minimum',
  'Pow',
  'SquaredDifference',
  'FloorDiv',
  'Mod',
  'Prelu',
  'EluGrad',
] as const;
const compareOps = ['Equal', 'NotEqual', 'Less', 'LessEqual', 'Greater', 'GreaterEqual'] as const;
export const reduceOps = { Sum: 0, Mean: 1, Max: 2, Min: 3, Prod: 4, SumSquares: 5 } as const;
export const unaryIndex = (name: (typeof unaryOps)[number]) => unaryOps.indexOf(name);
export const binaryIndex = (name: (typeof binaryOps)[number]) => binaryOps.indexOf(name);

function unary(backend: NativeBackend, op: number, x: Info, p0 = 0, p1 = 0): Info {
  const y = backend.empty(x.shape, 'float32');
  need().unary(op, f32(backend, x), f32(backend, y), size(x.shape), p0, p1);
  return y;
}

function binary(backend: NativeBackend, op: number, a: Info, b: Info): Info | undefined {
  const shape = tf.backend_util.assertAndGetBroadcastShape(a.shape, b.shape);
  const w = broadcastWalk(a.shape, b.shape, shape);
  if (!w) return undefined;
  const y = backend.empty(shape, 'float32');
  if (size(shape) > 0) need().binary(op, f32(backend, a), f32(backend, b), f32(backend, y), w);
  return y;
}

export function transpose(backend: NativeBackend, x: Info, perm: readonly number[]): Info | undefined {
  const s = strides(x.shape);
  const shape = perm.map((p) => x.shape[p]);
  const w = copyWalk(
    shape,
    perm.map((p) => s[p]),
    strides(shape),
  );
  if (!w) return undefined;
  const y = backend.empty(shape, x.dtype as Dtype);
  if (size(shape) > 0) need().copyStrided(backend.values(x), 0, backend.values(y), 0, w);
  return y;
}

/** x as [outer, n, inner] with the reduced axes in the middle, after a transpose if they do not lie together. */
function grouped(
  backend: NativeBackend,
  x: Info,
  axes: readonly number[],
): { x: Info; outer: number; n: number; inner: number; temporary: boolean } | undefined {
  const rank = x.shape.length;
  const reduced = new Set(axes);
  const real = [...Array(rank).keys()].filter((d) => x.shape[d] !== 1);
  const first = real.findIndex((d) => reduced.has(d));
  const n = size([...reduced].map((d) => x.shape[d]));
  const kept = size(x.shape) === 0 ? size(x.shape.filter((_, d) => !reduced.has(d))) : size(x.shape) / n;
  if (first < 0) return { x, outer: kept, n: 1, inner: 1, temporary: false };
  let end = first;
  while (end < real.length && reduced.has(real[end])) end++;
  if (real.slice(end).every((d) => !reduced.has(d))) {
    const outer = size(real.slice(0, first).map((d) => x.shape[d]));
    return { x, outer, n, inner: size(real.slice(end).map((d) => x.shape[d])), temporary: false };
  }
  const perm = [...[...Array(rank).keys()].filter((d) => !reduced.has(d)), ...[...reduced].sort((a, b) => a - b)];
  const moved = transpose(backend, x, perm);
  return moved && { x: moved, outer: kept, n, inner: 1, temporary: true };
}

export function reduce(backend: NativeBackend, op: number, x: Info, axis: number | readonly number[], keepDims: boolean): Info | undefined {
  const axes = tf.util.parseAxisParam(axis as number[], x.shape);
  const g = grouped(backend, x, axes);
  if (!g) return undefined;
  const [out, kept] = tf.backend_util.computeOutAndReduceShapes(x.shape, axes);
  void kept;
  const y = backend.empty(keepDims ? tf.backend_util.expandShapeToKeepDim(out, axes) : out, 'float32');
  if (size(y.shape) > 0) {
    if (g.n === 0)
      f32(backend, y).fill(
        op === reduceOps.Mean
          ? Number.NaN
          : op === reduceOps.Prod
            ? 1
            : op === reduceOps.Max
              ? Number.NEGATIVE_INFINITY
              : op === reduceOps.Min
                ? Number.POSITIVE_INFINITY
                : 0,
      );
    else need().reduce(op, f32(backend, g.x), f32(backend, y), g.outer, g.n, g.inner);
  }
  if (g.temporary) backend.disposeIntermediateTensorInfo(g.x);
  return y;
}

function argReduce(backend: NativeBackend, max: boolean, x: Info, axis: number): Info | undefined {
  const axes = tf.util.parseAxisParam(axis, x.shape);
  const out = x.shape.filter((_, d) => !axes.includes(d));
  const d = axes[0];
  const n = x.shape[d];
  const y = backend.empty(out, 'int32');
  if (n === 0 || size(out) === 0) (backend.values(y) as Int32Array).fill(0);
  else need().argReduce(max, f32(backend, x), backend.values(y) as Int32Array, size(x.shape.slice(0, d)), n, size(x.shape.slice(d + 1)));
  return y;
}

export type MatMul = { a: Info; b: Info; transposeA: boolean; transposeB: boolean; bias?: Info; relu?: boolean; bf16?: boolean };
export function matMul(backend: NativeBackend, { a, b, transposeA, transposeB, bias, relu, bf16 = false }: MatMul): Info | undefined {
  if (!isFloat(a, b) || (bias && !isFloat(bias))) return undefined;
  const [ar, br] = [a.shape.length, b.shape.length];
  const m = a.shape[transposeA ? ar - 1 : ar - 2];
  const k = a.shape[transposeA ? ar - 2 : ar - 1];
  const kb = b.shape[transposeB ? br - 1 : br - 2];
  const n = b.shape[transposeB ? br - 2 : br - 1];
  tf.util.assert(
    k === kb,
    () =>
      `Error in matMul: inner shapes (${k}) and (${kb}) of Tensors with shapes ${a.shape} and ${b.shape} and transposeA=${transposeA} and transposeB=${transposeB} must match.`,
  );
  if (bias && !(size(bias.shape) === n && (bias.shape[bias.shape.length - 1] ?? 1) === n)) return undefined;
  const batchA = a.shape.slice(0, -2);
  const batchB = b.shape.slice(0, -2);
  const lead = tf.broadcast_util.assertAndGetBroadcastShape(batchA, batchB);
  const y = backend.empty([...lead, m, n], 'float32');
  const batch = size(lead);
  const [A, B, C] = [f32(backend, a), f32(backend, b), f32(backend, y)];
  const biasValues = bias ? f32(backend, bias) : null;
  if (size(y.shape) === 0) return y;
  const lone = size(batchB) === 1 && !transposeA; // every row of a meets the same matrix
  if (batch === 1 || (lone && size(batchA) === batch)) {
    need().gemm(
      A,
      B,
      C,
      biasValues,
      m * batch,
      n,
      k,
      transposeA ? m : k,
      transposeA,
      transposeB ? k : n,
      transposeB,
      n,
      relu ?? false,
      false,
      bf16,
    );
    return y;
  }
  const offsets = new Float64Array(2 * batch);
  const [sa, sb] = [batchStrides(batchA, lead), batchStrides(batchB, lead)];
  const at = new Array<number>(lead.length).fill(0);
  for (let i = 0; i < batch; i++) {
    let [oa, ob] = [0, 0];
    for (let d = 0; d < lead.length; d++) {
      oa += at[d] * sa[d];
      ob += at[d] * sb[d];
    }
    offsets[i] = oa * m * k;
    offsets[batch + i] = ob * k * n;
    for (let d = lead.length - 1; d >= 0 && ++at[d] === lead[d]; d--) at[d] = 0;
  }
  need().gemmBatch(A, B, C, biasValues, m, n, k, transposeA, transposeB, relu ?? false, batch, offsets, bf16);
  return y;
}
function batchStrides(shape: readonly number[], lead: readonly number[]): number[] {
  const s = strides(shape);
  return lead.map((_, d) => {
    const i = d - (lead.length - shape.length);
    return i < 0 || shape[i] === 1 ? 0 : s[i];
  });
}

function copyInto(backend: NativeBackend, x: Info, y: Info, begin: readonly number[]): boolean {
  const sy = strides(y.shape);
  const w = copyWalk(x.shape, strides(x.shape), sy);
  if (!w) return false;
  const at = begin.reduce((s, b, d) => s + b * sy[d], 0);
  if (size(x.shape) > 0) need().copyStrided(backend.values(x), 0, backend.values(y), at, w);
  return true;
}
export function slice(backend: NativeBackend, x: Info, begin: readonly number[], extent: number[]): Info | undefined {
  const s = strides(x.shape);
  const w = copyWalk(extent, s, strides(extent));
  if (!w) return undefined;
  const y = backend.empty([...extent], x.dtype as Dtype);
  const at = begin.reduce((sum, b, d) => sum + b * s[d], 0);
  if (size(extent) > 0) need().copyStrided(backend.values(x), at, backend.values(y), 0, w);
  return y;
}

/** Concatenation along one axis; empty inputs add nothing. */
function concat(backend: NativeBackend, xs: Info[], axis: number): Info | undefined {
  const full = xs.filter((x) => size(x.shape) > 0);
  const shape = tf.backend_util.computeOutShape(
    xs.map((x) => x.shape),
    axis,
  );
  if (full.length === 0 || !full.every((x) => isPlain(x) && x.dtype === full[0].dtype) || shape.length > 8) return undefined;
  const y = backend.empty(shape, xs[0].dtype as Dtype);
  let at = 0;
  for (const x of full) {
    const begin = new Array<number>(shape.length).fill(0);
    begin[axis] = at;
    copyInto(backend, x, y, begin);
    at += x.shape[axis];
  }
  return y;
}

function fill(backend: NativeBackend, shape: number[], value: number, dtype: tf.DataType): Info | undefined {
  if (dtype !== 'float32' && dtype !== 'int32' && dtype !== 'bool') return undefined;
  const y = backend.empty(shape, dtype);
  if (size(shape) > 0) need().fill(backend.values(y), value, size(shape));
  return y;
}

/** Applies what a product's own epilogue does not (all but relu) and frees `y` where the result is another tensor. */
function activate(backend: NativeBackend, y: Info, activation: string | undefined, prelu: Info | undefined, alpha = 0.2): Info | undefined {
  if (!activation || activation === 'linear' || activation === 'relu') return y;
  const op = { relu6: 'Relu6', elu: 'Elu', sigmoid: 'Sigmoid', leakyrelu: 'LeakyRelu' }[activation] as
    | (typeof unaryOps)[number]
    | undefined;
  const z =
    activation === 'prelu' && prelu ? binary(backend, binaryIndex('Prelu'), y, prelu) : op && unary(backend, unaryIndex(op), y, alpha);
  backend.disposeIntermediateTensorInfo(y);
  return z;
}

export const kernels: Record<string, Kernel> = {
  ...convolutionKernels(activate, (backend, y, bias) => binary(backend, binaryIndex('Add'), y, bias)),
  Identity: ({ inputs: { x }, backend }) => (x.dtype === 'complex64' ? undefined : backend.view(x, x.shape)),
  BatchMatMul: ({ inputs, attrs, backend }) =>
    matMul(backend, {
      a: inputs.a,
      b: inputs.b,
      transposeA: attrs.transposeA as boolean,
      transposeB: attrs.transposeB as boolean,
      bf16: attrs.products === 'bf16', // ours: tfjs passes no such attribute
    }),
  _FusedMatMul: ({ inputs: { a, b, bias, preluActivationWeights }, attrs, backend }) => {
    const activation = attrs.activation as string | undefined;
    const y = matMul(backend, {
      a,
      b,
      transposeA: attrs.transposeA as boolean,
      transposeB: attrs.transposeB as boolean,
      bias,
      relu: activation === 'relu',
    });
    return y && activate(backend, y, activation, preluActivationWeights, attrs.leakyreluAlpha as number);
  },
  AddN: ({ inputs, backend }) => {
    const xs = inputs as unknown as Info[];
    if (!isFloat(...xs) || xs.length < 2) return undefined;
    const y = binary(backend, binaryIndex('Add'), xs[0], xs[1]);
    if (y) for (const x of xs.slice(2)) need().axpy(1, f32(backend, x), f32(backend, y), size(y.shape));
    return y;
  },
  Sum: ({ inputs: { x }, attrs, backend }) =>
    isFloat(x) ? reduce(backend, reduceOps.Sum, x, attrs.axis as number[], attrs.keepDims as boolean) : undefined,
  Mean: ({ inputs: { x }, attrs, backend }) =>
    isFloat(x) ? reduce(backend, reduceOps.Mean, x, attrs.axis as number[], attrs.keepDims as boolean) : undefined,
  Prod: ({ inputs: { x }, attrs, backend }) =>
    isFloat(x) ? reduce(backend, reduceOps.Prod, x, attrs.axis as number[], attrs.keepDims as boolean) : undefined,
  Max: ({ inputs: { x }, attrs, backend }) =>
    isFloat(x) ? reduce(backend, reduceOps.Max, x, attrs.reductionIndices as number[], attrs.keepDims as boolean) : undefined,
  Min: ({ inputs: { x }, attrs, backend }) =>
    isFloat(x) ? reduce(backend, reduceOps.Min, x, attrs.axis as number[], attrs.keepDims as boolean) : undefined,
  ArgMax: ({ inputs: { x }, attrs, backend }) => (isFloat(x) ? argReduce(backend, true, x, attrs.axis as number) : undefined),
  ArgMin: ({ inputs: { x }, attrs, backend }) => (isFloat(x) ? argReduce(backend, false, x, attrs.axis as number) : undefined),
  Softmax: ({ inputs: { logits }, attrs, backend }) => {
    if (!isFloat(logits) || (attrs.dim as number) !== logits.shape.length - 1) return undefined;
    const y = backend.empty(logits.shape, 'float32');
    const n = logits.shape[logits.shape.length - 1];
    if (size(logits.shape) > 0) need().softmax(f32(backend, logits), f32(backend, y), size(logits.shape) / n, n, false);
    return y;
  },
  LogSoftmax: ({ inputs: { logits }, attrs, backend }) => {
    if (!isFloat(logits) || (attrs.axis as number) !== logits.shape.length - 1) return undefined;
    const y = backend.empty(logits.shape, 'float32');
    const n = logits.shape[logits.shape.length - 1];
    if (size(logits.shape) > 0) need().softmax(f32(backend, logits), f32(backend, y), size(logits.shape) / n, n, true);
    return y;
  },
  Cumsum: ({ inputs: { x }, attrs, backend }) => {
    const axis = tf.util.parseAxisParam((attrs.axis as number) ?? 0, x.shape)[0] ?? 0;
    if (!isFloat(x) || size(x.shape) === 0) return undefined;
    const inner = size(x.shape.slice(axis + 1));
    const last = x.shape.length - 1;
    const perm = [...Array(last + 1).keys()].filter((d) => d !== axis).concat(axis);
    const moved = inner === 1 ? backend.view(x, x.shape) : transpose(backend, x, perm);
    if (!moved) return undefined;
    const sums = backend.empty(moved.shape, 'float32');
    const n = x.shape[axis] ?? 1;
    need().cumsum(f32(backend, moved), f32(backend, sums), size(x.shape) / n, n, attrs.exclusive as boolean, attrs.reverse as boolean);
    backend.disposeIntermediateTensorInfo(moved);
    if (inner === 1) return { ...sums, shape: x.shape };
    const back = perm.map((_, d) => perm.indexOf(d));
    const y = transpose(backend, sums, back);
    backend.disposeIntermediateTensorInfo(sums);
    return y;
  },
  Transpose: ({ inputs: { x }, attrs, backend }) => (isPlain(x) ? transpose(backend, x, attrs.perm as number[]) : undefined),
  Slice: ({ inputs: { x }, attrs, backend }) => {
    if (!isPlain(x)) return undefined;
    const [begin, extent] = tf.slice_util.parseSliceParams(x as tf.Tensor, attrs.begin as number[], attrs.size as number[]);
    tf.slice_util.assertParamsValid(x as tf.Tensor, begin, extent);
    return slice(backend, x, begin, extent);
  },
  SplitV: ({ inputs: { x }, attrs, backend }) => {
    if (!isPlain(x)) return undefined;
    const axis = tf.util.parseAxisParam(attrs.axis as number, x.shape)[0];
    const begin = new Array<number>(x.shape.length).fill(0);
    const parts: Info[] = [];
    for (const s of tf.backend_util.prepareSplitSize(x as tf.Tensor, attrs.numOrSizeSplits as number[], axis)) {
      const extent = [...x.shape];
      extent[axis] = s;
      const part = slice(backend, x, begin, extent);
      if (!part) return undefined;
      parts.push(part);
      begin[axis] += s;
    }
    return parts;
  },
  Unpack: ({ inputs: { value }, attrs, backend }) => {
    if (!isPlain(value)) return undefined;
    const axis = tf.util.parseAxisParam(attrs.axis as number, value.shape)[0];
    const shape = value.shape.filter((_, d) => d !== axis);
    const extent = [...value.shape];
    extent[axis] = 1;
    return Array.from({ length: value.shape[axis] }, (_, i) => {
      const begin = new Array<number>(value.shape.length).fill(0);
      begin[axis] = i;
      return { ...(slice(backend, value, begin, extent) as Info), shape };
    });
  },
  Pack: ({ inputs, attrs, backend }) => {
    const xs = inputs as unknown as Info[];
    const axis = attrs.axis as number;
    const shape = xs[0].shape;
    for (const x of xs) {
      tf.util.assertShapesMatch(shape, x.shape, 'All tensors passed to stack must have matching shapes');
      tf.util.assert(x.dtype === xs[0].dtype, () => 'All tensors passed to stack must have matching dtypes');
    }
    const at = axis < 0 ? axis + shape.length + 1 : axis;
    return concat(
      backend,
      xs.map((x) => ({ ...x, shape: [...x.shape.slice(0, at), 1, ...x.shape.slice(at)] })),
      at,
    );
  },
  Concat: ({ inputs, attrs, backend }) => {
    const xs = inputs as unknown as Info[];
    const axis = tf.util.parseAxisParam(attrs.axis as number, xs[0].shape)[0];
    tf.backend_util.assertParamsConsistent(
      xs.map((x) => x.shape),
      axis,
    );
    if (xs.length === 1) return isPlain(xs[0]) ? backend.view(xs[0], xs[0].shape) : undefined;
    return concat(backend, xs, axis);
  },
  PadV2: ({ inputs: { x }, attrs, backend }) => {
    if (!isPlain(x) || x.shape.length > 8) return undefined;
    const paddings = attrs.paddings as [number, number][];
    const y = fill(
      backend,
      paddings.map(([l, r], d) => l + x.shape[d] + r),
      (attrs.constantValue as number) ?? 0,
      x.dtype,
    );
    if (y)
      copyInto(
        backend,
        x,
        y,
        paddings.map((p) => p[0]),
      );
    return y;
  },
  Tile: ({ inputs: { x }, attrs, backend }) => {
    const reps = attrs.reps as number[];
    if (!isPlain(x)) return undefined;
    const shape = x.shape.map((d, i) => d * reps[i]);
    const [sx, sy] = [strides(x.shape), strides(shape)];
    const w = walk(
      x.shape.flatMap((d, i) => [
        { dim: reps[i], a: 0, b: d * sy[i] },
        { dim: d, a: sx[i], b: sy[i] },
      ]),
    );
    if (!w) return undefined;
    const y = backend.empty(shape, x.dtype as Dtype);
    if (size(shape) > 0) need().copyStrided(backend.values(x), 0, backend.values(y), 0, w);
    return y;
  },
  GatherV2: ({ inputs: { x, indices }, attrs, backend }) => {
    const batchDims = (attrs.batchDims as number) ?? 0;
    if (!isPlain(x) || indices.dtype !== 'int32' || batchDims !== 0) return undefined;
    const axis = tf.util.parseAxisParam(attrs.axis as number, x.shape)[0];
    const [outer, inner, count] = [size(x.shape.slice(0, axis)), size(x.shape.slice(axis + 1)), size(indices.shape)];
    const shape = [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)];
    const y = backend.empty(shape, x.dtype as Dtype);
    need().gather(backend.values(x), backend.values(indices) as Int32Array, backend.values(y), outer, x.shape[axis], count, inner);
    return y;
  },
  UnsortedSegmentSum: ({ inputs: { x, segmentIds }, attrs, backend }) => {
    if (!isFloat(x) || segmentIds.dtype !== 'int32' || segmentIds.shape.length !== 1) return undefined;
    const n = attrs.numSegments as number;
    const y = backend.empty([n, ...x.shape.slice(1)], 'float32');
    need().segmentScatter(
      f32(backend, x),
      backend.values(segmentIds) as Int32Array,
      f32(backend, y),
      x.shape[0],
      n,
      size(x.shape.slice(1)),
    );
    return y;
  },
  Cast: ({ inputs: { x }, attrs, backend }) => {
    const dtype = attrs.dtype as tf.DataType;
    if (!isPlain(x)) return undefined;
    if (x.dtype === dtype) return backend.view(x, x.shape);
    if (dtype !== 'float32' && dtype !== 'int32' && dtype !== 'bool') return undefined;
    const y = backend.empty(x.shape, dtype);
    if (size(x.shape) > 0) need().cast(backend.values(x), backend.values(y), size(x.shape));
    return y;
  },
  OneHot: ({ inputs: { indices }, attrs, backend }) => {
    const { dtype, depth, onValue, offValue } = attrs as { dtype: tf.DataType; depth: number; onValue: number; offValue: number };
    const y = indices.dtype === 'int32' ? fill(backend, [...indices.shape, depth], offValue, dtype) : undefined;
    if (!y) return undefined;
    const [ids, out] = [backend.values(indices), backend.values(y)];
    for (let i = 0; i < ids.length; i++) if (ids[i] >= 0 && ids[i] < depth) out[i * depth + ids[i]] = onValue;
    return y;
  },
  Select: ({ inputs: { condition, t, e }, backend }) => {
    if (condition.dtype !== 'bool' || t.dtype !== e.dtype || (t.dtype !== 'float32' && t.dtype !== 'int32')) return undefined;
    const y = backend.empty(t.shape, t.dtype);
    const rows = size(condition.shape);
    const inner = condition.shape.length === 0 || condition.shape.length > 1 || t.shape.length === 1 ? 1 : size(t.shape.slice(1));
    if (rows * inner !== size(t.shape)) {
      backend.disposeIntermediateTensorInfo(y);
      return undefined;
    }
    if (rows > 0)
      need().select(backend.values(condition) as Uint8Array, backend.values(t), backend.values(e), backend.values(y), rows, inner);
    return y;
  },
  Fill: ({ attrs, backend }) => {
    const value = attrs.value as number | string;
    if (typeof value === 'string') return undefined;
    return fill(backend, attrs.shape as number[], value, (attrs.dtype as tf.DataType) ?? tf.util.inferDtype(value));
  },
  ZerosLike: ({ inputs: { x }, backend }) => fill(backend, x.shape, 0, x.dtype),
  OnesLike: ({ inputs: { x }, backend }) => fill(backend, x.shape, 1, x.dtype),
};

for (const name of unaryOps) {
  if (name === 'GeluTanh' || name === 'Scale') continue;
  kernels[name] = ({ inputs: { x }, attrs, backend }) => {
    if (!isFloat(x)) return undefined;
    const [p0, p1] =
      name === 'LeakyRelu' || name === 'Step'
        ? [attrs.alpha as number, 0]
        : name === 'ClipByValue'
          ? [attrs.clipValueMin as number, attrs.clipValueMax as number]
          : [0, 0];
    return unary(backend, unaryIndex(name), x, p0, p1);
  };
}
for (const name of binaryOps) {
  if (name === 'FloorDiv') continue; // tfjs gives int32
  kernels[name] = ({ inputs, backend }) => {
    const [a, b] = name === 'EluGrad' ? [inputs.dy, inputs.y] : name === 'Prelu' ? [inputs.x, inputs.alpha] : [inputs.a, inputs.b];
    return isFloat(a, b) ? binary(backend, binaryIndex(name), a, b) : undefined;
  };
}
compareOps.forEach((name, op) => {
  kernels[name] = ({ inputs: { a, b }, backend }) => {
    if (!isFloat(a, b)) return undefined;
    const shape = tf.backend_util.assertAndGetBroadcastShape(a.shape, b.shape);
    const w = broadcastWalk(a.shape, b.shape, shape);
    if (!w) return undefined;
    const y = backend.empty(shape, 'bool');
    if (size(shape) > 0) need().compare(op, f32(backend, a), f32(backend, b), backend.values(y) as Uint8Array, w);
    return y;
  };
});
