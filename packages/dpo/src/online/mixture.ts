import type { Rng } from '@plumbline/core';
import type { LocalDecoder } from '@plumbline/models';

/**
 * Samples from the geometric mixture of two models, `softmax(((1 − m)·z_π + m·z_ref) / temperature)` token by token: Nash-MD's opponent (Munos et al.
 * 2023, arXiv:2312.00886). One sample of each prompt, [prompts][1]; the end token, where it comes, belongs to it.
 *
 * @param mixtureCoef m, the reference's share; 0 samples the policy, 1 the reference
 */
export async function sampleMixture(
  policy: LocalDecoder,
  reference: LocalDecoder,
  prompts: readonly Int32Array[],
  { maxTokens, temperature = 1, mixtureCoef = 0.5, rng }: { maxTokens: number; temperature?: number; mixtureCoef?: number; rng: Rng },
): Promise<{ tokens: Int32Array }[][]> {
  if (!(mixtureCoef >= 0 && mixtureCoef <= 1)) throw new RangeError(`sampleMixture: mixtureCoef must be in [0, 1], got ${mixtureCoef}`);
  const { eosId } = policy.tokenizer;
  const out: { tokens: Int32Array }[][] = [];
  for (const [i, prompt] of prompts.entries()) {
    const room = Math.min(maxTokens, policy.contextLength - 1);
    const fit = prompt.subarray(Math.max(0, prompt.length + room - policy.contextLength));
    const caches = [policy, reference].map((model) => model.cache({ rows: 1, maxTokens: fit.length + room }));
    const random = rng.fork(i, 0);
    const tokens: number[] = [];
    try {
      let next = fit;
      for (; tokens.length < room; next = Int32Array.of(tokens.at(-1)!)) {
        const step = {
          tokens: next,
          positions: Int32Array.from(next, (_, t) => (tokens.length === 0 ? t : fit.length + tokens.length - 1)),
          rows: new Int32Array(next.length),
          wanted: Int32Array.of(next.length - 1),
        };
        const ours = Float32Array.from(await policy.next(step, caches[0]));
        const theirs = await reference.next(step, caches[1]);
        const token = draw(mixed(ours, theirs, mixtureCoef, temperature), random);
        tokens.push(token);
        if (token === eosId) break;
      }
    } finally {
      for (const cache of caches) cache.dispose();
    }
    out.push([{ tokens: Int32Array.from(tokens) }]);
  }
  return out;
}

/** Weights of the mixture's tokens, up to a factor; at temperature 0 the likeliest alone. */
function mixed(ours: Float32Array, theirs: Float32Array, m: number, temperature: number): Float64Array {
  const logits = Float64Array.from(ours, (z, v) => (1 - m) * z + m * theirs[v]);
  let [top, best] = [-Infinity, 0];
  logits.forEach((z, v) => {
    if (z > top) [top, best] = [z, v];
  });
  if (temperature === 0) return logits.map((_, v) => (v === best ? 1 : 0));
  return logits.map((z) => Math.exp((z - top) / temperature));
}

const draw = (weights: Float64Array, rng: Rng): number => rng.categorical(weights);
