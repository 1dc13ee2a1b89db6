import { ShapeError } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { bradleyTerryLoss } from './bradleyTerry.js';
import { checkPairs } from './check.js';
import type { PairRewardLoss } from './types.js';

export type OdinInputs = {
  /** The quality head, [pairs] each: what is used as the reward afterwards. */
  quality: { chosen: tf.Tensor1D; rejected: tf.Tensor1D };
  /** The length head, [pairs] each: thrown away after training. */
  length: { chosen: tf.Tensor1D; rejected: tf.Tensor1D };
  /** Tokens of each completion, [pairs] each, on the host. */
  tokens: { chosen: ArrayLike<number>; rejected: ArrayLike<number> };
  /** Weights of the two heads, [width] each. */
  heads?: { quality: tf.Tensor1D; length: tf.Tensor1D };
};

/**
 * ODIN: reward free of length by two heads. Chen et al. 2024, arXiv:2402.07319. Bradley-Terry on the sum of the heads, plus
 * `lambdaLength (|corr(quality, tokens)| - corr(length, tokens)) + lambdaOrthogonal |W_Q · W_L| / (|W_Q| |W_L|)`.
 *
 * Correlations are Pearson's, over all completions of the batch, so that the value is not a sum over pairs. Where all completions have one length there is no
 * correlation and its term is 0.
 *
 * @returns `loss` [pairs] and `penalty`, a scalar of the whole batch; the caller disposes them
 */
export function odinLoss(
  { quality, length, tokens, heads }: OdinInputs,
  { lambdaLength = 1, lambdaOrthogonal = 1 }: { lambdaLength?: number; lambdaOrthogonal?: number } = {},
): { loss: tf.Tensor1D; penalty: tf.Scalar } {
  checkPairs('odinLoss', {
    chosen: quality.chosen,
    rejected: quality.rejected,
    'length.chosen': length.chosen,
    'length.rejected': length.rejected,
  });
  const pairs = quality.chosen.shape[0];
  if (tokens.chosen.length !== pairs || tokens.rejected.length !== pairs)
    throw new ShapeError(`odinLoss: ${tokens.chosen.length} and ${tokens.rejected.length} lengths for ${pairs} pairs`);
  if (!(lambdaLength >= 0)) throw new RangeError(`odinLoss: lambdaLength must be >= 0, got ${lambdaLength}`);
  if (!(lambdaOrthogonal >= 0)) throw new RangeError(`odinLoss: lambdaOrthogonal must be >= 0, got ${lambdaOrthogonal}`);
  return tf.tidy(() => {
    const { loss, penalty: none } = bradleyTerryLoss({
      chosen: tf.add(quality.chosen, length.chosen),
      rejected: tf.add(quality.rejected, length.rejected),
    });
    none.dispose();
    const all = [...Array.from(tokens.chosen), ...Array.from(tokens.rejected)];
    const both = ({ chosen, rejected }: { chosen: tf.Tensor1D; rejected: tf.Tensor1D }) => tf.concat1d([chosen, rejected]);
    const terms: tf.Tensor[] = [tf.scalar(0)];
    const lengthTerm = lengthPenaltyTerm(both(quality), both(length), all);
    if (lengthTerm) terms.push(tf.mul(lambdaLength, lengthTerm));
    if (heads) terms.push(tf.mul(lambdaOrthogonal, orthogonality(heads.quality, heads.length)));
    return { loss, penalty: tf.addN(terms) as tf.Scalar };
  });
}

/** `|corr(quality, tokens)| - corr(length, tokens)`, or null where all lengths agree. */
export function lengthPenaltyTerm(quality: tf.Tensor1D, length: tf.Tensor1D, tokens: readonly number[]): tf.Scalar | null {
  const mean = tokens.reduce((a, b) => a + b, 0) / tokens.length;
  const centred = tokens.map((x) => x - mean);
  const norm = Math.hypot(...centred);
  if (norm === 0) return null;
  return tf.tidy(() => {
    const direction = tf.tensor1d(centred.map((x) => x / norm));
    const correlation = (x: tf.Tensor1D) => {
      const own = tf.sub(x, tf.mean(x));
      return tf.div(tf.sum(tf.mul(own, direction)), tf.sqrt(tf.add(tf.sum(tf.square(own)), 1e-12)));
    };
    return tf.sub(tf.abs(correlation(quality)), correlation(length)) as tf.Scalar;
  });
}

const orthogonality = (a: tf.Tensor1D, b: tf.Tensor1D): tf.Scalar =>
  tf.div(tf.abs(tf.sum(tf.mul(a, b))), tf.sqrt(tf.add(tf.mul(tf.sum(tf.square(a)), tf.sum(tf.square(b))), 1e-12))) as tf.Scalar;

const Options = z.strictObject({
  lambdaLength: z.number().min(0).default(1).describe('Weight of the correlation terms'),
  lambdaOrthogonal: z.number().min(0).default(1).describe("Weight of the heads' cosine"),
});
export const odin = {
  kind: 'pairs',
  heads: 2,
  scope: 'batch',
  needs: ['outputs', 'lengths', 'head'],
  options: Options,
  apply: ({ outputs, lengths, head }, options) => {
    const column = (x: tf.Tensor2D, k: number) => tf.reshape(tf.slice(x, [0, k], [x.shape[0], 1]), [-1]) as tf.Tensor1D;
    const row = (k: number) => tf.reshape(tf.slice(head!, [k, 0], [1, head!.shape[1]]), [-1]) as tf.Tensor1D;
    const side = (k: number) => ({ chosen: column(outputs!.chosen, k), rejected: column(outputs!.rejected, k) });
    return odinLoss(
      { quality: side(0), length: side(1), tokens: lengths!, ...(head && { heads: { quality: row(0), length: row(1) } }) },
      options,
    );
  },
} satisfies PairRewardLoss<z.infer<typeof Options>>;
