/** The settings of `plumb train reward`. */
import { EarlyStopping, ScheduleConfig } from '@plumbline/core';
import { LoraConfig } from '@plumbline/models';
import { z } from 'zod';

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
  epochs: z.number().positive().default(1).describe('How often each record is seen'),
  steps: z.int().positive().optional().describe('Optimizer updates, in place of epochs'),
  records: z.int().positive().optional().describe('Only so many records, drawn by the seed'),
  heldOut: z.number().min(0).lt(1).default(0.1).describe('Share of the prompts that is kept for measuring'),
  maxTokens: z.int().positive().default(1024).describe('Longer records are left out, never cut: a cut would remove what the head reads'),
  pooling: z
    .enum(['last', 'mean'])
    .default('last')
    .describe('What the head reads: the last token, as transformers does, or the mean over the completion'),
  recordsPerStep: z.int().positive().default(8).describe('Pairs, or completions, of one update'),
  recordsPerMicroBatch: z.int().positive().default(4).describe('Of them in memory at once at most'),
  tokensPerMicroBatch: z
    .int()
    .positive()
    .optional()
    .describe('Tokens in memory at once; as many as 256 MB hold the activations of unless given; lower it when memory runs out'),
  learningRate: z.number().positive().optional().describe('Peak rate, after warm-up; 1e-4 for an adapter, 5e-6 for all weights'),
  schedule: ScheduleConfig.prefault({ kind: 'cosine', warmupSteps: 3 }).describe('Warm-up and decay of the rate'),
  weightDecay: z.number().min(0).default(0).describe('Decoupled decay a step, of matrices alone'),
  maxGradNorm: z.number().positive().default(1).describe('Gradients are scaled down to this global L2 norm'),
  labelSmoothing: z.number().min(0).lt(0.5).default(0).describe('Assumed share of flipped labels (bradley_terry)'),
  centerCoefficient: z
    .number()
    .min(0)
    .default(0)
    .describe('Weight of (chosen + rejected)²; 0.01 where scores of different prompts are compared (bradley_terry)'),
  evaluateEvery: z.int().positive().optional().describe('Steps between two looks at the held-out accuracy; at the end alone by default'),
  earlyStopping: EarlyStopping.optional().describe(
    'Stop where the held-out loss (or, without one, accuracy) is no longer better, and go back to the best weights',
  ),
  full: z.boolean().default(false).describe('Train all weights instead of an adapter'),
  lora: LoraConfig.prefault({}),
  storage: z.enum(['f32', 'bf16', 'int8']).default('bf16').describe('How the frozen base of an adapter is kept in memory'),
  products: z.enum(['f32', 'bf16']).default('f32').describe('What products are computed in; sums are float32'),
  gradientCheckpointing: z
    .boolean()
    .optional()
    .describe('Recompute each layer in the backward pass: less memory, more time; unless given, as many as memory needs'),
  saveEvery: z.int().positive().default(20).describe('Steps between checkpoints'),
  keepCheckpoints: z.int().positive().default(2).describe('Checkpoints that stay; older ones are removed'),
});
export type RewardSettings = z.infer<typeof RewardSettings>;
