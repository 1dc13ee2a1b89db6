/** Direct alignment on pairs that the policy writes as it is trained: online DPO, XPO, Nash-MD, and rounds of sampling, judging, pairing and training. */
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ConfigError, makeFolder, rng as newRng, writeFileAtomic } from '@plumbline/core';
import { type Batches, type EncodedPair, encodePrompt, type PairBatch, promptBatches, splitRecords } from '@plumbline/data';
import { onlinePairLosses, onlinePairs, opponentPairs, roundPairs, type TrainingPairs, trainPairs, withOptions } from '@plumbline/dpo';
import type { LocalDecoder } from '@plumbline/models';
import { loggedSteps } from '../runs.js';
import { groupScores, type Judge, loadJudge } from './judge.js';
import { largestDivisor, loadReference, pairReadings, updateOf } from './preference.js';
import { type DpoSettings, pairLossOf } from './preferenceConfig.js';
import { type Change, changeOf, heldOutCandidates, heldOutRewards, meanOf, readPrompts } from './prompts.js';
import { writeSamples } from './samples.js';
import { about, drawn, type Job, kept, loadPolicy, type Spent, saved, stepsOf, training } from './training.js';

export type OnlineSummary = Spent & {
  seed: number;
  model: { name: string; parameters: number; trained: number; bytes: number };
  dataset: string;
  judge: string;
  data: { read: number; skipped: number; why?: string; tooLong: number; train: number; heldOut: number };
  steps: number;
  /** Pairs that were sampled, and those of them that counted for nothing: two answers that are the same, and verdicts that were a tie or could not be read. */
  pairs: { sampled: number; identical: number; ties: number };
  /** One completion of each held-out prompt: its reward, or how likely it is to win against the one that the model wrote before. */
  heldOut?: Change & { of: 'reward' | 'win rate' };
  best?: { step: number; value: number };
  output: string;
  settings: DpoSettings;
};

