/** One batch of experience: prompts are sampled, scored and shaped, and every sample gets its advantage. */
import { ConfigError, metrics as knownMetrics, type MetricName, type Rng } from '@plumbline/core';
import { type Batches, type Decoder, encodePrompt, type PromptBatch, type PromptRecord, type Shaper } from '@plumbline/data';
import type { LocalDecoder } from '@plumbline/models';
import type { emaBaseline } from './advantages/baselines.js';
import { groupsWithoutDeviation } from './advantages/group.js';
import { groupRows, isScored, nanMean, nanStd } from './advantages/statistics.js';
import type { PolicySettings, PolicyTrainConfig } from './config.js';
import type { Critic } from './critic.js';
import { estimate } from './estimate.js';
import { optimalValue } from './losses/offline.js';
import { distinctNgrams, missingEosPenalty, softOverlongPenalty } from './rewards.js';
import {
  completionTokens,
  countOf,
  rollout as ownRollout,
  type Rollout,
  type RolloutOptions,
  type RolloutSample,
} from './rollout/generate.js';
import type { GroupReplay, KeptGroup } from './rollout/replay.js';
import { type Reward, score, shape } from './scoring.js';

export type Experience = {
  samples: RolloutSample[];
  /** What the prompts of the groups were made from, [groups]. */
  records: PromptRecord[];
  /** Names of the prompts, [groups]. */
  ids: string[];
  /** What the reward said, NaN where it abstained, [samples]. */
  scores: Float64Array;
  /** After bounds, penalties and shaping. */
  rewards: Float64Array;
  /** Of each sample; where they differ within it the mean over its tokens. */
  advantages: Float64Array;
  /** Where advantages differ within a sample; with a value model also returns and old values, [samples][tokens]. */
  perToken?: { advantages: Float64Array[]; returns?: Float64Array[]; values?: Float32Array[] };
  /** 1 on samples that do not count: another policy's, or of a group that is left out, [samples]. */
  excluded: Uint8Array;
  /** [samples][tokens], from the training path. */
  oldLogps?: Float32Array[];
  refLogps?: Float32Array[];
  entropies?: Float32Array[];
  metrics: Partial<Record<MetricName, number>>;
};

/** What an advantage of the user's own sees of a batch. NaN rewards were not given. */
export type AdvantageInput = {
  rewards: Float64Array;
  /** The prompt of each sample. */
  groups: Int32Array;
  samples: readonly RolloutSample[];
  records: readonly PromptRecord[];
  /** What the reward functions said by name, [samples]. */
  components: Record<string, Float64Array>;
};
/** Answers one number a sample. */
export type AdvantageFunction = (batch: AdvantageInput) => ArrayLike<number>;

export type Collecting = {
  config: PolicySettings;
  policy: LocalDecoder;
  reference?: Decoder;
  critic?: Critic;
  reward: Reward;
  rollout: Rollout;
  morePrompts?: Batches<PromptBatch<string | PromptRecord>>;
  advantage?: AdvantageFunction;
  shaper?: Shaper;
  replay?: GroupReplay;
  klCoef: number;
  baseline: ReturnType<typeof emaBaseline>;
  rng: Rng;
  step: number;
  signal: AbortSignal;
  onProgress?: (progress: { tokens: number; finished: number; total: number }) => void;
};

/** A prompt, its samples and what was said of them. */
export type Group = {
  id: string;
  record: PromptRecord;
  prompt: Int32Array;
  samples: RolloutSample[];
  greedy?: RolloutSample;
  /** V* from samples of the reference; none where they all got 0. */
  optimal?: number;
  /** Rows: the samples, then the greedy completion. */
  scores: number[];
  penalized: number[];
  columns: number[][];
  components: Record<string, number[]>;
};
type Slot = Pick<Group, 'id' | 'record' | 'prompt'>;

/**
 * Samples, scores, shapes and compares. Changes nothing but the state of `shaper` and `baseline`.
 * @returns undefined where the signal fired before all completions were there
 * @throws NonFiniteError naming the reward function, the prompt and the sample of a score that is not finite; ConfigError where every sample is
 * of a policy that is too old
 */
