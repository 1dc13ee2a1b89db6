/** The main job on the words bed: sample, score by the gold, learn the reward, align by DPO and GRPO, evaluate. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { mean, standardDeviation } from '@plumbline/bench/metrics';
import { rng as newRng } from '@plumbline/core';
import { encodeGroups, encodePairs, makePairs, pairBatches, promptBatches, type RewardFunction, rewardBatches } from '@plumbline/data';
import { dpo, trainPairs, withOptions } from '@plumbline/dpo';
import { type SampledGroup, type WordsBed, type WordsEvaluation, wordsBed } from '@plumbline/envs';
import { createScorer, type LocalDecoder, loadDecoder, loadScorer, saveDecoder, saveScorer } from '@plumbline/models';
import { modelReward, rewardAccuracy, trainReward } from '@plumbline/rewards';
import { trainPolicy } from '@plumbline/rl';
import { withProgress } from '../progress.js';
import { type Kept, loggedSteps, stages } from '../runs.js';
import type { QuickstartConfig } from './config.js';

export const arms = ['base', 'bestOf8', 'dpo', 'grpo', 'grpoOveroptimised'] as const;
export type Arm = (typeof arms)[number];
export const armNames: Record<Arm, string> = {
  base: 'base',
  bestOf8: 'best of 8',
  dpo: 'DPO',
  grpo: 'GRPO',
  grpoOveroptimised: 'GRPO, too far',
};
export type Evaluation = Kept<WordsEvaluation>;
export type Curve = { step: number; learned: number; gold: number; kl: number }[];
export type Outcome = {
  seconds: number;
  data: { groups: number; completions: number; pairs: number };
  rewardModel: { accuracy: number; heldOutPairs: number };
  evaluations: Record<Arm, Evaluation>;
  curves: Record<'grpo' | 'grpoOveroptimised', Curve>;
};
export type Job = { config: QuickstartConfig; seed: number; dir: string; signal: AbortSignal };

/** Scores that differ by less say nothing about which text is better. */
const minGap = 0.05;
const warmUp = (steps: number) => ({ kind: 'constant', warmupSteps: Math.min(10, steps - 1) }) as const;

/**
 * Runs what is not done yet in `dir` and answers the whole. Every stage leaves its result there, and every trained model in Hugging Face's
 * format, so that a run that was stopped anywhere ends with the same numbers as one that was not.
 */
