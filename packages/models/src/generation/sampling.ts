import { ConfigError } from '@plumbline/core';

export type SamplingRule = {
  /** 0 takes the likeliest token. */
  temperature: number;
  /** The smallest set of tokens whose probability reaches this share; 1 is all. */
  topP: number;
  /** The k likeliest tokens; 0 is all. */
  topK: number;
  /** Tokens at least this share as likely as the likeliest; 0 is all. */
  minP: number;
};

/** @throws ConfigError naming the option, its value and what is allowed */
export function samplingRule({ temperature = 1, topP = 1, topK = 0, minP = 0 }: Partial<SamplingRule>): SamplingRule {
  if (!(temperature >= 0 && Number.isFinite(temperature)))
    throw new ConfigError(`temperature must be 0 (greedy) or above, got ${temperature}`);
  if (!(topP > 0 && topP <= 1)) throw new ConfigError(`topP must be above 0 and at most 1, got ${topP}`);
  if (!(Number.isInteger(topK) && topK >= 0)) throw new ConfigError(`topK must be a whole number, 0 for all tokens, got ${topK}`);
  if (!(minP >= 0 && minP < 1)) throw new ConfigError(`minP must be at least 0 and below 1, got ${minP}`);
  return { temperature, topP, topK, minP };
}

/** A sampler for vocabularies of one size, which keeps its scratch space. */
export type Sampler = (logits: Float32Array, rule: SamplingRule, uniform: number) => { token: number; logp: number };

/**
 * Draws a token from `logits` with one number from [0, 1), by inverting the distribution in the order of ids.
 *
 * Temperature first, then top-k, top-p and min-p, each on what the one before left, as in Hugging Face's processors. `logp` is the
 * token's log-probability under the distribution it was drawn from (renormalised after truncation); greedy decoding, whose
 * distribution is a point, reports it at temperature 1.
 *
 * @throws ConfigError where no token is allowed
 */
export function createSampler(vocabSize: number): Sampler {
  const weights = new Float64Array(vocabSize);
  return (logits, { temperature, topP, topK, minP }, uniform) => {
    let best = 0;
    for (let i = 1; i < vocabSize; i++) if (logits[i] > logits[best]) best = i;
    const largest = logits[best];
    if (!Number.isFinite(largest)) {
      throw new ConfigError(
        largest === -Infinity
          ? 'every token is masked: the token mask must leave at least one'
          : `the model's logits are not finite (${largest})`,
      );
    }
    const inverse = 1 / (temperature || 1);
    let total = 0;
    for (let i = 0; i < vocabSize; i++) {
      const weight = Math.exp((logits[i] - largest) * inverse);
      weights[i] = weight;
      total += weight;
    }
    if (temperature === 0) return { token: best, logp: -Math.log(total) };
    if (topK > 0 || topP < 1 || minP > 0) total = truncate(weights, total, topK, topP, minP);
    // Rounding may leave the last step of the sum short of the target: then the last token of the sum is it.
    const target = uniform * total;
    let cumulative = 0;
    let token = best;
    for (let i = 0; i < vocabSize; i++) {
      if (weights[i] === 0) continue;
      cumulative += weights[i];
      token = i;
      if (cumulative > target) break;
    }
    return { token, logp: Math.log(weights[token] / total) };
  };
}

/** Zeroes what top-k, top-p and min-p leave out, in place, and answers the new total. The likeliest token has weight 1. */
function truncate(weights: Float64Array, total: number, topK: number, topP: number, minP: number): number {
  // What is rarer than this cannot be among the tokens that reach topP: all such tokens together weigh less than the rest may.
  const negligible = topP < 1 && topK === 0 ? ((1 - topP) * total) / weights.length : 0;
  const kept: number[] = [];
  for (let i = 0; i < weights.length; i++) if (weights[i] > negligible) kept.push(i);
  kept.sort((a, b) => weights[b] - weights[a] || a - b);
  let size = topK > 0 ? Math.min(topK, kept.length) : kept.length;
  if (topP < 1) {
    let sum = topK > 0 ? 0 : total;
    if (topK > 0) for (let r = 0; r < size; r++) sum += weights[kept[r]];
    let cumulative = 0;
    for (let r = 0; r < size; r++) {
      cumulative += weights[kept[r]];
      if (cumulative >= topP * sum) {
        size = r + 1;
        break;
      }
    }
  }
  while (size > 1 && weights[kept[size - 1]] < minP) size--;
  const survivors = kept.slice(0, size).map((i) => [i, weights[i]] as const);
  weights.fill(0);
  let left = 0;
  for (const [i, weight] of survivors) {
    weights[i] = weight;
    left += weight;
  }
  return left;
}
