/** Whole numbers, truth values, order, and what is built of the other kernels: the second choice after kernels.ts. */
import * as tf from '@tensorflow/tfjs-core';
import { need } from './addon.js';
import type { NativeBackend } from './backend.js';
import { type Kernel, matMul, reduce, reduceOps, transpose } from './kernels.js';
import { broadcastWalk, copyWalk, strides } from './layout.js';

type Info = tf.TensorInfo;
type Attrs = Record<string, unknown>;
const size = tf.util.sizeFromShape;
const isFloat = (...xs: Info[]) => xs.every((x) => x.dtype === 'float32');
const isWhole = (...xs: Info[]) => xs.every((x) => x.dtype === 'int32');
const isTruth = (...xs: Info[]) => xs.every((x) => x.dtype === 'bool');
const isPlain = (x: Info) => x.dtype === 'float32' || x.dtype === 'int32' || x.dtype === 'bool';
const f32 = (backend: NativeBackend, x: Info) => backend.values(x) as Float32Array;
const i32 = (backend: NativeBackend, x: Info) => backend.values(x) as Int32Array;
const u8 = (backend: NativeBackend, x: Info) => backend.values(x) as Uint8Array;

// The order of WholeOp, CompareOp and TruthOp in src/cc/kernels.h.
const wholeOps = ['Add', 'Sub', 'Multiply', 'Maximum', 'Minimum', 'FloorDiv', 'Mod', 'SquaredDifference'];
const compareOps = ['Equal', 'NotEqual', 'Less', 'LessEqual', 'Greater', 'GreaterEqual'];
const truthOps = ['LogicalAnd', 'LogicalOr'];

type Binary = (walk: Float64Array, a: Info, b: Info, y: Info) => void;
function pairwise(backend: NativeBackend, a: Info, b: Info, dtype: 'int32' | 'bool', run: Binary): Info | undefined {
  const shape = tf.backend_util.assertAndGetBroadcastShape(a.shape, b.shape);
  const walk = broadcastWalk(a.shape, b.shape, shape);
  if (!walk) return undefined;
  const y = backend.empty(shape, dtype);
  if (size(shape) > 0) run(walk, a, b, y);
  return y;
}

/** The reduction of whole numbers over axes, moved last where they are not; nothing for an empty axis. */
function wholeReduce(backend: NativeBackend, op: number, x: Info, axis: number | number[], keepDims: boolean): Info | undefined {
  const axes = tf.util.parseAxisParam(axis, x.shape);
  const [out, reduced] = tf.backend_util.computeOutAndReduceShapes(x.shape, axes);
  const n = size(reduced);
  if (n === 0 || size(out) === 0) return undefined;
  const kept = x.shape.map((_, d) => d).filter((d) => !axes.includes(d));
  const moved = tf.backend_util.axesAreInnerMostDims(axes, x.shape.length) ? null : transpose(backend, x, [...kept, ...axes]);
  if (moved === undefined) return undefined;
  const y = backend.empty(keepDims ? tf.backend_util.expandShapeToKeepDim(out, axes) : out, 'int32');
  need().wholeReduce(op, i32(backend, moved ?? x), i32(backend, y), size(out), n, 1);
  if (moved) backend.disposeIntermediateTensorInfo(moved);
  return y;
}

function resize(backend: NativeBackend, x: Info, y: Info, image: number[], out: number[], o: Attrs, grad: boolean): Info {
  const [batch, inHeight, inWidth, channels] = image;
  const numbers = Float64Array.of(batch, inHeight, inWidth, channels, out[0], out[1]);
  const { nearest, alignCorners, halfPixelCenters } = o as { nearest: boolean; alignCorners: boolean; halfPixelCenters?: boolean };
  if (size(image) > 0 && size(out) > 0)
    need().resize(f32(backend, x), f32(backend, y), numbers, nearest, alignCorners, halfPixelCenters ?? false, grad);
  return y;
}

