import { ConfigError, type Rng } from '@plumbline/core';
import type { Generation, TokenMask } from '@plumbline/data';
import type { LocalDecoder } from '../decoder/decoder.js';
import { createEngine, type TokenPiece } from './engine.js';
import { type SamplingRule, samplingRule } from './sampling.js';

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
  /** Divides the logit of a token that is in the prompt or was generated, where it is positive, and multiplies it elsewhere (CTRL, arXiv:1909.05858); 1 is off. */
  repetitionPenalty?: number;
  /** Sample j of prompt i draws from `rng.fork(i, j)`, one number a token. */
  rng: Rng;
  /** Once aborted, sequences that were under way keep what they have, with `finish: 'aborted'`. */
  signal?: AbortSignal;
  /** A prompt that leaves less room than `maxTokens`: `error` where it leaves none at all, and `left` drops its first tokens until `maxTokens` fit. */
  longPrompts?: 'error' | 'left';
  /** Told of each token as it comes. The texts of a sample's pieces, put together, are its text. */
  onToken?: (piece: TokenPiece & { prompt: number }) => void;
  onProgress?: (progress: { tokens: number; finished: number; total: number }) => void;
  /** Sequences decoded at once; what fits into about a GiB of cache, at most 256, unless said otherwise. */
  maxRows?: number;
  /** Tokens in a block of the cache, a multiple of 16. */
  blockTokens?: number;
  /** Tokens of prompts in one step at most; longer ones take several. */
  stepTokens?: number;
};

/**
 * Continues each prompt `n` times, [prompts][n].
 *
 * Sequences share one batch of cache rows; one that ends leaves it and the next takes its row (`createEngine`). A prompt is computed once for all
 * its samples. What a sequence becomes depends on the model, its prompt and its own random stream, not on its neighbours (to the bit on `native`,
 * `wasm` and `cpu`, to rounding elsewhere). A sequence also ends, with `finish: 'length'`, where the context does.
 *
 * @throws ConfigError where a prompt is empty or fills the context, or an option is out of range
 */
export async function generate(decoder: LocalDecoder, prompts: readonly Int32Array[], options: GenerateOptions): Promise<TokenSample[][]> {
  const { n = 1, maxTokens, rng, signal, mask, stop = [], repetitionPenalty = 1, onToken, onProgress } = options;
  const rule = samplingRule(options);
  if (!(Number.isInteger(n) && n >= 1)) throw new ConfigError(`generate: n must be a whole number above 0, got ${n}`);
  if (!(Number.isInteger(maxTokens) && maxTokens >= 1))
    throw new ConfigError(`generate: maxTokens must be a whole number above 0, got ${maxTokens}`);
  if (!(repetitionPenalty > 0 && Number.isFinite(repetitionPenalty)))
    throw new ConfigError(`generate: repetitionPenalty must be above 0 (1 is off), got ${repetitionPenalty}`);
  if (stop.includes('')) throw new ConfigError('generate: a stop string is empty; every text holds it');
  const fit = prompts.map((prompt, i) => fitted(decoder, prompt, i, maxTokens, options.longPrompts ?? 'error'));
  if (fit.length === 0) return [];
  const stopIds = new Set(options.stopIds ?? (decoder.tokenizer.eosId === undefined ? [] : [decoder.tokenizer.eosId]));
  const longest = Math.max(...fit.map((prompt) => Math.min(prompt.length + maxTokens, decoder.contextLength)));
  const total = fit.length * n;
  const engine = createEngine(decoder, {
    maxRows: Math.min(total, options.maxRows ?? 256),
    maxTokens: longest,
    ...(options.blockTokens !== undefined && { blockTokens: options.blockTokens }),
    ...(options.stepTokens !== undefined && { stepTokens: options.stepTokens }),
    onStep: ({ generated, ended }) => onProgress?.({ tokens: generated, finished: ended, total }),
  });
  try {
    return await Promise.all(
      fit.map((prompt, i) =>
        engine.submit({
          prompt,
          n,
          maxTokens,
          rule,
          repetitionPenalty,
          stopIds,
          stop,
          mask,
          signal,
          rngOf: (j) => rng.fork(i, j),
          ...(onToken && { onToken: (piece: TokenPiece) => onToken({ ...piece, prompt: i }) }),
        }),
      ),
    );
  } finally {
    await engine.dispose();
  }
}

function fitted(
  { contextLength, name }: LocalDecoder,
  prompt: Int32Array,
  i: number,
  maxTokens: number,
  long: 'error' | 'left',
): Int32Array {
  if (prompt.length === 0)
    throw new ConfigError(`generate: prompt ${i} is empty; begin it with at least one token, such as the tokenizer's bos token`);
  if (long === 'left' && prompt.length + maxTokens > contextLength) return prompt.slice(-Math.max(1, contextLength - maxTokens));
  if (prompt.length >= contextLength) {
    throw new ConfigError(
      `generate: prompt ${i} has ${prompt.length} tokens, and ${name}'s context of ${contextLength} leaves no room to continue; shorten it, ` +
        `or let longPrompts: 'left' drop its beginning`,
    );
  }
  return prompt;
}
