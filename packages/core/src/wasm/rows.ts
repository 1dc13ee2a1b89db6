/** Kernels over whole rows of the heap, where tfjs's go number by number (gather: 100 ms for 3 MB, here 1). */
import * as tf from '@tensorflow/tfjs-core';
import { type RotaryAttrs, rotaryTables } from '../kernels/rotary.js';
import type { Call, WasmBackend } from './mend.js';

/** Rows of the first axis; other axes and batches are left to tfjs. */
export function gatherRows({
  inputs: { x, indices },
  attrs: { axis, batchDims },
  backend,
}: Call<'x' | 'indices', { axis: number; batchDims: number }>): tf.TensorInfo | null {
  if (tf.util.parseAxisParam(axis, x.shape)[0] !== 0 || batchDims || x.dtype === 'string' || indices.dtype !== 'int32') return null;
  const out = backend.makeOutput([...indices.shape, ...x.shape.slice(1)], x.dtype);
  const [from, to] = [x, out].map((t) => backend.typedArrayFromHeap(t));
  const rows = backend.typedArrayFromHeap(indices);
  const width = tf.util.sizeFromShape(x.shape.slice(1));
  for (let i = 0; i < rows.length; i++) {
    if (rows[i] < 0 || rows[i] >= x.shape[0]) throw new RangeError(`gather: index ${rows[i]} is outside [0, ${x.shape[0]}).`);
    to.set(from.subarray(rows[i] * width, (rows[i] + 1) * width), i * width);
  }
  return out;
}

/** Sums over leading axes, row by row; others are left to tfjs. */
export function sumRows({
  inputs: { x },
  attrs: { axis, keepDims },
  backend,
}: Call<'x', { axis: number | number[]; keepDims: boolean }>): tf.TensorInfo | null {
  const axes = tf.util.parseAxisParam(axis, x.shape).sort((a, b) => a - b);
  if (x.dtype !== 'float32' || axes.length === 0 || axes.length === x.shape.length || axes.some((a, i) => a !== i)) return null;
  const kept = x.shape.slice(axes.length);
  const out = backend.makeOutput(keepDims ? [...axes.map(() => 1), ...kept] : kept, 'float32');
  const [from, to] = [x, out].map((t) => backend.typedArrayFromHeap(t));
  const width = to.length;
  // In blocks of rows, whose sums are added: an error that grows with the root of their number, and a fixed order.
  const block = new Float32Array(width);
  to.fill(0);
  for (let start = 0; start < from.length; start += 64 * width) {
    block.fill(0);
    const end = Math.min(start + 64 * width, from.length);
    for (let row = start; row < end; row += width) for (let i = 0; i < width; i++) block[i] += from[row + i];
    for (let i = 0; i < width; i++) to[i] += block[i];
  }
  return out;
}

/** A matrix's; other permutations are left to tfjs. */
export function transposeMatrix({ inputs: { x }, attrs: { perm }, backend }: Call<'x', { perm: number[] }>): tf.TensorInfo | null {
  if (x.dtype !== 'float32' || perm.length !== 2 || perm[0] !== 1) return null;
  const [rows, columns] = x.shape;
  const out = backend.makeOutput([columns, rows], 'float32');
  const [from, to] = [x, out].map((t) => backend.typedArrayFromHeap(t));
  const tile = 16; // a line of the cache, both ways
  for (let r0 = 0; r0 < rows; r0 += tile)
    for (let c0 = 0; c0 < columns; c0 += tile)
      for (let r = r0; r < Math.min(rows, r0 + tile); r++)
        for (let c = c0; c < Math.min(columns, c0 + tile); c++) to[c * rows + r] = from[r * columns + c];
  return out;
}

/** Where condition and branches have one shape. */
export function selectEqual({ inputs: { condition, t, e }, backend }: Call<'condition' | 't' | 'e'>): tf.TensorInfo | null {
  if (t.dtype !== 'float32' || e.dtype !== 'float32' || condition.dtype !== 'bool') return null;
  if (!tf.util.arraysEqual(condition.shape, t.shape) || !tf.util.arraysEqual(t.shape, e.shape)) return null;
  const out = backend.makeOutput(t.shape, 'float32');
  const [when, yes, no, to] = [condition, t, e, out].map((x) => backend.typedArrayFromHeap(x));
  for (let i = 0; i < to.length; i++) to[i] = when[i] ? yes[i] : no[i];
  return out;
}

/** Of whole rows but for their ends: only the last axis is cut. */
export function sliceLast({
  inputs: { x },
  attrs: { begin, size },
  backend,
}: Call<'x', { begin: number | number[]; size: number | number[] }>): tf.TensorInfo | null {
  const last = x.shape.length - 1;
  const [from, count] = tf.slice_util.parseSliceParams(x as tf.Tensor, begin, size);
  if (x.dtype !== 'float32' || last < 1 || count.some((n, axis) => axis < last && n !== x.shape[axis])) return null;
  tf.slice_util.assertParamsValid(x, from, count);
  return columns(x, from[last], count[last], backend);
}

export function splitLast({
  inputs: { x },
  attrs: { numOrSizeSplits, axis },
  backend,
}: Call<'x', { numOrSizeSplits: number | number[]; axis: number }>): tf.TensorInfo[] | null {
  const last = x.shape.length - 1;
  const [$axis] = tf.util.parseAxisParam(axis, x.shape);
  if (x.dtype !== 'float32' || last < 1 || $axis !== last) return null;
  let at = 0;
  return tf.backend_util.prepareSplitSize(x as tf.Tensor, numOrSizeSplits, $axis).map((count) => {
    at += count;
    return columns(x, at - count, count, backend);
  });
}

function columns(x: tf.TensorInfo, begin: number, count: number, backend: WasmBackend): tf.TensorInfo {
  const width = x.shape[x.shape.length - 1];
  const out = backend.makeOutput([...x.shape.slice(0, -1), count], 'float32');
  const [from, to] = [x, out].map((t) => backend.typedArrayFromHeap(t));
  if (count < 16) for (let row = begin, at = 0; at < to.length; row += width) for (let i = 0; i < count; i++) to[at++] = from[row + i];
  else for (let row = begin, at = 0; at < to.length; row += width, at += count) to.set(from.subarray(row, row + count), at);
  return out;
}

export function rotaryForward({ inputs: { x }, attrs, backend }: Call<'x', RotaryAttrs>): tf.TensorInfo[] {
  return [turn(x, attrs, 1, backend)];
}

export function rotaryBackward({
  inputs,
  attrs: { attrs },
  backend,
}: Call<'dy:y', { attrs: RotaryAttrs; needs: string[] }>): tf.TensorInfo[] {
  return [turn(inputs['dy:y'], attrs, -1, backend)];
}

function turn(x: tf.TensorInfo, attrs: RotaryAttrs, direction: 1 | -1, backend: WasmBackend): tf.TensorInfo {
  const [tokens, heads, headDim] = x.shape;
  const half = headDim / 2;
  const { cos, sin } = rotaryTables(attrs);
  const out = backend.makeOutput(x.shape, 'float32');
  const [from, to] = [x, out].map((t) => backend.typedArrayFromHeap(t));
  for (let t = 0, at = 0; t < tokens; t++)
    for (let h = 0; h < heads; h++, at += headDim)
      for (let i = 0; i < half; i++) {
        const [c, s] = [cos[t * half + i], direction * sin[t * half + i]];
        const [a, b] = [from[at + i], from[at + half + i]];
        to[at + i] = a * c - b * s;
        to[at + half + i] = b * c + a * s;
      }
  return out;
}
