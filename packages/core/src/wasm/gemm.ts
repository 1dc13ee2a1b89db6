/**
 * The kernels `BatchMatMul`, `_FusedMatMul` and `Exp` on wasm. tfjs's own multiply fast only where nothing is transposed and
 * there is no batch (and ten times slower otherwise), and corrupt their memory when a tensor is the right-hand matrix twice in
 * different shapes. These give 40 to 45 GFLOP per second of processor time on matrices of hundreds, 20 on batches of 48 x 32 x 48.
 */
import * as tf from '@tensorflow/tfjs-core';
import { columnsAtOnce, instantiate, type Kernels, rowsAtOnce } from './kernels.js';
import type { WasmBackend } from './mend.js';

type Memory = { asm: { memory: WebAssembly.Memory }; _malloc(bytes: number): number };
type Internals = { wasm: Memory; dataIdMap: { get(id: object): { memoryOffset: number } } };

/** Of K at once, and of columns: together a packed block of B that stays in the second-level cache. */
const blockK = 256;
const blockColumns = 512;

/** The kernels over one backend's memory; a, b and c are the addresses of packed A (4 rows), the packed block of B, and 4 rows of C for edges. */
type Ready = { run: Kernels; a: number; b: number; c: number };
const ready = new WeakMap<object, Ready | null>();

/** Null where they cannot be had: no SIMD, or memory shared between threads (a cross-origin isolated page), whose kernels tfjs runs on threads. */
function prepare(backend: WasmBackend): Ready | null {
  const known = ready.get(backend);
  if (known !== undefined) return known;
  const { wasm } = backend as unknown as Internals;
  let made: Ready | null = null;
  try {
    const run = instantiate(wasm.asm.memory);
    const sizeA = 4 * rowsAtOnce * blockK;
    const sizeB = 4 * blockK * blockColumns;
    const base = Math.ceil((wasm._malloc(sizeA + sizeB + 4 * rowsAtOnce * blockColumns + 16) >>> 0) / 16) * 16;
    made = { run, a: base, b: base + sizeA, c: base + sizeA + sizeB };
  } catch {
    // tfjs's own kernels do it
  }
  ready.set(backend, made);
  return made;
}

const addressOf = (backend: WasmBackend, x: tf.TensorInfo): number =>
  (backend as unknown as Internals).dataIdMap.get(x.dataId).memoryOffset;

/** `c = a·b` of float32 matrices in the heap, any of them transposed by its strides (in numbers). */
function multiply(
  heap: Float32Array,
  { run, ...scratch }: Ready,
  m: number,
  n: number,
  k: number,
  a: number,
  strideAm: number,
  strideAk: number,
  b: number,
  strideBk: number,
  strideBn: number,
  c: number,
): void {
  const [packedA, packedB, edge] = [scratch.a / 4, scratch.b / 4, scratch.c / 4];
  if (k === 0) {
    heap.fill(0, c, c + m * n);
    return;
  }
  for (let n0 = 0; n0 < n; n0 += blockColumns) {
    const columns = Math.min(blockColumns, n - n0);
    const panels = Math.ceil(columns / columnsAtOnce);
    for (let k0 = 0; k0 < k; k0 += blockK) {
      const depth = Math.min(blockK, k - k0);
      for (let p = 0; p < panels; p++) {
        const left = Math.min(columnsAtOnce, columns - p * columnsAtOnce);
        let to = packedB + p * depth * columnsAtOnce;
        const from = b + (n0 + p * columnsAtOnce) * strideBn + k0 * strideBk;
        pack(heap, from, to, depth, left, columnsAtOnce, strideBk, strideBn);
        to += depth * columnsAtOnce;
      }
      for (let m0 = 0; m0 < m; m0 += rowsAtOnce) {
        const rows = Math.min(rowsAtOnce, m - m0);
        pack(heap, a + m0 * strideAm + k0 * strideAk, packedA, depth, rows, rowsAtOnce, strideAk, strideAm);
        const target = c + m0 * n + n0;
        const whole = rows === rowsAtOnce ? Math.floor(columns / columnsAtOnce) : 0;
        if (whole > 0) run.rows(scratch.a, scratch.b, 4 * target, depth, whole, 4 * n, k0 > 0 ? 1 : 0);
        if (whole === panels) continue;
        // What does not fill a tile is computed beside, and copied.
        const skipped = whole * columnsAtOnce;
        const width = (panels - whole) * columnsAtOnce;
        run.rows(scratch.a, scratch.b + 4 * skipped * depth, scratch.c, depth, panels - whole, 4 * width, 0);
        for (let r = 0; r < rows; r++)
          for (let j = skipped; j < columns; j++) {
            const value = heap[edge + r * width + j - skipped];
            const at = target + r * n + j;
            heap[at] = k0 > 0 ? heap[at] + value : value;
          }
      }
    }
  }
}

