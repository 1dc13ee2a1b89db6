/** Scores of reference completions: what the reward model gives the starting policy on the same prompt. */
import type { Rng } from '@plumbline/core';
import type { Completion, Prompt, RewardFunction } from '@plumbline/data';

/** Completions of each prompt by the starting policy, [prompts][perPrompt]. */
export type ReferenceSampler = (
  prompts: readonly Prompt[],
  options: { n: number; rng: Rng; signal?: AbortSignal },
) => Promise<readonly (readonly Completion[])[]>;

/**
 * Samples `perPrompt` completions of each prompt and scores them: once, to be stored beside the prompts (column `reference_rewards`).
 * A completion that the reward abstains on has no entry, so that a row may be shorter.
 *
 * @returns [prompts][at most perPrompt]
 * @throws RangeError naming the prompt without any reference
 */
export async function scoreReferences(
  reward: RewardFunction,
  sample: ReferenceSampler,
  prompts: readonly Prompt[],
  { perPrompt, rng, signal }: { perPrompt: number; rng: Rng; signal?: AbortSignal },
): Promise<{ referenceRewards: Float32Array[]; completions: (readonly Completion[])[] }> {
  if (!(Number.isInteger(perPrompt) && perPrompt > 0))
    throw new RangeError(`scoreReferences: perPrompt must be a whole number above 0, got ${perPrompt}`);
  const completions = [...(await sample(prompts, { n: perPrompt, rng: rng.fork('references'), signal }))];
  const candidates = prompts.flatMap((prompt, i) => completions[i].map((completion) => ({ prompt, completion })));
  const { scores, abstained } = await reward.score(candidates, { rng: rng.fork('scores'), signal });
  let at = 0;
  const referenceRewards = completions.map((samples, prompt) => {
    const kept = samples.map(() => at++).filter((i) => abstained?.[i] !== 1);
    if (kept.length === 0) throw new RangeError(`scoreReferences: ${reward.name} abstains on every reference of prompt ${prompt}`);
    return Float32Array.from(kept, (i) => scores[i]);
  });
  return { referenceRewards, completions };
}
