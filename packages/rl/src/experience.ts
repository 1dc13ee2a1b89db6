/** One batch of experience: prompts are sampled, scored and shaped, and every sample gets its advantage. */
import { ConfigError, metrics as knownMetrics, type MetricName, NonFiniteError, type Rng } from '@plumbline/core';
import {
  type Candidate,
  type Decoder,
  encodePrompt,
  type GroupRewardFunction,
  isMessages,
  type PromptBatch,
  type PromptRecord,
  type RewardFunction,
  type Shaper,
} from '@plumbline/data';
import type { LocalDecoder } from '@plumbline/models';
import {
  type emaBaseline,
  gpgAdvantages,
  opoAdvantages,
  passKAdvantages,
  reinforceAdvantages,
  remaxAdvantages,
  rlooAdvantages,
} from './advantages/baselines.js';
import { groupAdvantages, groupsWithoutDeviation, weightedRewards } from './advantages/group.js';
import { groupRows, isScored, nanMean, nanStd } from './advantages/statistics.js';
import type { PolicyTrainConfig } from './config.js';
import { klValue } from './kl.js';
import { missingEosPenalty } from './rewards.js';
import { completionTokens, type RolloutOptions, type RolloutSample } from './rollout.js';

export type AnyReward = RewardFunction | GroupRewardFunction;
/** One reward, or several with weights (1 unless given); where one abstains on a sample the others carry it. */
export type Reward = AnyReward | readonly { reward: AnyReward; weight?: number }[];

export type Experience = {
  samples: RolloutSample[];
  /** What the reward said, NaN where it abstained, [samples]. */
  scores: Float64Array;
  /** After penalties and shaping. */
  rewards: Float64Array;
  advantages: Float64Array;
  /** [samples][tokens], from the training path. */
  oldLogps?: Float32Array[];
  refLogps?: Float32Array[];
  entropies?: Float32Array[];
  metrics: Partial<Record<MetricName, number>>;
};

export type Collecting = {
  config: PolicyTrainConfig;
  policy: LocalDecoder;
  reference?: Decoder;
  reward: Reward;
  rollout: (options: RolloutOptions) => Promise<RolloutSample[]>;
  shaper?: Shaper;
  klCoef: number;
  baseline: ReturnType<typeof emaBaseline>;
  rng: Rng;
  step: number;
  signal: AbortSignal;
  onProgress?: (progress: { tokens: number; finished: number; total: number }) => void;
};

/**
 * Samples, scores, shapes and compares. Changes nothing but the state of `shaper` and `baseline`.
 * @returns undefined where the signal fired before all completions were there
 * @throws NonFiniteError naming the reward function, the prompt and the sample of a score that is not finite
 */
