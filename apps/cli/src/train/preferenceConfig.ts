/** The settings of `plumb train dpo` and `plumb train kto`, and the loss that they name. */
import { ConfigError, ReferenceSync } from '@plumbline/core';
import {
  Divergence,
  mixture,
  type PairLossSpec,
  pairLoss,
  withDivergence,
  withLengthDesensitization,
  withOptions,
  withPolicyWeighting,
} from '@plumbline/dpo';
import { z } from 'zod';
import { refuseUnknownOptions } from '../settings.js';
import { amount, checkpoints, newTokens, samples, updates, weights } from './sharedConfig.js';

const data = {
  ...amount({ each: 'record', of: 'prompts', heldOut: 0.1 }),
  maxTokens: z.int().positive().default(1024).describe('Tokens of prompt and answer; longer ones are left out'),
};
const training = {
  ...updates({
    adapterRate: '5e-5',
    fullRate: '1e-6',
    schedule: { kind: 'linear', warmupSteps: 0 },
    looksAt: 'records',
    stopsBy: 'the held-out loss (of online runs, the held-out reward) is no longer better',
  }),
  ...weights,
  ...checkpoints(20),
};
const reference = z
  .string()
  .optional()
  .describe('Another model as the reference; by default the model as it was, which under an adapter is the model with the adapter off');

export const DpoSettings = z.strictObject({
  loss: z
    .union([z.string(), z.array(z.string()).min(1)])
    .default('sigmoid')
    .describe("A pair loss by TRL's name (sigmoid, ipo, simpo, orpo, ...), or several to be added up"),
  lossWeights: z.array(z.number()).optional().describe('Of several losses, what each counts; 1 by default'),
  beta: z.number().positive().optional().describe('Pull towards the reference, of each loss that has it; 0.1 for most'),
  labelSmoothing: z.number().min(0).lt(0.5).optional().describe('Assumed share of flipped labels, of each loss that has it'),
  lossOptions: z.record(z.string(), z.unknown()).default({}).describe("The loss's other options; of several losses, by the loss's name"),
  divergence: Divergence.optional().describe('An f-divergence in place of the reverse KL: { type: js_divergence }'),
  ldAlpha: z.number().min(0).max(1).optional().describe('What the tail of the longer answer counts (LD-DPO)'),
  policyWeighting: z.boolean().default(false).describe('Pairs that the policy itself would write count more (WPO)'),
  reference,
  precompute: z
    .boolean()
    .default(true)
    .describe('Reference log-probabilities are computed once and kept by content, where the loss needs no more than their sums'),
  referenceSync: ReferenceSync.optional().describe('Moves the reference towards the policy (TR-DPO)'),
  sharePrompts: z.boolean().default(true).describe('The two answers of a pair compute their prompt once'),
  online: z
    .enum(['pairs', 'xpo', 'nash_md', 'rounds'])
    .optional()
    .describe(
      'Train on what the policy writes, the data set giving prompts alone. pairs: two samples of each prompt (online DPO). xpo: one of the policy, one of the reference. nash_md: one of the policy, one of a mixture of both. rounds: sample, judge, pair and train for stepsPerRound steps, and again',
    ),
  judge: z
    .string()
    .optional()
    .describe(
      "Who orders them: a verifier's name or specification, a reward model's folder, the URL of a reward server, or with judgeModel of a language model's",
    ),
  judgeModel: z.string().optional().describe('The language model on that server which says which answer is better, asked in both orders'),
  newTokens,
  temperature: z.number().positive().optional().describe('Of sampling; 1 unless given'),
  missingEosPenalty: z
    .number()
    .min(0)
    .optional()
    .describe('Online, under a reward: subtracted from that of an answer without end token, before answers are compared; 0 unless given'),
  samplesPerPrompt: z
    .int()
    .min(2)
    .optional()
    .describe('With rounds: of so many samples the best and the worst make a pair; 4 unless given'),
  stepsPerRound: z.int().positive().optional().describe('With rounds: updates on the pairs of one round; 10 unless given'),
  mixtureCoef: z.number().min(0).max(1).optional().describe("With nash_md: the reference's share of the mixture; 0.5 unless given"),
  writtenSamples: samples('Held-out prompts with the likeliest answer (online: pairs of each step)'),
  goldColumn: z.string().default('reference').describe('The column with the third, gold answer that the loss tpo learns'),
  pairsPerStep: z.int().positive().default(8).describe('Pairs of one update'),
  pairsPerMicroBatch: z.int().positive().default(4).describe('Of them in memory at once at most'),
  ...data,
  truncation: z
    .enum(['drop', 'keepEnd', 'keepStart', 'error'])
    .default('drop')
    .describe('What becomes of longer ones: left out, the prompt loses its beginning, the answer its end, or an error'),
  ...training,
});
export type DpoSettings = z.infer<typeof DpoSettings>;