export async function runQuickstart({ config, seed, dir, signal }: Job): Promise<Outcome> {
  const rng = newRng(seed);
  const bed = await wordsBed({ seed, base: config.model });
  const { tokenizer } = bed.base;
  const stage = stages({ dir, seed, config, signal });

  const sampled = await stage.run('groups', async () => {
    const prompts = bed.prompts.slice(0, config.groups);
    const groups = await withProgress('Sampling from the base', config.groups * config.samplesPerGroup, 'samples', (bar) =>
      bed.sampleGroups({
        prompts,
        n: config.samplesPerGroup,
        rng: rng.fork('groups'),
        signal,
        onProgress: ({ done }) => bar.update(done),
      }),
    );
    return groups.map(({ prompt, completions, scores }) => ({ prompt, completions, scores }));
  });
  const all = sampled.value;
  const unseen = Math.max(1, Math.round(all.length / 10)); // their pairs measure the reward model
  const groups = encodeGroups(tokenizer, all.slice(unseen), { minGap }).groups;
  const pairsOf = (some: typeof all) => encodePairs(tokenizer, makePairs(some, 'all', rng, { minGap })).pairs;

  const rewardSteps = rewardBatches(groups, {
    groupsPerStep: config.reward.groupsPerStep,
    epochs: config.reward.epochs,
    rng: rng.fork('reward'),
  });
  const scorer = await stage.train({
    name: 'reward',
    label: 'Training the reward model',
    steps: rewardSteps.steps,
    train: async (run) => {
      const model = createScorer(bed.base, { pooling: 'mean', rng: rng.fork('head') });
      const { learningRate } = config.reward;
      await trainReward(
        { steps: rewardSteps.steps, learningRate, schedule: warmUp(rewardSteps.steps) },
        { scorer: model, batches: rewardSteps, run },
      );
      return model;
    },
    save: saveScorer,
    load: (folder) => loadScorer(folder),
  });
  const measured = await stage.run('reward/measured', async () => {
    const flat = all.slice(unseen).flatMap(({ prompt, completions }) => completions.map((completion) => ({ prompt, completion })));
    const { scores } = await modelReward(scorer.model).score(flat, { rng, signal });
    const heldOut = pairsOf(all.slice(0, unseen));
    const { accuracy } = await rewardAccuracy(scorer.model, heldOut, { signal });
    return { mean: mean(scores), sd: standardDeviation(scores), accuracy, pairs: heldOut.length };
  });
  const reward = modelReward(scorer.model, { standardise: { mean: measured.value.mean, sd: measured.value.sd } });

  const pairs = pairsOf(all.slice(unseen));
  const policies = {
    dpo: await stage.train({
      name: 'dpo',
      label: 'Aligning by DPO',
      steps: config.dpo.steps,
      train: async (run) => {
        const policy = bed.policy();
        const { steps, pairsPerStep, learningRate, beta } = config.dpo;
        const settings = { steps, pairsPerStep, pairsPerMicroBatch: pairsPerStep, learningRate, schedule: warmUp(steps) };
        await trainPairs(settings, {
          policy,
          reference: bed.base,
          batches: pairBatches(pairs, { pairsPerStep, steps, rng: rng.fork('dpo') }),
          loss: withOptions(dpo, { beta }),
          run,
        });
        return policy;
      },
      ...decoderFiles,
    }),
    grpo: await trainGrpo('grpo', 'Aligning by GRPO'),
    grpoOveroptimised: await trainGrpo('grpoOveroptimised', 'GRPO, too far on purpose'),
  };

  async function trainGrpo(name: 'grpo' | 'grpoOveroptimised', label: string): Promise<{ model: LocalDecoder; seconds: number }> {
    const { steps, promptsPerStep, samplesPerPrompt, learningRate, klCoef } = config[name];
    return stage.train({
      name,
      label,
      steps,
      expected: ['all completions truncated'], // a story goes on; every one is cut at the same length
      train: async (run) => {
        const policy = bed.policy();
        const settings = {
          steps,
          promptsPerStep,
          samplesPerPrompt,
          learningRate,
          klCoef,
          schedule: warmUp(steps),
          ...bed.sampling,
        };
        const prompts = promptBatches(bed.prompts, { promptsPerStep, steps, rng: rng.fork(name) });
        await trainPolicy(settings, { policy, reference: bed.base, prompts, reward: watchedByGold(reward, bed), run });
        return policy;
      },
      ...decoderFiles,
    });
  }

  const evaluations = {} as Record<Arm, Evaluation>;
  let evaluationSeconds = 0;
  const { prompts: promptCount, samplesPerPrompt, bestOf } = config.evaluation;
  const prompts = bed.heldOutPrompts.slice(0, promptCount);
  for (const arm of arms) {
    const { value, seconds } = await stage.run(`evaluation/${arm}`, async () => {
      const perPrompt = arm === 'bestOf8' ? samplesPerPrompt * bestOf : samplesPerPrompt;
      return withProgress(`Evaluating ${armNames[arm]}`, prompts.length * perPrompt, 'samples', (bar) => {
        const options = {
          prompts,
          rng: rng.fork('evaluate', arm),
          reward,
          signal,
          onProgress: ({ done }: { done: number }) => bar.update(done),
        };
        const policy = arm === 'base' || arm === 'bestOf8' ? bed.base : policies[arm].model;
        return arm === 'bestOf8'
          ? evaluateBestOf(bed, bestOf, samplesPerPrompt, options)
          : bed.evaluate(policy, { ...options, samplesPerPrompt });
      });
    });
    evaluations[arm] = value;
    evaluationSeconds += seconds;
  }

  return {
    seconds:
      sampled.seconds +
      scorer.seconds +
      measured.seconds +
      Object.values(policies).reduce((sum, policy) => sum + policy.seconds, 0) +
      evaluationSeconds,
    data: { groups: all.length, completions: all.length * config.samplesPerGroup, pairs: pairs.length },
    rewardModel: { accuracy: measured.value.accuracy, heldOutPairs: measured.value.pairs },
    evaluations,
    curves: { grpo: curveOf(join(dir, 'grpo')), grpoOveroptimised: curveOf(join(dir, 'grpoOveroptimised')) },
  };
}

const decoderFiles = { save: saveDecoder, load: (folder: string): Promise<LocalDecoder> => loadDecoder(folder) };

/** The learned reward, with the gold beside it as a component that is logged and never trained on. */
function watchedByGold(reward: RewardFunction, { gold }: WordsBed): RewardFunction {
  return {
    name: reward.name,
    async score(batch, ctx) {
      const learned = await reward.score(batch, ctx);
      return { ...learned, components: { ...learned.components, gold: (await gold.score(batch, ctx)).scores } };
    },
  };
}

/** For each prompt `samples` times the best of `n` samples of the base, by the learned reward. */
async function evaluateBestOf(
  bed: WordsBed,
  n: number,
  samples: number,
  options: Parameters<WordsBed['evaluate']>[1] & { prompts: readonly string[]; reward: RewardFunction },
): Promise<WordsEvaluation> {
  const { rng, signal, reward } = options;
  const groups = await bed.sampleGroups({ ...options, n: n * samples, policy: bed.base });
  const flat = groups.flatMap(({ prompt, completions }) => completions.map((completion) => ({ prompt, completion })));
  const { scores } = await reward.score(flat, { rng, signal });
  const best = groups.map((group, g): SampledGroup => {
    const own = scores.subarray(g * n * samples, (g + 1) * n * samples);
    const picked = Array.from({ length: samples }, (_, s) => {
      const candidates = Array.from({ length: n }, (_, i) => s * n + i);
      return candidates.reduce((a, b) => (own[b] > own[a] ? b : a));
    });
    const pick = (values: Float32Array) => Float32Array.from(picked, (i) => values[i]);
    return {
      prompt: group.prompt,
      completions: picked.map((i) => group.completions[i]),
      samples: picked.map((i) => group.samples[i]),
      scores: pick(group.scores),
      components: Object.fromEntries(Object.entries(group.components).map(([name, values]) => [name, pick(values)])),
    };
  });
  return bed.measure(best, { rng: rng.fork('measure'), reward, signal });
}

function curveOf(dir: string): Curve {
  if (!existsSync(dir)) return [];
  return loggedSteps(dir).map((line) => ({
    step: line.step + 1,
    learned: line['reward/mean'],
    gold: line['reward/gold'],
    kl: line['policy/klSequence'],
  }));
}
