/** The smallest world of preferences: prompts with a few responses each, rewards that are known, and policies that are tables. */
import type { Rng } from '@plumbline/core';
import { tiltedPolicy } from '@plumbline/data/statistics';

export type BanditPair = { prompt: number; chosen: number; rejected: number };
/** Probabilities of responses, [prompts · responses], prompt by prompt. */
export type BanditPolicy = Float64Array;
export interface PreferenceBandit {
  readonly prompts: number;
  readonly responses: number;
  /** [prompts · responses] */
  readonly rewards: Float64Array;
  /** What answers before any training. */
  readonly reference: BanditPolicy;
  /** The chance that response a of a prompt is preferred to b: Bradley and Terry's `σ(r_a − r_b)`. */
  preference(prompt: number, a: number, b: number): number;
  /** Pairs of different responses that the policy (the reference unless given) draws, labelled by one draw each. */
  pairs(count: number, rng: Rng, policy?: BanditPolicy): BanditPair[];
  /** Exactly, the mean over prompts: expected reward, KL to the reference in nats, and the chance to be preferred to the reference's answer, ties counting half. */
  evaluate(policy: BanditPolicy): { reward: number; kl: number; winRate: number };
  /** The best policy under a KL penalty, `π ∝ π_ref · exp(r / beta)`: what DPO tends to with endless data. */
  optimum(beta: number): BanditPolicy;
}
export type PreferenceBanditOptions = {
  prompts?: number;
  responses?: number;
  rng: Rng;
  /** Standard deviation of the rewards, and of the reference's logits; 1 each unless given. */
  spread?: number;
  referenceSpread?: number;
  /** In place of drawn ones, [prompts · responses]. */
  rewards?: ArrayLike<number>;
  reference?: ArrayLike<number>;
};

/**
 * A bandit with 20 prompts of 8 responses unless said; rewards and the reference's logits are normal.
 *
 * @throws RangeError for fewer than 2 responses, tables of another size, or reference probabilities that do not add up to 1 in a prompt
 */
export function preferenceBandit(options: PreferenceBanditOptions): PreferenceBandit {
  const { prompts = 20, responses = 8, rng, spread = 1, referenceSpread = 1 } = options;
  if (!(Number.isInteger(prompts) && prompts > 0))
    throw new RangeError(`preferenceBandit: prompts must be a whole number above 0, got ${prompts}`);
  if (!(Number.isInteger(responses) && responses >= 2))
    throw new RangeError(`preferenceBandit: responses must be a whole number from 2 on, got ${responses}`);
  const size = prompts * responses;
  const table = (name: 'rewards' | 'reference', drawn: () => ArrayLike<number>): Float64Array => {
    const values = Float64Array.from(options[name] ?? drawn());
    if (values.length !== size)
      throw new RangeError(`preferenceBandit: ${name} holds ${values.length} numbers; ${prompts} prompts of ${responses} have ${size}`);
    return values;
  };
  const row = (values: Float64Array, prompt: number) => values.subarray(prompt * responses, (prompt + 1) * responses);
  const rewards = table('rewards', () =>
    rng
      .fork('rewards')
      .normal(size)
      .map((z) => spread * z),
  );
  const reference = table('reference', () => {
    const weights = Float64Array.from(rng.fork('reference').normal(size), (z) => Math.exp(referenceSpread * z));
    return weights.map((weight, i) => weight / row(weights, Math.floor(i / responses)).reduce((a, b) => a + b, 0));
  });
  checkPolicy('the reference', reference);
  function checkPolicy(whose: string, policy: BanditPolicy): void {
    if (policy.length !== size) throw new RangeError(`preferenceBandit: ${whose} holds ${policy.length} probabilities; there are ${size}`);
    for (let prompt = 0; prompt < prompts; prompt++) {
      const total = row(policy, prompt).reduce((a, b) => a + b, 0);
      if (!(Math.abs(total - 1) < 1e-6))
        throw new RangeError(`preferenceBandit: the probabilities of ${whose} add up to ${total} for prompt ${prompt}`);
    }
  }
  const preference = (prompt: number, a: number, b: number) =>
    1 / (1 + Math.exp(rewards[prompt * responses + b] - rewards[prompt * responses + a]));
  return {
    prompts,
    responses,
    rewards,
    reference,
    preference,
    pairs(count, stream, policy = reference) {
      checkPolicy('the policy', policy);
      return Array.from({ length: count }, () => {
        const prompt = stream.below(prompts);
        const own = row(policy, prompt);
        const a = stream.categorical(own);
        const b = stream.categorical(own.map((p, i) => (i === a ? 0 : p)));
        return stream.uniform(1)[0] < preference(prompt, a, b) ? { prompt, chosen: a, rejected: b } : { prompt, chosen: b, rejected: a };
      });
    },
    evaluate(policy) {
      checkPolicy('the policy', policy);
      let [reward, kl, winRate] = [0, 0, 0];
      for (let prompt = 0; prompt < prompts; prompt++) {
        const [own, base] = [row(policy, prompt), row(reference, prompt)];
        for (let a = 0; a < responses; a++) {
          reward += own[a] * rewards[prompt * responses + a];
          if (own[a] > 0) kl += own[a] * Math.log(own[a] / base[a]);
          for (let b = 0; b < responses; b++) winRate += own[a] * base[b] * preference(prompt, a, b);
        }
      }
      return { reward: reward / prompts, kl: kl / prompts, winRate: winRate / prompts };
    },
    optimum(beta) {
      if (!(beta > 0)) throw new RangeError(`preferenceBandit: beta must be > 0, got ${beta}`);
      const best = new Float64Array(size);
      for (let prompt = 0; prompt < prompts; prompt++)
        best.set(tiltedPolicy(row(reference, prompt), row(rewards, prompt), beta).probabilities, prompt * responses);
      return best;
    },
  };
}
