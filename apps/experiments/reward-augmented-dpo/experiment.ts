/**
 * Reward-augmented data for direct preference alignment. Zhang et al. 2024, arXiv:2410.08067: put the score that is wanted into the prompt, turn each pair
 * into two (one for each score, the second reversed), train any pair loss on both, and ask for the highest score in use.
 */
import { defineExperiment, spearman } from '@plumbline/bench';
import { augmentWithRewardGoals, encodePairs, goalPrompt, makePairs, type PreferenceRecord, pairBatches } from '@plumbline/data';
import { dpo, trainPairs, withOptions } from '@plumbline/dpo';
import type { LocalDecoder } from '@plumbline/models';
import { implicitReward, rescaleScores } from '@plumbline/rewards';
import { z } from 'zod';

/** A small decoder reads a short line before the story, not a system message. */
const template = { text: 'score: {goal}', separator: '\n' };
const asking = { template, placement: 'userPrefix' } as const;
const best = 10;
const ask = (goal: number) => (prompt: string) => goalPrompt(prompt, goal, asking) as string;
/** Gold in [-1, 1] on the paper's scale from 1 to 10: rounded for the data, exact for means. */
const points = (gold: ArrayLike<number>, decimals?: number) => rescaleScores(gold, { low: 1, high: best, from: [-1, 1], decimals });

