/** Reward-augmented DPO on a user's own scored pairs, with the paper's wording of the goal. */
import { applySettings, defineApply } from '@plumbline/bench';
import { augmentWithRewardGoals, encodePairs, goalPrompt, type PreferenceRecord, type Prompt, pairBatches } from '@plumbline/data';
import { dpo, trainPairs, withOptions } from '@plumbline/dpo';
import { rescaleScores } from '@plumbline/rewards';
import { z } from 'zod';

const best = 10;
/** Of the wording of a goal, at most: about 50 in English. */
const goalTokens = 100;

export const apply = defineApply({
  config: z.strictObject({
    ...applySettings,
    learningRate: z.number().positive().default(2e-4).describe('Peak rate: 2e-4 for adapters; for all weights a quarter of it'),
    beta: z.number().positive().default(0.1).describe('Pull towards the model as it was'),
    scoreRange: z
      .tuple([z.number(), z.number()])
      .default([1, best])
      .describe('Ends of the scale of chosen_score and rejected_score; mapped to goals from 1 to 10'),
    placement: z.enum(['userPrefix', 'system']).default('userPrefix').describe('Where the goal stands in a conversation'),
  }),
  needs: 'preference pairs with chosen_score and rejected_score, such as a reward model writes (`plumb score`)',
  unusable: ({ chosen_score, rejected_score }) =>
    chosen_score === undefined || rejected_score === undefined
      ? 'chosen_score or rejected_score is missing'
      : chosen_score === rejected_score
        ? 'both scores are equal, which says nothing under any goal'
        : undefined,
  leaves: [
    { path: 'augmented.jsonl', what: 'the augmented preference pairs, two for each, for any trainer of pairs' },
    { path: 'dpo/model', what: 'the baseline: DPO on the pairs as they were' },
    { path: 'rewardAugmented/model', what: 'the method: DPO on the augmented pairs, to be asked for a 10' },
  ],
  work: ({ steps, pairsPerStep }) => ({ trainedPairs: 2 * steps * pairsPerStep, writtenAnswers: 0 }),
  addedTokens: goalTokens,
  laptopParameters: 500e6,
  async run({ config, base, train, rng, run, policy: begin, leave, say }) {
    const { steps, pairsPerStep, pairsPerMicroBatch, learningRate, beta, maxTokens, placement, scoreRange } = config;
    const goals = (scores: number[]) => rescaleScores(scores, { low: 1, high: best, from: scoreRange, decimals: 1 });
    const scored = train.map((pair): PreferenceRecord => {
      const [chosen_score, rejected_score] = goals([pair.chosen_score!, pair.rejected_score!]);
      return { ...pair, chosen_score, rejected_score };
    });
    const prompting = { placement, tokenizer: base.tokenizer };
    const augmented = augmentWithRewardGoals(scored, { ...prompting, rng: rng.fork('goals'), warn: say });
    await leave('augmented.jsonl', augmented);
    const align = async (name: string, records: readonly PreferenceRecord[]) => {
      say(`${name}: ${steps} steps on ${records.length} pairs`);
      const policy = await begin(name);
      const { pairs } = encodePairs(base.tokenizer, records, { maxTokens: maxTokens + goalTokens });
      const batches = pairBatches(pairs, { pairsPerStep, steps, rng: rng.fork('batches') });
      const schedule = { kind: 'cosine' as const, warmupSteps: Math.min(4, steps - 1) };
      const settings = { steps, pairsPerStep, pairsPerMicroBatch, learningRate, schedule };
      await trainPairs(settings, { policy, reference: base, batches, loss: withOptions(dpo, { beta }), run: await run(name) });
      return policy;
    };
    const ask = (prompt: Prompt) => goalPrompt(prompt, best, prompting);
    const plain = await align('dpo', scored);
    return {
      dpo: { policy: plain },
      rewardAugmented: { policy: await align('rewardAugmented', augmented), ask },
      promptControl: { policy: plain.snapshot(), ask, keep: false }, // what asking alone does
    };
  },
});