export async function collect(batch: PromptBatch<string | PromptRecord>, c: Collecting): Promise<Experience | undefined> {
  const { config, policy, reference, signal } = c;
  const first = await gather(slotsOf(batch, policy), c, 0);
  const sampled =
    config.dynamicSampling && first ? await withDeviation(first.groups, first.weights, c) : first && { ...first, again: 0, dropped: 0 };
  if (!sampled || signal.aborted) return undefined;
  const { weights, again, dropped } = sampled;
  const replayed = c.replay && replacing(sampled.groups, c.replay, c.rng.fork('replay'));
  const groups = replayed?.groups ?? sampled.groups;

  const samples = groups.flatMap(({ samples }, group) => samples.map((sample) => ({ ...sample, group })));
  const records = groups.map(({ record }) => record);
  const ids = groups.map(({ id }) => id);
  const flat = (f: (group: Group) => ArrayLike<number>) =>
    Float64Array.from(groups.flatMap((group) => Array.from(f(group)).slice(0, group.samples.length)));
  const greedy = groups.flatMap((group, g) => (group.greedy ? [{ ...group.greedy, group: g }] : []));
  const greedyScores = groups.flatMap(({ greedy, penalized }) => (greedy ? [penalized[penalized.length - 1]] : []));
  const shaped = shape(c.shaper, Float64Array.from([...flat(({ penalized }) => penalized), ...greedyScores]), records, [
    ...samples,
    ...greedy,
  ]);
  const scores = flat((group) => group.scores);
  const rewards = shaped.slice(0, samples.length);
  const excluded = staleOf(samples, c);
  excluded.forEach((out, i) => {
    if (out) rewards[i] = Number.NaN;
  });
  const groupIds = samples.map(({ group }) => group);
  const components = Object.fromEntries(
    Object.keys(groups[0].components).map((name) => [name, flat((group) => group.components[name] ?? [])]),
  );

  const { temperature, tokensPerMicroBatch, sharePrompts, advantage } = config;
  const prepass = { temperature, tokensPerMicroBatch, sharePrompts };
  const severalUpdates = config.epochs * config.miniBatches > 1;
  const needsOld =
    severalUpdates ||
    (reference && config.klIn === 'reward') ||
    config.samplingCorrection !== undefined ||
    c.replay !== undefined ||
    config.topEntropyQuantile < 1 ||
    ['otb', 'minillm', 'iwOpd'].includes(advantage.kind);
  const old = needsOld
    ? await completionTokens(policy, samples, { ...prepass, entropy: config.topEntropyQuantile < 1, squaredSum: advantage.kind === 'otb' })
    : undefined;
  samples.forEach(({ group }, i) => {
    const known = replayed?.from.get(group);
    if (known) old!.logps[i] = known.oldLogps[samples.slice(0, i).filter((other) => other.group === group).length];
  });
  const refLogps = reference ? (await completionTokens(reference, samples, prepass)).logps : undefined;
  const { advantages, perToken, lopsided } = await estimate({
    ...c,
    samples,
    records,
    rewards,
    greedyRewards: shaped.slice(samples.length),
    optimal: new Map(groups.flatMap(({ optimal }, g) => (optimal === undefined ? [] : [[g, optimal]]))),
    columns: groups[0].columns.map((_, f) => flat((group) => group.columns[f])),
    weights,
    components,
    old,
    refLogps,
  });
  for (const i of lopsided) excluded[i] = 1;
  c.replay?.add(
    groups.flatMap((group, g) => {
      const rows = groupIds.map((_, i) => i).filter((i) => groupIds[i] === g);
      if (replayed!.from.has(g)) return [];
      const score = rows.reduce((sum, i) => sum + Math.abs(advantages[i]), 0) * nanStd(rows.map((i) => rewards[i])) ** 2;
      return [{ group, oldLogps: rows.map((i) => old!.logps[i]), score }];
    }),
  );

  const mean = (f: (sample: RolloutSample) => number) => nanMean(samples.map(f));
  const episodes = samples.flatMap(({ episode }) => (episode ? [episode] : []));
  return {
    samples,
    records,
    ids,
    scores,
    rewards,
    advantages,
    ...(perToken && { perToken }),
    excluded,
    oldLogps: old?.logps,
    refLogps,
    entropies: config.topEntropyQuantile < 1 ? old?.entropies : undefined,
    metrics: {
      ...Object.fromEntries(
        Object.entries(components)
          .map(([name, values]) => [`reward/${name}`, nanMean(values)] as const)
          .filter(([name]) => name in knownMetrics),
      ),
      'reward/mean': nanMean(scores),
      'reward/std': nanMean(groupRows('reward/std', scores, groupIds).map((rows) => nanStd(rows.map((i) => scores[i])))),
      ...(c.shaper && { 'reward/shaped': nanMean(rewards) }),
      'reward/abstained': scores.filter((x) => !isScored(x)).length / scores.length,
      // One completion a prompt, as in ReMax, is no group: nothing could deviate, and nothing is amiss.
      ...(config.samplesPerPrompt > 1 && { 'groups/withoutDeviation': groupsWithoutDeviation(rewards, groupIds) }),
      ...(config.dynamicSampling && { 'groups/sampledAgain': again / config.promptsPerStep }),
      ...(replayed && { 'groups/replayed': replayed.from.size / groups.length }),
      ...((config.dynamicSampling || advantage.kind === 'brpo') && {
        'groups/dropped': (dropped + new Set(lopsided.map((i) => groupIds[i])).size) / config.promptsPerStep,
      }),
      ...(samples.some(({ version }) => version !== undefined) && {
        'policy/staleness': mean(({ version }) => c.step - (version ?? c.step)),
        'samples/stale': staleOf(samples, c).reduce((a, b) => a + b, 0) / samples.length,
      }),
      'advantages/mean': nanMean(advantages),
      'advantages/std': nanStd(advantages),
      'completions/length': mean(countOf),
      'completions/finished': mean(({ finish }) => Number(finish === 'stop')),
      ...(samples.some((sample) => countOf(sample) > 1) && { 'completions/distinct2': distinctNgrams(samples.map(writtenBy), 2) }),
      ...(episodes.length > 0 && {
        'episodes/turns': nanMean(episodes.map(({ turnEnds }) => turnEnds.length)),
        'episodes/success': nanMean(episodes.map(({ success }) => Number(success === true))),
        'episodes/invalid': nanMean(episodes.map(({ invalid, turnEnds }) => (turnEnds.length === 0 ? 0 : invalid / turnEnds.length))),
      }),
    },
  };
}