export async function collect(batch: PromptBatch<string | PromptRecord>, c: Collecting): Promise<Experience | undefined> {
  const { config, policy, reference, rollout, rng, signal } = c;
  const records = batch.prompts.map((prompt): PromptRecord => (typeof prompt === 'string' ? { prompt } : prompt));
  const prompts = records.map(({ prompt }) => encodePrompt(policy.tokenizer, prompt));
  const { maxTokens, temperature, topP, topK, minP } = config;
  const sampling = { maxTokens, temperature, topP, topK, minP };
  const samples = await rollout({
    policy,
    prompts,
    n: config.samplesPerPrompt,
    sampling,
    rng: rng.fork('samples'),
    signal,
    onProgress: c.onProgress,
  });
  const greedy =
    config.advantage.kind === 'remax'
      ? await rollout({ policy, prompts, n: 1, sampling: { maxTokens, temperature: 0 }, rng: rng.fork('greedy'), signal })
      : [];
  if (signal.aborted) return undefined;

  const all = [...samples, ...greedy]; // scored and shaped together
  const nameOf = (i: number) =>
    `prompt ${batch.ids[all[i].group]}, ${i < samples.length ? `sample ${i % config.samplesPerPrompt}` : 'the greedy completion'}`;
  const scored = await score(c, records, all, nameOf);
  const penalized = missingEosPenalty(
    scored.scores,
    all.map(({ finish }) => Number(finish === 'stop')),
    config.missingEosPenalty,
  );
  const shaped = shape(c.shaper, penalized, records, all);
  const groups = samples.map(({ group }) => group);
  const rewards = shaped.slice(0, samples.length);

  const prepass = { temperature, tokensPerMicroBatch: config.tokensPerMicroBatch };
  const severalUpdates = config.epochs * config.miniBatches > 1;
  const needsOld =
    severalUpdates || (reference && config.klIn === 'reward') || config.samplingCorrection !== undefined || config.topEntropyQuantile < 1;
  const old = needsOld ? await completionTokens(policy, samples, { ...prepass, entropy: config.topEntropyQuantile < 1 }) : undefined;
  const refLogps = reference ? (await completionTokens(reference, samples, prepass)).logps : undefined;
  const compared = config.klIn === 'reward' && refLogps ? penalizedByKl(rewards, old!.logps, refLogps, c) : rewards;
  const advantages = advantagesOf(
    c,
    compared,
    shaped.slice(samples.length),
    groups,
    samples.map(({ tokens }) => tokens.length),
  );

  const own = scored.scores.slice(0, samples.length);
  const component = ([name, values]: [string, Float64Array]) => [`reward/${name}`, nanMean(values.subarray(0, samples.length))] as const;
  const mean = (f: (sample: RolloutSample) => number) => nanMean(samples.map(f));
  return {
    samples,
    scores: own,
    rewards,
    advantages,
    oldLogps: old?.logps,
    refLogps,
    entropies: config.topEntropyQuantile < 1 ? old?.entropies : undefined,
    metrics: {
      ...Object.fromEntries(
        Object.entries(scored.components)
          .map(component)
          .filter(([name]) => name in knownMetrics),
      ),
      'reward/mean': nanMean(own),
      'reward/std': nanMean(groupRows('reward/std', own, groups).map((rows) => nanStd(rows.map((i) => own[i])))),
      ...(c.shaper && { 'reward/shaped': nanMean(rewards) }),
      'reward/abstained': own.filter((x) => !isScored(x)).length / own.length,
      'groups/withoutDeviation': groupsWithoutDeviation(rewards, groups),
      'advantages/mean': nanMean(advantages),
      'advantages/std': nanStd(advantages),
      'completions/length': mean(({ tokens }) => tokens.length),
      'completions/finished': mean(({ finish }) => Number(finish === 'stop')),
    },
  };
}

/** Every reward on every candidate: weighted sums, NaN where all abstain, and the components by name. */
async function score(
  { reward, rng, step, signal }: Collecting,
  records: readonly PromptRecord[],
  samples: readonly RolloutSample[],
  nameOf: (i: number) => string,
): Promise<{ scores: Float64Array; components: Record<string, Float64Array> }> {
  const candidates = samples.map(({ group, text, finish, tokens }): Candidate => {
    const { prompt, meta } = records[group];
    const completion = isMessages(prompt) ? [{ role: 'assistant' as const, content: text }] : text;
    return { prompt, completion, meta: { ...meta, finish, tokens: tokens.length } };
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
  return {
    scores: weightedRewards(
      columns,
      parts.map((part) => ('weight' in part ? (part.weight ?? 1) : 1)),
    ),
    components,
  };
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
function shape(
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
    lengths: Int32Array.from(kept, (i) => samples[i].tokens.length),
    ...(references.every((x) => x !== undefined) && { references: references.map((x) => Float32Array.from(x!)) }),
  });
  const result = new Float64Array(rewards.length).fill(Number.NaN);
  kept.forEach((row, i) => {
    result[row] = shaped[i];
  });
  return result;
}

function penalizedByKl(
  rewards: Float64Array,
  logps: readonly Float32Array[],
  refLogps: readonly Float32Array[],
  { klCoef, config }: Collecting,
): Float64Array {
  const estimator = config.klEstimator ?? 'k1';
  return rewards.map((reward, i) => reward - klCoef * logps[i].reduce((sum, logp, t) => sum + klValue(logp, refLogps[i][t], estimator), 0));
}

function advantagesOf(
  { config, baseline }: Collecting,
  rewards: Float64Array,
  greedy: Float64Array,
  groups: number[],
  lengths: number[],
): Float64Array {
  const { advantage } = config;
  switch (advantage.kind) {
    case 'group':
      return groupAdvantages(rewards, groups, advantage);
    case 'rloo':
      return rlooAdvantages(rewards, groups, advantage);
    case 'remax':
      return remaxAdvantages(rewards, greedy, groups);
    case 'reinforce': {
      const value = baseline.value;
      if (advantage.baseline !== 'ema') return reinforceAdvantages(rewards, { baseline: advantage.baseline });
      baseline.update(rewards);
      return reinforceAdvantages(rewards, { baseline: value });
    }
    case 'opo':
      return opoAdvantages(rewards, groups, lengths);
    case 'passK':
      return passKAdvantages(rewards, groups, advantage);
    case 'gpg':
      return gpgAdvantages(rewards, groups);
    default:
      return advantage satisfies never;
  }
}
