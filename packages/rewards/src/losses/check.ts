import { ShapeError } from '@plumbline/core';
import type * as tf from '@tensorflow/tfjs-core';

/** All given tensors are [pairs], with at least one pair. */
export function checkPairs(loss: string, tensors: Record<string, tf.Tensor | undefined>): void {
  const given = Object.entries(tensors).filter((entry): entry is [string, tf.Tensor] => entry[1] !== undefined);
  const [first, shape] = [given[0][0], given[0][1].shape];
  if (shape.length !== 1) throw new ShapeError(`${loss}: ${first} is [${shape}]; it must be [pairs]`);
  if (shape[0] === 0) throw new ShapeError(`${loss}: the batch is empty`);
  for (const [name, tensor] of given) {
    if (tensor.shape.join() !== shape.join())
      throw new ShapeError(`${loss}: ${first} is [${shape}] and ${name} [${tensor.shape}]; both must be [pairs]`);
  }
}

/** 1 for a tie, 0 for none, [pairs]. */
export function tieMask(loss: string, pairs: number, ties?: ArrayLike<number>): Float32Array {
  if (!ties) return new Float32Array(pairs);
  if (ties.length !== pairs) throw new ShapeError(`${loss}: ${ties.length} ties for ${pairs} pairs`);
  return Float32Array.from({ length: pairs }, (_, i) => {
    if (ties[i] !== 0 && ties[i] !== 1) throw new RangeError(`${loss}: tie ${i} is ${ties[i]}; it is 1 for a tie and 0 for none`);
    return ties[i];
  });
}
