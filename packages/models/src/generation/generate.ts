import { ConfigError, type Rng, readCopy, sampleTokens } from '@plumbline/core';
import { type Generation, packSequences, type TokenMask } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import type { LocalDecoder } from '../decoder/decoder.js';
import { createSampler, type SamplingRule, samplingRule } from './sampling.js';

/** A continuation: `tokens` with the stop token if there was one, `text` without special tokens and without the stop string. */
export type TokenSample = Generation;

export type GenerateOptions = Partial<SamplingRule> & {
  /** Samples of each prompt. */
  n?: number;
  maxTokens: number;
  /** End a sequence, and belong to it. The tokenizer's end token unless said otherwise; `[]` for none. */
  stopIds?: readonly number[];
  /** End a sequence as soon as its text holds one of them. */
  stop?: readonly string[];
  /** Sets logits to -Infinity, in place, given the ids generated so far. */
  mask?: TokenMask;
  /** Sample j of prompt i draws from `rng.fork(i, j)`, one number a token. */
  rng: Rng;
  /** Once aborted, sequences that were under way keep what they have, with `finish: 'aborted'`. */
  signal?: AbortSignal;
  onProgress?: (progress: { tokens: number; finished: number; total: number }) => void;
  /** Sequences decoded at once; what fits into about a GiB of cache, at most 256, unless said otherwise. */
  maxRows?: number;
};

/**
 * Continues each prompt `n` times, [prompts][n].
 *
 * Sequences share one batch of cache rows; one that ends leaves it and the next takes its row. A prompt runs once for all its samples
 * that start together. What a sequence becomes depends on the model, its prompt and its own random stream, not on its neighbours
 * (to the bit on `native`, to rounding elsewhere). A sequence also ends, with `finish: 'length'`, where the context does.
 *
 * @throws ConfigError where a prompt is empty or fills the context, or an option is out of range
 */
export async function generate(decoder: LocalDecoder, prompts: readonly Int32Array[], options: GenerateOptions): Promise<TokenSample[][]> {
  const { n = 1, maxTokens, rng, signal, mask, stop = [], onProgress } = options;
  const rule = samplingRule(options);
  check(decoder, prompts, n, maxTokens);
  const stopIds = new Set(options.stopIds ?? (decoder.tokenizer.eosId === undefined ? [] : [decoder.tokenizer.eosId]));
  const { vocabSize } = decoder.spec;
  const sample = createSampler(vocabSize);

  const sequences = prompts.flatMap((prompt, i) => Array.from({ length: n }, (_, j) => newSequence(decoder, prompt, i, j, maxTokens, rng)));
  const waiting = sequences.slice().reverse();
  const longest = Math.max(...sequences.map((s) => s.prompt.length + s.room));
  const capacity = Math.min(sequences.length, options.maxRows ?? rowsThatFit(decoder, longest));
  const cache = decoder.cache({ rows: capacity, maxTokens: longest });
  const freeRows = Array.from({ length: capacity }, (_, row) => capacity - 1 - row);
  let active: Sequence[] = [];
  const progress = { tokens: 0, finished: 0, total: sequences.length };

  /** A token for each sequence at once, where the backend draws by itself. */
  const drawAll = (batch: readonly Sequence[], logits: Float32Array, rowOf: (index: number) => number) => {
    const apart = batch.every((_, index) => rowOf(index) === index);
    const rows = apart ? logits : new Float32Array(batch.length * vocabSize);
    if (!apart)
      batch.forEach((_, index) => {
        rows.set(logits.subarray(rowOf(index) * vocabSize, (rowOf(index) + 1) * vocabSize), index * vocabSize);
      });
    return sampleTokens({ ...rule, logits: rows, uniforms: Float32Array.from(batch, (s) => s.uniforms[s.tokens.length]) });
  };

  /** Gives each sequence its next token from its row of logits, and lets those that are done go. */
  const advance = (batch: readonly Sequence[], logits: Float32Array, rowOf: (index: number) => number) => {
    const drawn = mask ? null : drawAll(batch, logits, rowOf);
    batch.forEach((s, index) => {
      const row = rowOf(index);
      const shared = logits.subarray(row * vocabSize, (row + 1) * vocabSize);
      const own = mask ? shared.slice() : shared; // samples of one prompt begin from the same row
      mask?.(own, s.tokens);
      const { token, logp } =
        drawn && drawn.tokens[index] >= 0
          ? { token: drawn.tokens[index], logp: drawn.logps[index] }
          : sample(own, rule, s.uniforms[s.tokens.length]); // which also says what is wrong with a row that cannot be drawn from
      s.tokens.push(token);
      s.logps.push(logp);
      progress.tokens++;
      if (stopIds.has(token)) s.finish = 'stop';
      else if (stop.length > 0 && holdsStop(decoder, s, stop)) s.finish = 'stop';
      else if (s.tokens.length === s.room) s.finish = 'length';
      if (s.finish) {
        freeRows.push(s.row);
        cache.free(Int32Array.of(s.row));
        progress.finished++;
      }
    });
  };

  try {
    while (!signal?.aborted && (active.length > 0 || waiting.length > 0)) {
      // Filling rows a few at a time keeps prefills from being many and small; what a sequence becomes does not depend on it.
      if (waiting.length > 0 && (active.length === 0 || freeRows.length >= Math.ceil(capacity / 8))) {
        const { admitted, firsts } = admit(waiting, freeRows);
        const logits = await logitsOf(decoder, () => {
          const packed = packSequences(firsts.map((s, row) => ({ tokens: s.prompt, completionStart: s.prompt.length, row })));
          return decoder.prefill(
            packed,
            Int32Array.from(firsts, (s) => s.row),
            cache,
          );
        });
        firsts.forEach((first) => {
          const others = admitted.filter((s) => s !== first && s.promptIndex === first.promptIndex);
          if (others.length > 0)
            cache.share(
              first.row,
              Int32Array.from(others, (s) => s.row),
            );
        });
        const prefillRow = new Map(firsts.map((s, row) => [s.promptIndex, row]));
        advance(admitted, logits, (index) => prefillRow.get(admitted[index].promptIndex)!);
        active = [...active, ...admitted].filter((s) => !s.finish);
        if (freeRows.length > 0 && waiting.length > 0) continue; // fill up before the next step
      }
      if (active.length > 0) {
        const logits = await logitsOf(decoder, () =>
          decoder.decode(
            Int32Array.from(active, (s) => s.tokens[s.tokens.length - 1]),
            Int32Array.from(active, (s) => s.prompt.length + s.tokens.length - 1),
            Int32Array.from(active, (s) => s.row),
            cache,
          ),
        );
        advance(active, logits, (index) => index);
        active = active.filter((s) => !s.finish);
      }
      onProgress?.({ ...progress });
    }
  } finally {
    cache.dispose();
  }
  const samples = sequences.map((s) => finished(decoder, s, stop));
  return prompts.map((_, i) => samples.slice(i * n, (i + 1) * n));
}

