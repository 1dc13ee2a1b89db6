import { ConfigError, gatherRows, readCopy } from '@plumbline/core';
import { encodeCompletion, encodePrompt, joinSequence, type LanguageModel, type PackedBatch, packSequences } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { type LocalDecoder, predictingRows } from './decoder/decoder.js';
import { generate } from './generation/generate.js';

/** A local decoder behind the interface that servers have too. Conversations go through its chat template. */
export function asLanguageModel(
  decoder: LocalDecoder,
  { batchTokens = 4096 } = {},
): LanguageModel & Required<Pick<LanguageModel, 'score' | 'embed'>> {
  const { tokenizer } = decoder;
  return {
    name: decoder.name,
    can: { score: true, embed: true, logps: true },
    generate: (prompts, sampling) =>
      generate(
        decoder,
        prompts.map((prompt) => encodePrompt(tokenizer, prompt)),
        sampling,
      ),
    async score(batch) {
      const sequences = batch.map(({ prompt, completion }, i) => {
        const before = encodePrompt(tokenizer, prompt);
        if (before.length === 0)
          throw new ConfigError(
            `score: prompt ${i} is empty, so that its completion's first token has no probability; begin it with a token`,
          );
        return joinSequence(before, encodeCompletion(tokenizer, prompt, completion, { appendEos: false }));
      });
      const logps = await completionLogpsOf(decoder, sequences, { batchTokens });
      return sequences.map(({ tokens, completionStart }, i) => ({ tokens: tokens.slice(completionStart), logps: logps[i] }));
    },
    async embed(texts) {
      return Promise.all(texts.map((text) => embed(decoder, tokenizer.encode(text, { special: true }))));
    },
  };
}

/**
 * Log-probabilities of the completion's tokens, from the training path and without gradients, in batches of about `batchTokens` tokens.
 * [sequences][completion tokens], in nats; a token that begins its sequence has none and is left out.
 */
export async function completionLogpsOf(
  decoder: Pick<LocalDecoder, 'completionLogps'>,
  sequences: readonly { tokens: Int32Array; completionStart: number }[],
  { batchTokens = 4096, temperature }: { batchTokens?: number; temperature?: number } = {},
): Promise<Float32Array[]> {
  const out: Float32Array[] = [];
  for (const batch of tokenBatches(sequences, batchTokens)) {
    const { tokens, sums, lengths } = decoder.completionLogps(batch, { temperature });
    const flat = (await readCopy(tokens)) as Float32Array;
    const counts = await readCopy(lengths);
    tf.dispose([tokens, sums, lengths]);
    let at = 0;
    for (const count of counts) {
      out.push(flat.slice(at, at + count));
      at += count;
    }
  }
  return out;
}

/**
 * Estimates KL(policy || reference) per sequence, in nats: the mean over sequences that the policy sampled of
 * `log policy − log reference`, summed over the completion (k1: unbiased, may be negative on few samples).
 */
export async function sampleKl(
  policy: Pick<LocalDecoder, 'completionLogps'>,
  reference: Pick<LocalDecoder, 'completionLogps'>,
  sequences: readonly { tokens: Int32Array; completionStart: number }[],
  options: { batchTokens?: number; temperature?: number } = {},
): Promise<{ perSequence: Float32Array; mean: number; meanPerToken: number }> {
  const ours = await completionLogpsOf(policy, sequences, options);
  const theirs = await completionLogpsOf(reference, sequences, options);
  let tokens = 0;
  let total = 0;
  const perSequence = Float32Array.from(ours, (logps, i) => {
    let sum = 0;
    for (let t = 0; t < logps.length; t++) sum += logps[t] - theirs[i][t];
    tokens += logps.length;
    total += sum;
    return sum;
  });
  return { perSequence, mean: total / Math.max(1, ours.length), meanPerToken: total / Math.max(1, tokens) };
}

/**
 * Estimates KL(policy || reference) per sequence, in nats: the exact KL of the two next-token distributions, summed over the completion's positions, on sequences that the policy
 * sampled. Unbiased as `sampleKl` is, never negative, and of less variance; it takes the logits of both. An empty completion counts as 0.
 */
export async function analyticKl(
  policy: Pick<LocalDecoder, 'hidden' | 'logits'>,
  reference: Pick<LocalDecoder, 'hidden' | 'logits'>,
  sequences: readonly { tokens: Int32Array; completionStart: number }[],
  { batchTokens = 1024 }: { batchTokens?: number } = {},
): Promise<{ perSequence: Float32Array; mean: number }> {
  const perSequence: number[] = [];
  for (const batch of tokenBatches(sequences, batchTokens)) {
    const { rows, cuSeqlens } = predictingRows(batch);
    const divergences = tf.tidy(() => {
      const logps = (model: Pick<LocalDecoder, 'hidden' | 'logits'>) =>
        tf.logSoftmax(model.logits(gatherRows({ x: model.hidden(batch) }, { rows }).y));
      const [ours, theirs] = [logps(policy), logps(reference)];
      return tf.sum(tf.mul(tf.exp(ours), tf.sub(ours, theirs)), -1);
    });
    const values = rows.length > 0 ? await readCopy(divergences) : [];
    divergences.dispose();
    for (let s = 0; s + 1 < cuSeqlens.length; s++) {
      let sum = 0;
      for (let t = cuSeqlens[s]; t < cuSeqlens[s + 1]; t++) sum += values[t];
      perSequence.push(sum);
    }
  }
  return { perSequence: Float32Array.from(perSequence), mean: perSequence.reduce((a, b) => a + b, 0) / Math.max(1, perSequence.length) };
}

function* tokenBatches(sequences: readonly { tokens: Int32Array; completionStart: number }[], batchTokens: number): Generator<PackedBatch> {
  let batch: { tokens: Int32Array; completionStart: number; row: number }[] = [];
  let size = 0;
  for (const [row, sequence] of sequences.entries()) {
    if (batch.length > 0 && size + sequence.tokens.length > batchTokens) {
      yield packSequences(batch);
      batch = [];
      size = 0;
    }
    batch.push({ ...sequence, row });
    size += sequence.tokens.length;
  }
  if (batch.length > 0) yield packSequences(batch);
}

/** Mean over all tokens of the final hidden states, scaled to length 1. */
async function embed(decoder: LocalDecoder, tokens: Int32Array): Promise<Float32Array> {
  const mean = tf.tidy(() => tf.mean(decoder.hidden(packSequences([{ tokens, completionStart: 0, row: 0 }])), 0));
  const values = (await readCopy(mean)) as Float32Array;
  mean.dispose();
  const norm = Math.hypot(...values) || 1;
  return values.map((x) => x / norm);
}
