import { ConfigError } from '@plumbline/core';
import type { Completion, PreferenceRecord, Prompt, ScoredGroup } from '@plumbline/data';
import type { LocalDecoder } from '@plumbline/models';

export type SampledGroup = { prompt: Prompt; completions: readonly Completion[] };
export type Iteration = {
  iteration: number;
  /** Mean score of what the policy wrote at the beginning of the iteration. */
  meanScore: number;
  pairs: number;
};

export type IteratePreferences = {
  /** Changed in place by `train`. */
  policy: LocalDecoder;
  iterations: number;
  /** What the policy is compared with: the model before the first iteration, or before the current one (SPPO, DNO, iterative RPO). */
  reference: 'initial' | 'previous';
  sample(policy: LocalDecoder, iteration: number): Promise<readonly SampledGroup[]>;
  /** Scores of every completion: a reward function, or a judge's win rates. */
  annotate(groups: readonly SampledGroup[], iteration: number): Promise<readonly ScoredGroup[]>;
  /** `makePairs` with a strategy. */
  pair(groups: readonly ScoredGroup[], iteration: number): readonly PreferenceRecord[];
  /** `trainPairs` on these records, which hold the pairs of the last `replay` iterations as well. */
  train(step: { policy: LocalDecoder; reference: LocalDecoder; records: readonly PreferenceRecord[]; iteration: number }): Promise<void>;
  /** Earlier iterations whose pairs are trained on again; 0 unless given. */
  replay?: number;
  signal?: AbortSignal;
};

/**
 * Online preference learning in rounds: sample from the policy, score, make pairs, train, and again from the trained policy.
 *
 * The form of iterative DPO (Xiong et al. 2023, arXiv:2312.11456), SPPO (arXiv:2405.00675), DNO (arXiv:2404.03715) and iterative RPO
 * (arXiv:2404.19733): they differ in the loss that `train` uses, in the pairs, and in the reference. Leaves nothing behind but the policy.
 *
 * @throws ConfigError where an iteration makes no pairs: all completions of every prompt score the same
 */
export async function iteratePreferences({
  policy,
  iterations,
  reference: kind,
  sample,
  annotate,
  pair,
  train,
  replay = 0,
  signal,
}: IteratePreferences): Promise<Iteration[]> {
  if (!(Number.isInteger(iterations) && iterations > 0))
    throw new ConfigError(`iteratePreferences: iterations must be a whole number above 0, got ${iterations}`);
  if (!(Number.isInteger(replay) && replay >= 0))
    throw new ConfigError(`iteratePreferences: replay must be a whole number, at least 0, got ${replay}`);
  const done: Iteration[] = [];
  const history: (readonly PreferenceRecord[])[] = [];
  let reference = policy.snapshot();
  try {
    for (let iteration = 0; iteration < iterations; iteration++) {
      signal?.throwIfAborted();
      if (kind === 'previous' && iteration > 0) {
        reference.dispose();
        reference = policy.snapshot();
      }
      const scored = await annotate(await sample(policy, iteration), iteration);
      const pairs = pair(scored, iteration);
      if (pairs.length === 0)
        throw new ConfigError(`iteratePreferences: iteration ${iteration} makes no pairs; all completions of every prompt score the same`);
      history.push(pairs);
      const scores = scored.flatMap((group) => Array.from(group.scores));
      await train({ policy, reference, records: history.slice(-1 - replay).flat(), iteration });
      done.push({ iteration, meanScore: scores.reduce((a, b) => a + b, 0) / scores.length, pairs: pairs.length });
    }
    return done;
  } finally {
    reference.dispose();
  }
}
