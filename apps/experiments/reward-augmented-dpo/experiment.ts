/**
 * Reward-augmented data for direct preference alignment. Zhang et al. 2024, arXiv:2410.08067: put the score that is wanted into the prompt, turn each pair
 * into two (one for each score, the second reversed), train any pair loss on both, and ask for the highest score in use.
 *
 * The method needs a model to which a score in the prompt means something. A decoder of a million parameters reads no digits, so the start of every arm is
 * the base after a short supervised training on stories that follow the mood asked for, and a goal is a word of the stories, said four times.
 */
import { defineExperiment, firstAnswers, heldOutPrompts, mean, spearman, wordsMetrics, wordsModel } from '@plumbline/bench';
import { augmentWithRewardGoals, encodePairs, joinSequence, makePairs, type PreferenceRecord, pairBatches } from '@plumbline/data';
import { dpo, trainPairs, withOptions } from '@plumbline/dpo';
import { completionTokens, differentStories, promptTokens, sentiment } from '@plumbline/envs';
import { type LocalDecoder, sampleKl, sftBatches, trainSft } from '@plumbline/models';
import { implicitReward, rescaleScores } from '@plumbline/rewards';
import { z } from 'zod';
import { apply } from './apply.js';

/** Goals that the decoder can be asked for, and how. */
const moods = new Map([
  [1, 'terrible'],
  [4, 'sad'],
  [7, 'nice'],
  [10, 'wonderful'],
]);
const best = 10;
const ask = (goal: number) => (prompt: string) => `${`${moods.get(goal)} `.repeat(4).trim()}. ${prompt}`;
/** Gold in [-1, 1] on the paper's scale from 1 to 10. */
const points = (gold: ArrayLike<number>) => rescaleScores(gold, { low: 1, high: best, from: [-1, 1] });
/** The nearest goal. */
const levels = (gold: ArrayLike<number>) => points(gold).map((score) => 1 + 3 * Math.round((score - 1) / 3));