/** One or two terms by a product of matrices; letters of one term alone are summed beforehand. */
function einsum(backend: NativeBackend, xs: Info[], equation: string): Info | undefined {
  const { allDims, summedDims, idDims } = tf.backend_util.decodeEinsumEquation(equation, xs.length);
  tf.backend_util.checkEinsumDimSizes(allDims.length, idDims, xs as tf.Tensor[]);
  if (!isFloat(...xs) || xs.some((x) => size(x.shape) === 0)) return undefined;
  const outputs = allDims.length - summedDims.length; // labels below are those of the output, in its order
  const sizes: number[] = [];
  idDims.forEach((labels, i) => {
    labels.forEach((label, axis) => {
      sizes[label] = xs[i].shape[axis];
    });
  });
  const spare: Info[] = [];
  const keep = (x: Info | undefined): Info => {
    if (!x) throw new Error(`einsum: ${equation} has too many axes`);
    spare.push(x);
    return x;
  };
  const arranged = (x: Info, from: number[], to: number[]): Info =>
    to.every((label, i) => from[i] === label)
      ? x
      : keep(
          transpose(
            backend,
            x,
            to.map((label) => from.indexOf(label)),
          ),
        );
  const terms = xs.map((x, i) => {
    const labels = idDims[i];
    const lonely = labels.filter((label) => label >= outputs && !idDims.some((other, j) => j !== i && other.includes(label)));
    if (lonely.length === 0) return { x, labels };
    const axes = lonely.map((label) => labels.indexOf(label));
    return { x: keep(reduce(backend, reduceOps.Sum, x, axes, false)), labels: labels.filter((label) => !lonely.includes(label)) };
  });
  const order = [...Array(outputs).keys()];
  const shape = order.map((label) => sizes[label]);
  let y: Info;
  if (terms.length === 1) y = arranged(terms[0].x, terms[0].labels, order);
  else {
    const [a, b] = terms;
    const both = a.labels.filter((label) => b.labels.includes(label));
    const batch = both.filter((label) => label < outputs).sort((p, q) => p - q);
    const inner = both.filter((label) => label >= outputs);
    const mine = a.labels.filter((label) => !both.includes(label));
    const yours = b.labels.filter((label) => !both.includes(label));
    const count = (labels: number[]) => labels.reduce((n, label) => n * sizes[label], 1);
    const left = arranged(a.x, a.labels, [...batch, ...mine, ...inner]);
    const right = arranged(b.x, b.labels, [...batch, ...yours, ...inner]);
    const product = keep(
      matMul(backend, {
        a: { ...left, shape: [count(batch), count(mine), count(inner)] },
        b: { ...right, shape: [count(batch), count(yours), count(inner)] },
        transposeA: false,
        transposeB: true,
      }),
    );
    const labels = [...batch, ...mine, ...yours];
    y = arranged({ ...product, shape: labels.map((label) => sizes[label]) }, labels, order);
  }
  const result = backend.view(y, shape);
  for (const x of spare) backend.disposeIntermediateTensorInfo(x);
  return result;
}

/** The rows that `indices` [n, depth] name in axes of these sizes, or null where one is outside. */
function flatRows(indices: Int32Array, depth: number, sizes: readonly number[]): Int32Array | null {
  const n = depth === 0 ? 0 : indices.length / depth;
  const rows = new Int32Array(n);
  for (let i = 0; i < n; i++) {
    let row = 0;
    for (let d = 0; d < depth; d++) {
      const at = indices[i * depth + d];
      if (at < 0 || at >= sizes[d]) return null;
      row = row * sizes[d] + at;
    }
    rows[i] = row;
  }
  return rows;
}

