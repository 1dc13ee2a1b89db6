/** Online reinforcement learning of a user's model on prompts, under any reward: an adapter by default, all weights on request. */
import { rmSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { ConfigError, makeFolder, rng as newRng } from '@plumbline/core';
import { type Completion, encodePrompt, type Prompt, promptBatches, type RewardFunction, textOf } from '@plumbline/data';
import { isAdapted, type LocalDecoder, saveAdapter } from '@plumbline/models';
import { createCritic, remotePolicy, trainPolicy } from '@plumbline/rl';
import { loggedSteps } from '../runs.js';
import { type Change, changeOf, heldOutRewards, meanOf, readPrompts } from './prompts.js';
import { policyConfig, type RlSettings } from './rlConfig.js';
import { writeSamples } from './samples.js';
import { about, drawn, type Job, kept, loadPolicy, type Spent, saved, training } from './training.js';

export type RlSummary = Spent & {
  seed: number;
  algorithm: string;
  model: { name: string; parameters: number; trained: number; bytes: number };
  dataset: string;
  rewards: string[];
  data: { read: number; skipped: number; why?: string; leftOut: number; train: number; heldOut: number };
  steps: number;
  /** Share of the completions that no reward scored: they teach nothing. */
  abstained: number;
  best?: { step: number; value: number };
  /** Mean reward of one completion of each held-out prompt, with the standard error of their difference. */
  heldOutReward?: Change;
  /** Folder of the adapter, or of the model. */
  output: string;
  settings: RlSettings;
};
export type RlJob = Job<RlSettings> & { rewards: readonly RewardFunction[] };

export async function runRl(job: RlJob): Promise<RlSummary> {
  const { settings, model, dataset, rewards, seed, dir, signal } = job;
  const started = Date.now();
  await makeFolder(dir);
  const rng = newRng(seed);
  const { full, server } = settings;
  const config = policyConfig(settings);
  if (server !== undefined && full) throw new ConfigError('a server is given the adapter after each update; with --full there is none');
  const weights = settings.weights ?? rewards.map(() => 1);
  if (weights.length !== rewards.length) throw new ConfigError(`weights names ${weights.length}, and there are ${rewards.length} rewards`);
  const { base, policy } = await loadPolicy(job, rng);
  const needsReference = config.klCoef > 0;
  const reference = needsReference ? (full || config.referenceSync ? policy.snapshot() : base) : undefined; // the adapter off is the model as it was

  const { prompts, read, skipped, why } = await readPrompts(dataset, settings, base);
  const order = drawn(prompts, settings.records, rng);
  const fitting = order.filter(({ prompt }) => encodePrompt(base.tokenizer, prompt).length <= roomFor(settings, base));
  const heldOut = fitting.slice(0, Math.min(settings.heldOut, fitting.length - 1));
  const train = fitting.slice(heldOut.length);
  if (train.length === 0)
    throw new ConfigError(
      `${dataset}: none of ${order.length} prompts leaves room for ${config.maxTokens} tokens within ${base.contextLength} (maxPromptTokens ${settings.maxPromptTokens})`,
    );

  const weighted = rewards.map((reward, i) => ({ reward, weight: weights[i] }));
  const heard = remembered(rewards);
  const measure = (decoder: LocalDecoder) => heldOutRewards(decoder, heldOut, weighted, config, rng.fork('heldOut'), signal);
  const before = heldOut.length === 0 ? undefined : await kept(join(dir, 'before.json'), () => measure(base));
  const critic = config.advantage.kind === 'gae' ? createCritic(policy) : undefined;
  const readings = (metrics: Partial<Record<'reward/mean' | 'reward/abstained' | 'groups/withoutDeviation' | 'policy/kl', number>>) => {
    const [flat, silent, kl] = [metrics['groups/withoutDeviation'] ?? 0, metrics['reward/abstained'] ?? 0, metrics['policy/kl']];
    return [
      `reward ${metrics['reward/mean']?.toFixed(3)}`,
      kl !== undefined && `KL ${kl.toFixed(4)}`,
      flat > 0 && `${Math.round(100 * flat)}% of groups alike`,
      silent > 0 && `${Math.round(100 * silent)}% without a reward`,
    ];
  };
  const { steps } = config;
  return training(job, { steps, label: `Training (${settings.algorithm})`, readings, started }, async ({ run, ended, spent }) => {
    const result = await trainPolicy(config, {
      policy,
      reference,
      critic,
      reward: weighted.map(({ weight }, i) => ({ reward: heard.rewards[i], weight })),
      prompts: promptBatches(train, { promptsPerStep: config.promptsPerStep, steps: config.steps, rng: rng.fork('batches') }),
      run,
      ...(server !== undefined && remote(server, dir, model)),
      ...(heldOut.length > 0 && { evaluate: async (decoder: LocalDecoder) => ({ 'eval/reward': meanOf(await measure(decoder)) }) }),
      observe: async ({ samples, records, scores, advantages }, step) => {
        const said = heard.take();
        await writeSamples(
          dir,
          step,
          samples.slice(0, settings.writtenSamples).map(({ group, text, finish, tokens }, i) => ({
            step,
            prompt: records[group].prompt,
            completion: text,
            finish,
            tokens: tokens.length,
            reward: Number.isNaN(scores[i]) ? null : scores[i],
            ...(rewards.length > 1 && { rewards: said(records[group].prompt, text) }),
            advantage: advantages[i],
          })),
        );
      },
    });
    ended();
    const output = await saved(job, policy);
    const after = before && (await measure(policy));
    return {
      seed,
      algorithm: settings.algorithm,
      model: about(base, policy),
      dataset: basename(dataset),
      rewards: rewards.map(({ name }) => name),
      data: { read, skipped, ...(why && { why }), leftOut: order.length - fitting.length, train: train.length, heldOut: heldOut.length },
      steps: result.steps,
      abstained: meanOf(loggedSteps(dir).map((logged) => logged['reward/abstained'])),
      ...(settings.earlyStopping && result.best && { best: result.best }),
      ...(before && after && { heldOutReward: changeOf(before, after) }),
      ...spent(),
      output,
      settings,
    };
  });
}

/** The same rewards, and until it is taken what each said of every completion; null where it abstained. */
function remembered(rewards: readonly RewardFunction[]) {
  let said = new Map<string, Record<string, number | null>>();
  const keyOf = (prompt: Prompt, completion: Completion) => JSON.stringify([prompt, textOf(completion)]);
  const hearing = (reward: RewardFunction): RewardFunction => ({
    name: reward.name,
    score: async (batch, ctx) => {
      const answer = await reward.score(batch, ctx);
      batch.forEach(({ prompt, completion }, i) => {
        const key = keyOf(prompt, completion);
        said.set(key, { ...said.get(key), [reward.name]: answer.abstained?.[i] === 1 ? null : answer.scores[i] });
      });
      return answer;
    },
  });
  return {
    rewards: rewards.map(hearing),
    take: () => {
      const taken = said;
      said = new Map();
      return (prompt: Prompt, completion: Completion) => taken.get(keyOf(prompt, completion));
    },
  };
}

const roomFor = ({ maxPromptTokens, maxTokens }: RlSettings, { contextLength }: LocalDecoder): number =>
  Math.min(maxPromptTokens, contextLength - maxTokens);

/** A server that shares the run folder's file system. */
function remote(url: string, dir: string, base: string) {
  return remotePolicy({
    url,
    publish: async (policy, version) => {
      if (!isAdapted(policy)) throw new ConfigError('a server is given adapters, and the policy has none');
      const folder = resolve(join(dir, 'served', `v${version}`));
      await saveAdapter(folder, policy, { base });
      rmSync(join(dir, 'served', `v${version - 2}`), { recursive: true, force: true }); // the server has unloaded it
      return folder;
    },
  });
}
