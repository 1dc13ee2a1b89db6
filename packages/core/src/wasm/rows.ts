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