export const wholeKernels: Record<string, Kernel> = {
  LogicalNot: ({ inputs: { x }, backend }) => {
    if (!isTruth(x)) return undefined;
    const y = backend.empty(x.shape, 'bool');
    if (size(x.shape) > 0) need().truthBinary(2, u8(backend, x), Uint8Array.of(1), u8(backend, y), Float64Array.of(1, size(x.shape), 1, 0));
    return y;
  },
  IsNan: ({ inputs: { x }, backend }) => {
    if (!isFloat(x)) return undefined;
    const y = backend.empty(x.shape, 'bool');
    const values = f32(backend, x);
    if (values.length > 0)
      need().compare(compareOps.indexOf('NotEqual'), values, values, u8(backend, y), Float64Array.of(1, values.length, 1, 1));
    return y;
  },
  Sum: ({ inputs: { x }, attrs, backend }) =>
    isWhole(x) ? wholeReduce(backend, reduceOps.Sum, x, attrs.axis as number[], attrs.keepDims as boolean) : undefined,
  Prod: ({ inputs: { x }, attrs, backend }) =>
    isWhole(x) ? wholeReduce(backend, reduceOps.Prod, x, attrs.axis as number[], attrs.keepDims as boolean) : undefined,
  Max: ({ inputs: { x }, attrs, backend }) =>
    isWhole(x) ? wholeReduce(backend, reduceOps.Max, x, attrs.reductionIndices as number[], attrs.keepDims as boolean) : undefined,
  Min: ({ inputs: { x }, attrs, backend }) =>
    isWhole(x) ? wholeReduce(backend, reduceOps.Min, x, attrs.axis as number[], attrs.keepDims as boolean) : undefined,
  TopK: ({ inputs: { x }, attrs, backend }) => {
    const n = x.shape[x.shape.length - 1];
    const k = attrs.k as number;
    if (!isFloat(x) || size(x.shape) === 0 || !(k <= n)) return undefined;
    const shape = [...x.shape.slice(0, -1), k];
    const [values, places] = [backend.empty(shape, 'float32'), backend.empty([...shape], 'int32')];
    need().topK(f32(backend, x), f32(backend, values), i32(backend, places), size(x.shape) / n, n, k);
    return [values, places];
  },
  FusedBatchNorm: ({ inputs: { x, mean, variance, offset, scale }, attrs, backend }) => {
    if (![x, mean, variance, offset, scale].every((t) => !t || isFloat(t)) || size(x.shape) === 0) return undefined;
    if ([variance, offset, scale].some((t) => t && t.shape.length !== mean.shape.length)) return undefined; // tfjs says why not
    const y = backend.empty(x.shape, 'float32');
    const of = (t: Info | undefined) => (t ? f32(backend, t) : null);
    const eps = (attrs.varianceEpsilon as number) ?? 0.001;
    need().batchNorm(f32(backend, x), f32(backend, mean), f32(backend, variance), of(offset), of(scale), eps, f32(backend, y));
    return y;
  },
  ResizeBilinear: ({ inputs: { images }, attrs, backend }) => {
    if (!isFloat(images)) return undefined;
    const out = attrs.size as [number, number];
    const y = backend.empty([images.shape[0], ...out, images.shape[3]], 'float32');
    return resize(backend, images, y, images.shape, out, { ...attrs, nearest: false }, false);
  },
  ResizeNearestNeighbor: ({ inputs: { images }, attrs, backend }) => {
    if (!isFloat(images)) return undefined;
    const out = attrs.size as [number, number];
    const y = backend.empty([images.shape[0], ...out, images.shape[3]], 'float32');
    return resize(backend, images, y, images.shape, out, { ...attrs, nearest: true }, false);
  },
  ResizeBilinearGrad: ({ inputs: { dy, images }, attrs, backend }) => {
    if (!isFloat(dy, images)) return undefined;
    const dx = backend.empty(images.shape, 'float32');
    return resize(backend, dy, dx, images.shape, dy.shape.slice(1, 3), { ...attrs, nearest: false }, true);
  },
  ResizeNearestNeighborGrad: ({ inputs: { dy, images }, attrs, backend }) => {
    if (!isFloat(dy, images)) return undefined;
    const dx = backend.empty(images.shape, 'float32');
    return resize(backend, dy, dx, images.shape, dy.shape.slice(1, 3), { ...attrs, nearest: true }, true);
  },
  Einsum: ({ inputs, attrs, backend }) => einsum(backend, Object.values(inputs), attrs.equation as string),
  ScatterNd: ({ inputs: { indices, updates }, attrs, backend }) => {
    if (!isWhole(indices) || !isFloat(updates)) return undefined;
    const shape = attrs.shape as number[];
    const { sliceRank, sliceSize, outputSize } = tf.backend_util.calculateShapes(updates as tf.Tensor, indices as tf.Tensor, shape);
    const rows = sliceRank > 0 && sliceSize > 0 && outputSize > 0 ? flatRows(i32(backend, indices), sliceRank, shape) : null;
    if (!rows || rows.length * sliceSize !== size(updates.shape)) return undefined;
    const y = backend.empty(shape, 'float32');
    need().segmentScatter(f32(backend, updates), rows, f32(backend, y), rows.length, outputSize / sliceSize, sliceSize);
    return y;
  },
  GatherNd: ({ inputs: { params, indices }, backend }) => {
    if (!isPlain(params) || !isWhole(indices) || size(params.shape) === 0) return undefined;
    const [shape, , sliceSize] = tf.backend_util.prepareAndValidate(params as tf.Tensor, indices as tf.Tensor);
    const depth = indices.shape[indices.shape.length - 1];
    const rows = depth > 0 ? flatRows(i32(backend, indices), depth, params.shape) : null;
    if (!rows) return undefined;
    const y = backend.empty(shape, params.dtype as 'float32');
    need().gather(backend.values(params), rows, backend.values(y), 1, size(params.shape) / sliceSize, rows.length, sliceSize);
    return y;
  },
  Reverse: ({ inputs: { x }, attrs, backend }) => {
    if (!isPlain(x)) return undefined;
    const turned = new Set(tf.util.parseAxisParam(attrs.dims as number[], x.shape));
    return strided(
      backend,
      x,
      x.shape.map((n, d) => (turned.has(d) ? n - 1 : 0)),
      x.shape.map((_, d) => (turned.has(d) ? -1 : 1)),
      x.shape,
    );
  },
  StridedSlice: ({ inputs: { x }, attrs, backend }) => {
    if (!isPlain(x)) return undefined;
    const a = attrs as { begin: number[]; end: number[]; strides: number[] } & Record<string, number>;
    const found = tf.slice_util.sliceInfo(
      x.shape,
      a.begin,
      a.end,
      a.strides,
      a.beginMask,
      a.endMask,
      a.ellipsisMask,
      a.newAxisMask,
      a.shrinkAxisMask,
    );
    if (found.isIdentity || found.sliceDim0 || found.isSimpleSlice) return undefined; // views and slices
    const y = strided(backend, x, found.begin, found.strides, found.finalShapeSparse);
    return y && { ...y, shape: found.finalShape };
  },
};

