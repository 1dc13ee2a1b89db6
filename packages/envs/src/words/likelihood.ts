import { readCopy } from '@plumbline/core';
import { type Decoder, packSequences, type Sequence } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';

/**
 * log π of each sequence's completion at temperature 1, summed over its tokens, in nats, from the training path.
 *
 * Sequences are packed in their order into batches of at most `batchTokens` tokens. A sequence with an empty completion gets 0.
 * @throws RangeError naming the row that is longer than the decoder's context
 */
export async function completionLogpSums(
  decoder: Decoder,
  sequences: readonly Sequence[],
  { batchTokens = 4096, signal }: { batchTokens?: number; signal?: AbortSignal } = {},
): Promise<Float64Array> {
  const sums = new Float64Array(sequences.length);
  let batch: (Sequence & { row: number })[] = [];
  let tokens = 0;
  const flush = async () => {
    if (batch.length === 0) return;
    signal?.throwIfAborted();
    const packed = packSequences(batch);
    const logps = tf.tidy(() => decoder.completionLogps(packed).sums);
    try {
      const values = await readCopy(logps);
      packed.rows.forEach((row, segment) => {
        sums[row] = values[segment];
      });
    } finally {
      logps.dispose();
    }
    batch = [];
    tokens = 0;
  };
  for (const [row, sequence] of sequences.entries()) {
    const length = sequence.tokens.length;
    if (length > decoder.contextLength) {
      throw new RangeError(`row ${row} has ${length} tokens, but ${decoder.name} reads at most ${decoder.contextLength}`);
    }
    if (sequence.completionStart >= length) continue;
    if (tokens + length > batchTokens) await flush();
    batch.push({ ...sequence, row });
    tokens += length;
  }
  await flush();
  return sums;
}