/** The tokens that the policy wrote itself. */
const writtenBy = ({ tokens, mask }: RolloutSample): ArrayLike<number> => (mask ? tokens.filter((_, t) => mask[t] === 1) : tokens);

function slotsOf({ prompts, ids }: PromptBatch<string | PromptRecord>, { tokenizer }: LocalDecoder): Slot[] {
  return prompts.map((prompt, i) => {
    const record: PromptRecord = typeof prompt === 'string' ? { prompt } : prompt;
    return { id: ids[i], record, prompt: encodePrompt(tokenizer, record.prompt) };
  });
}

/** Samples the prompts and has the samples scored. Each round of a step draws from a stream of its own. */
async function gather(slots: readonly Slot[], c: Collecting, round: number): Promise<{ groups: Group[]; weights: number[] } | undefined> {
  const { config, policy, rollout, signal, step } = c;
  const rng = round === 0 ? c.rng : c.rng.fork('round', round);
  const { maxTokens, temperature, topP, topK, minP, repetitionPenalty, samplesPerPrompt: n } = config;
  const prompts = slots.map(({ prompt }) => prompt);
  const records = slots.map(({ record }) => record);
  const shared = { policy, prompts, records, signal, version: step };
  const sampling = { maxTokens, temperature, topP, topK, minP, repetitionPenalty };
  const samples = await rollout({ ...shared, n, sampling, rng: rng.fork('samples'), onProgress: c.onProgress });
  const greedy =
    config.advantage.kind === 'remax'
      ? await rollout({ ...shared, n: 1, sampling: { maxTokens, temperature: 0, repetitionPenalty }, rng: rng.fork('greedy') })
      : [];
  const drawn = config.advantage.kind === 'a2po' ? await fromReference(c, shared, sampling, config.advantage.referenceSamples, rng) : [];
  if (signal.aborted) return undefined;
  if (samples.length !== n * slots.length || samples.some(({ group }, i) => group !== Math.floor(i / n)))
    throw new ConfigError(
      `trainPolicy: the rollout gave ${samples.length} samples for ${slots.length} prompts; it must give ${n} of each, in order`,
    );

  const all = [...samples, ...greedy, ...drawn]; // scored together
  const nameOf = (i: number) =>
    `prompt ${slots[all[i].group].id}, ${i < samples.length ? `sample ${i % n}` : greedy.length > 0 ? 'the greedy completion' : 'a sample of the reference'}`;
  const scored = await score({ ...c, rng }, records, all, nameOf);
  const penalized = penalizedScores(scored.scores, all, config);
  return {
    weights: scored.weights,
    groups: slots.map((slot, g) => {
      const rows = all.map((_, i) => i).filter((i) => all[i].group === g);
      const pick = (values: ArrayLike<number>) => rows.map((i) => values[i]);
      return {
        ...slot,
        samples: samples.filter(({ group }) => group === g),
        ...(greedy.length > 0 && { greedy: greedy[g] }),
        ...optimalOf(pick(penalized).slice(n), config),
        scores: pick(scored.scores),
        penalized: pick(penalized),
        columns: scored.columns.map(pick),
        components: Object.fromEntries(Object.entries(scored.components).map(([name, values]) => [name, pick(values)])),
      };
    }),
  };
}

