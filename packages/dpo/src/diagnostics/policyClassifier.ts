import { readCopy } from '@plumbline/core';
import { type Decoder, type EncodedPair, pairBatch } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';

export type PolicyAsClassifier = {
  /** Share of the pairs whose chosen side gained more log-probability than the rejected; a tie counts half. */
  accuracy: number;
  /** Mean of `log π − log π_ref` of the chosen and of the rejected completions, in nats a sequence. */
  chosenChange: number;
  rejectedChange: number;
  /** Of each pair, how much more the chosen side gained, in nats. [pairs] */
  margins: Float64Array;
};

/**
 * A policy judged as a classifier of pairs, by `[log π − log π_ref](chosen) − [log π − log π_ref](rejected) > 0`, and what training did to the two sides' log-probability. Tang et al.
 * 2024, arXiv:2405.08448: it says little of how well the policy generates.
 *
 * @throws RangeError for no pairs
 */
export async function policyClassifier(
  policy: Pick<Decoder, 'completionLogps'>,
  reference: Pick<Decoder, 'completionLogps'>,
  pairs: readonly EncodedPair[],
  { pairsPerBatch = 32, signal }: { pairsPerBatch?: number; signal?: AbortSignal } = {},
): Promise<PolicyAsClassifier> {
  if (pairs.length === 0) throw new RangeError('policyClassifier: there are no pairs');
  const total = { accuracy: 0, chosenChange: 0, rejectedChange: 0 };
  const margins = new Float64Array(pairs.length);
  for (let from = 0; from < pairs.length; from += pairsPerBatch) {
    signal?.throwIfAborted();
    const batch = pairBatch(pairs.slice(from, from + pairsPerBatch));
    const changes = tf.tidy(() => tf.sub(policy.completionLogps(batch.packed).sums, reference.completionLogps(batch.packed).sums));
    const values = await readCopy(changes);
    changes.dispose();
    for (let i = 0; i < batch.pairs; i++) {
      const [chosen, rejected] = [values[i], values[batch.pairs + i]];
      total.accuracy += chosen > rejected ? 1 : chosen === rejected ? 0.5 : 0;
      total.chosenChange += chosen;
      total.rejectedChange += rejected;
      margins[from + i] = chosen - rejected;
    }
  }
  return {
    accuracy: total.accuracy / pairs.length,
    chosenChange: total.chosenChange / pairs.length,
    rejectedChange: total.rejectedChange / pairs.length,
    margins,
  };
}
