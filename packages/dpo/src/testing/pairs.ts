/** For tests: the pairs of the reference tables, and losses and gradients read back as numbers. */
import { createParameters, gradients, readCopy } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import type { PairInputs, PairLogps, PairLoss, PairLossSpec } from '../losses/types.js';

export type Row = { pc: number; pr: number; rc: number; rr: number; lc: number; lr: number };
export const A: Row = { pc: -10, pr: -12, rc: -11, rr: -11.5, lc: 5, lr: 8 };
export const B: Row = { pc: -14, pr: -9, rc: -12, rr: -9.5, lc: 6, lr: 4 };
export const C: Row = { pc: -6, pr: -9, rc: -6.2, rr: -6.1, lc: 4, lr: 3 };

export function pair(...rows: [chosen: number, rejected: number][]): PairLogps {
  return { chosen: tf.tensor1d(rows.map((r) => r[0])), rejected: tf.tensor1d(rows.map((r) => r[1])) };
}

export type Extras = { chosenScore?: number; rejectedScore?: number; preference?: number };

/** Everything that a loss may ask for, from rows of the tables. */
export function inputsOf(rows: readonly Row[], extras: Extras = {}): PairInputs & { reference: PairLogps } {
  const column = (f: (row: Row) => number) => tf.tensor1d(rows.map(f));
  const tokens = rows.reduce((sum, row) => sum + row.lc, 0);
  return {
    policy: { chosen: column((r) => r.pc), rejected: column((r) => r.pr) },
    reference: { chosen: column((r) => r.rc), rejected: column((r) => r.rr) },
    lengths: { chosen: column((r) => r.lc), rejected: column((r) => r.lr) },
    nll: column((r) => (-r.pc * rows.length) / tokens),
    goldNll: column(() => 1.5),
    ...(extras.chosenScore !== undefined && {
      scores: {
        chosen: column(() => extras.chosenScore!),
        rejected: column(() => extras.rejectedScore!),
        ...(extras.preference !== undefined && { preference: column(() => extras.preference!) }),
      },
    }),
  };
}

export type Measured = { loss: number[]; chosenRewards: number[]; rejectedRewards: number[]; chosenGrad: number[]; rejectedGrad: number[] };

/** Values of a pair loss and the gradient of its SUM with respect to the policy's log-probabilities. */
export async function measure(
  f: (policy: PairLogps) => PairLoss,
  policy: { chosen: ArrayLike<number>; rejected: ArrayLike<number> },
): Promise<Measured> {
  const entry = (data: ArrayLike<number>) => ({ shape: [data.length], data: Float32Array.from(data) });
  const tree = createParameters({ chosen: entry(policy.chosen), rejected: entry(policy.rejected) });
  const leaves = () => ({ chosen: tree.get('chosen').value as tf.Tensor1D, rejected: tree.get('rejected').value as tf.Tensor1D });
  const values = f(leaves());
  const result = gradients(() => ({ loss: tf.tidy(() => tf.sum(f(leaves()).loss)) as tf.Scalar }), tree.trainable());
  const grad = async (name: string) => {
    const tensor = result.grads.get(tree.get(name));
    return tensor ? Array.from(await readCopy(tensor)) : Array.from(policy[name as 'chosen'], () => 0);
  };
  const measured = {
    loss: Array.from(await readCopy(values.loss)),
    chosenRewards: Array.from(await readCopy(values.chosenRewards)),
    rejectedRewards: Array.from(await readCopy(values.rejectedRewards)),
    chosenGrad: await grad('chosen'),
    rejectedGrad: await grad('rejected'),
  };
  tf.dispose([values.loss, values.chosenRewards, values.rejectedRewards, result.loss, ...result.grads.values()]);
  tree.dispose();
  return measured;
}

/** `measure` for a loss of the record, on rows of the tables. */
export async function measureSpec<O>(loss: PairLossSpec<O>, options: object, rows: readonly Row[], extras: Extras = {}): Promise<Measured> {
  const inputs = inputsOf(rows, extras);
  const parsed = loss.options.parse(options);
  const scale = rows.length / rows.reduce((sum, row) => sum + row.lc, 0);
  const apply = (policy: PairLogps) =>
    tf.tidy(() => loss.apply({ ...inputs, policy, nll: tf.mul(-scale, policy.chosen) as tf.Tensor1D }, parsed));
  const measured = await measure(apply, { chosen: rows.map((r) => r.pc), rejected: rows.map((r) => r.pr) });
  tf.dispose(inputs);
  return measured;
}
