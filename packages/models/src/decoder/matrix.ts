/** A matrix of a decoder is a tensor that may be trained, or one that is frozen and packed; what multiplies by it need not know. */

import { embedding, type FrozenMatrix, linear, type Parameter, type Products } from '@plumbline/core';
import type * as tf from '@tensorflow/tfjs-core';

/** [out, in]. */
export type Matrix = Parameter | FrozenMatrix;

export const isFrozen = (matrix: Matrix): matrix is FrozenMatrix => 'storage' in matrix;

/** `x · matrixᵀ + bias`: [n, in] -> [n, out]. */
export function multiply(
  x: tf.Tensor2D,
  matrix: Matrix,
  { bias, products }: { bias?: tf.Tensor1D; products?: Products } = {},
): tf.Tensor2D {
  const attrs = { ...(products && { products }) };
  if (isFrozen(matrix)) return linear({ x, ...(bias && { bias }) }, { ...attrs, frozen: matrix }).y;
  return linear({ x, weight: matrix.value as tf.Tensor2D, ...(bias && { bias }) }, attrs).y;
}

/** The rows that `ids` name. */
export function rowsOf(matrix: Matrix, ids: Int32Array): tf.Tensor2D {
  if (isFrozen(matrix)) return embedding({}, { ids, frozen: matrix }).y;
  return embedding({ weight: matrix.value as tf.Tensor2D }, { ids }).y;
}

/** The inputs and attributes by which a kernel knows the matrix. */
export function asHead(matrix: Matrix): [{ weight?: tf.Tensor2D }, { frozen?: FrozenMatrix }] {
  return isFrozen(matrix) ? [{}, { frozen: matrix }] : [{ weight: matrix.value as tf.Tensor2D }, {}];
}
