/** What a model card says of a language model: bits per byte on held-out text, and whether its stories are made of words and sentences. */
import { type Rng, readCopy } from '@plumbline/core';
import { packSequences, type Sequence } from '@plumbline/data';
import { generate, type LocalDecoder } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';

/**
 * Bits per byte of UTF-8, of whole texts or of completions alone. The first token of a text is not predicted, so neither its bits nor its bytes count.
 *
 * @param texts token ids, none longer than the context
 */
export async function bitsPerByte(decoder: LocalDecoder, texts: readonly (Int32Array | Sequence)[]): Promise<number> {
  const sequences = texts.map((text): Sequence => (text instanceof Int32Array ? { tokens: text, completionStart: 0 } : text));
  let nats = 0;
  let bytes = 0;
  const perBatch = 32;
  for (let from = 0; from < sequences.length; from += perBatch) {
    const batch = sequences.slice(from, from + perBatch).filter(({ tokens }) => tokens.length > 1);
    if (batch.length === 0) continue;
    const packed = packSequences(batch.map((sequence, row) => ({ ...sequence, row })));
    const sum = tf.tidy(() => tf.sum(decoder.completionLogps(packed).tokens));
    nats -= (await readCopy(sum))[0];
    sum.dispose();
    for (const { tokens, completionStart } of batch)
      bytes += Buffer.byteLength(decoder.tokenizer.decode(tokens.subarray(Math.max(1, completionStart)), { skipSpecial: true }));
  }
  return nats / Math.LN2 / bytes;
}

/** Windows of `size` tokens, one after another. */
export function windowsOf(tokens: Int32Array, size: number): Int32Array[] {
  return Array.from({ length: Math.floor(tokens.length / size) }, (_, i) => tokens.slice(i * size, (i + 1) * size));
}

export type StoryQuality = { stories: string[]; realWords: number; closedSentences: number; finished: number };

/**
 * Whole stories at temperature 1, from `openings` on: the share of their words that `isWord` knows, the share of sentences that end in a full
 * stop, question or exclamation mark (the last one of a story that ran out of context counts as open), and of stories that ended by themselves.
 */
export async function sampleStories(
  decoder: LocalDecoder,
  openings: readonly string[],
  isWord: (word: string) => boolean,
  rng: Rng,
): Promise<StoryQuality> {
  const prompts = openings.map((opening) => decoder.tokenizer.encode(opening));
  const maxTokens = decoder.contextLength - Math.max(...prompts.map((ids) => ids.length));
  const samples = (await generate(decoder, prompts, { maxTokens, temperature: 1, rng })).map(([sample]) => sample);
  const words = samples.flatMap(({ text }, i) => {
    const all =
      (openings[i] + text).slice(openings[i].length - (/[\p{L}']*$/u.exec(openings[i])?.[0].length ?? 0)).match(/[\p{L}']+/gu) ?? [];
    return samples[i].finish === 'stop' ? all : all.slice(0, -1); // the last word may be cut
  });
  const sentences = samples.map(({ text }) => text.trim().match(/[^.!?]+([.!?]+["']?|$)/g) ?? []);
  const open = sentences.filter((own) => own.length > 0 && !/[.!?]["']?$/.test(own.at(-1)!.trim())).length;
  return {
    stories: samples.map(({ text }, i) => `${openings[i]}|${text}`),
    realWords: words.filter((word) => isWord(word.replace(/^'+|'+$/g, '').replace(/'s$/, ''))).length / words.length,
    closedSentences: 1 - open / sentences.flat().length,
    finished: samples.filter(({ finish }) => finish === 'stop').length / samples.length,
  };
}