export default defineExperiment({
  id: 'reward-augmented-dpo',
  paper: 'arXiv:2410.08067',
  packages: ['models', 'dpo', 'rewards', 'envs'],
  config: z.strictObject({
    model: wordsModel('The decoder that is aligned'),
    prompts: z.int().positive().default(300).describe('Prompts with sampled answers'),
    samplesPerPrompt: z.int().min(2).default(4).describe('Answers of each, of which the best is paired with a random other'),
    startStories: z.int().positive().default(8000).describe('Stories from which the start learns what the goals mean'),
    startSteps: z.int().positive().default(400).describe('Updates of the start, of 24 stories each'),
    steps: z.int().positive().default(80).describe('Optimizer updates of every arm'),
    pairsPerStep: z.int().positive().default(16).describe('Pairs of an update'),
    learningRate: z.number().positive().default(1e-4).describe('Peak rate; the paper has 5e-7 for models of billions'),
    beta: z.number().positive().default(0.1).describe('Pull towards the reference; the paper has 0.01'),
    evaluationPrompts: heldOutPrompts(64),
    evaluationSamples: z.int().positive().default(8).describe('Answers of each'),
  }),
  quick: { prompts: 8, startStories: 40, startSteps: 2, steps: 2, pairsPerStep: 2, evaluationPrompts: 3, evaluationSamples: 2 },
  arms: ['dpo', 'rewardAugmented', 'halfAugmented', 'promptControl'],
  metrics: {
    goldReward: { unit: 'points, 1 to 10', better: 'higher' },
    rejectedLogpChange: { unit: 'nats', better: 'higher' },
    ...wordsMetrics('kl', 'fluent', 'rawSentiment', 'length', 'distinct2'),
  },
  units: 'prompts',
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
      test: { metric: 'rejectedLogpChange', better: 'rewardAugmented', than: 'dpo', smallestEffect: 0.5 },
    },
    {
      id: 'control',
      text: 'The score that is asked for controls the score that comes: their rank correlation is above 0.5',
      test: { statistic: 'goalCorrelation', above: 0.5, smallestEffect: 0.05 },
    },
    {
      id: 'alpaca',
      text: 'The augmented policy wins more on AlpacaEval 2 and Arena-Hard, for models of 7 to 9 billion parameters',
      test: 'full scale only',
    },
  ],
  apply,
  async run({ config, rng, arm, shared, bed, say, signal }) {
    const words = await bed('words');
    const { base } = words;
    const { tokenizer } = base;
    const prompts = words.prompts.slice(0, config.prompts);
    const heldOut = words.heldOutPrompts.slice(0, config.evaluationPrompts);

    say(`the start: ${config.startSteps} steps on stories that follow the goal`);
    const start = words.policy();
    const stories = differentStories(rng.fork('stories'), config.startStories);
    const sequences = goalStories(stories, tokenizer);
    const startBatches = sftBatches(sequences, { sequencesPerStep: 24, steps: config.startSteps, rng: rng.fork('start') });
    const startRate = { learningRate: 2e-3, schedule: { kind: 'cosine' as const, warmupSteps: Math.ceil(config.startSteps / 40) } };
    await trainSft({ steps: config.startSteps, ...startRate }, { policy: start, batches: startBatches, run: await shared('start') });

    say(`sampling ${config.samplesPerPrompt} answers to each of ${prompts.length} prompts`);
    const groups = await words.sampleGroups({ prompts, n: config.samplesPerPrompt, rng: rng.fork('answers'), policy: start, signal });
    const scored = groups.map(({ prompt, completions, scores }) => ({ prompt, completions, scores: levels(scores) }));
    const pairs = makePairs(scored, 'bestRandom', rng.fork('pairs'));
    const goodRejected = pairs.filter((pair) => pair.rejected_score! >= 7);
    /** Two pairs for each, under the goals that are their scores. */
    const augment = (fraction: number): PreferenceRecord[] =>
      augmentWithRewardGoals(pairs, { placement: 'userPrefix', fraction, rng: rng.fork('goals'), warn: say }).map((record) => ({
        ...record,
        prompt: ask(record.meta!.goal as number)(pairs[record.meta!.origin as number].prompt as string),
      }));

    const train = async (name: 'dpo' | 'rewardAugmented' | 'halfAugmented', records: PreferenceRecord[]): Promise<LocalDecoder> => {
      say(`${name}: ${config.steps} steps on ${records.length} pairs`);
      const { steps, pairsPerStep, learningRate } = config;
      const policy = start.snapshot();
      const encoded = encodePairs(tokenizer, records).pairs;
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
          reference: start,
          batches: pairBatches(encoded, { pairsPerStep, steps, rng: rng.fork('batches') }),
          loss: withOptions(dpo, { beta: config.beta }),
          run: arm(name),
        },
      );
      return policy;
    };
    const measure = async (policy: LocalDecoder, shown: (prompt: string) => string) => {
      const sampled = await words.sampleGroups({
        prompts: heldOut,
        n: config.evaluationSamples,
        rng: rng.fork('evaluate'),
        policy,
        ask: shown,
        signal,
      });
      const { goldReward, fluent, rawSentiment, length, distinct2, samples } = await words.measure(sampled, { rng, signal });
      const answers = sampled.flatMap((group) =>
        group.samples.map(({ tokens }) => joinSequence(tokenizer.encode(shown(group.prompt)), tokens)),
      );
      // of the good rejected answers, under the prompt that the policy is used with
      const asked = goodRejected.map(({ prompt, rejected }) => ({ prompt: shown(prompt as string), completion: rejected }));
      const changes = asked.length > 0 ? (await implicitReward(policy, start, 1).score(asked, { rng, signal })).scores : [0];
      const kl = (await sampleKl(policy, start, answers)).mean;
      return {
        metrics: { goldReward: points(goldReward), rejectedLogpChange: mean(changes), kl, fluent, rawSentiment, length, distinct2 },
        samples,
      };
    };
    /** Rank correlation of the goals asked for with the mean gold of each prompt's answers. */
    const correlation = async (policy: LocalDecoder) => {
      const goals: number[] = [];
      const got: number[] = [];
      for (const goal of [1, 4, 7, best]) {
        const evaluated = await words.sampleGroups({
          prompts: heldOut,
          n: 2,
          rng: rng.fork('control', goal),
          policy,
          ask: ask(goal),
          signal,
        });
        for (const { scores } of evaluated) {
          goals.push(goal);
          got.push(mean(scores));
        }
      }
      return spearman(goals, got).value;
    };

    const startCorrelation = await correlation(start);
    const original = await train('dpo', pairs);
    const plain = await measure(original, (prompt) => prompt);
    const control = await measure(original, ask(best));
    const controlCorrelation = await correlation(original);
    original.dispose();
    const augmented = await train('rewardAugmented', augment(1));
    const whole = await measure(augmented, ask(best));
    const goalCorrelation = await correlation(augmented);
    augmented.dispose();
    const halved = await train('halfAugmented', augment(0.5));
    const half = await measure(halved, ask(best));
    halved.dispose();
    start.dispose();
    return {
      arms: { dpo: plain.metrics, rewardAugmented: whole.metrics, halfAugmented: half.metrics, promptControl: control.metrics },
      statistics: { goalCorrelation, controlCorrelation, startCorrelation },
      samples: firstAnswers({
        dpo: plain.samples,
        rewardAugmented: whole.samples,
        halfAugmented: half.samples,
        promptControl: control.samples,
      }),
    };
  },
});

/** The length of the bed's prompts and answers, three in four behind the goal that their sentiment is. */
function goalStories(stories: readonly string[], tokenizer: LocalDecoder['tokenizer']) {
  const whole = stories.map((story) => tokenizer.encode(story)).filter((ids) => ids.length >= promptTokens + completionTokens);
  return whole.map((ids, i) => {
    const prompt = tokenizer.decode(ids.subarray(0, promptTokens));
    const completion = ids.slice(promptTokens, promptTokens + completionTokens);
    const [goal] = levels([sentiment(tokenizer.decode(completion))]);
    return joinSequence(tokenizer.encode(i % 4 === 0 ? prompt : ask(goal)(prompt)), completion);
  });
}
