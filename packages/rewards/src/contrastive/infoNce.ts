import { ShapeError } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';

/** `left` and `right` [pairs, width], row i of one belonging to row i of the other; `negatives` [k, width] belong to no row. All of unit length (L2). */
export type ContrastedPairs = { left: tf.Tensor2D; right: tf.Tensor2D; negatives?: tf.Tensor2D };

/**
 * Symmetric contrastive loss over the pairs of a batch, in nats: with `S = left · [right; negatives]ᵀ / temperature`,
 * `½ (−log softmax_row(S)_ii − log softmax_column(S)_ii)`. van den Oord et al. 2018, arXiv:1807.03748; both directions as in Radford et al. 2021, arXiv:2103.00020.
 *
 * Negatives are further columns, of the row direction alone. `alike` [pairs · pairs] marks pairs that mean the same (1 where row i and column j do): off the diagonal these
 * are left out of the denominators, since they are no negatives. Identical pairs that stand apart have loss 0; where all similarities are equal it is ln(pairs).
 *
 * @param temperature 0.07 unless said
 * @returns [pairs], of which the objective is the mean; the caller disposes it
 * @throws RangeError for a temperature that is not above 0; ShapeError for unlike shapes
 */
export function infoNce(
  { left, right, negatives }: ContrastedPairs,
  { temperature = 0.07, alike }: { temperature?: number; alike?: ArrayLike<number> } = {},
): tf.Tensor1D {
  const [pairs, width] = left.shape;
  if (!(temperature > 0)) throw new RangeError(`infoNce: temperature must be > 0, got ${temperature}`);
  if (right.shape[0] !== pairs || right.shape[1] !== width || (negatives && negatives.shape[1] !== width))
    throw new ShapeError(`infoNce: left is [${left.shape}], right [${right.shape}]${negatives ? `, negatives [${negatives.shape}]` : ''}`);
  if (alike && alike.length !== pairs * pairs)
    throw new ShapeError(`infoNce: alike has ${alike.length} entries; ${pairs} pairs have ${pairs * pairs}`);
  return tf.tidy(() => {
    const similarities = (to: tf.Tensor2D) => tf.div(tf.matMul(left, to, false, true), temperature) as tf.Tensor2D;
    const S = similarities(right);
    const own = tf.sum(tf.mul(left, right), 1);
    const kept = alike ? (tf.add(S, tf.tensor2d(leftOut(alike, pairs), [pairs, pairs])) as tf.Tensor2D) : S;
    const rows = tf.logSumExp(negatives ? tf.concat([kept, similarities(negatives)], 1) : kept, 1);
    const columns = tf.logSumExp(kept, 0);
    return tf.sub(tf.mul(0.5, tf.add(rows, columns)), tf.div(own, temperature)) as tf.Tensor1D;
  });
}

/** What is added to the logits: nothing, or so little that nothing of the cell is left. */
const leftOut = (alike: ArrayLike<number>, pairs: number) =>
  Float32Array.from(alike, (same, at) => (same && Math.floor(at / pairs) !== at % pairs ? -1e9 : 0));
