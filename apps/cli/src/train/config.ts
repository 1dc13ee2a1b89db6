/** The settings of `plumb train sft`. */
import { EarlyStopping, ScheduleConfig } from '@plumbline/core';
import { LoraConfig, SftConfig } from '@plumbline/models';
import { z } from 'zod';

export const SftSettings = z.strictObject({
  loss: SftConfig.shape.loss,
  epochs: z.number().positive().default(1).describe('How often each conversation is seen'),
  steps: z.int().positive().optional().describe('Optimizer updates, in place of epochs'),
  records: z.int().positive().optional().describe('Only so many records, drawn by the seed'),
  heldOut: z.number().min(0).lt(1).default(0.05).describe('Share of the records that is kept for measuring'),
  maxTokens: z.int().positive().default(512).describe('Longer conversations are left out, never cut'),
  sequencesPerStep: z.int().positive().default(8).describe('Conversations of one update'),
  sequencesPerMicroBatch: z.int().positive().default(4).describe('Conversations in memory at once at most'),
  tokensPerMicroBatch: z
    .int()
    .positive()
    .optional()
    .describe('Tokens in memory at once; as many as 256 MB hold the activations of unless given; lower it when memory runs out'),
  learningRate: z.number().positive().optional().describe('Peak rate, after warm-up; 2e-4 for an adapter, 2e-5 for all weights'),
  schedule: ScheduleConfig.prefault({ kind: 'cosine', warmupSteps: 3 }).describe('Warm-up and decay of the rate'),
  weightDecay: z.number().min(0).default(0).describe('Decoupled decay a step, of matrices alone'),
  maxGradNorm: z.number().positive().default(1).describe('Gradients are scaled down to this global L2 norm'),
  evaluateEvery: z.int().positive().optional().describe('Steps between two looks at the held-out loss; at the end alone by default'),
  earlyStopping: EarlyStopping.optional().describe('Stop where the held-out loss no longer falls, and go back to the best weights'),
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
export type SftSettings = z.infer<typeof SftSettings>;
