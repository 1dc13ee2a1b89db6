/** Shapes made ready for the strided kernels: axes that lie together in every operand are walked as one. */

/** One axis: its extent and each operand's stride in elements, 0 where it is broadcast. */
type Axis = { dim: number; a: number; b: number };

const buffer = new Float64Array(32);
export const maxRank = 8;

/** [rank, dims..., a..., b...] for the addon, in one array that the next call overwrites; null if it has too many axes. */
export function walk(axes: readonly Axis[], keepLast = false): Float64Array | null {
  const merged: Axis[] = [];
  for (let i = 0; i < axes.length; i++) {
    const x = axes[i];
    if (x.dim === 1 && !(keepLast && i === axes.length - 1)) continue;
    const last = merged[merged.length - 1];
    if (last && last.a === x.a * x.dim && last.b === x.b * x.dim) {
      last.dim *= x.dim;
      last.a = x.a;
      last.b = x.b;
    } else merged.push({ ...x });
  }
  if (merged.length === 0) merged.push({ dim: 1, a: 1, b: 1 });
  const rank = merged.length;
  if (rank > maxRank) return null;
  buffer[0] = rank;
  for (let d = 0; d < rank; d++) {
    buffer[1 + d] = merged[d].dim;
    buffer[1 + rank + d] = merged[d].a;
    buffer[1 + 2 * rank + d] = merged[d].b;
  }
  return buffer;
}

export function strides(shape: readonly number[]): number[] {
  const s = new Array<number>(shape.length);
  for (let d = shape.length - 1, n = 1; d >= 0; d--) {
    s[d] = n;
    n *= shape[d];
  }
  return s;
}

function flat(size: number, a: number, b: number): Float64Array {
  buffer[0] = 1;
  buffer[1] = size;
  buffer[2] = a;
  buffer[3] = b;
  return buffer;
}
const sameShape = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((d, i) => d === b[i]);
const product = (shape: readonly number[]) => shape.reduce((n, d) => n * d, 1);

/** Two operands broadcast against each other. */
export function broadcastWalk(aShape: readonly number[], bShape: readonly number[], out: readonly number[]): Float64Array | null {
  if (sameShape(aShape, bShape)) return flat(product(out), 1, 1);
  if (bShape.length === 0) return flat(product(out), 1, 0);
  if (aShape.length === 0) return flat(product(out), 0, 1);
  const as = strides(aShape);
  const bs = strides(bShape);
  const axes: Axis[] = [];
  for (let d = 0; d < out.length; d++) {
    const i = d - (out.length - aShape.length);
    const j = d - (out.length - bShape.length);
    axes.push({
      dim: out[d],
      a: i >= 0 && (aShape[i] !== 1 || out[d] === 1) ? as[i] : 0,
      b: j >= 0 && (bShape[j] !== 1 || out[d] === 1) ? bs[j] : 0,
    });
  }
  return walk(axes);
}

/** x read along permuted or offset axes (`strideX` per output axis), written to y whose strides are `strideY`. */
export function copyWalk(dims: readonly number[], strideX: readonly number[], strideY: readonly number[]): Float64Array | null {
  const axes = dims.map((dim, d) => ({ dim, a: strideX[d], b: strideY[d] }));
  const merged = walk(axes);
  // The copy needs y contiguous along the innermost axis: one that is 1 long is kept where the axis before it strides.
  return merged && merged[3 * merged[0]] !== 1 ? walk(axes, true) : merged;
}
