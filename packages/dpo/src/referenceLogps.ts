/** Reference log-probabilities of pairs, each sequence computed once, and remembered by content between runs. */
import { ConfigError, readCopy } from '@plumbline/core';
import { type Decoder, type EncodedPair, joinSequence, packSequences, pairBatch } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import type { EncodedRow } from './unpaired/batches.js';

/** Sums of log-probabilities by content: what a completion's tokens have behind their prompt's, in nats. One cache is of one reference. */
export type LogpCache = {
  get(prompt: Int32Array, completion: Int32Array): number | undefined;
  add(entries: readonly { prompt: Int32Array; completion: Int32Array; logp: number }[]): void | Promise<void>;
};

/** A cache that lives as long as the process; `size` counts its sequences. */
export function memoryLogpCache(): LogpCache & { readonly size: number } {
  const known = new Map<string, number>();
  const key = (prompt: Int32Array, completion: Int32Array) => `${prompt.join()}|${completion.join()}`;
  return {
    get: (prompt, completion) => known.get(key(prompt, completion)),
    add: (entries) => {
      for (const { prompt, completion, logp } of entries) known.set(key(prompt, completion), logp);
    },
    get size() {
      return known.size;
    },
  };
}

export type KnownLogps = {
  /** By the pair's id: what `trainPairs` takes as its reference. */
  logps: Map<string, { chosen: number; rejected: number }>;
  /** Pairs that the model was asked for, and those that the cache knew. */
  computed: number;
  cached: number;
};

/**
 * Log-probabilities of both sides of each pair under the reference, those that `cache` knows from there. Afterwards the reference may be disposed.
 * What is computed is added batch by batch, so that an interruption loses one batch.
 *
 * @param options.batchTokens about how many tokens go through the model at once; 2048 unless given
 * @param options.sharePrompts computes a pair's prompt once: the same to rounding
 */
export async function referenceLogps(
  reference: Decoder,
  pairs: readonly EncodedPair[],
  {
    cache = memoryLogpCache(),
    batchTokens = 2048,
    sharePrompts = true,
    signal,
    onProgress,
  }: { cache?: LogpCache; batchTokens?: number; sharePrompts?: boolean; signal?: AbortSignal; onProgress?: (done: number) => void } = {},
): Promise<KnownLogps> {
  const known = ({ prompt, chosen, rejected }: EncodedPair) =>
    cache.get(prompt, chosen) !== undefined && cache.get(prompt, rejected) !== undefined;
  const missing = pairs.filter((pair) => !known(pair));
  const cached = pairs.length - missing.length;
  for (let from = 0; from < missing.length; ) {
    signal?.throwIfAborted();
    let [to, size] = [from, 0];
    for (; to < missing.length; to++) {
      const { prompt, chosen, rejected } = missing[to];
      const more = (sharePrompts ? 1 : 2) * prompt.length + chosen.length + rejected.length;
      if (to > from && size + more > batchTokens) break;
      size += more;
    }
    const some = missing.slice(from, to);
    const { packed } = pairBatch(some, { sharePrompts });
    const sums = tf.tidy(() => reference.completionLogps(packed).sums);
    const values = await readCopy(sums);
    sums.dispose();
    await cache.add(
      some.flatMap(({ prompt, chosen, rejected }, i) => [
        { prompt, completion: chosen, logp: values[i] },
        { prompt, completion: rejected, logp: values[some.length + i] },
      ]),
    );
    from = to;
    onProgress?.(cached + from);
  }
  const logps = new Map(
    pairs.map(({ id, prompt, chosen, rejected }) => [id, { chosen: cache.get(prompt, chosen)!, rejected: cache.get(prompt, rejected)! }]),
  );
  return { logps, computed: missing.length, cached };
}

/** The same of single completions: what `trainUnpaired` takes as `known`. @throws ConfigError where two rows share an id */
export async function referenceRowLogps(
  reference: Decoder,
  rows: readonly EncodedRow[],
  {
    cache = memoryLogpCache(),
    batchTokens = 2048,
    signal,
    onProgress,
  }: { cache?: LogpCache; batchTokens?: number; signal?: AbortSignal; onProgress?: (done: number) => void } = {},
): Promise<{ logps: Map<string, number>; computed: number; cached: number }> {
  if (new Set(rows.map(({ id }) => id)).size < rows.length)
    throw new ConfigError('referenceRowLogps: two rows have one id; ids must be unique to know their log-probabilities by');
  const missing = rows.filter(({ prompt, completion }) => cache.get(prompt, completion) === undefined);
  const cached = rows.length - missing.length;
  for (let from = 0; from < missing.length; ) {
    signal?.throwIfAborted();
    let [to, size] = [from, 0];
    for (; to < missing.length; to++) {
      const more = missing[to].prompt.length + missing[to].completion.length;
      if (to > from && size + more > batchTokens) break;
      size += more;
    }
    const some = missing.slice(from, to);
    const packed = packSequences(some.map(({ prompt, completion }, row) => ({ ...joinSequence(prompt, completion), row })));
    const sums = tf.tidy(() => reference.completionLogps(packed).sums);
    const values = await readCopy(sums);
    sums.dispose();
    await cache.add(some.map(({ prompt, completion }, i) => ({ prompt, completion, logp: values[i] })));
    from = to;
    onProgress?.(cached + from);
  }
  const logps = new Map(rows.map(({ id, prompt, completion }) => [id, cache.get(prompt, completion)!]));
  return { logps, computed: missing.length, cached };
}
