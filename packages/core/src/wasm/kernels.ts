/** Matrix products and the exponential in WebAssembly SIMD, over the memory of tfjs's wasm backend. */
import { andnot, assemble, Body, f32x4, i32x4 } from './assembler.js';

export const rowsAtOnce = 4;
export const columnsAtOnce = 8;

export type Kernels = {
  /**
   * 4 rows of a product: `c[0..4, 0..8·panels] (+)= a·b`, where `a` is packed as [k, 4] and `b` as panels of [k, 8].
   * Addresses and `ldc`, the distance of c's rows, in bytes.
   */
  rows(a: number, b: number, c: number, k: number, panels: number, ldc: number, accumulate: number): void;
  /** `y = exp(x)` of 4·n numbers. */
  exp(x: number, y: number, n: number): void;
};

export function instantiate(memory: WebAssembly.Memory): Kernels {
  const module = new WebAssembly.Module(assemble({ tile: tile(), rows: rows(), exp: exp() }));
  return new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Kernels;
}

/** (a, b, c, k, ldc, accumulate): one tile of 4 rows and 8 columns, held in registers over all of k. */
function tile(): Body {
  const f = new Body(6);
  const [a, b, c, k, ldc, accumulate] = [0, 1, 2, 3, 4, 5];
  const sums = Array.from({ length: rowsAtOnce }, () => [f.local('v128'), f.local('v128')]);
  const [b0, b1, x] = [f.local('v128'), f.local('v128'), f.local('v128')];
  const at = f.local('i32');
  const eachRow = (visit: (row: number[]) => void) => {
    f.get(c).set(at);
    for (const row of sums) {
      visit(row);
      f.get(at).get(ldc).add().set(at);
    }
  };
  f.ifElse(
    accumulate,
    () => eachRow(([left, right]) => void f.get(at).load(0).set(left).get(at).load(16).set(right)),
    () => {
      for (const [left, right] of sums) f.splat(0).set(left).splat(0).set(right);
    },
  );
  f.whileCounting(k, () => {
    f.get(b).load(0).set(b0).get(b).load(16).set(b1);
    sums.forEach(([left, right], r) => {
      f.get(a)
        .loadSplat(4 * r)
        .set(x);
      f.get(x).get(b0).simd(f32x4.mul).get(left).simd(f32x4.add).set(left);
      f.get(x).get(b1).simd(f32x4.mul).get(right).simd(f32x4.add).set(right);
    });
    f.bump(a, 4 * rowsAtOnce)
      .bump(b, 4 * columnsAtOnce)
      .bump(k, -1);
  });
  eachRow(([left, right]) => void f.get(at).get(left).store(0).get(at).get(right).store(16));
  return f;
}

function rows(): Body {
  const f = new Body(7);
  const [a, b, c, k, panels, ldc, accumulate] = [0, 1, 2, 3, 4, 5, 6];
  return f.whileCounting(panels, () => {
    f.get(a).get(b).get(c).get(k).get(ldc).get(accumulate).call(0);
    f.get(b).get(k).const(5).emit(0x74).add().set(b); // b += 32·k
    f.bump(c, 4 * columnsAtOnce).bump(panels, -1);
  });
}

/** exp(x) = 2^n · exp(r), r = x − n·ln 2, by Cephes' polynomial of degree 6; two factors of 2^n, so that neither overflows alone. */
function exp(): Body {
  const f = new Body(3);
  const [from, to, count] = [0, 1, 2];
  const [x, n, r, y, k, half] = Array.from({ length: 6 }, () => f.local('v128'));
  const power = (exponent: () => void) => {
    exponent();
    f.splatInt(127).simd(i32x4.add).const(23).simd(i32x4.shl); // the bits of 2^exponent
  };
  return f.whileCounting(count, () => {
    f.get(from).load().set(x);
    f.get(x).splat(-104).simd(f32x4.max).splat(89).simd(f32x4.min).set(r);
    f.get(r).splat(Math.LOG2E).simd(f32x4.mul).simd(f32x4.nearest).set(n);
    f.get(r).get(n).splat(0.693359375).simd(f32x4.mul).simd(f32x4.sub).get(n).splat(-2.1219444e-4).simd(f32x4.mul).simd(f32x4.sub).set(r);
    f.splat(1.98756915e-4);
    for (const c of [1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1])
      f.get(r).simd(f32x4.mul).splat(c).simd(f32x4.add);
    f.get(r).get(r).simd(f32x4.mul).simd(f32x4.mul).get(r).simd(f32x4.add).splat(1).simd(f32x4.add).set(y);
    f.get(n).simd(i32x4.truncF32).set(k);
    f.get(k).const(1).simd(i32x4.shrS).set(half);
    f.get(to);
    f.get(y);
    power(() => f.get(half));
    f.simd(f32x4.mul);
    power(() => f.get(k).get(half).simd(i32x4.sub));
    f.simd(f32x4.mul);
    f.get(x).splat(-104).simd(f32x4.lt).simd(andnot); // 0, and not the smallest number, far below; NaN stays NaN
    f.store();
    f.bump(from, 16).bump(to, 16).bump(count, -1);
  });
}