/** [depth, count] with these strides, as [depth, width] without gaps; zeros fill up to `width`. */
function pack(
  heap: Float32Array,
  from: number,
  to: number,
  depth: number,
  count: number,
  width: number,
  strideDepth: number,
  stride: number,
): void {
  if (count < width) heap.fill(0, to, to + depth * width);
  if (count === 8) {
    for (let d = 0; d < depth; d++, from += strideDepth, to += 8) {
      heap[to] = heap[from];
      heap[to + 1] = heap[from + stride];
      heap[to + 2] = heap[from + 2 * stride];
      heap[to + 3] = heap[from + 3 * stride];
      heap[to + 4] = heap[from + 4 * stride];
      heap[to + 5] = heap[from + 5 * stride];
      heap[to + 6] = heap[from + 6 * stride];
      heap[to + 7] = heap[from + 7 * stride];
    }
  } else if (count === 4) {
    for (let d = 0; d < depth; d++, from += strideDepth, to += width) {
      heap[to] = heap[from];
      heap[to + 1] = heap[from + stride];
      heap[to + 2] = heap[from + 2 * stride];
      heap[to + 3] = heap[from + 3 * stride];
    }
  } else {
    for (let d = 0; d < depth; d++, from += strideDepth, to += width)
      for (let i = 0; i < count; i++) heap[to + i] = heap[from + i * stride];
  }
}

type MatMulAttrs = { transposeA: boolean; transposeB: boolean };

export function batchMatMul({
  inputs: { a, b },
  attrs: { transposeA, transposeB },
  backend,
}: {
  inputs: { a: tf.TensorInfo; b: tf.TensorInfo };
  attrs: MatMulAttrs;
  backend: WasmBackend;
}): tf.TensorInfo | null {
  const [outerA, outerB] = [a.shape.slice(0, -2), b.shape.slice(0, -2)];
  const [m, k] = transposeA ? [a.shape.at(-1)!, a.shape.at(-2)!] : [a.shape.at(-2)!, a.shape.at(-1)!];
  const [k2, n] = transposeB ? [b.shape.at(-1)!, b.shape.at(-2)!] : [b.shape.at(-2)!, b.shape.at(-1)!];
  if (k !== k2)
    throw new Error(
      `matMul: [${a.shape}] and [${b.shape}] (transposeA=${transposeA}, transposeB=${transposeB}) do not fit: ${k} and ${k2} differ.`,
    );
  if (a.dtype !== 'float32' || b.dtype !== 'float32')
    return tf.tidy(() => {
      const [p, q] = [a, b].map((x) => tf.cast(x as tf.Tensor, 'float32'));
      return tf.cast(tf.matMul(p, q, transposeA, transposeB), tf.upcastType(a.dtype, b.dtype));
    });
  const outer = tf.broadcast_util.assertAndGetBroadcastShape(outerA, outerB);
  const how = prepare(backend);
  if (!how) return null;
  const out = backend.makeOutput([...outer, m, n], 'float32');
  // After all allocations: the heap may have moved.
  const heap = new Float32Array((backend as unknown as Internals).wasm.asm.memory.buffer);
  const [atA, atB, atC] = [a, b, out].map((x) => addressOf(backend, x) / 4);
  const [placesA, placesB] = [batchPlaces(outerA, outer), batchPlaces(outerB, outer)];
  for (let i = 0; i < placesA.length; i++)
    multiply(
      heap,
      how,
      m,
      n,
      k,
      atA + placesA[i] * m * k,
      transposeA ? 1 : k,
      transposeA ? m : 1,
      atB + placesB[i] * k * n,
      transposeB ? 1 : n,
      transposeB ? k : 1,
      atC + i * m * n,
    );
  return out;
}

/** For each matrix of the product, which of the operand's it comes from. */
function batchPlaces(own: number[], outer: number[]): number[] {
  let places = [0];
  const padded = [...outer.slice(own.length).map(() => 1), ...own];
  outer.forEach((size, axis) => {
    places = places.flatMap((place) => Array.from({ length: size }, (_, i) => place * padded[axis] + (padded[axis] === 1 ? 0 : i)));
  });
  return places;
}

type FusedAttrs = MatMulAttrs & { activation?: string; leakyreluAlpha?: number };

export function fusedMatMul({
  inputs: { a, b, bias, preluActivationWeights },
  attrs,
}: {
  inputs: Record<'a' | 'b' | 'bias' | 'preluActivationWeights', tf.TensorInfo>;
  attrs: FusedAttrs;
}): tf.TensorInfo {
  return tf.tidy(() => {
    let y: tf.Tensor = tf.matMul(a as tf.Tensor, b as tf.Tensor, attrs.transposeA, attrs.transposeB);
    if (bias) y = tf.add(y, bias as tf.Tensor);
    if (attrs.activation === 'prelu') return tf.prelu(y, preluActivationWeights as tf.Tensor);
    if (attrs.activation === 'leakyrelu') return tf.leakyRelu(y, attrs.leakyreluAlpha);
    const activations: Record<string, (x: tf.Tensor) => tf.Tensor> = { relu: tf.relu, relu6: tf.relu6, elu: tf.elu, sigmoid: tf.sigmoid };
    return attrs.activation && attrs.activation !== 'linear' ? activations[attrs.activation](y) : y;
  });
}

export function exp({ inputs: { x }, backend }: { inputs: { x: tf.TensorInfo }; backend: WasmBackend }): tf.TensorInfo | null {
  const how = prepare(backend);
  if (!how || x.dtype !== 'float32') return null;
  const out = backend.makeOutput(x.shape, 'float32');
  const n = tf.util.sizeFromShape(x.shape);
  const [from, to] = [x, out].map((t) => backend.typedArrayFromHeap(t));
  const vectors = Math.floor(n / 4);
  if (vectors > 0) how.run.exp(addressOf(backend, x), addressOf(backend, out), vectors);
  for (let i = 4 * vectors; i < n; i++) to[i] = Math.exp(from[i]);
  return out;
}