type Sequence = {
  promptIndex: number;
  prompt: Int32Array;
  /** Tokens that it may get: `maxTokens`, or what the context leaves. */
  room: number;
  uniforms: Float32Array;
  row: number;
  tokens: number[];
  logps: number[];
  finish?: Generation['finish'];
};

function newSequence(decoder: LocalDecoder, prompt: Int32Array, i: number, j: number, maxTokens: number, rng: Rng): Sequence {
  const room = Math.min(maxTokens, decoder.contextLength - prompt.length);
  return { promptIndex: i, prompt, room, uniforms: rng.fork(i, j).uniform(room), row: -1, tokens: [], logps: [] };
}

/** Takes sequences while there are rows, up to 4,096 prompt tokens at once; `firsts` has one of each prompt. */
function admit(waiting: Sequence[], freeRows: number[]): { admitted: Sequence[]; firsts: Sequence[] } {
  const admitted: Sequence[] = [];
  const firsts: Sequence[] = [];
  const seen = new Set<number>();
  let tokens = 0;
  while (waiting.length > 0 && freeRows.length > 0) {
    const next = waiting[waiting.length - 1];
    if (!seen.has(next.promptIndex)) {
      if (tokens > 0 && tokens + next.prompt.length > 4096) break;
      tokens += next.prompt.length;
      seen.add(next.promptIndex);
      firsts.push(next);
    }
    waiting.pop();
    next.row = freeRows.pop()!;
    admitted.push(next);
  }
  return { admitted, firsts };
}

async function logitsOf(decoder: LocalDecoder, hidden: () => tf.Tensor2D): Promise<Float32Array> {
  const logits = tf.tidy(() => decoder.logits(hidden()));
  try {
    return (await readCopy(logits)) as Float32Array;
  } finally {
    logits.dispose();
  }
}

/** Looks at the last tokens alone: as many as the longest stop string has bytes, and the newest. */
function holdsStop({ tokenizer }: LocalDecoder, { tokens }: Sequence, stop: readonly string[]): boolean {
  const longest = Math.max(...stop.map((s) => s.length));
  const tail = tokenizer.decode(tokens.slice(-4 * longest - 4));
  return stop.some((s) => tail.includes(s));
}

function finished({ tokenizer }: LocalDecoder, { tokens, logps, finish = 'aborted' }: Sequence, stop: readonly string[]): TokenSample {
  let text = tokenizer.decode(tokens, { skipSpecial: true });
  for (const s of stop) {
    const at = text.indexOf(s);
    if (at >= 0) text = text.slice(0, at);
  }
  return { text, tokens: Int32Array.from(tokens), samplingLogps: Float32Array.from(logps), finish };
}

function rowsThatFit({ spec }: LocalDecoder, maxTokens: number): number {
  const bytesPerRow = 2 * 4 * spec.layers * maxTokens * spec.kvHeads * spec.headDim;
  return Math.max(1, Math.min(256, Math.floor(2 ** 30 / bytesPerRow)));
}

function check(decoder: LocalDecoder, prompts: readonly Int32Array[], n: number, maxTokens: number): void {
  if (!(Number.isInteger(n) && n >= 1)) throw new ConfigError(`generate: n must be a whole number above 0, got ${n}`);
  if (!(Number.isInteger(maxTokens) && maxTokens >= 1))
    throw new ConfigError(`generate: maxTokens must be a whole number above 0, got ${maxTokens}`);
  prompts.forEach((prompt, i) => {
    if (prompt.length === 0)
      throw new ConfigError(`generate: prompt ${i} is empty; begin it with at least one token, such as the tokenizer's bos token`);
    if (prompt.length >= decoder.contextLength) {
      throw new ConfigError(
        `generate: prompt ${i} has ${prompt.length} tokens, and ${decoder.name}'s context of ${decoder.contextLength} leaves no room to continue; shorten it`,
      );
    }
  });
}
