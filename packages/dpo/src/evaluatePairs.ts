/** What a policy makes of pairs that were held out: loss, accuracy and margins under its own loss. */
import { ConfigError, readCopy, readScalars } from '@plumbline/core';
import { type Decoder, type EncodedPair, pairBatch } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { PairLossSpec } from './losses/types.js';
import { goldBatch, joinInputs, pairConstants, policyInputs, type Reference, stepTotals, type TrainingPairs } from './pairInputs.js';

export type PairEvaluation = {
  /** The loss over all pairs as one step, in the loss's unit. */
  loss: number;
  /** Share of pairs whose chosen reward is the higher one; a tie counts half. */
  accuracy: number;
  /** Mean of the chosen minus the rejected reward. */
  margin: number;
  /** The difference for each pair. */
  margins: Float32Array;
};

/**
 * Evaluates pairs in micro-batches, without gradients. A loss of whole batches takes all pairs as one batch; `goldOf` gives the gold completions of `tpo`.
 * @throws ConfigError for no pairs, wrong options, or a reference that is asked for and not there
 */
export async function evaluatePairs(
  {
    policy,
    reference,
    loss,
    lossOptions = {},
  }: {
    policy: Decoder;
    reference?: Reference;
    loss: PairLossSpec<unknown>;
    lossOptions?: Record<string, unknown>;
  },
  pairs: readonly EncodedPair[],
  {
    pairsPerMicroBatch = 8,
    sharePrompts,
    goldOf,
    signal,
  }: { pairsPerMicroBatch?: number; sharePrompts?: boolean; goldOf?: Parameters<typeof goldBatch>[1]; signal?: AbortSignal } = {},
): Promise<PairEvaluation> {
  if (pairs.length === 0) throw new ConfigError('evaluatePairs: there are no pairs');
  const parsed = loss.options.safeParse(lossOptions);
  if (!parsed.success) throw new ConfigError(`evaluatePairs: lossOptions: ${z.prettifyError(parsed.error)}`);
  const batch = pairBatch(pairs, { sharePrompts });
  const whole: TrainingPairs = goldOf ? goldBatch(batch, goldOf) : batch;
  const totals = stepTotals(whole);
  const parts: ReturnType<typeof policyInputs>[] = [];
  try {
    for (const micro of whole.split(pairsPerMicroBatch)) {
      signal?.throwIfAborted();
      const inputs = tf.tidy(() => policyInputs(loss.needs, policy, micro, totals, pairConstants(loss.needs, reference, micro)));
      await readCopy(inputs.policy.chosen); // lets the event loop turn, and what was computed be freed
      parts.push(inputs);
    }
    const { mean, chosen, rejected } = tf.tidy(() => {
      const out = loss.apply(joinInputs(parts), parsed.data);
      const weights = whole.weights && loss.scope === 'pair' ? tf.tensor1d(whole.weights.slice()) : undefined;
      const losses = weights ? tf.mul(out.loss, weights) : out.loss;
      return {
        mean: tf.div(tf.sum(losses), pairs.length) as tf.Scalar,
        chosen: tf.clone(out.chosenRewards),
        rejected: tf.clone(out.rejectedRewards),
      };
    });
    const [up, down] = [await readCopy(chosen), await readCopy(rejected)];
    const { loss: value } = await readScalars({ loss: mean });
    tf.dispose([mean, chosen, rejected]);
    const margins = Float32Array.from(up, (x, i) => x - down[i]);
    return { loss: value, accuracy: shareRight(margins), margin: margins.reduce((a, b) => a + b, 0) / margins.length, margins };
  } finally {
    tf.dispose(parts);
  }
}

const shareRight = (margins: Float32Array): number =>
  margins.reduce((sum, margin) => sum + (margin > 0 ? 1 : margin === 0 ? 0.5 : 0), 0) / margins.length;

/** Pairs whose two completions are the same tokens teach nothing; they are left out and named. */
export function withoutIdentical(pairs: readonly EncodedPair[]): { pairs: EncodedPair[]; identical: string[] } {
  const same = ({ chosen, rejected }: EncodedPair) => chosen.length === rejected.length && chosen.every((id, i) => id === rejected[i]);
  return { pairs: pairs.filter((pair) => !same(pair)), identical: pairs.filter(same).map(({ id }) => id) };
}
