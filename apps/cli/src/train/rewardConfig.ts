/** The settings of `plumb train reward`. */
import { ScheduleConfig } from '@plumbline/core';
import { LoraConfig } from '@plumbline/models';
import { z } from 'zod';

export const RewardSettings = z.strictObject({
  loss: z
    .enum(['bradley_terry', 'outcome'])
    .default('bradley_terry')
    .describe('bradley_terry: of preference pairs. outcome: of completions with a label, or pairs taken apart'),
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
    .describe('Tokens in memory at once; as many as 1 GB holds the activations of unless given; lower it when memory runs out'),
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
  earlyStopping: z
    .strictObject({
      patience: z
        .int()
        .positive()
        .default(3)
        .describe('Stop after so many looks without a better held-out loss, and keep the best weights'),
      minDelta: z.number().min(0).default(0).describe('How much lower counts as better'),
    })
    .optional(),
  full: z.boolean().default(false).describe('Train all weights instead of an adapter'),
  lora: LoraConfig.prefault({}),
  storage: z.enum(['f32', 'bf16', 'int8']).default('bf16').describe('How the frozen base of an adapter is kept in memory'),
  products: z.enum(['f32', 'bf16']).default('f32').describe('What products are computed in; sums are float32'),
  gradientCheckpointing: z.boolean().default(false).describe('Recompute each layer in the backward pass: less memory, more time'),
  saveEvery: z.int().positive().default(20).describe('Steps between checkpoints'),
});
export type RewardSettings = z.infer<typeof RewardSettings>;