export default defineExperiment({
  id: 'reward-augmented-dpo',
  paper: 'arXiv:2410.08067',
  packages: ['models', 'dpo', 'rewards', 'envs'],
  config: z.strictObject({
    model: z.string().default('zoo:words-1m').describe('The decoder that is aligned: zoo:NAME or a folder'),
    prompts: z.int().positive().default(300).describe('Prompts with sampled answers'),
    samplesPerPrompt: z.int().min(2).default(4).describe('Answers of each, of which the best is paired with a random other'),
    decimals: z.int().min(0).max(2).default(0).describe('Of the scores from 1 to 10: a small decoder learns ten goals, not ninety-one'),
    steps: z.int().positive().default(80).describe('Optimizer updates of every arm'),
    pairsPerStep: z.int().positive().default(16).describe('Pairs of an update'),
    learningRate: z.number().positive().default(1e-4).describe('Peak rate; the paper has 5e-7 for models of billions'),
    beta: z.number().positive().default(0.1).describe('Pull towards the reference; the paper has 0.01'),
    evaluationPrompts: z.int().positive().max(256).default(64).describe('Held-out prompts'),
    evaluationSamples: z.int().positive().default(8).describe('Answers of each'),
  }),
  quick: { prompts: 8, steps: 2, pairsPerStep: 2, evaluationPrompts: 3, evaluationSamples: 2 },
  arms: ['dpo', 'rewardAugmented', 'halfAugmented', 'promptControl'],
  metrics: {
    goldReward: { unit: 'points, 1 to 10', better: 'higher' },
    rejectedLogpChange: { unit: 'nats', better: 'higher' },
    kl: { unit: 'nats', better: 'lower' },
    fluent: { unit: 'share', better: 'higher' },
    rawSentiment: { unit: 'VADER', better: 'higher' },
    length: { unit: 'tokens', better: 'higher' },
    distinct2: { unit: 'share', better: 'higher' },
  },
  claims: [
    {
      id: 'better',
      text: 'DPO on the reward-augmented pairs, asked for a 10, beats DPO on the original pairs at equal steps',
      test: { metric: 'goldReward', better: 'rewardAugmented', than: 'dpo', smallestEffect: 0.2 },
    },
    {
      id: 'not-the-prompt',
      text: 'It also beats plain DPO that is asked for a 10 without having been trained on goals',
      test: { metric: 'goldReward', better: 'rewardAugmented', than: 'promptControl', smallestEffect: 0.2 },
    },
    {
      id: 'half',
      text: 'At an equal volume of data (half of the pairs augmented) it still beats DPO on the original pairs',
      test: { metric: 'goldReward', better: 'halfAugmented', than: 'dpo', smallestEffect: 0.2 },
    },
    {
      id: 'unlearning',
      text: 'Good rejected answers (7 points or more) lose less log-probability than under plain DPO',
      test: { metric: 'rejectedLogpChange', better: 'rewardAugmented', than: 'dpo' },
    },
    {
      id: 'control',
      text: 'The score that is asked for controls the score that comes: their rank correlation is above 0.5',
      test: { statistic: 'goalCorrelation', above: 0.5 },
    },
    {
      id: 'alpaca',
      text: 'The augmented policy wins more on AlpacaEval 2 and Arena-Hard, for models of 7 to 9 billion parameters',
      test: 'full scale only',
    },
  ],
  async run({ config, rng, arm, bed, say, signal }) {
    const words = await bed('words');
    const { base } = words;
    const prompts = words.prompts.slice(0, config.prompts);
    const heldOut = words.heldOutPrompts.slice(0, config.evaluationPrompts);
    say(`sampling ${config.samplesPerPrompt} answers to each of ${prompts.length} prompts`);
    const groups = await words.sampleGroups({ prompts, n: config.samplesPerPrompt, rng: rng.fork('answers'), signal });
    const scored = groups.map(({ prompt, completions, scores }) => ({ prompt, completions, scores: points(scores, config.decimals) }));
    const pairs = makePairs(scored, 'bestRandom', rng.fork('pairs'));
    const goodRejected = pairs.filter((pair) => pair.rejected_score! >= 7);

    const train = async (name: 'dpo' | 'rewardAugmented' | 'halfAugmented', records: PreferenceRecord[]): Promise<LocalDecoder> => {
      say(`${name}: ${config.steps} steps on ${records.length} pairs`);
      const { steps, pairsPerStep, learningRate } = config;
      const policy = words.policy();
      const encoded = encodePairs(base.tokenizer, records).pairs;
      await trainPairs(
        {
          steps,
          pairsPerStep,
          pairsPerMicroBatch: pairsPerStep,
          learningRate,
          schedule: { kind: 'linear', warmupSteps: Math.ceil(steps / 10) },
        },
        {
          policy,
          reference: base,
          batches: pairBatches(encoded, { pairsPerStep, steps, rng: rng.fork('batches') }),
          loss: withOptions(dpo, { beta: config.beta }),
          run: arm(name),
        },
      );
      return policy;
    };
    const measure = async (policy: LocalDecoder, shown: ((prompt: string) => string) | undefined) => {
      const evaluated = await words.evaluate(policy, {
        prompts: heldOut,
        samplesPerPrompt: config.evaluationSamples,
        rng: rng.fork('evaluate'),
        ask: shown,
        signal,
      });
      const { goldReward, kl, fluent, rawSentiment, length, distinct2 } = evaluated;
      // log π − log π_ref of the good rejected answers, under the prompt that the policy is used with
      const asked = goodRejected.map(({ prompt, rejected }) => ({
        prompt: shown ? shown(prompt as string) : prompt,
        completion: rejected,
      }));
      const changes = asked.length > 0 ? (await implicitReward(policy, base, 1).score(asked, { rng, signal })).scores : Float32Array.of(0);
      return {
        metrics: {
          goldReward: points(goldReward),
          rejectedLogpChange: changes.reduce((sum, x) => sum + x, 0) / changes.length,
          kl,
          fluent,
          rawSentiment,
          length,
          distinct2,
        },
        samples: evaluated.samples,
      };
    };
    /** Rank correlation of the goals asked for with the mean score of each prompt's answers. */
    const correlation = async (policy: LocalDecoder) => {
      const goals: number[] = [];
      const got: number[] = [];
      for (const goal of [2, 4, 6, 8, best]) {
        const { goldReward } = await words.evaluate(policy, {
          prompts: heldOut,
          samplesPerPrompt: 2,
          rng: rng.fork('control', goal),
          ask: ask(goal),
          signal,
        });
        goldReward.forEach((gold) => {
          goals.push(goal);
          got.push(gold);
        });
      }
      return spearman(goals, got).value;
    };

    const original = await train('dpo', pairs);
    const plain = await measure(original, undefined);
    const control = await measure(original, ask(best));
    const controlCorrelation = await correlation(original);
    original.dispose();
    const goals = { ...asking, rng: rng.fork('goals'), warn: say };
    const augmented = await train('rewardAugmented', augmentWithRewardGoals(pairs, goals));
    const whole = await measure(augmented, ask(best));
    const goalCorrelation = await correlation(augmented);
    augmented.dispose();
    const halved = await train('halfAugmented', augmentWithRewardGoals(pairs, { ...goals, fraction: 0.5 }));
    const half = await measure(halved, ask(best));
    halved.dispose();
    const measured = { dpo: plain, rewardAugmented: whole, halfAugmented: half, promptControl: control };
    return {
      arms: { dpo: plain.metrics, rewardAugmented: whole.metrics, halfAugmented: half.metrics, promptControl: control.metrics },
      statistics: { goalCorrelation, controlCorrelation },
      samples: heldOut.slice(0, 4).map((prompt, i) => ({
        prompt,
        texts: Object.fromEntries(Object.entries(measured).map(([name, { samples }]) => [name, samples[i].completions[0]])),
      })),
    };
  },
});