export async function runOnline(job: Job<DpoSettings>): Promise<OnlineSummary> {
  const { settings, dataset, seed, dir, signal } = job;
  const {
    newTokens: maxTokens,
    temperature = 1,
    missingEosPenalty = 0,
    samplesPerPrompt = 4,
    stepsPerRound = 10,
    mixtureCoef = 0.5,
    sharePrompts,
  } = settings;
  const started = Date.now();
  const loss = onlineLoss(settings);
  const rng = newRng(seed);
  await makeFolder(dir);
  const judged = await loadJudge(settings.judge!, settings.judgeModel);
  if (missingEosPenalty > 0 && !judged.reward)
    throw new ConfigError(`setting missingEosPenalty is taken from a reward, and ${judged.judge.name} compares answers without one`);
  const { base, policy } = await loadPolicy(job, rng);
  const { prompts, read, skipped, why } = await readPrompts(dataset, {}, base);
  const room = Math.min(settings.maxTokens, base.contextLength) - maxTokens;
  const chosen = drawn(prompts, settings.records, rng);
  const fitting = chosen.filter(({ prompt }) => encodePrompt(base.tokenizer, prompt).length <= room);
  const [heldOut, train] = settings.heldOut === 0 ? [[], fitting] : splitRecords(fitting, settings.heldOut, rng.fork('split'));
  const data = {
    read,
    skipped,
    ...(why && { why }),
    tooLong: chosen.length - fitting.length,
    train: train.length,
    heldOut: heldOut.length,
  };
  if (train.length === 0)
    throw new ConfigError(
      `${dataset}: none of ${chosen.length} prompts leaves room for ${maxTokens} new tokens within ${room + maxTokens}`,
    );

  const needed = loss.needs.includes('reference') || settings.online === 'xpo' || settings.online === 'nash_md';
  const other = needed && settings.reference ? await loadReference(settings.reference, base, settings) : undefined;
  const { referenceSync, full } = settings;
  const reference: LocalDecoder | undefined = !needed ? undefined : (other ?? (referenceSync || full ? policy.snapshot() : base));
  const measure = measured(judged, { heldOut, sampling: { maxTokens, temperature }, rng: rng.fork('heldOut'), signal, dir });
  const before = heldOut.length === 0 ? undefined : await kept(join(dir, 'before.json'), () => measure(base, true));

  const pairsPerStep = Math.min(settings.pairsPerStep, train.length);
  const steps = stepsOf(settings, train.length, pairsPerStep);
  const common = { policy, maxTokens, temperature, missingEosPenalty, sharePrompts, rng: rng.fork('online'), signal };
  const source = (): Batches<TrainingPairs> => {
    switch (settings.online) {
      case 'xpo':
      case 'nash_md':
        return opponentPairs({
          ...common,
          prompts: train,
          judge: judged.judge,
          pairsPerStep,
          steps,
          opponent:
            settings.online === 'xpo' ? { kind: 'reference', model: reference! } : { kind: 'mixture', model: reference!, mixtureCoef },
        });
      case 'rounds':
        return roundPairs({
          ...common,
          prompts: train,
          score: (groups, round) => groupScores(judged, groups, { rng: rng.fork('judge', round), signal }),
          pairsPerStep,
          steps,
          stepsPerRound,
          samplesPerPrompt,
          kept: keptRounds(join(dir, 'rounds')),
        });
      case 'pairs':
      case undefined:
        return onlinePairs({
          ...common,
          preference: judged.judge,
          prompts: promptBatches(train, { promptsPerStep: pairsPerStep, steps, rng: rng.fork('batches') }),
        });
    }
  };
  return training(job, { steps, label: 'Aligning online', readings: pairReadings, started }, async ({ run, ended, spent }) => {
    const result = await trainPairs(
      {
        ...updateOf(settings, steps),
        steps,
        pairsPerStep,
        pairsPerMicroBatch: largestDivisor(pairsPerStep, settings.pairsPerMicroBatch),
        referenceSync,
      },
      {
        policy,
        reference,
        loss,
        run,
        batches: watched(source(), policy, { dir, most: settings.writtenSamples }),
        ...(heldOut.length > 0 && { evaluate: async () => ({ 'eval/reward': meanOf(await measure(policy, false)) }) }),
      },
    );
    ended();
    const output = await saved(job, policy);
    const after = before && (await measure(policy, false));
    return {
      seed,
      model: about(base, policy),
      dataset: basename(dataset),
      judge: judged.judge.name,
      data,
      steps: result.steps,
      pairs: pairsOf(dir, result.steps * pairsPerStep),
      ...(before && after && { heldOut: { of: judged.reward ? 'reward' : 'win rate', ...changeOf(before, after) } }),
      ...(settings.earlyStopping && result.best && { best: result.best }),
      ...spent(),
      output,
      settings,
    };
  });
}

/** @throws ConfigError where the settings ask for two losses, or what an online run does not look at */
function onlineLoss(settings: DpoSettings) {
  const { online, loss, beta, lossOptions } = settings;
  if (settings.judge === undefined)
    throw new ConfigError(
      `--online ${online} needs a judge: --judge with a verifier's name, a reward model's folder, or the URL of a reward server; or with --judgeModel that of a language model`,
    );
  const elsewhere = { samplesPerPrompt: ['rounds'], stepsPerRound: ['rounds'], mixtureCoef: ['nash_md'] } as const;
  for (const [name, modes] of Object.entries(elsewhere))
    if (settings[name as keyof typeof elsewhere] !== undefined && !(modes as readonly string[]).includes(online!))
      throw new ConfigError(`setting ${name} is of --online ${modes.join(' and ')}, not of ${online}`);
  if (settings.truncation !== 'drop')
    throw new ConfigError('an online run leaves out prompts that are too long; setting truncation can only be drop');
  if (settings.reference && settings.referenceSync)
    throw new ConfigError('setting referenceSync moves a copy of the policy; it cannot be combined with the setting reference');
  if (online !== 'xpo' && online !== 'nash_md') return pairLossOf(settings);
  if (loss !== 'sigmoid') throw new ConfigError(`--online ${online} has a loss of its own; leave --loss out`);
  return withOptions(onlinePairLosses[online] as never, { ...(beta !== undefined && { beta }), ...lossOptions } as never);
}

