/** Online reinforcement learning of a user's model on prompts, under any reward: an adapter by default, all weights on request. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { ConfigError, makeFolder, rng as newRng, openRun, parameterCount, writeFileAtomic } from '@plumbline/core';
import { encodePrompt, promptBatches, type RewardFunction } from '@plumbline/data';
import { addLora, isAdapted, type LocalDecoder, loadDecoder, parameterBytes, saveAdapter, saveDecoder } from '@plumbline/models';
import { createCritic, remotePolicy, trainPolicy } from '@plumbline/rl';
import { progress } from '../progress.js';
import { type Change, changeOf, heldOutRewards, meanOf, readPrompts } from './prompts.js';
import { policyConfig, type RlSettings } from './rlConfig.js';

export type RlSummary = {
  seed: number;
  algorithm: string;
  model: { name: string; parameters: number; trained: number; bytes: number };
  dataset: string;
  rewards: string[];
  data: { read: number; skipped: number; why?: string; leftOut: number; train: number; heldOut: number };
  steps: number;
  best?: { step: number; value: number };
  /** Mean reward of one completion of each held-out prompt, with the standard error of their difference. */
  heldOutReward?: Change;
  seconds: number;
  tokensPerSecond: number;
  /** Of the whole process, at its largest. */
  peakBytes: number;
  /** Folder of the adapter, or of the model. */
  output: string;
  settings: RlSettings;
};
export type RlJob = {
  settings: RlSettings;
  model: string;
  dataset: string;
  rewards: readonly RewardFunction[];
  seed: number;
  dir: string;
  signal: AbortSignal;
};

export async function runRl({ settings, model, dataset, rewards, seed, dir, signal }: RlJob): Promise<RlSummary> {
  const started = Date.now();
  await makeFolder(dir);
  const rng = newRng(seed);
  const { products, gradientCheckpointing, full, server } = settings;
  const config = policyConfig(settings);
  if (server !== undefined && full) throw new ConfigError('a server is given the adapter after each update; with --full there is none');
  const weights = settings.weights ?? rewards.map(() => 1);
  if (weights.length !== rewards.length) throw new ConfigError(`weights names ${weights.length}, and there are ${rewards.length} rewards`);
  const base = await loadDecoder(model, { products, gradientCheckpointing, ...(!full && { storage: settings.storage }) });
  const policy = full ? base : await addLora(base, settings.lora, { rng: rng.fork('adapter') });
  const needsReference = config.klCoef > 0;
  const reference = needsReference ? (full ? base.snapshot() : base) : undefined; // the adapter off is the model as it was

  const { prompts, read, skipped, why } = await readPrompts(dataset, settings, base);
  const order = Array.from(rng.fork('records').permutation(prompts.length), (i) => prompts[i]).slice(0, settings.records);
  const fitting = order.filter(({ prompt }) => encodePrompt(base.tokenizer, prompt).length <= roomFor(settings, base));
  const heldOut = fitting.slice(0, Math.min(settings.heldOut, fitting.length - 1));
  const train = fitting.slice(heldOut.length);
  if (train.length === 0)
    throw new ConfigError(
      `${dataset}: none of ${order.length} prompts leaves room for ${config.maxTokens} tokens within ${base.contextLength} (maxPromptTokens ${settings.maxPromptTokens})`,
    );

  const weighted = rewards.map((reward, i) => ({ reward, weight: weights[i] }));
  const measure = (decoder: LocalDecoder) => heldOutRewards(decoder, heldOut, weighted, config, rng.fork('heldOut'), signal);
  const before = heldOut.length === 0 ? undefined : await kept(join(dir, 'before.json'), () => measure(base));
  const critic = config.advantage.kind === 'gae' ? createCritic(policy) : undefined;
  const bar = progress(`Training (${settings.algorithm})`, config.steps, 'steps');
  let [tokens, seconds] = [0, 0];
  const run = await openRun({
    dir,
    config: { ...settings, model, dataset },
    seed,
    saveEvery: settings.saveEvery,
    keep: settings.keepCheckpoints,
    signal,
    onLog: (step, metrics) => {
      tokens += metrics.tokens ?? 0;
      seconds += (metrics.tokens ?? 0) / (metrics.tokensPerSecond ?? 1);
      const [flat, kl] = [metrics['groups/withoutDeviation'] ?? 0, metrics['policy/kl']];
      bar.update(
        step + 1,
        [
          `reward ${metrics['reward/mean']?.toFixed(3)}`,
          kl !== undefined && `KL ${kl.toFixed(4)}`,
          flat > 0 && `${Math.round(100 * flat)}% of groups alike`,
          `${Math.round(metrics.tokensPerSecond ?? 0)} tokens/s`,
        ]
          .filter(Boolean)
          .join('  '),
      );
    },
  });
  try {
    const result = await trainPolicy(config, {
      policy,
      reference,
      critic,
      reward: weighted,
      prompts: promptBatches(train, { promptsPerStep: config.promptsPerStep, steps: config.steps, rng: rng.fork('batches') }),
      run,
      ...(server !== undefined && remote(server, dir, model)),
      ...(heldOut.length > 0 && { evaluate: async (decoder: LocalDecoder) => ({ 'eval/reward': meanOf(await measure(decoder)) }) }),
      observe: async ({ samples, records, scores, advantages }, step) => {
        const rows = samples.slice(0, settings.writtenSamples).map(({ group, text, finish, tokens: own }, i) => ({
          step,
          prompt: records[group].prompt,
          completion: text,
          finish,
          tokens: own.length,
          reward: Number.isNaN(scores[i]) ? null : scores[i],
          advantage: advantages[i],
        }));
        if (rows.length === 0) return;
        await makeFolder(join(dir, 'samples'));
        const name = `step-${String(step).padStart(6, '0')}.jsonl`; // one a step: a resumed run writes the same again
        await writeFileAtomic(join(dir, 'samples', name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
      },
    });
    bar.stop();
    const output = join(dir, full ? 'model' : 'adapter');
    if (isAdapted(policy)) await saveAdapter(output, policy, { base: model });
    else await saveDecoder(output, policy);
    const after = before && (await measure(policy));
    return {
      seed,
      algorithm: settings.algorithm,
      model: {
        name: base.name,
        parameters: parameterCount(base.parameters).total,
        trained: parameterCount(policy.parameters).trainable,
        bytes: parameterBytes(base.parameters),
      },
      dataset: basename(dataset),
      rewards: rewards.map(({ name }) => name),
      data: { read, skipped, ...(why && { why }), leftOut: order.length - fitting.length, train: train.length, heldOut: heldOut.length },
      steps: result.steps,
      ...(settings.earlyStopping && result.best && { best: result.best }),
      ...(before && after && { heldOutReward: changeOf(before, after) }),
      seconds: (Date.now() - started) / 1000,
      tokensPerSecond: seconds > 0 ? tokens / seconds : 0,
      peakBytes: process.resourceUsage().maxRSS * 1024,
      output,
      settings,
    };
  } finally {
    bar.stop();
    await run.close();
  }
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

/** Numbers that a resumed run reads instead of computing them again. */
async function kept(file: string, compute: () => Promise<number[]>): Promise<number[]> {
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as number[];
  const values = await compute();
  await writeFileAtomic(file, JSON.stringify(values));
  return values;
}
