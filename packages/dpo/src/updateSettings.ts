import { EarlyStopping, ScheduleConfig } from '@plumbline/core';
import { z } from 'zod';

/** What the trainers' configurations have in common: the update, the loss's own options, and when to evaluate. */
export const updateSettings = {
  learningRate: z.number().positive().default(1e-6).describe('Peak rate, after warm-up'),
  schedule: ScheduleConfig.default({ kind: 'constant', warmupSteps: 0 }).describe('Course of the learning rate'),
  maxGradNorm: z.number().positive().default(1).describe('Gradients are scaled down to this global L2 norm'),
  beta1: z.number().min(0).lt(1).default(0.9).describe('AdamW: decay of the mean of the gradients'),
  beta2: z.number().min(0).lt(1).default(0.999).describe('AdamW: decay of the mean of their squares'),
  eps: z.number().positive().default(1e-8).describe('AdamW: added to the root of the second moment'),
  weightDecay: z.number().min(0).default(0).describe('AdamW: decoupled weight decay, on matrices only'),
  lossOptions: z.record(z.string(), z.unknown()).default({}).describe("The loss's own options, such as beta"),
  earlyStopping: EarlyStopping.optional().describe('Stop where eval/loss no longer falls, and go back to the weights that had the lowest'),
  evaluateEvery: z.int().positive().optional().describe('Steps between evaluations; the last step is evaluated as well'),
};

export const tokensPerMicroBatch = z
  .int()
  .positive()
  .optional()
  .describe(
    'Tokens in memory at once, though one row at least; unless given as many as 256 MB hold the activations of; lower it when memory runs out',
  );