/** How a policy fares on the held-out prompts. What the model wrote before is kept beside the run, so that a judge of pairs compares with the same when it is resumed. */
function measured(
  { judge, reward }: Judge,
  {
    heldOut,
    sampling,
    rng,
    signal,
    dir,
  }: {
    heldOut: Parameters<typeof heldOutCandidates>[1];
    sampling: { maxTokens: number; temperature: number };
    rng: ReturnType<typeof newRng>;
    signal: AbortSignal;
    dir: string;
  },
) {
  return async (decoder: LocalDecoder, first: boolean): Promise<number[]> => {
    if (reward) return heldOutRewards(decoder, heldOut, [{ reward, weight: 1 }], sampling, rng, signal);
    const ours = await heldOutCandidates(decoder, heldOut, sampling, rng, signal);
    const theirs = await kept(join(dir, 'baseline.json'), async () => ours.map(({ completion }) => completion));
    if (first) return ours.map(() => 0.5);
    const verdicts = await judge.compare(
      ours.map(({ prompt, completion, meta }, i) => ({ prompt, a: completion, b: theirs[i], meta })),
      { rng: rng.fork('judge'), signal },
    );
    return verdicts.map(({ probA }) => probA);
  };
}

/** What counted for nothing, by the log of the run: what was sampled before an interruption counts as well. */
function pairsOf(dir: string, sampled: number): OnlineSummary['pairs'] {
  const steps = loggedSteps(dir);
  const sum = (name: 'pairs/identical' | 'pairs/ties') => steps.reduce((total, { [name]: count = 0 }) => total + count, 0);
  return { sampled, identical: sum('pairs/identical'), ties: sum('pairs/ties') };
}

/** The same batches; some pairs of each step are written to the run folder. */
function watched(
  batches: Batches<TrainingPairs>,
  { tokenizer }: LocalDecoder,
  { dir, most }: { dir: string; most: number },
): Batches<TrainingPairs> {
  return {
    steps: batches.steps,
    async at(step) {
      const batch = await batches.at(step);
      const rows = Array.from({ length: Math.min(most, batch.pairs) }, (_, i) => ({
        step,
        prompt: tokenizer.decode(promptOf(batch, i)),
        chosen: tokenizer.decode(completionOf(batch, i)),
        rejected: tokenizer.decode(completionOf(batch, batch.pairs + i)),
        ...(batch.weights && { weight: batch.weights[i] }),
        ...(batch.preference && { preference: batch.preference[i] }),
      }));
      await writeSamples(dir, step, rows);
      return batch;
    },
  };
}

function completionOf({ packed: { tokens, completionMask, cuSeqlens } }: PairBatch, segment: number): Int32Array {
  const [from, to] = [cuSeqlens[segment], cuSeqlens[segment + 1]];
  return tokens.subarray(from, to).filter((_, t) => completionMask[from + t] === 1);
}

function promptOf({ packed: { tokens, completionMask, cuSeqlens, prefixOf } }: PairBatch, segment: number): Int32Array {
  const prefix = prefixOf?.[segment] ?? -1;
  const own = (s: number) => tokens.subarray(cuSeqlens[s], cuSeqlens[s + 1]).filter((_, t) => completionMask[cuSeqlens[s] + t] === 0);
  return prefix >= 0 ? Int32Array.of(...own(prefix), ...own(segment)) : own(segment);
}

/** A round's pairs as a file, so that a run that goes on within it has those that it began with. */
function keptRounds(folder: string) {
  const path = (round: number) => join(folder, `round-${round}.json`);
  const sides = ['prompt', 'chosen', 'rejected'] as const;
  return {
    async read(round: number): Promise<EncodedPair[] | undefined> {
      if (!existsSync(path(round))) return undefined;
      const pairs = JSON.parse(readFileSync(path(round), 'utf8')) as (EncodedPair & Record<(typeof sides)[number], number[]>)[];
      return pairs.map(
        (pair) => ({ ...pair, ...Object.fromEntries(sides.map((side) => [side, Int32Array.from(pair[side])])) }) as EncodedPair,
      );
    },
    async write(round: number, pairs: readonly EncodedPair[]): Promise<void> {
      await makeFolder(folder);
      await writeFileAtomic(
        path(round),
        JSON.stringify(pairs, (_, value) => (ArrayBuffer.isView(value) ? Array.from(value as Int32Array) : value)),
      );
    },
  };
}