/** Samples of the reference, by its own generator. */
function fromReference(
  { reference }: Collecting,
  shared: Omit<RolloutOptions, 'n' | 'sampling' | 'rng' | 'policy'>,
  sampling: RolloutOptions['sampling'],
  n: number,
  rng: Rng,
): Promise<RolloutSample[]> {
  if (!reference || !('next' in reference))
    throw new ConfigError('trainPolicy: advantage a2po draws samples from the reference, which must be a local model');
  return ownRollout({ ...shared, policy: reference as LocalDecoder, n, sampling, rng: rng.fork('reference') });
}

/** Prompts that the reference never solves say nothing of what is optimal. */
function optimalOf(rewards: number[], { advantage }: PolicyTrainConfig): { optimal?: number } {
  if (advantage.kind !== 'a2po') return {};
  const given = rewards.filter(isScored);
  return given.every((reward) => reward === 0) ? {} : { optimal: optimalValue(given, advantage.beta1) };
}

function penalizedScores(
  scores: Float64Array,
  samples: readonly RolloutSample[],
  { rewardClip: [low, high] = [-Infinity, Infinity], missingEosPenalty: penalty, softOverlong, maxTokens }: PolicyTrainConfig,
): Float64Array {
  const clipped = scores.map((x) => (isScored(x) ? Math.min(high, Math.max(low, x)) : x));
  const finished = missingEosPenalty(
    clipped,
    samples.map(({ finish }) => Number(finish === 'stop')),
    penalty,
  );
  return softOverlong
    ? finished.map((x, i) => x + softOverlongPenalty(countOf(samples[i]), { maxTokens, cache: softOverlong.cache }))
    : finished;
}

/**
 * Dynamic sampling: groups whose rewards are all equal are drawn again, from further prompts where there are some, until the batch is full or
 * `maxRounds` are over; those that stay without deviation are left out, unless all are. DAPO, arXiv:2503.14476, section 3.2.
 */
async function withDeviation(
  first: readonly Group[],
  weights: number[],
  c: Collecting,
): Promise<{ groups: Group[]; weights: number[]; again: number; dropped: number } | undefined> {
  const differs = ({ scores, samples }: Group) => nanStd(scores.slice(0, samples.length)) > 0;
  const wanted = first.length;
  const { maxRounds } = c.config.dynamicSampling!;
  const kept = first.filter(differs);
  let flat: Slot[] = first.filter((group) => !differs(group));
  let again = 0;
  for (let round = 1; round < maxRounds && kept.length < wanted; round++) {
    const more = c.morePrompts && (await c.morePrompts.at((c.step * (maxRounds - 1) + round - 1) % c.morePrompts.steps));
    const slots = more ? slotsOf(more, c.policy).slice(0, wanted - kept.length) : flat;
    const drawn = await gather(slots, c, round);
    if (!drawn) return undefined;
    again += slots.length;
    kept.push(...drawn.groups.filter(differs));
    flat = drawn.groups.filter((group) => !differs(group));
  }
  return kept.length === 0
    ? { groups: [...first], weights, again, dropped: 0 }
    : { groups: kept, weights, again, dropped: wanted - kept.length };
}

/** Groups whose rewards are all equal give their place to groups of the buffer, as far as it has some. `from` tells which, by index. */
function replacing(groups: readonly Group[], replay: GroupReplay, rng: Rng): { groups: Group[]; from: Map<number, KeptGroup> } {
  const flat = groups.map((_, g) => g).filter((g) => nanStd(groups[g].scores.slice(0, groups[g].samples.length)) === 0);
  const drawn = replay.draw(flat.length, rng);
  const from = new Map(drawn.map((kept, k) => [flat[k], kept]));
  return { groups: groups.map((group, g) => from.get(g)?.group ?? group), from };
}

/** 1 on samples of a policy that is too old. @throws ConfigError where all are */
function staleOf(samples: readonly RolloutSample[], { config, step }: Collecting): Uint8Array {
  const stale = Uint8Array.from(samples, ({ version }) => Number(version !== undefined && step - version > config.maxStaleness));
  if (stale.every((old) => old === 1))
    throw new ConfigError(
      `trainPolicy: the policy has learned from ${step} batches, and all samples are of older ones (${[...new Set(samples.map(({ version }) => version))].join(', ')}); did the server take the new adapter? maxStaleness is ${config.maxStaleness}`,
    );
  return stale;
}
