/** Completions of prompts, and what the two models think of their tokens. */
import { ConfigError, type Rng, readCopy } from '@plumbline/core';
import { type Decoder, type Episode, joinSequence, type PackedBatch, type PromptRecord, packSequences, packShared } from '@plumbline/data';
import { type GenerateOptions, generate, type LocalDecoder, type TokenSample } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import type { Critic } from '../critic.js';

/**
 * One completion, or one episode: ids as they were sampled, which are the ids that are trained on; `group` is the prompt's index.
 *
 * Of an episode `tokens` holds what the world said as well, and `mask` is 1 on what the policy wrote. Everywhere in this package an array over a
 * sample's tokens, `samplingLogps` among them, is over those tokens alone (`countOf`).
 */
export type RolloutSample = TokenSample & {
  prompt: Int32Array;
  group: number;
  mask?: Uint8Array;
  episode?: Episode;
  /** Batches that the policy which wrote it had learned from, where somebody else did the sampling. */
  version?: number;
};

export type RolloutOptions = {
  policy: LocalDecoder;
  prompts: readonly Int32Array[];
  /** What the prompts were made from. */
  records?: readonly PromptRecord[];
  /** Samples of each prompt. */
  n: number;
  sampling: Omit<GenerateOptions, 'n' | 'rng' | 'signal' | 'onProgress'>;
  /** Sample j of prompt i draws from `rng.fork(i, j)`: it does not depend on its neighbours. */
  rng: Rng;
  /** Batches that the policy has learned from. */
  version?: number;
  signal?: AbortSignal;
  onProgress?: GenerateOptions['onProgress'];
};
export type Rollout = (options: RolloutOptions) => Promise<RolloutSample[]>;

/** `n` completions of each prompt, the samples of a prompt in a row. Where the signal fires, what is under way ends as `'aborted'`. */
export async function rollout({ policy, prompts, n, sampling, rng, signal, onProgress }: RolloutOptions): Promise<RolloutSample[]> {
  const samples = await generate(policy, prompts, { ...sampling, n, rng, signal, onProgress });
  return samples.flatMap((own, group) => own.map((sample) => ({ ...sample, prompt: prompts[group], group })));
}

/** Tokens that the policy wrote. */
export function countOf({ tokens, mask }: Pick<RolloutSample, 'tokens' | 'mask'>): number {
  return mask ? mask.reduce((n, own) => n + own, 0) : tokens.length;
}

export type Packing = {
  /** Prompt and completion tokens of a micro-batch at most. */
  tokensPerMicroBatch: number;
  /** Samples of a prompt compute it once. */
  sharePrompts?: boolean;
};

/** Consecutive samples, as many as fit, at least one: [micro-batches][indices]. Samples without a token that counts are left out. */
export function microBatches(
  samples: readonly RolloutSample[],
  order: ArrayLike<number>,
  { tokensPerMicroBatch, sharePrompts = false }: Packing,
): number[][] {
  const batches: number[][] = [];
  let used = Infinity;
  const prompts = new Set<Int32Array>();
  for (const i of Array.from(order)) {
    const { prompt, tokens } = samples[i];
    if (countOf(samples[i]) === 0) continue;
    const known = sharePrompts && prompts.has(prompt);
    if (used + tokens.length + (known ? 0 : prompt.length) > tokensPerMicroBatch) {
      batches.push([]);
      prompts.clear();
      used = 0;
    }
    used += tokens.length + (prompts.has(prompt) && sharePrompts ? 0 : prompt.length);
    prompts.add(prompt);
    batches[batches.length - 1].push(i);
  }
  return batches;
}

/** The named samples as one packed batch, segment by segment in that order; prompts that they share follow them. */
export function packSamples(samples: readonly RolloutSample[], indices: readonly number[], sharePrompts = false): PackedBatch {
  const items = indices.map((row) => ({
    prompt: samples[row].prompt,
    completion: samples[row].tokens,
    completionMask: samples[row].mask,
    row,
  }));
  if (sharePrompts) return packShared(items);
  return packSequences(
    items.map(({ prompt, completion, completionMask, row }) => ({
      ...joinSequence(prompt, completion),
      ...(completionMask && { completionMask: Uint8Array.from([...new Uint8Array(prompt.length), ...completionMask]) }),
      row,
    })),
  );
}

/**
 * Log-probabilities (and on request entropies, or the logs of the sums of squared probabilities) of every token that the policy wrote, under
 * `decoder`, off the tape: [samples][tokens], on the host.
 */
export async function completionTokens(
  decoder: Decoder,
  samples: readonly RolloutSample[],
  {
    temperature,
    entropy = false,
    squaredSum = false,
    ...packing
  }: { temperature: number; entropy?: boolean; squaredSum?: boolean } & Packing,
): Promise<{ logps: Float32Array[]; entropies: Float32Array[]; squaredSums: Float32Array[] }> {
  const rows = () => samples.map(() => new Float32Array(0));
  const found = { logps: rows(), entropies: rows(), squaredSums: rows() };
  for (const indices of microBatches(samples, allOf(samples), packing)) {
    const tensors = tf.tidy(() => {
      const out = decoder.completionLogps(packSamples(samples, indices, packing.sharePrompts), { temperature, entropy, squaredSum });
      return {
        logps: out.tokens,
        ...(out.entropy && { entropies: out.entropy }),
        ...(out.squaredSum && { squaredSums: out.squaredSum }),
      } as { logps: tf.Tensor1D; entropies?: tf.Tensor1D; squaredSums?: tf.Tensor1D };
    });
    try {
      for (const [name, tensor] of Object.entries(tensors))
        scatter(await readCopy(tensor), samples, indices, found[name as keyof typeof found]);
    } finally {
      tf.dispose(tensors);
    }
  }
  return found;
}

/** Values at every token that the policy wrote, off the tape: [samples][tokens], on the host. */
export async function completionValues(critic: Critic, samples: readonly RolloutSample[], packing: Packing): Promise<Float32Array[]> {
  const values = samples.map(() => new Float32Array(0));
  for (const indices of microBatches(samples, allOf(samples), packing)) {
    const tensor = critic.values(packSamples(samples, indices, packing.sharePrompts));
    scatter(await readCopy(tensor), samples, indices, values);
    tensor.dispose();
  }
  return values;
}

const allOf = (samples: readonly RolloutSample[]) => samples.map((_, i) => i);

function scatter(flat: ArrayLike<number>, samples: readonly RolloutSample[], indices: readonly number[], into: Float32Array[]): void {
  const values = Float32Array.from(flat);
  let at = 0;
  for (const i of indices) {
    const end = at + countOf(samples[i]);
    into[i] = values.slice(at, end);
    at = end;
  }
  if (at !== values.length) throw new ConfigError(`a decoder gave ${values.length} log-probabilities for ${at} tokens that count`);
}
