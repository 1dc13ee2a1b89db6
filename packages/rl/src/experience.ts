/** One batch of experience: prompts are sampled, scored and shaped, and every sample gets its advantage. */
import { ConfigError, metrics as knownMetrics, type MetricName, type Rng } from '@plumbline/core';
import { type Decoder, encodePrompt, type PromptBatch, type PromptRecord, type Shaper } from '@plumbline/data';
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
import { gdpoAdvantages, groupAdvantages, groupsWithoutDeviation } from './advantages/group.js';
import { groupRows, isScored, nanMean, nanStd } from './advantages/statistics.js';
import { gae, whiten } from './advantages/temporal.js';
import type { PolicyTrainConfig } from './config.js';
import type { Critic } from './critic.js';
import { klValue } from './kl.js';
import { missingEosPenalty, tokenRewards } from './rewards.js';
import { completionTokens, completionValues, type RolloutOptions, type RolloutSample } from './rollout.js';
import { type Reward, score, shape } from './scoring.js';

export type Experience = {
  samples: RolloutSample[];
  /** What the reward said, NaN where it abstained, [samples]. */
  scores: Float64Array;
  /** After penalties and shaping. */
  rewards: Float64Array;
  /** Of each sample; with a value model the mean over its tokens. */
  advantages: Float64Array;
  /** With a value model: advantages, returns and old values, [samples][tokens]. */
  perToken?: { advantages: Float64Array[]; returns: Float64Array[]; values: Float32Array[] };
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
  critic?: Critic;
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
  const perToken = c.critic ? await estimated(c, c.critic, samples, rewards, old?.logps, refLogps) : undefined;
  const compared = config.klIn === 'reward' && refLogps && !perToken ? penalizedByKl(rewards, old!.logps, refLogps, c) : rewards;
  const lengths = samples.map(({ tokens }) => tokens.length);
  const advantages = perToken
    ? Float64Array.from(perToken.advantages, (own) => (own.length === 0 ? 0 : nanMean(own)))
    : config.rewardAggregation === 'normalizeThenSum'
      ? gdpoAdvantages(scored.columns, groups, scored.weights)
      : advantagesOf(c, compared, shaped.slice(samples.length), groups, lengths);

  const own = scored.scores.slice(0, samples.length);
  const component = ([name, values]: [string, Float64Array]) => [`reward/${name}`, nanMean(values.subarray(0, samples.length))] as const;
  const mean = (f: (sample: RolloutSample) => number) => nanMean(samples.map(f));
  return {
    samples,
    scores: own,
    rewards,
    advantages,
    ...(perToken && { perToken }),
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

function penalizedByKl(
  rewards: Float64Array,
  logps: readonly Float32Array[],
  refLogps: readonly Float32Array[],
  { klCoef, config }: Collecting,
): Float64Array {
  const estimator = config.klEstimator ?? 'k1';
  return rewards.map((reward, i) => reward - klCoef * logps[i].reduce((sum, logp, t) => sum + klValue(logp, refLogps[i][t], estimator), 0));
}

/**
 * PPO: rewards per token (the score on the last, and the KL where it belongs into the reward), generalized advantage estimation against the values of the
 * critic, advantages whitened over the batch. A sample that was not scored keeps its values and gets advantage 0.
 */
async function estimated(
  { config, klCoef }: Collecting,
  critic: Critic,
  samples: readonly RolloutSample[],
  rewards: Float64Array,
  logps: readonly Float32Array[] | undefined,
  refLogps: readonly Float32Array[] | undefined,
): Promise<NonNullable<Experience['perToken']>> {
  if (config.advantage.kind !== 'gae') throw new ConfigError(`a critic is for advantage gae, not ${config.advantage.kind}`);
  const { gamma, lambda, whitenRewards } = config.advantage;
  const values = await completionValues(critic, samples, config.tokensPerMicroBatch);
  const inReward = config.klIn === 'reward' && refLogps && logps;
  const given = samples.map((_, i) => i).filter((i) => isScored(rewards[i]) && values[i].length > 0);
  let perToken = given.map((i) =>
    inReward
      ? tokenRewards(rewards[i], logps[i], refLogps[i], { klCoef, estimator: config.klEstimator ?? 'k1' })
      : tokenRewards(rewards[i], values[i], values[i], { klCoef: 0 }),
  );
  if (whitenRewards)
    perToken = regroup(
      whiten(
        perToken.flatMap((own) => Array.from(own)),
        undefined,
        { shift: false },
      ),
      perToken,
    );
  const estimates = perToken.map((own, k) => gae(own, values[given[k]], { gamma, lambda }));
  const flat = estimates.flatMap(({ advantages }) => Array.from(advantages));
  const whitened = regroup(flat.length < 2 ? Float64Array.from(flat) : whiten(flat), perToken);
  const advantages: Float64Array[] = values.map((own) => new Float64Array(own.length));
  const returns: Float64Array[] = values.map((own) => Float64Array.from(own));
  given.forEach((row, k) => {
    advantages[row] = whitened[k];
    returns[row] = estimates[k].returns;
  });
  return { advantages, returns, values };
}

function regroup(flat: Float64Array, like: readonly ArrayLike<number>[]): Float64Array[] {
  let at = 0;
  return like.map(({ length }) => {
    at += length;
    return flat.slice(at - length, at);
  });
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
    case 'gae':
      throw new ConfigError('trainPolicy: generalized advantage estimation needs a critic');
    default:
      return advantage satisfies never;
  }
}
