/**
 * Reward shaping to mitigate reward hacking. Fu et al. 2025, arXiv:2502.18770: train the policy on the probability that the reward model prefers its answer to a
 * reference answer, averaged over a few references (PAR), instead of on the reward itself. The reward is bounded, and its signal fades once the references are beaten.
 *
 * In its ReMax form: group normalisation would hide every affine shaping.
 */
import { byArm, defineExperiment, firstAnswers, goldTie, heldOutPrompts, mean, wordsMetrics, wordsModel } from '@plumbline/bench';
import { encodeGroups, encodePairs, flipGroupLabels, makePairs, promptBatches, type Shaper } from '@plumbline/data';
import { createScorer } from '@plumbline/models';
import { identity, modelReward, rewardAccuracy, scoreReferences, sigmoidPreference, trainRewardEpochs } from '@plumbline/rewards';
import { trainPolicy } from '@plumbline/rl';
import { z } from 'zod';
import { apply } from './apply.js';

const arms = ['vanilla', 'par', 'parOne'] as const;

export default defineExperiment({
  id: 'par',
  paper: 'arXiv:2502.18770',
  packages: ['models', 'rewards', 'rl', 'envs'],
  config: z.strictObject({
    model: wordsModel('The decoder that is aligned, and the start of the reward model'),
    rewardGroups: z.int().positive().default(300).describe('Prompts, with 4 answers each, that the reward model learns from'),
    flipped: z.number().min(0).lt(0.5).default(0.2).describe('Share of its pairs whose labels are swapped'),
    rewardEpochs: z.int().positive().default(4).describe('Passes over these groups'),
    rewardLearningRate: z.number().positive().default(1e-3).describe('Of the reward model; the paper has 5e-6 for billions of parameters'),
    prompts: z.int().positive().default(192).describe('Prompts that the policies are trained on'),
    references: z.int().positive().default(10).describe('Answers of the start to each of them, for PAR'),
    steps: z.int().positive().default(80).describe('Updates of every policy'),
    promptsPerStep: z.int().positive().default(32).describe('Prompts of an update: one sample and one greedy answer each'),
    learningRate: z.number().positive().default(6e-4).describe('Of the policies; the paper has 3e-7 for billions of parameters'),
    klCoef: z.number().min(0).default(0.005).describe("Weight of the KL to the start in each token's reward, as in the paper"),
    evaluateEvery: z.int().positive().default(10).describe('Steps between evaluations, of which the best is the peak'),
    evaluationPrompts: heldOutPrompts(96, 'Held-out prompts, with 4 answers each at the end and 2 on the way'),
  }),
  quick: {
    rewardGroups: 6,
    rewardEpochs: 1,
    prompts: 4,
    references: 2,
    steps: 2,
    promptsPerStep: 2,
    evaluateEvery: 1,
    evaluationPrompts: 3,
  },
  arms,
  metrics: {
    ...wordsMetrics('goldReward'),
    peakGold: { unit: 'points', better: 'higher' },
    hackingGap: { unit: 'points', better: 'lower' },
    learnedReward: { unit: 'logits', better: 'higher' },
    ...wordsMetrics('kl', 'fluent', 'rawSentiment', 'length', 'distinct2'),
  },
  units: 'prompts',
  claims: [
    {
      id: 'gold',
      text: 'A policy trained on PAR ends with more gold reward than one trained on the reward itself, at equal steps',
      test: { metric: 'goldReward', better: 'par', than: 'vanilla', smallestEffect: 0.1 },
    },
    {
      id: 'gap',
      text: 'It loses less gold reward after its peak',
      test: { metric: 'hackingGap', better: 'par', than: 'vanilla', smallestEffect: 0.05 },
    },
    { id: 'one', text: 'One reference is not worse than ten', test: { metric: 'goldReward', better: 'parOne', than: 'par', margin: 0.1 } },
    {
      id: 'alpaca',
      text: 'PAR wins at least 5 points more on AlpacaEval 2 than other shapers, for models of 2 to 8 billion parameters',
      test: 'full scale only',
    },
  ],
  expected: ['all completions truncated'], // a story goes on; every one is cut at the same length
  curves: ['eval/gold', 'eval/reward', 'reward/shaped', 'policy/klSequence'],
  apply,
  async run({ config, rng, arm, shared, history, bed, say, signal }) {
    const words = await bed('words');
    const { base } = words;
    const rewardPrompts = words.prompts.slice(0, config.rewardGroups);
    const prompts = words.prompts.slice(config.rewardGroups, config.rewardGroups + config.prompts);
    const heldOut = words.heldOutPrompts.slice(0, config.evaluationPrompts);

    say(`reward model: ${rewardPrompts.length} groups, ${Math.round(100 * config.flipped)}% of the labels swapped`);
    const sampled = await words.sampleGroups({ prompts: rewardPrompts, n: 4, rng: rng.fork('answers'), signal });
    const { groups: labelled } = encodeGroups(base.tokenizer, sampled, { minGap: goldTie });
    const groups = flipGroupLabels(labelled, config.flipped, rng.fork('swaps'));
    const scorer = createScorer(base, { pooling: 'mean', rng: rng.fork('head') });
    await trainRewardEpochs(
      { epochs: config.rewardEpochs, groupsPerStep: 16, learningRate: config.rewardLearningRate },
      { scorer, groups, rng: rng.fork('reward'), run: await shared('reward') },
    );
    const reward = modelReward(scorer);
    const unseen = await words.sampleGroups({ prompts: heldOut, n: 4, rng: rng.fork('held-out'), signal });
    const clean = encodePairs(base.tokenizer, makePairs(unseen, 'all', rng.fork('held-out pairs'), { minGap: goldTie })).pairs;
    const { accuracy } = await rewardAccuracy(scorer, clean, { signal });

    say(`${config.references} references for each of ${prompts.length} prompts`);
    const start = async (asked: readonly unknown[], { n }: { n: number }) =>
      (await words.sampleGroups({ prompts: asked as string[], n, rng: rng.fork('references'), signal })).map(
        ({ completions }) => completions,
      );
    const { referenceRewards } = await scoreReferences(reward, start, prompts, {
      perPrompt: config.references,
      rng: rng.fork('scores'),
      signal,
    });
    const records = prompts.map((prompt, i) => ({
      id: `prompt ${i}`,
      prompt,
      meta: { reference_rewards: Array.from(referenceRewards[i]) },
    }));

    const { steps, promptsPerStep, learningRate, klCoef, evaluateEvery } = config;
    const train = async (name: (typeof arms)[number], shaper: Shaper) => {
      say(`${name}: ${steps} steps`);
      const policy = words.policy();
      const onTheWay = { prompts: heldOut, samplesPerPrompt: 2, rng: rng.fork('on the way'), reward, signal };
      await trainPolicy(
        {
          steps,
          promptsPerStep,
          samplesPerPrompt: 1,
          advantage: { kind: 'remax' },
          loss: 'reinforce',
          klCoef,
          klIn: 'reward',
          learningRate,
          schedule: { kind: 'constant', warmupSteps: Math.ceil(steps / 10) },
          evaluateEvery,
          ...words.sampling,
        },
        {
          policy,
          reference: base,
          prompts: promptBatches(records, { promptsPerStep, steps, rng: rng.fork('prompts') }),
          reward,
          shaper,
          run: arm(name),
          evaluate: async (trained) => {
            const { goldReward, learnedReward, kl } = await words.evaluate(trained as typeof policy, onTheWay);
            return { 'eval/gold': mean(goldReward), 'eval/reward': mean(learnedReward!), 'eval/kl': mean(kl) };
          },
        },
      );
      const final = await words.evaluate(policy, { prompts: heldOut, rng: rng.fork('evaluate'), reward, signal });
      policy.dispose();
      const course = history(name).flatMap((row) => row['eval/gold'] ?? []);
      const peakGold = Math.max(...course);
      const { goldReward, kl, fluent, rawSentiment, length, distinct2, samples } = final;
      const measured = { goldReward, learnedReward: final.learnedReward!, kl, fluent, rawSentiment, length, distinct2 };
      return { metrics: { ...measured, peakGold, hackingGap: peakGold - course.at(-1)! }, samples };
    };
    const trained = {
      vanilla: await train('vanilla', identity()),
      par: await train('par', sigmoidPreference({ maxReferences: config.references })),
      parOne: await train('parOne', sigmoidPreference({ maxReferences: 1 })),
    };
    scorer.dispose();
    return {
      arms: byArm(arms, (name) => trained[name].metrics),
      statistics: { rewardModelAccuracy: accuracy },
      samples: firstAnswers(byArm(arms, (name) => trained[name].samples)),
    };
  },
});
