/** The settings of `plumb train rl`. */
import { ConfigError } from '@plumbline/core';
import { AdvantageConfig, PolicyTrainConfig, policyLoss } from '@plumbline/rl';
import { z } from 'zod';
import { refuseUnknownOptions } from '../settings.js';
import { checkpoints, weights as trainedWeights } from './sharedConfig.js';

type Preset = Partial<z.input<typeof PolicyTrainConfig>>;

/** What an algorithm's name stands for; every part can be set by itself. */
export const algorithms = {
  grpo: {},
  dr_grpo: { advantage: { kind: 'group', scale: 'none' }, loss: 'dr_grpo', klCoef: 0 },
  dapo: { loss: 'dapo', lossOptions: { epsilonHigh: 0.28 }, klCoef: 0, dynamicSampling: {} },
  gspo: { loss: 'grpo', lossOptions: { level: 'sequence', epsilon: 3e-4, epsilonHigh: 4e-4 }, klCoef: 0 },
  cispo: { loss: 'cispo', klCoef: 0 },
  rloo: { advantage: 'rloo', loss: 'rloo', klIn: 'reward', klCoef: 0.05 },
  remax: { advantage: 'remax', loss: 'reinforce', klIn: 'reward', klCoef: 0.05, samplesPerPrompt: 1 },
  reinforce: { advantage: 'reinforce', loss: 'reinforce', klIn: 'reward', klCoef: 0.05 },
  'reinforce++': { advantage: 'reinforce++', loss: 'dapo', klIn: 'reward', klCoef: 0.01 },
  ppo: { advantage: 'gae', loss: 'dapo', klIn: 'reward', klCoef: 0.05, epochs: 4 },
  raft: { advantage: 'chosen', loss: 'reinforce', klCoef: 0 },
} as const satisfies Record<string, Preset>;
export type Algorithm = keyof typeof algorithms;

/** One without a kind changes settings of the algorithm's. */
const Advantage = z.preprocess(
  (given) => (typeof given === 'string' ? { kind: given } : given),
  z.union([AdvantageConfig, z.record(z.string(), z.unknown())]),
);

const { shape } = PolicyTrainConfig;
const own = ' (that of the algorithm)';

export const RlSettings = z.strictObject({
  algorithm: z
    .enum(Object.keys(algorithms) as [Algorithm, ...Algorithm[]])
    .default('grpo')
    .describe(`What the settings begin with: ${Object.keys(algorithms).join(', ')}`),
  ...shape,
  steps: z.int().positive().default(100).describe('Batches of prompts: each is sampled, scored and learned from'),
  promptsPerStep: z.int().positive().default(4).describe('Prompts of a batch'),
  learningRate: z.number().positive().optional().describe('Peak rate, after warm-up; 5e-5 for an adapter, 1e-6 for all weights'),
  samplesPerPrompt: z.int().positive().optional().describe(`Completions of each prompt; 8, and 1 with remax${own}`),
  advantage: Advantage.optional().describe(`How rewards become advantages${own}`),
  loss: shape.loss.removeDefault().optional().describe(`Policy loss${own}`),
  lossOptions: z.record(z.string(), z.unknown()).optional().describe(`The loss's own options, such as epsilon${own}`),
  klCoef: z.number().min(0).optional().describe(`Weight of the KL to the reference, the model as it was${own}`),
  klIn: z.enum(['loss', 'reward']).optional().describe(`Where the KL goes${own}`),
  epochs: z.int().positive().optional().describe(`Passes over each batch of samples${own}`),
  weights: z.array(z.number()).optional().describe('Weights of the rewards, in the order of --reward; 1 each'),
  records: z.int().positive().optional().describe('Only so many prompts, drawn by the seed'),
  heldOut: z.int().min(0).default(16).describe('Prompts that are kept for measuring'),
  maxPromptTokens: z.int().positive().default(512).describe('Longer prompts are left out, never cut'),
  system: z.string().optional().describe('A system message before each prompt'),
  chat: z.boolean().default(true).describe('Show plain prompts as a user message, where the model has a chat template'),
  writtenSamples: z.int().min(0).default(8).describe('Samples of each step that are written to the run folder'),
  server: z.string().optional().describe('Base URL of a vLLM server that samples and is given the adapter after each update'),
  ...trainedWeights,
  ...checkpoints(10),
});
export type RlSettings = z.infer<typeof RlSettings>;

/** The trainer's part of the settings: what was set, over what the algorithm stands for. @throws ConfigError naming what does not go together */
export function policyConfig(settings: RlSettings): PolicyTrainConfig {
  const known = new Set(Object.keys(shape));
  const given = Object.entries(settings).filter(([key, value]) => known.has(key) && value !== undefined);
  const { full, algorithm, advantage, loss, lossOptions } = settings;
  const preset: Preset = algorithms[algorithm];
  const parsed = PolicyTrainConfig.safeParse({
    learningRate: full ? 1e-6 : 5e-5,
    ...preset,
    ...Object.fromEntries(given),
    lossOptions: { ...((loss ?? preset.loss) === preset.loss && preset.lossOptions), ...lossOptions },
    ...(advantage && !('kind' in advantage) && { advantage: { ...AdvantageConfig.parse(preset.advantage ?? 'group'), ...advantage } }),
  });
  if (!parsed.success)
    throw new ConfigError(parsed.error.issues.map(({ path, message }) => `setting ${path.join('.')}: ${message}`).join('; '));
  refuseUnknownOptions(parsed.data.loss, policyLoss(parsed.data.loss), lossOptions ?? {});
  return parsed.data;
}
