import type * as tf from '@tensorflow/tfjs-core';
import { PlumblineError, ShapeError } from '../errors.js';
import type { FrozenMatrix, Products } from '../types.js';

/** `x` must be float32 and of this shape; a name stands for any size, the same wherever the name is used. */
export function expectShapes(
  kernel: string,
  tensors: Record<string, [tf.Tensor | undefined, readonly (number | string)[]]>,
): Record<string, number> {
  const sizes: Record<string, number> = {};
  for (const [name, [x, expected]] of Object.entries(tensors)) {
    if (!x) continue;
    if (x.dtype !== 'float32') throw new ShapeError(`${kernel}: ${name} must be float32, got ${x.dtype}.`);
    const fits =
      x.rank === expected.length &&
      expected.every((size, axis) => {
        if (typeof size === 'number') return x.shape[axis] === size;
        sizes[size] ??= x.shape[axis];
        return sizes[size] === x.shape[axis];
      });
    if (!fits) {
      const known = expected.map((size) => (typeof size === 'string' && sizes[size] !== undefined ? `${size} = ${sizes[size]}` : size));
      throw new ShapeError(`${kernel}: ${name} must have shape [${known.join(', ')}], got [${x.shape.join(', ')}].`);
    }
  }
  return sizes;
}

/** Cumulative lengths: 0 first, never falling, `tokens` last. */
export function expectSegments(kernel: string, cuSeqlens: Int32Array, tokens: number): void {
  if (!(cuSeqlens instanceof Int32Array) || cuSeqlens.length === 0 || cuSeqlens[0] !== 0)
    throw new ShapeError(`${kernel}: cuSeqlens must be an Int32Array that begins with 0.`);
  for (let i = 1; i < cuSeqlens.length; i++)
    if (cuSeqlens[i] < cuSeqlens[i - 1])
      throw new ShapeError(`${kernel}: cuSeqlens falls from ${cuSeqlens[i - 1]} to ${cuSeqlens[i]} at ${i}.`);
  const last = cuSeqlens[cuSeqlens.length - 1];
  if (last !== tokens) throw new ShapeError(`${kernel}: cuSeqlens ends at ${last}, but there are ${tokens} tokens.`);
}

/** Every index in [0, size): a backend would read past the end without a word. */
export function expectIndices(kernel: string, name: string, indices: Int32Array, size: number): void {
  if (!(indices instanceof Int32Array)) throw new ShapeError(`${kernel}: ${name} must be an Int32Array.`);
  for (let i = 0; i < indices.length; i++)
    if (indices[i] < 0 || indices[i] >= size) throw new RangeError(`${kernel}: ${name}[${i}] is ${indices[i]}, outside [0, ${size}).`);
}

/** The shape [out, in] of the one weight that was given, as a tensor or as a frozen matrix. */
export function expectWeight(
  kernel: string,
  weight: tf.Tensor | undefined,
  { frozen, products }: { frozen?: FrozenMatrix; products?: Products },
): readonly [number, number] {
  if (!weight && !frozen) throw new PlumblineError(`${kernel}: a weight is missing, as the input weight or as the attribute frozen.`);
  if (weight && frozen) throw new PlumblineError(`${kernel}: weight and frozen exclude each other; pass one.`);
  if (products !== undefined && products !== 'f32' && products !== 'bf16')
    throw new RangeError(`${kernel}: products must be f32 or bf16, got ${String(products)}.`);
  if (frozen) return frozen.shape;
  expectShapes(kernel, { weight: [weight, ['out', 'in']] });
  return weight!.shape as [number, number];
}
