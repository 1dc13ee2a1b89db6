/** The settings of `plumb train sft`. */
import { SftConfig } from '@plumbline/models';
import { z } from 'zod';
import { amount, checkpoints, newTokens, samples, updates, weights } from './sharedConfig.js';

export const SftSettings = z.strictObject({
  loss: SftConfig.shape.loss,
  ...amount({ each: 'conversation', of: 'records', heldOut: 0.05 }),
  maxTokens: z.int().positive().default(512).describe('Longer conversations are left out, never cut'),
  sequencesPerStep: z.int().positive().default(8).describe('Conversations of one update'),
  sequencesPerMicroBatch: z.int().positive().default(4).describe('Conversations in memory at once at most'),
  ...updates({
    adapterRate: '2e-4',
    fullRate: '2e-5',
    schedule: { kind: 'cosine', warmupSteps: 3 },
    looksAt: 'loss',
    stopsBy: 'the held-out loss no longer falls',
  }),
  writtenSamples: samples('Held-out prompts with the likeliest answer'),
  newTokens,
  ...weights,
  ...checkpoints(20),
});
export type SftSettings = z.infer<typeof SftSettings>;
