/** Models of steps on a user's files of Socratic-PRMBench: one that learns from errors of deduction alone, one from as many of all classes, and reward models that --rewards names as they are. */
import { applySettings, defineApply } from '@plumbline/bench';
import { prefixSteps, type StepItem, socraticPrmBench } from '@plumbline/bench/benchmarks';
import { type StepRewardFunction, textOf } from '@plumbline/data';
import { patternOf, type SocraticClass } from '@plumbline/envs';
import { encodeSteps, processReward, rewardLosses, stepBatches, stepScorer, trainReward } from '@plumbline/rewards';
import { z } from 'zod';

const separator = '\n';

export const apply = defineApply({
  config: z.strictObject({
    ...applySettings,
    maxTokens: z.int().positive().default(1024).describe('Longer solutions are left out, never cut'),
    train: z.boolean().default(true).describe('false: judge only what --rewards names'),
    learningRate: z.number().positive().default(2e-4).describe('Peak rate: 2e-4 for adapters'),
    threshold: z.number().default(0.5).describe('A step whose probability of being right is above counts as right'),
  }),
  benchmark: socraticPrmBench,
  needs: 'the official files of Socratic-PRMBench, or records of that form',
  leaves: [
    { path: 'deductionOnly/model', what: 'the baseline: a step reward model that has seen errors of deduction alone' },
    { path: 'allClasses/model', what: 'the method: as many errors of all classes' },
    { path: 'NAME/held-out/results.jsonl, report.html', what: 'the scores of every held-out step by each, and the official table' },
  ],
  work: ({ steps, pairsPerStep, train }) => ({ trainedPairs: train ? 2 * steps * pairsPerStep : 0, writtenAnswers: 0 }),
  laptopParameters: 500e6,
  async run({ config, base, solutions, rewards, rng, say, run, scorer: begin, keep, onEnd }) {
    const { steps, pairsPerStep, pairsPerMicroBatch, learningRate, threshold } = config;
    const shuffled = Array.from(rng.fork('solutions').permutation(solutions.length), (at) => solutions[at]);
    const deduction = shuffled.filter(({ subset }) => patternOf(subset as SocraticClass) === 'Deduction');
    const learn = async (name: string, items: readonly StepItem[]) => {
      say(`${name}: ${steps} steps on ${items.length} solutions`);
      const scorer = await begin(name, { pooling: 'last' });
      onEnd(() => scorer.dispose());
      const model = stepScorer(scorer);
      const records = items.map(({ id, prompt, steps: texts, errors }) => ({
        id,
        prompt: `${textOf(prompt)}${separator}`,
        completions: texts,
        labels: texts.map((_, t) => !errors.includes(t)),
      }));
      const { items: encoded } = encodeSteps(base.tokenizer, records, { separator });
      const batches = stepBatches(encoded, { itemsPerStep: Math.min(pairsPerStep, encoded.length), steps, rng: rng.fork('order') });
      await trainReward(
        {
          steps,
          groupsPerMicroBatch: Math.min(pairsPerMicroBatch, pairsPerStep, encoded.length),
          learningRate,
          lossOptions: { heads: 1 },
          schedule: { kind: 'cosine', warmupSteps: Math.ceil(steps / 10) },
        },
        { scorer: model, batches, loss: rewardLosses.step, run: await run(name) },
      );
      await keep(name, scorer);
      const prm = processReward(model, { separator });
      const judge: StepRewardFunction = {
        name,
        scoreSteps: (batch, ctx) =>
          prm.scoreSteps(
            batch.map((one) => ({ ...one, prompt: `${textOf(one.prompt)}${separator}` })),
            ctx,
          ),
      };
      return { steps: judge, threshold };
    };
    return {
      ...(config.train && {
        deductionOnly: await learn('deductionOnly', deduction),
        allClasses: await learn('allClasses', shuffled.slice(0, deduction.length)),
      }),
      ...Object.fromEntries(rewards.map((reward) => [fileName(reward.name), { steps: prefixSteps(reward), threshold }])),
    };
  },
});

const fileName = (name: string) => name.replaceAll(/[^\p{L}\p{N}.-]+/gu, '_').slice(0, 60);
