/** The settings of the main job on the words bed. The defaults are what was measured to show every effect within minutes. */
import { z } from 'zod';

const grpo = ({ steps, learningRate, klCoef }: { steps: number; learningRate: number; klCoef: number }) =>
  z
    .strictObject({
      steps: z.int().positive().default(steps).describe('Optimizer updates'),
      promptsPerStep: z.int().positive().default(16).describe('Prompts of one update'),
      samplesPerPrompt: z.int().min(2).default(8).describe('Completions of a prompt, compared with each other'),
      learningRate: z.number().positive().default(learningRate).describe('Peak rate, after warm-up'),
      klCoef: z.number().min(0).default(klCoef).describe('Weight of the per-token KL to the base'),
    })
    .prefault({});

export const QuickstartConfig = z.strictObject({
  model: z.string().default('zoo:words-1m').describe('The base: a zoo model trained on the stories of the words bed'),
  groups: z.int().min(8).default(500).describe('Prompts whose samples make the preference data'),
  samplesPerGroup: z.int().min(2).default(4).describe('Completions of each of them'),
  reward: z
    .strictObject({
      epochs: z.int().positive().default(3).describe('Passes over the groups'),
      groupsPerStep: z.int().positive().default(16).describe('Groups whose pairs make one update'),
      learningRate: z.number().positive().default(5e-4).describe('Peak rate, after warm-up'),
    })
    .prefault({}),
  dpo: z
    .strictObject({
      steps: z.int().positive().default(100).describe('Optimizer updates'),
      pairsPerStep: z.int().positive().default(16).describe('Pairs of one update'),
      learningRate: z.number().positive().default(1e-4).describe('Peak rate, after warm-up'),
      beta: z.number().positive().default(0.1).describe('Pull towards the base'),
    })
    .prefault({}),
  grpo: grpo({ steps: 60, learningRate: 2e-4, klCoef: 0.15 }),
  grpoOveroptimised: grpo({ steps: 75, learningRate: 4e-4, klCoef: 0.02 }).describe(
    'Too large a step and too small a KL weight, on purpose',
  ),
  evaluation: z
    .strictObject({
      prompts: z.int().min(2).default(96).describe('Held-out prompts that no arm saw'),
      samplesPerPrompt: z.int().positive().default(4).describe('Completions of each, per arm'),
      bestOf: z.int().min(2).default(8).describe('Candidates of the best-of-n arm'),
    })
    .prefault({}),
});
export type QuickstartConfig = z.infer<typeof QuickstartConfig>;

/** A slower rung trains a share of the steps, so that the job still ends while one watches. */
export function shareOfSteps(backend: string): number {
  if (backend === 'wasm') return 1 / 3;
  if (backend === 'cpu') return 1 / 30;
  return 1;
}

/** The same settings with `share` of the optimizer updates and of the samples that cost most. */
export function shortened(config: QuickstartConfig, share: number): QuickstartConfig {
  if (share === 1) return config;
  const steps = (n: number) => Math.max(2, Math.round(n * share));
  return {
    ...config,
    groups: Math.max(8, Math.round(config.groups * Math.max(share, 0.1))),
    dpo: { ...config.dpo, steps: steps(config.dpo.steps) },
    grpo: { ...config.grpo, steps: steps(config.grpo.steps) },
    grpoOveroptimised: { ...config.grpoOveroptimised, steps: steps(config.grpoOveroptimised.steps) },
  };
}
