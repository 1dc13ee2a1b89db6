/** Completions of prompts, and what the two models think of their tokens. */
import { type Rng, readCopy } from '@plumbline/core';
import { type Decoder, joinSequence, type PackedBatch, packSequences } from '@plumbline/data';
import { type GenerateOptions, generate, type LocalDecoder, type TokenSample } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import type { Critic } from './critic.js';

/** One completion: ids as they were sampled, which are the ids that are trained on; `group` is the prompt's index. */
export type RolloutSample = TokenSample & { prompt: Int32Array; group: number };

export type RolloutOptions = {
  policy: LocalDecoder;
  prompts: readonly Int32Array[];
  /** Samples of each prompt. */
  n: number;
  sampling: Omit<GenerateOptions, 'n' | 'rng' | 'signal' | 'onProgress'>;
  /** Sample j of prompt i draws from `rng.fork(i, j)`: it does not depend on its neighbours. */
  rng: Rng;
  signal?: AbortSignal;
  onProgress?: GenerateOptions['onProgress'];
};

/** `n` completions of each prompt, the samples of a prompt in a row. Where the signal fires, what is under way ends as `'aborted'`. */
export async function rollout({ policy, prompts, n, sampling, rng, signal, onProgress }: RolloutOptions): Promise<RolloutSample[]> {
  const samples = await generate(policy, prompts, { ...sampling, n, rng, signal, onProgress });
  return samples.flatMap((own, group) => own.map((sample) => ({ ...sample, prompt: prompts[group], group })));
}

/** Consecutive samples, as many as fit into `tokens` prompt and completion tokens, at least one: [micro-batches][indices]. */
export function microBatches(samples: readonly RolloutSample[], order: ArrayLike<number>, tokens: number): number[][] {
  const batches: number[][] = [];
  let used = Infinity;
  for (const i of Array.from(order)) {
    const own = samples[i].prompt.length + samples[i].tokens.length;
    if (used + own > tokens) {
      batches.push([]);
      used = 0;
    }
    batches[batches.length - 1].push(i);
    used += own;
  }
  return batches;
}

/** The named samples as one packed batch, segment by segment in that order. */
export function packSamples(samples: readonly RolloutSample[], indices: readonly number[]): PackedBatch {
  return packSequences(indices.map((row) => ({ ...joinSequence(samples[row].prompt, samples[row].tokens), row })));
}

/** Log-probabilities (and on request entropies) of every completion token under `decoder`, off the tape: [samples][tokens], on the host. */
export async function completionTokens(
  decoder: Decoder,
  samples: readonly RolloutSample[],
  { temperature, tokensPerMicroBatch, entropy = false }: { temperature: number; tokensPerMicroBatch: number; entropy?: boolean },
): Promise<{ logps: Float32Array[]; entropies: Float32Array[] }> {
  const logps: Float32Array[] = new Array(samples.length);
  const entropies: Float32Array[] = new Array(samples.length);
  for (const indices of microBatches(
    samples,
    samples.map((_, i) => i),
    tokensPerMicroBatch,
  )) {
    const { tokens, entropy: h } = tf.tidy(() => {
      const out = decoder.completionLogps(packSamples(samples, indices), { temperature, entropy });
      return { tokens: out.tokens, ...(out.entropy && { entropy: out.entropy }) } as { tokens: tf.Tensor1D; entropy?: tf.Tensor1D };
    });
    const flat = (await readCopy(tokens)) as Float32Array;
    const flatEntropy = h && ((await readCopy(h)) as Float32Array);
    tf.dispose([tokens, ...(h ? [h] : [])]);
    let at = 0;
    for (const i of indices) {
      const end = at + samples[i].tokens.length;
      logps[i] = flat.slice(at, end);
      if (flatEntropy) entropies[i] = flatEntropy.slice(at, end);
      at = end;
    }
  }
  return { logps, entropies };
}

/** Values at every completion token, off the tape: [samples][tokens], on the host. */
export async function completionValues(
  critic: Critic,
  samples: readonly RolloutSample[],
  tokensPerMicroBatch: number,
): Promise<Float32Array[]> {
  const values: Float32Array[] = new Array(samples.length);
  const order = samples.map((_, i) => i);
  for (const indices of microBatches(samples, order, tokensPerMicroBatch)) {
    const tensor = critic.values(packSamples(samples, indices));
    const flat = (await readCopy(tensor)) as Float32Array;
    tensor.dispose();
    let at = 0;
    for (const i of indices) {
      values[i] = flat.slice(at, at + samples[i].tokens.length);
      at += samples[i].tokens.length;
    }
  }
  return values;
}