/** Every `steps`-th entry from `begin` on along each axis; steps may be negative. */
function strided(backend: NativeBackend, x: Info, begin: readonly number[], steps: readonly number[], shape: number[]): Info | undefined {
  const s = strides(x.shape);
  const walk = copyWalk(
    shape,
    s.map((n, d) => n * steps[d]),
    strides(shape),
  );
  if (!walk) return undefined;
  const y = backend.empty([...shape], x.dtype as 'float32');
  const at = begin.reduce((sum, b, d) => sum + b * s[d], 0);
  if (size(shape) > 0) need().copyStrided(backend.values(x), at, backend.values(y), 0, walk);
  return y;
}

wholeOps.forEach((name, op) => {
  wholeKernels[name] = ({ inputs: { a, b }, backend }) =>
    isWhole(a, b)
      ? pairwise(backend, a, b, 'int32', (walk, p, q, y) => need().wholeBinary(op, i32(backend, p), i32(backend, q), i32(backend, y), walk))
      : undefined;
});
compareOps.forEach((name, op) => {
  wholeKernels[name] = ({ inputs: { a, b }, backend }) =>
    isWhole(a, b)
      ? pairwise(backend, a, b, 'bool', (walk, p, q, y) => need().wholeCompare(op, i32(backend, p), i32(backend, q), u8(backend, y), walk))
      : undefined;
});
truthOps.forEach((name, op) => {
  wholeKernels[name] = ({ inputs: { a, b }, backend }) =>
    isTruth(a, b)
      ? pairwise(backend, a, b, 'bool', (walk, p, q, y) => need().truthBinary(op, u8(backend, p), u8(backend, q), u8(backend, y), walk))
      : undefined;
});
