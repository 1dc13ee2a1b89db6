import { ConfigError, readCopy, readScalars } from '@plumbline/core';
import type { Decoder } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { type EncodedRow, unpairedBatch } from './unpaired/batches.js';
import type { UnpairedLossSpec } from './unpaired/types.js';

/**
 * Loss and rewards of single answers that were held out, without gradients; all rows are one batch to the loss (KTO's reference point), whatever the
 * micro-batches. BCO's shift is the mean reward of these rows.
 *
 * @returns the mean loss, and the reward of each row
 * @throws ConfigError for fewer than two rows, or wrong options
 */
export async function evaluateRows(
  {
    policy,
    reference,
    loss,
    lossOptions = {},
  }: {
    policy: Decoder;
    reference: Decoder;
    loss: UnpairedLossSpec<unknown>;
    lossOptions?: Record<string, unknown>;
  },
  rows: readonly EncodedRow[],
  { rowsPerMicroBatch = 8, signal }: { rowsPerMicroBatch?: number; signal?: AbortSignal } = {},
): Promise<{ loss: number; rewards: Float32Array }> {
  if (rows.length < 2) throw new ConfigError(`evaluateRows: at least two rows are needed, there are ${rows.length}`);
  const options = loss.options.safeParse(lossOptions);
  if (!options.success) throw new ConfigError(`evaluateRows: lossOptions: ${z.prettifyError(options.error)}`);
  const batch = unpairedBatch(rows);
  const parts: { policy: tf.Tensor1D; reference: tf.Tensor1D; mismatched?: { policy: tf.Tensor1D; reference: tf.Tensor1D } }[] = [];
  try {
    for (const micro of batch.split(rowsPerMicroBatch)) {
      signal?.throwIfAborted();
      const sums = (decoder: Decoder, which: 'packed' | 'mismatched') => tf.tidy(() => decoder.completionLogps(micro[which]).sums);
      const both = (which: 'packed' | 'mismatched') => ({ policy: sums(policy, which), reference: sums(reference, which) });
      const part = { ...both('packed'), ...(loss.needs.includes('mismatched') && { mismatched: both('mismatched') }) };
      parts.push(part);
      await readCopy(part.policy); // lets the event loop turn
    }
    const apply = (shift: number) => {
      const joined = (of: (part: (typeof parts)[number]) => tf.Tensor1D) => tf.concat(parts.map(of));
      const inputs = {
        policy: joined((part) => part.policy),
        reference: joined((part) => part.reference),
        desirable: tf.tensor1d(Float32Array.from(batch.desirable)),
        ...(parts[0].mismatched && {
          mismatched: { policy: joined((part) => part.mismatched!.policy), reference: joined((part) => part.mismatched!.reference) },
        }),
      };
      return loss.apply({ ...inputs, shift }, options.data);
    };
    const scored = tf.tidy(() => tf.clone(apply(0).rewards));
    const rewards = (await readCopy(scored)) as Float32Array;
    scored.dispose();
    const shift = loss.needs.includes('shift') ? rewards.reduce((a, b) => a + b, 0) / rewards.length : 0;
    const mean = tf.tidy(() => tf.mean(apply(shift).loss) as tf.Scalar);
    const { loss: value } = await readScalars({ loss: mean });
    mean.dispose();
    return { loss: value, rewards };
  } finally {
    tf.dispose(parts);
  }
}
