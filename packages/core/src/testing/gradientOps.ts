/** Every differentiable op, with inputs on which its gradient is checked, on whatever backend. */
import * as tf from '@tensorflow/tfjs-core';
import { readCopy } from '../scope.js';
import { gradients } from '../tape.js';
import type { Parameter } from '../types.js';

type Values = number[] | Float32Array;
export type Op = {
  of: (...x: tf.Tensor[]) => tf.Tensor | tf.Tensor[];
  shapes: number[][];
  /** Where the inputs are drawn from; [-1.5, 1.5] unless said. */
  range?: [number, number];
  /** The inputs themselves, where it matters which. */
  values?: Values[];
  /** On which backends it is not there, and why. */
  lacking?: Record<string, string>;
};

const t = (x: tf.Tensor): tf.Tensor4D => x as tf.Tensor4D;
export const ops: Record<string, Op> = {
  'add of [2,3] and [3]': { of: tf.add, shapes: [[2, 3], [3]] },
  'add of [2,1] and [1,3]': {
    of: tf.add,
    shapes: [
      [2, 1],
      [1, 3],
    ],
  },
  addN: { of: (a, b, c) => tf.addN([a, b, c]), shapes: [[3], [3], [3]] },
  'sub of a scalar and [3]': { of: tf.sub, shapes: [[], [3]] },
  'mul of [2,3] and [2,1]': {
    of: tf.mul,
    shapes: [
      [2, 3],
      [2, 1],
    ],
  },
  'div of [3] and [2,3]': { of: tf.div, shapes: [[3], [2, 3]], range: [0.5, 2] },
  'pow of both': { of: tf.pow, shapes: [[2, 3], [3]], range: [0.5, 2] },
  squaredDifference: { of: tf.squaredDifference, shapes: [[2, 3], [3]] },
  atan2: { of: tf.atan2, shapes: [[2, 3], [3]], range: [0.5, 2] },
  mod: {
    of: tf.mod,
    shapes: [[3], [3]],
    values: [
      [5.3, 7.1, 9.7],
      [2, 3, 4],
    ],
  },
  'minimum under broadcasting': { of: tf.minimum, shapes: [[2, 3], [3]] },
  'maximum under broadcasting': {
    of: tf.maximum,
    shapes: [
      [2, 1],
      [1, 3],
    ],
  },
  'where of broadcast branches': {
    of: (a, b) =>
      tf.where(
        tf.tensor2d(
          [
            [1, 0, 1],
            [0, 1, 0],
          ],
          [2, 3],
          'bool',
        ),
        a,
        b,
      ),
    shapes: [[2, 3], [3]],
  },
  abs: { of: tf.abs, shapes: [[5]] },
  acos: { of: tf.acos, shapes: [[5]], range: [-0.8, 0.8] },
  acosh: { of: tf.acosh, shapes: [[5]], range: [1.5, 3] },
  asin: { of: tf.asin, shapes: [[5]], range: [-0.8, 0.8] },
  asinh: { of: tf.asinh, shapes: [[5]] },
  atan: { of: tf.atan, shapes: [[5]] },
  atanh: { of: tf.atanh, shapes: [[5]], range: [-0.8, 0.8] },
  cos: { of: tf.cos, shapes: [[5]] },
  cosh: { of: tf.cosh, shapes: [[5]] },
  elu: { of: tf.elu, shapes: [[5]] },
  erf: { of: tf.erf, shapes: [[5]] },
  exp: { of: tf.exp, shapes: [[5]] },
  expm1: { of: tf.expm1, shapes: [[5]] },
  log: { of: tf.log, shapes: [[5]], range: [0.5, 2] },
  log1p: { of: tf.log1p, shapes: [[5]], range: [-0.5, 2] },
  neg: { of: tf.neg, shapes: [[5]] },
  reciprocal: { of: tf.reciprocal, shapes: [[5]], range: [0.5, 2] },
  relu: { of: tf.relu, shapes: [[5]] },
  relu6: { of: tf.relu6, shapes: [[5]], range: [-2, 8] },
  rsqrt: { of: tf.rsqrt, shapes: [[5]], range: [0.5, 2] },
  selu: { of: tf.selu, shapes: [[5]] },
  sigmoid: { of: tf.sigmoid, shapes: [[5]] },
  sin: { of: tf.sin, shapes: [[5]] },
  sinh: { of: tf.sinh, shapes: [[5]] },
  softplus: { of: tf.softplus, shapes: [[5]] },
  sqrt: { of: tf.sqrt, shapes: [[5]], range: [0.5, 2] },
  square: { of: tf.square, shapes: [[5]] },
  tan: { of: tf.tan, shapes: [[5]], range: [-1, 1] },
  tanh: { of: tf.tanh, shapes: [[5]] },
  clipByValue: { of: (x) => tf.clipByValue(x, -0.6, 0.6), shapes: [[7]] },
  leakyRelu: { of: (x) => tf.leakyRelu(x, 0.1), shapes: [[5]] },
  prelu: { of: (x, a) => tf.prelu(x, a), shapes: [[2, 3], [3]] },
  'sum over axis 0': { of: (x) => tf.sum(x, 0), shapes: [[3, 4]] },
  'sum over a middle axis, kept': { of: (x) => tf.sum(x, 1, true), shapes: [[2, 3, 4]] },
  'mean over two axes': { of: (x) => tf.mean(x, [0, 2]), shapes: [[2, 3, 4]] },
  'max over axis 1': { of: (x) => tf.max(x, 1), shapes: [[3, 4]] },
  'min over axis 0': { of: (x) => tf.min(x, 0), shapes: [[3, 4]] },
  'prod over axis 1': { of: (x) => tf.prod(x, 1), shapes: [[3, 4]] },
  'prod with a zero': { of: (x) => tf.prod(x, 1), shapes: [[2, 3]], values: [[0, 2, 3, 1, 2, 3]] },
  norm: { of: (x) => tf.norm(x, 'euclidean', 1), shapes: [[3, 4]] },
  logSumExp: { of: (x) => tf.logSumExp(x, 1), shapes: [[3, 4]] },
  softmax: { of: (x) => tf.softmax(x), shapes: [[3, 4]] },
  logSoftmax: { of: (x) => tf.logSoftmax(x), shapes: [[3, 4]] },
  moments: { of: (x) => Object.values(tf.moments(x, 1)), shapes: [[3, 4]] },
  ...Object.fromEntries(
    [0, 1, 2].flatMap((axis) =>
      [false, true].flatMap((exclusive) =>
        [false, true].flatMap((reverse): [string, Op][] => [
          [
            `cumsum axis ${axis}${exclusive ? ' exclusive' : ''}${reverse ? ' reverse' : ''}`,
            { of: (x) => tf.cumsum(x, axis, exclusive, reverse), shapes: [[3, 3, 3]] },
          ],
          [
            `cumprod axis ${axis}${exclusive ? ' exclusive' : ''}${reverse ? ' reverse' : ''}`,
            { of: (x) => tf.cumprod(x, axis, exclusive, reverse), shapes: [[3, 3, 3]] },
          ],
        ]),
      ),
    ),
  ),
  'cumprod with a zero': { of: (x) => tf.cumprod(x, 0), shapes: [[4]], values: [[2, 0, 3, 4]] },
  matMul: {
    of: (a, b) => tf.matMul(a, b),
    shapes: [
      [3, 4],
      [4, 5],
    ],
  },
  'matMul aᵀ b': {
    of: (a, b) => tf.matMul(a, b, true, false),
    shapes: [
      [4, 3],
      [4, 5],
    ],
  },
  'matMul a bᵀ': {
    of: (a, b) => tf.matMul(a, b, false, true),
    shapes: [
      [3, 4],
      [5, 4],
    ],
  },
  'matMul aᵀ bᵀ': {
    of: (a, b) => tf.matMul(a, b, true, true),
    shapes: [
      [4, 3],
      [5, 4],
    ],
  },
  'matMul over a broadcast batch': {
    of: (a, b) => tf.matMul(a, b),
    shapes: [
      [2, 3, 4],
      [4, 5],
    ],
  },
  'matMul over batches broadcast on both sides': {
    of: (a, b) => tf.matMul(a, b),
    shapes: [
      [2, 1, 3, 4],
      [3, 4, 2],
    ],
  },
  'matMul over a broadcast batch, transposed': {
    of: (a, b) => tf.matMul(a, b, true, true),
    shapes: [
      [1, 4, 3],
      [2, 5, 4],
    ],
  },
  'einsum ij,jk->ik': {
    of: (a, b) => tf.einsum('ij,jk->ik', a, b),
    shapes: [
      [3, 4],
      [4, 5],
    ],
  },
  'einsum bij,bkj->bik': {
    of: (a, b) => tf.einsum('bij,bkj->bik', a, b),
    shapes: [
      [2, 3, 4],
      [2, 5, 4],
    ],
  },
  'einsum ij,jk->i': {
    of: (a, b) => tf.einsum('ij,jk->i', a, b),
    shapes: [
      [3, 4],
      [4, 5],
    ],
  },
  'einsum ij->ji': { of: (a) => tf.einsum('ij->ji', a), shapes: [[3, 4]] },
  'einsum ij->i': { of: (a) => tf.einsum('ij->i', a), shapes: [[3, 4]] },
  'einsum bhd,hde->bhe': {
    of: (a, b) => tf.einsum('bhd,hde->bhe', a, b),
    shapes: [
      [2, 3, 4],
      [3, 4, 2],
    ],
  },
  'einsum i,j->ij': { of: (a, b) => tf.einsum('i,j->ij', a, b), shapes: [[3], [4]] },
  reshape: { of: (x) => tf.reshape(x, [6]), shapes: [[2, 3]] },
  'expandDims and squeeze': { of: (x) => tf.squeeze(tf.expandDims(x, 1), [1]), shapes: [[2, 3]] },
  broadcastTo: { of: (x) => tf.broadcastTo(x, [4, 2, 3]), shapes: [[2, 1]] },
  tile: { of: (x) => tf.tile(x, [2, 1, 3]), shapes: [[2, 2, 2]] },
  transpose: { of: (x) => tf.transpose(x, [2, 0, 1]), shapes: [[2, 3, 4]] },
  reverse: { of: (x) => tf.reverse(x, [1]), shapes: [[2, 3]] },
  pad: {
    of: (x) =>
      tf.pad(x, [
        [1, 0],
        [0, 2],
      ]),
    shapes: [[2, 3]],
  },
  'mirrorPad reflect': {
    of: (x) =>
      tf.mirrorPad(
        x,
        [
          [1, 1],
          [2, 0],
        ],
        'reflect',
      ),
    shapes: [[3, 4]],
  },
  'mirrorPad symmetric': {
    of: (x) =>
      tf.mirrorPad(
        x,
        [
          [1, 2],
          [0, 2],
        ],
        'symmetric',
      ),
    shapes: [[3, 4]],
  },
  slice: { of: (x) => tf.slice(x, [0, 1], [-1, 2]), shapes: [[2, 4]] },
  'slice of one column': { of: (x) => tf.slice(x, [0, 0, 1], [-1, -1, 1]), shapes: [[2, 1, 2]] },
  stridedSlice: { of: (x) => tf.stridedSlice(x, [0, 1], [3, 5], [2, 2]), shapes: [[3, 5]] },
  'stridedSlice backwards': { of: (x) => tf.stridedSlice(x, [1, 3], [3, 0], [1, -1]), shapes: [[3, 5]] },
  'concat along 1': {
    of: (a, b) => tf.concat([a, b], 1),
    shapes: [
      [2, 3],
      [2, 1],
    ],
  },
  'split in two': { of: (x) => tf.split(x, 2, 1), shapes: [[2, 4]] },
  'split unevenly': { of: (x) => tf.split(x, [1, 3], 1), shapes: [[2, 4]] },
  'stack along 1': {
    of: (a, b) => tf.stack([a, b], 1),
    shapes: [
      [2, 3],
      [2, 3],
    ],
  },
  'unstack along 1': { of: (x) => tf.unstack(x, 1), shapes: [[2, 3]] },
  'gather along 0': { of: (x) => tf.gather(x, tf.tensor1d([2, 0, 2], 'int32')), shapes: [[3, 2]] },
  'gather along 1': {
    of: (x) =>
      tf.gather(
        x,
        tf.tensor2d(
          [
            [2, 0],
            [1, 2],
          ],
          [2, 2],
          'int32',
        ),
        1,
      ),
    shapes: [[2, 3, 2]],
  },
  'gather in batches': {
    of: (x) =>
      tf.gather(
        x,
        tf.tensor2d(
          [
            [2, 0],
            [1, 1],
          ],
          [2, 2],
          'int32',
        ),
        1,
        1,
      ),
    shapes: [[2, 3, 2]],
  },
  gatherND: {
    of: (x) =>
      tf.gatherND(
        x,
        tf.tensor2d(
          [
            [0, 1],
            [2, 0],
            [0, 1],
          ],
          [3, 2],
          'int32',
        ),
      ),
    shapes: [[3, 2, 2]],
  },
  scatterND: { of: (x) => tf.scatterND(tf.tensor2d([[1], [3]], [2, 1], 'int32'), x, [5, 2]), shapes: [[2, 2]] },
  tensorScatterUpdate: {
    of: (x, u) => tf.tensorScatterUpdate(x, tf.tensor2d([[1], [3]], [2, 1], 'int32'), u),
    shapes: [
      [4, 2],
      [2, 2],
    ],
  },
  topk: { of: (x) => tf.topk(x, 2).values, shapes: [[3, 5]] },
  unsortedSegmentSum: { of: (x) => tf.unsortedSegmentSum(x, tf.tensor1d([1, -1, 1, 0], 'int32'), 3), shapes: [[4, 2]] },
  'booleanMask by gather': { of: (x) => tf.gather(x, tf.tensor1d([0, 2], 'int32')), shapes: [[3, 2]] },
  spaceToBatchND: {
    of: (x) =>
      tf.spaceToBatchND(
        x,
        [2, 2],
        [
          [0, 0],
          [0, 0],
        ],
      ),
    shapes: [[1, 4, 4, 1]],
  },
  batchToSpaceND: {
    of: (x) =>
      tf.batchToSpaceND(
        x,
        [2, 2],
        [
          [0, 0],
          [0, 0],
        ],
      ),
    shapes: [[4, 2, 2, 1]],
  },
  'conv2d same': {
    of: (x, w) => tf.conv2d(t(x), t(w), 1, 'same'),
    shapes: [
      [2, 5, 5, 2],
      [3, 3, 2, 3],
    ],
  },
  'conv2d valid, stride 2': {
    of: (x, w) => tf.conv2d(t(x), t(w), 2, 'valid'),
    shapes: [
      [1, 5, 5, 2],
      [3, 3, 2, 3],
    ],
  },
  conv2dTranspose: {
    of: (x, w) => tf.conv2dTranspose(t(x), t(w), [1, 4, 4, 2], 2, 'same'),
    shapes: [
      [1, 2, 2, 3],
      [3, 3, 2, 3],
    ],
  },
  depthwiseConv2d: {
    of: (x, w) => tf.depthwiseConv2d(t(x), t(w), 1, 'same'),
    shapes: [
      [1, 4, 4, 2],
      [3, 3, 2, 2],
    ],
  },
  conv3d: {
    of: (x, w) => tf.conv3d(x as tf.Tensor5D, w as tf.Tensor5D, 1, 'same'),
    shapes: [
      [1, 3, 3, 3, 1],
      [2, 2, 2, 1, 2],
    ],
  },
  'conv3d valid, stride 2': {
    of: (x, w) => tf.conv3d(x as tf.Tensor5D, w as tf.Tensor5D, 2, 'valid'),
    shapes: [
      [2, 5, 4, 5, 2],
      [2, 2, 3, 2, 3],
    ],
  },
  'conv2d dilated': {
    of: (x, w) => tf.conv2d(t(x), t(w), 1, 'same', 'NHWC', [2, 3]),
    shapes: [
      [1, 6, 7, 2],
      [3, 2, 2, 2],
    ],
  },
  'depthwiseConv2d dilated': {
    of: (x, w) => tf.depthwiseConv2d(t(x), t(w), 1, 'valid', 'NHWC', 2),
    shapes: [
      [1, 6, 7, 2],
      [3, 2, 2, 2],
    ],
  },
  maxPool3d: { of: (x) => tf.maxPool3d(x as tf.Tensor5D, 2, 2, 'same'), shapes: [[1, 3, 4, 3, 2]] },
  avgPool3d: { of: (x) => tf.avgPool3d(x as tf.Tensor5D, 2, 1, 'same'), shapes: [[1, 3, 3, 2, 2]] },
  maxPool: { of: (x) => tf.maxPool(t(x), 2, 2, 'valid'), shapes: [[1, 4, 4, 2]] },
  avgPool: { of: (x) => tf.avgPool(t(x), 2, 1, 'same'), shapes: [[1, 4, 4, 2]] },
  resizeBilinear: { of: (x) => tf.image.resizeBilinear(t(x), [6, 6]), shapes: [[1, 3, 3, 2]] },
  resizeNearestNeighbor: { of: (x) => tf.image.resizeNearestNeighbor(t(x), [5, 7]), shapes: [[2, 3, 4, 2]] },
  'resizeBilinear between the centres of pixels': { of: (x) => tf.image.resizeBilinear(t(x), [5, 7], false, true), shapes: [[2, 3, 4, 2]] },
  'resizeBilinear to fewer pixels': { of: (x) => tf.image.resizeBilinear(t(x), [2, 3], true), shapes: [[1, 5, 6, 1]] },
  'resizeNearestNeighbor between the centres of pixels': {
    of: (x) => tf.image.resizeNearestNeighbor(t(x), [5, 3], false, true),
    shapes: [[1, 3, 4, 2]],
  },
  localResponseNormalization: { of: (x) => tf.localResponseNormalization(t(x), 2, 1, 0.5, 0.75), shapes: [[1, 2, 2, 6]] },
  dilation2d: {
    of: (x, w) => tf.dilation2d(t(x), w as tf.Tensor3D, 1, 'same'),
    shapes: [
      [1, 4, 4, 2],
      [2, 2, 2],
    ],
  },
  batchNorm: {
    of: (x, m, v, o, s) => tf.batchNorm(x, m as tf.Tensor1D, v as tf.Tensor1D, o as tf.Tensor1D, s as tf.Tensor1D, 1e-3),
    shapes: [[4, 3], [3], [3], [3], [3]],
    range: [0.5, 1.5],
  },
  'batchNorm without scale and offset': {
    of: (x, m, v) => tf.batchNorm(x, m as tf.Tensor1D, v as tf.Tensor1D, undefined, undefined, 1e-3),
    shapes: [[4, 3], [3], [3]],
    range: [0.5, 1.5],
  },
};

