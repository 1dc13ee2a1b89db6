/** The settings of `plumb train reward`. */
import { z } from 'zod';
import { amount, checkpoints, samples, updates, weights } from './sharedConfig.js';

export const RewardSettings = z.strictObject({
  loss: z
    .enum(['bradley_terry', 'odin', 'rao_kupper', 'davidson', 'pairwise_ordinal', 'pairwise', 'regression', 'ordinal', 'outcome', 'step'])
    .default('bradley_terry')
    .describe(
      'Of preference pairs: bradley_terry; odin, free of length; rao_kupper and davidson, with ties; pairwise_ordinal, with grades; pairwise, a classifier of both answers. Of completions: regression of one or several scores; ordinal, of grades; outcome, of labels. Of solutions: step, a label at the end of each step',
    ),
  lossOptions: z
    .record(z.string(), z.unknown())
    .default({})
    .describe("The loss's own options, such as theta, nu, attributeWeights or normCoefficient"),
  margin: z
    .enum(['column', 'scores', 'none'])
    .default('column')
    .describe(
      'By how much the chosen score must lead: the column margin where there is one, or the difference of the two scores (Llama 2)',
    ),
  labelColumn: z
    .string()
    .optional()
    .describe('Of pairs, the column with the grade (pairwise_ordinal: grade) or with true for a tie (rao_kupper, davidson: tie)'),
  grades: z.int().min(2).default(5).describe('How many grades there are (ordinal, pairwise_ordinal)'),
  lowestGrade: z.int().default(0).describe('The lowest of them (ordinal)'),
  attributes: z
    .union([z.string(), z.array(z.string()).min(1)])
    .optional()
    .describe('Scores to learn (regression, ordinal); all by default'),
  stepSeparator: z.string().min(1).default('\n').describe('What stands between steps; its last token carries the label (step)'),
  ...amount({ each: 'record', of: 'prompts', heldOut: 0.1 }),
  maxTokens: z.int().positive().default(1024).describe('Longer records are left out, never cut: a cut would remove what the head reads'),
  pooling: z
    .enum(['last', 'mean'])
    .default('last')
    .describe('What the head reads: the last token, as transformers does, or the mean over the completion'),
  recordsPerStep: z.int().positive().default(8).describe('Pairs, or completions, of one update'),
  recordsPerMicroBatch: z.int().positive().default(4).describe('Of them in memory at once at most'),
  labelSmoothing: z.number().min(0).lt(0.5).default(0).describe('Assumed share of flipped labels (bradley_terry)'),
  centerCoefficient: z
    .number()
    .min(0)
    .default(0)
    .describe('Weight of (chosen + rejected)²; 0.01 where scores of different prompts are compared (bradley_terry)'),
  ...updates({
    adapterRate: '1e-4',
    fullRate: '5e-6',
    schedule: { kind: 'cosine', warmupSteps: 3 },
    looksAt: 'accuracy',
    stopsBy: 'the held-out loss (or, without one, accuracy) is no longer better',
  }),
  writtenSamples: samples('Held-out records with their scores'),
  ...weights,
  ...checkpoints(20),
});
export type RewardSettings = z.infer<typeof RewardSettings>;
