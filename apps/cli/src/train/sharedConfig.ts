/** Settings that the `plumb train` commands have in the same words. */
import { EarlyStopping, ScheduleConfig } from '@plumbline/core';
import { LoraConfig } from '@plumbline/models';
import { z } from 'zod';

/** Which weights are trained and how the others are kept. */
export const weights = {
  full: z.boolean().default(false).describe('Train all weights instead of an adapter'),
  lora: LoraConfig.prefault({}),
  storage: z.enum(['f32', 'bf16', 'int8']).default('bf16').describe('How the frozen base of an adapter is kept in memory'),
  products: z.enum(['f32', 'bf16']).default('f32').describe('What products are computed in; sums are float32'),
  gradientCheckpointing: z
    .boolean()
    .optional()
    .describe('Recompute each layer in the backward pass: less memory, more time; unless given, as many as memory needs'),
};

export const checkpoints = (saveEvery: number) => ({
  saveEvery: z.int().positive().default(saveEvery).describe('Steps between checkpoints'),
  keepCheckpoints: z.int().positive().default(2).describe('Checkpoints that stay; older ones are removed'),
});

/** What is left to be read of the held-out records (samples.ts). */
export const samples = (of: string) =>
  z
    .int()
    .min(0)
    .default(4)
    .describe(`${of} that are written to the run folder before training, at each evaluation and at the end; 0 writes none`);
export const newTokens = z.int().positive().default(64).describe('Tokens of an answer that is sampled');

/** How much of the data set is read, and how often. */
export const amount = ({ each, of, heldOut }: { each: string; of: string; heldOut: number }) => ({
  epochs: z.number().positive().default(1).describe(`How often each ${each} is seen`),
  steps: z.int().positive().optional().describe('Optimizer updates, in place of epochs'),
  records: z.int().positive().optional().describe('Only so many records, drawn by the seed'),
  heldOut: z.number().min(0).lt(1).default(heldOut).describe(`Share of the ${of} that is kept for measuring`),
});

/** Of the optimizer, and of what it looks at on the way. */
export const updates = ({
  adapterRate,
  fullRate,
  schedule,
  looksAt,
  stopsBy,
}: {
  adapterRate: string;
  fullRate: string;
  schedule: z.input<typeof ScheduleConfig>;
  looksAt: string;
  stopsBy: string;
}) => ({
  tokensPerMicroBatch: z
    .int()
    .positive()
    .optional()
    .describe('Tokens in memory at once; as many as 256 MB hold the activations of unless given; lower it when memory runs out'),
  learningRate: z
    .number()
    .positive()
    .optional()
    .describe(`Peak rate, after warm-up; ${adapterRate} for an adapter, ${fullRate} for all weights`),
  schedule: ScheduleConfig.prefault(schedule).describe('Warm-up and decay of the rate'),
  weightDecay: z.number().min(0).default(0).describe('Decoupled decay a step, of matrices alone'),
  maxGradNorm: z.number().positive().default(1).describe('Gradients are scaled down to this global L2 norm'),
  evaluateEvery: z.int().positive().optional().describe(`Steps between two looks at the held-out ${looksAt}; at the end alone by default`),
  earlyStopping: EarlyStopping.optional().describe(`Stop where ${stopsBy}, and go back to the best weights`),
});
