/** Every fused kernel with the cases on which it is checked, on whatever backend. */

import type { Kernel, Some } from '../kernel.js';
import { attention } from '../kernels/attention.js';
import { embedding } from '../kernels/embedding.js';
import { gelu, geluTanh } from '../kernels/gelu.js';
import { groupNorm } from '../kernels/groupNorm.js';
import { layerNorm } from '../kernels/layerNorm.js';
import { linear } from '../kernels/linear.js';
import { lowRankLinear } from '../kernels/lowRankLinear.js';
import { rmsNorm } from '../kernels/rmsNorm.js';
import { rotary } from '../kernels/rotary.js';
import { gatherRows, segmentMean, segmentSum } from '../kernels/rows.js';
import { swiGlu } from '../kernels/swiGlu.js';
import { tokenLogps } from '../kernels/tokenLogps.js';
import type { KernelCase } from '../testing.js';

export const kernelSuites: { kernel: Kernel<Some, object, Some>; cases: KernelCase<object>[]; tolerance?: number }[] = [];

function add<I extends Some, A extends object, O extends Some, R extends Some>(
  kernel: Kernel<I, A, O, R>,
  cases: KernelCase<A>[],
  tolerance?: number,
): void {
  kernelSuites.push({ kernel: kernel as unknown as Kernel<Some, object, Some>, cases, tolerance });
}
const ints = (...x: number[]): Int32Array => Int32Array.from(x);

add(rmsNorm, [
  { shapes: { x: [5, 7], weight: [7] }, attrs: { eps: 1e-6 } },
  { shapes: { x: [2, 3, 33], weight: [33] }, attrs: { eps: 1e-6 } },
  { shapes: { x: [1, 1], weight: [1] }, attrs: { eps: 1e-2 } },
]);
add(layerNorm, [
  { shapes: { x: [5, 7], weight: [7], bias: [7] }, attrs: { eps: 1e-5 } },
  { shapes: { x: [2, 3, 33], weight: [33], bias: [33] }, attrs: { eps: 1e-5 } },
]);
add(rotary, [
  { shapes: { x: [5, 3, 6] }, attrs: { positions: ints(0, 1, 2, 0, 7), inverseFrequencies: Float32Array.of(1, 0.1, 0.01) } },
  { shapes: { x: [2, 1, 2] }, attrs: { positions: ints(3, 100), inverseFrequencies: Float32Array.of(0.5), scale: 1.3 } },
]);
add(swiGlu, [
  { shapes: { gate: [5, 7], up: [5, 7] }, attrs: {} },
  { shapes: { gate: [1, 1], up: [1, 1] }, attrs: {}, spread: 4 },
]);
add(groupNorm, [
  { shapes: { x: [2, 3, 3, 6], weight: [6], bias: [6] }, attrs: { groups: 3, eps: 1e-3 } },
  { shapes: { x: [1, 5, 4], weight: [4], bias: [4] }, attrs: { groups: 1, eps: 1e-3, silu: true } },
  { shapes: { x: [2, 70, 1, 38], weight: [38], bias: [38] }, attrs: { groups: 19, eps: 1e-3, silu: true } },
]);
add(geluTanh, [{ shapes: { x: [3, 11] }, attrs: {} }]);
add(gelu, [{ shapes: { x: [3, 11] }, attrs: {} }]);
add(linear as never, [
  { shapes: { x: [5, 7], weight: [3, 7] }, attrs: {} },
  { shapes: { x: [33, 17], weight: [19, 17], bias: [19] }, attrs: {} },
  { shapes: { x: [1, 1], weight: [1, 1], bias: [1] }, attrs: {} },
]);
add(lowRankLinear as never, [
  { shapes: { x: [5, 7], weight: [3, 7], a: [2, 7], b: [3, 2] }, attrs: { scale: 2 } },
  { shapes: { x: [33, 17], weight: [19, 17], bias: [19], a: [8, 17], b: [19, 8] }, attrs: { scale: 0.5 } },
  { shapes: { x: [1, 1], weight: [1, 1], bias: [1], a: [1, 1], b: [1, 1] }, attrs: { scale: 1 } },
]);
add(embedding, [
  { shapes: { weight: [7, 5] }, attrs: { ids: ints(3, 0, 3, 6) } },
  { shapes: { weight: [2, 1] }, attrs: { ids: ints(1) } },
]);
add(gatherRows, [{ shapes: { x: [6, 3] }, attrs: { rows: ints(5, 0, 0, 2) } }]);
add(segmentMean, [
  { shapes: { x: [6, 3] }, attrs: { cuSeqlens: ints(0, 1, 1, 6) } },
  { shapes: { x: [6, 3] }, attrs: { cuSeqlens: ints(0, 2, 4, 6), mask: Uint8Array.of(1, 0, 0, 0, 1, 1) } },
]);
add(segmentSum, [
  { shapes: { x: [6] }, attrs: { cuSeqlens: ints(0, 1, 1, 6) } },
  { shapes: { x: [6] }, attrs: { cuSeqlens: ints(0, 2, 4, 6), mask: Uint8Array.of(1, 0, 0, 0, 1, 1) } },
]);
add(tokenLogps as never, [
  { shapes: { hidden: [5, 7], weight: [11, 7] }, attrs: { targets: ints(0, 10, 3, 3, 1) }, spread: 0.7 },
  {
    shapes: { hidden: [5, 7], weight: [11, 7], bias: [11] },
    attrs: { targets: ints(0, 10, 3, 3, 1), temperature: 0.7, entropy: true, squaredSum: true },
    spread: 0.7,
  },
  { shapes: { hidden: [3, 4], weight: [9, 4], bias: [9] }, attrs: { targets: ints(8, 2, 2), softcap: 3, temperature: 2, entropy: true } },
  // more tokens than one block holds
  {
    shapes: { hidden: [130, 2], weight: [8200, 2] },
    attrs: { targets: Int32Array.from({ length: 130 }, (_, i) => (i * 997) % 8200) },
  },
  { shapes: { hidden: [1, 1], weight: [2, 1] }, attrs: { targets: ints(1) } },
]);
const cu = ints(0, 3, 3, 7, 10, 11);
add(attention, [
  { shapes: { q: [11, 4, 5], k: [11, 2, 5], v: [11, 2, 5] }, attrs: { cuSeqlens: cu, causal: true, scale: 0.45 } },
  { shapes: { q: [11, 3, 4], k: [11, 3, 4], v: [11, 3, 4] }, attrs: { cuSeqlens: cu, causal: false, scale: 0.5 } },
  { shapes: { q: [11, 2, 4], k: [11, 1, 4], v: [11, 1, 4] }, attrs: { cuSeqlens: cu, causal: true, scale: 0.5, window: 2, softcap: 2 } },
  { shapes: { q: [11, 2, 4], k: [11, 1, 4], v: [11, 1, 4] }, attrs: { cuSeqlens: cu, causal: false, scale: 0.5, window: 2 } },
  {
    shapes: { q: [11, 2, 3], k: [11, 1, 3], v: [11, 1, 3] },
    attrs: { cuSeqlens: cu, causal: true, scale: 0.5, prefixOf: ints(-1, 0, 0, 0, -1) },
  },
  { shapes: { q: [1, 1, 1], k: [1, 1, 1], v: [1, 1, 1] }, attrs: { cuSeqlens: ints(0, 1), causal: true, scale: 1 } },
  { shapes: { q: [40, 2, 8], k: [40, 2, 8], v: [40, 2, 8] }, attrs: { cuSeqlens: ints(0, 20, 40), causal: true, scale: 0.35 } },
]);
