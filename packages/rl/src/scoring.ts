/** What rewards and a shaper say of a batch of completions. */
import { ConfigError, NonFiniteError, type Rng } from '@plumbline/core';
import { type Candidate, type GroupRewardFunction, isMessages, type PromptRecord, type RewardFunction, type Shaper } from '@plumbline/data';
import { weightedRewards } from './advantages/group.js';
import { groupRows, isScored } from './advantages/statistics.js';
import { countOf, type RolloutSample } from './rollout/generate.js';

export type AnyReward = RewardFunction | GroupRewardFunction;
/** One reward, or several with weights (1 unless given); where one abstains on a sample the others carry it. */
export type Reward = AnyReward | readonly { reward: AnyReward; weight?: number }[];

export type Scoring = { reward: Reward; rng: Rng; step: number; signal: AbortSignal };
/** Weighted sums, [samples], and what they are made of, [functions][samples]; NaN where a function abstained. */
export type Scored = { scores: Float64Array; columns: Float64Array[]; weights: number[]; components: Record<string, Float64Array> };

/** Every reward on every candidate: weighted sums, NaN where all abstain, and the components by name. */
export async function score(
  { reward, rng, step, signal }: Scoring,
  records: readonly PromptRecord[],
  samples: readonly RolloutSample[],
  nameOf: (i: number) => string,
): Promise<Scored> {
  const candidates = samples.map(({ group, text, finish, episode, ...sample }): Candidate => {
    const { prompt, meta } = records[group];
    const completion = isMessages(prompt) ? (episode?.messages ?? [{ role: 'assistant' as const, content: text }]) : text;
    return { prompt, completion, meta: { ...meta, finish, tokens: countOf(sample), ...(episode && { episode }) } };
  });
  const parts = 'name' in reward ? [{ reward }] : reward;
  if (parts.length === 0) throw new ConfigError('trainPolicy: there is no reward function');
  const components: Record<string, Float64Array> = {};
  const columns: Float64Array[] = [];
  for (const { reward: own } of parts) {
    const ctx = { rng: rng.fork('reward', own.name), step, signal };
    const {
      scores,
      abstained,
      components: named = {},
    } = 'scoreGroup' in own ? await scoreGroups(own, candidates, samples, ctx) : await own.score(candidates, ctx);
    if (scores.length !== candidates.length)
      throw new RangeError(`reward "${own.name}" answered ${scores.length} scores for ${candidates.length} completions`);
    columns.push(
      Float64Array.from(scores, (value, i) => {
        if (abstained?.[i] === 1) return Number.NaN;
        if (!Number.isFinite(value))
          throw new NonFiniteError(
            `step ${step}: reward "${own.name}" gave ${value} for ${nameOf(i)}; a reward that does not apply to a row abstains`,
          );
        return value;
      }),
    );
    for (const [name, values] of Object.entries(named))
      components[name] = Float64Array.from(values, (x, i) => (abstained?.[i] === 1 ? Number.NaN : x));
  }
  const weights = parts.map((part) => ('weight' in part ? (part.weight ?? 1) : 1));
  return { scores: weightedRewards(columns, weights), columns, weights, components };
}

async function scoreGroups(
  reward: GroupRewardFunction,
  candidates: readonly Candidate[],
  samples: readonly RolloutSample[],
  ctx: Parameters<GroupRewardFunction['scoreGroup']>[1],
) {
  const scores = new Float32Array(candidates.length);
  const abstained = new Uint8Array(candidates.length);
  for (const rows of groupRows(
    'scoreGroup',
    scores,
    samples.map(({ group }) => group),
  )) {
    const own = await reward.scoreGroup(
      rows.map((i) => candidates[i]),
      ctx,
    );
    rows.forEach((row, i) => {
      scores[row] = own.scores[i];
      abstained[row] = own.abstained?.[i] ?? 0;
    });
  }
  return { scores, abstained, components: {} as Record<string, Float32Array> };
}

/** A prompt's reference rewards are its record's `meta.reference_rewards`; a sample that nobody scored is not shaped either. */
export function shape(
  shaper: Shaper | undefined,
  rewards: Float64Array,
  records: readonly PromptRecord[],
  samples: readonly RolloutSample[],
): Float64Array {
  if (!shaper) return rewards;
  const kept = Array.from(rewards, (_, i) => i).filter((i) => isScored(rewards[i]));
  const references = kept.map((i) => records[samples[i].group].meta?.reference_rewards as ArrayLike<number> | undefined);
  const shaped = shaper.apply({
    rewards: Float32Array.from(kept, (i) => rewards[i]),
    lengths: Int32Array.from(kept, (i) => countOf(samples[i])),
    ...(references.every((x) => x !== undefined) && { references: references.map((x) => Float32Array.from(x!)) }),
  });
  const result = new Float64Array(rewards.length).fill(Number.NaN);
  kept.forEach((row, i) => {
    result[row] = shaped[i];
  });
  return result;
}