export const parameter = (value: tf.Tensor, i: number): Parameter => ({ name: String(i), shape: value.shape, trainable: true, value });
const size = (shape: number[]): number => shape.reduce((a, b) => a * b, 1);
let seed = 1;
const uniform = (): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
};
const draw = (n: number, [from, to]: [number, number] = [-1.5, 1.5]): Float32Array =>
  Float32Array.from({ length: n }, () => from + (to - from) * uniform());

/** Compares the gradients of `name` on the current backend with the central difference along a random direction. */
export async function checkGradient(name: string, { of, shapes, range, values }: Op): Promise<void> {
  seed = [...name].reduce((h, c) => (h * 31 + c.charCodeAt(0)) >>> 0, 7);
  const inputs = shapes.map((shape, i) => tf.tensor(Float32Array.from(values?.[i] ?? draw(size(shape), range)), shape, 'float32'));
  const directions = shapes.map((shape) => tf.tensor(draw(size(shape)), shape));
  const results = (x: tf.Tensor[]): tf.Tensor[] => {
    const made = of(...x);
    return Array.isArray(made) ? made : [made];
  };
  const weights = tf.tidy(() => results(inputs).map((y) => y.shape)).map((shape) => tf.tensor(draw(size(shape), [0.5, 1.5]), shape));
  const loss = (x: tf.Tensor[]): tf.Scalar => tf.addN(results(x).map((y, i) => tf.sum(tf.mul(y, weights[i])))) as tf.Scalar;
  const before = tf.memory().numTensors;
  const parameters = inputs.map(parameter);
  const found = gradients(() => ({ loss: loss(inputs.map((x) => tf.mul(x, 1))) }), parameters);
  const step = 2e-3;
  const shifted = async (s: number): Promise<number> => {
    const y = tf.tidy(() => loss(inputs.map((x, i) => tf.add(x, tf.mul(directions[i], s)))));
    const value = (await readCopy(y))[0];
    y.dispose();
    return value;
  };
  const slope = ((await shifted(step)) - (await shifted(-step))) / (2 * step);
  let predicted = 0;
  for (const [i, p] of parameters.entries()) {
    const grad = found.grads.get(p);
    if (!grad) throw new Error(`input ${i} has no gradient`);
    if (grad.shape.join() !== shapes[i].join()) throw new Error(`the gradient of input ${i} has shape [${grad.shape}], not [${shapes[i]}]`);
    const [g, d] = [await readCopy(grad), await readCopy(directions[i])];
    predicted += (g as Float32Array).reduce((sum, x, j) => sum + x * d[j], 0);
  }
  tf.dispose([found.loss, ...found.grads.values()]);
  if (tf.memory().numTensors !== before) throw new Error(`left ${tf.memory().numTensors - before} tensors behind`);
  tf.dispose([inputs, directions, weights]);
  if (!(Math.abs(slope - predicted) < 1e-2 * Math.abs(slope) + 1e-2))
    throw new Error(`central differences ${slope}, gradients ${predicted}`);
}