export const KtoSettings = z.strictObject({
  loss: z.enum(['kto', 'apo_zero_unpaired', 'bco']).default('kto').describe('Of single answers with a thumb up or down'),
  beta: z.number().positive().default(0.1).describe('Pull towards the reference'),
  desirableWeight: z.number().min(0).optional().describe('Factor of the desirable rows (kto, apo_zero_unpaired)'),
  undesirableWeight: z.number().min(0).optional().describe('Factor of the undesirable rows (kto, apo_zero_unpaired)'),
  reference,
  precompute: z
    .boolean()
    .default(true)
    .describe(
      'Reference log-probabilities of the answers are computed once and kept by content (kto reads its mismatched ones anew in each step)',
    ),
  rowsPerStep: z.int().min(2).default(16).describe('Answers of one update; KTO estimates its reference point from them'),
  rowsPerMicroBatch: z.int().positive().default(4).describe('Of them in memory at once at most'),
  writtenSamples: samples('Held-out prompts with the likeliest answer'),
  newTokens,
  ...data,
  ...training,
});
export type KtoSettings = z.infer<typeof KtoSettings>;

/**
 * The loss with its options bound and what is put around it.
 * @throws ConfigError for a name that is none (with those that there are), options that the loss does not have, lists of different lengths
 */
export function pairLossOf(
  settings: Pick<
    DpoSettings,
    'loss' | 'lossWeights' | 'beta' | 'labelSmoothing' | 'lossOptions' | 'divergence' | 'ldAlpha' | 'policyWeighting'
  >,
): PairLossSpec<unknown> {
  const { loss, lossWeights, lossOptions, divergence, ldAlpha, policyWeighting } = settings;
  const names = [loss].flat();
  if (lossWeights && lossWeights.length !== names.length)
    throw new ConfigError(`setting lossWeights has ${lossWeights.length} weights for ${names.length} losses (${names.join(', ')})`);
  const several = names.length > 1;
  if (several) {
    const other = Object.keys(lossOptions).filter((name) => !names.includes(name));
    if (other.length > 0)
      throw new ConfigError(
        `setting lossOptions: of several losses options go by the loss's name; ${other.join(', ')} is none of ${names.join(', ')}`,
      );
  }
  const specs = names.map((name) => pairLoss(name));
  const has = (spec: PairLossSpec<unknown>, option: string) =>
    Object.hasOwn((spec.options as unknown as { shape?: object }).shape ?? {}, option);
  for (const option of ['beta', 'labelSmoothing'] as const)
    if (settings[option] !== undefined && !specs.some((spec) => has(spec, option)))
      throw new ConfigError(`setting ${option}: ${names.join(', ')} has no such option`);
  const parts = specs.map((spec, i) => {
    const shared = Object.fromEntries(
      (['beta', 'labelSmoothing'] as const).flatMap((option) =>
        settings[option] !== undefined && has(spec, option) ? [[option, settings[option]]] : [],
      ),
    );
    const own = (several ? lossOptions[names[i]] : lossOptions) as Record<string, unknown> | undefined;
    refuseUnknownOptions(names[i], spec, own ?? {});
    const bound = withOptions(spec as PairLossSpec<object>, { ...shared, ...own }) as PairLossSpec<unknown>;
    return divergence && divergence.type !== 'reverse_kl' ? withDivergence(bound, divergence) : bound;
  });
  let whole =
    several || lossWeights
      ? (mixture(parts.map((part, i) => ({ loss: part, weight: lossWeights?.[i] }))) as PairLossSpec<unknown>)
      : parts[0];
  if (ldAlpha !== undefined) whole = withLengthDesensitization(whole, ldAlpha);
  if (policyWeighting) whole = withPolicyWeighting(whole);
  return whole;
}
