/** The settings of `plumb align`: sized so that a model of a few hundred million parameters shows something on a laptop. */
import { LoraConfig } from '@plumbline/models';
import { z } from 'zod';

/**
 * The rate where the settings name none. Forty updates of an adapter need more than TRL's rates for whole epochs: of SmolLM2-135M-Instruct on pairs of
 * HH-RLHF, DPO moved the held-out margin by 0.2 nats [0.0, 0.3] at 2e-4 (225 multi-turn pairs), by 3.9 [2.0, 5.7] at 1e-3 (325 single-turn ones).
 */
export const learningRates = { reward: { adapter: 5e-4, whole: 1e-4 }, dpo: { adapter: 1e-3, whole: 5e-5 } } as const;

const training = (adapter: number, whole: number) => ({
  steps: z.int().positive().default(40).describe('Optimizer updates'),
  pairsPerStep: z.int().positive().default(8).describe('Pairs of one update'),
  learningRate: z.number().positive().optional().describe(`Peak rate, after warm-up; ${adapter} for an adapter, ${whole} for all weights`),
});

export const AlignConfig = z.strictObject({
  pairs: z.int().min(10).default(500).describe('Preference pairs that are used, of those that fit'),
  heldOut: z.number().gt(0).lt(1).default(0.35).describe('Share of them, by prompt, that is kept for measuring'),
  maxTokens: z.int().positive().default(256).describe('Longer pairs are left out, never cut'),
  full: z
    .boolean()
    .optional()
    .describe('Train all weights instead of adapters; so by default up to 50 million parameters, where that is cheap and learns more'),
  lora: LoraConfig.prefault({}).describe('Adapters of the upper half of the layers, unless lora.layers says which'),
  storage: z.enum(['f32', 'bf16', 'int8']).default('bf16').describe('How the frozen base of the adapters is kept in memory'),
  products: z.enum(['f32', 'bf16']).default('f32').describe('What products are computed in; sums are float32'),
  tokensPerMicroBatch: z
    .int()
    .positive()
    .optional()
    .describe('Tokens in memory at once; as many as 256 MB hold the activations of unless given; lower it when memory runs out'),
  reward: z
    .strictObject({
      ...training(learningRates.reward.adapter, learningRates.reward.whole),
      pooling: z.enum(['mean', 'last']).default('mean').describe('What the head reads: the mean over the completion, or its last token'),
    })
    .prefault({}),
  dpo: z
    .strictObject({
      ...training(learningRates.dpo.adapter, learningRates.dpo.whole),
      beta: z.number().positive().default(0.1).describe('Pull towards the model as it was'),
    })
    .prefault({}),
  samples: z
    .strictObject({
      prompts: z.int().min(0).default(6).describe('Held-out prompts that are answered before and after'),
      maxTokens: z.int().positive().default(64).describe('Tokens of an answer'),
      temperature: z.number().min(0).default(0.7).describe('0 is greedy'),
    })
    .prefault({}),
});
export type AlignConfig = z.infer<typeof AlignConfig>;
