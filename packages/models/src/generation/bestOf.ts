import { ConfigError } from '@plumbline/core';
import type { Generation, LanguageModel, Prompt, RewardFunction, Sampling } from '@plumbline/data';

export type Best = Generation & {
  score: number;
  /** All samples with their scores, in the order in which they were drawn; NaN where the reward abstained. */
  samples: readonly (Generation & { score: number })[];
};

/**
 * Best-of-N: draws `n` samples of each prompt and keeps the one that `reward` scores highest, the first of several; [prompts].
 * A sample on which the reward abstains is kept only where it abstains on all.
 */
export async function bestOf(
  model: LanguageModel,
  prompts: readonly Prompt[],
  { reward, n, ...sampling }: Sampling & { n: number; reward: RewardFunction },
): Promise<Best[]> {
  if (!(Number.isInteger(n) && n >= 1)) throw new ConfigError(`bestOf: n must be a whole number above 0, got ${n}`);
  const drawn = await model.generate(prompts, { ...sampling, n });
  const candidates = drawn.flatMap((samples, i) =>
    samples.map(({ text }) => ({
      prompt: prompts[i],
      completion: typeof prompts[i] === 'string' ? text : [{ role: 'assistant', content: text }],
    })),
  );
  const { scores, abstained } = await reward.score(candidates, { rng: sampling.rng.fork('reward'), signal: sampling.signal });
  return drawn.map((samples, i) => {
    const scored = samples.map((sample, j) => ({ ...sample, score: abstained?.[i * n + j] ? Number.NaN : scores[i * n + j] }));
    const best = scored.reduce((a, b) => (b.score > a.score || (Number.isNaN(a.score) && !Number.isNaN(b.score)) ? b : a));
    return { ...best, samples: scored };
  });
}
