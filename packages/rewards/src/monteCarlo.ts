/** Labels of steps by how often a completion from there comes out right. */
import type { Rng } from '@plumbline/core/light';
import type { Prompt } from '@plumbline/data/light';

/** Texts that follow `steps` of an answer to the prompt, `n` of them: what is still missing, not what is there. */
export type Completer = (request: { prompt: Prompt; steps: readonly string[]; n: number; rng: Rng }) => Promise<readonly string[]>;

/**
 * Monte-Carlo estimates of each step: the share of `samples` completions from the steps up to it that verify (the soft labels of Math-Shepherd, Wang et al. 2023, arXiv:2312.08935; its hard
 * ones are 1 where the share is above 0). They are labels of the `step` loss, which takes rates.
 *
 * @param verify whether the whole solution is right: the steps and what followed
 * @returns [steps], each in [0, 1]
 * @throws RangeError for no samples, or a completer that answers another number of texts
 */
export async function mcEstimate(
  complete: Completer,
  { prompt, steps }: { prompt: Prompt; steps: readonly string[] },
  {
    samples,
    verify,
    rng,
  }: {
    samples: number;
    verify: (solution: { prompt: Prompt; steps: readonly string[]; rest: string }) => boolean | Promise<boolean>;
    rng: Rng;
  },
): Promise<Float32Array> {
  if (!(Number.isInteger(samples) && samples > 0))
    throw new RangeError(`mcEstimate: samples must be a whole number above 0, got ${samples}`);
  const rates = new Float32Array(steps.length);
  for (let s = 0; s < steps.length; s++) {
    const prefix = steps.slice(0, s + 1);
    const rest = await complete({ prompt, steps: prefix, n: samples, rng: rng.fork('step', s) });
    if (rest.length !== samples) throw new RangeError(`mcEstimate: step ${s} was completed ${rest.length} times, not ${samples}`);
    for (const text of rest) if (await verify({ prompt, steps: prefix, rest: text })) rates[s] += 1 / samples;
  }
  return rates;
}
