import { ConfigError, EarlyStopping, ReferenceSync, ScheduleConfig } from '@plumbline/core';
import { affordableTokens, type Decoder } from '@plumbline/data';
import { z } from 'zod';

const singleName = (given: unknown) => (typeof given === 'string' ? { kind: given } : given);

/** How rewards become advantages: a name, or an object with its settings. */
export const AdvantageConfig = z.preprocess(
  singleName,
  z.discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('group'),
      scale: z.enum(['group', 'batch', 'none']).default('group').describe('Deviation to divide by; none is Dr. GRPO'),
      ddof: z
        .union([z.literal(0), z.literal(1)])
        .default(1)
        .describe("1 is the sample's deviation, 0 the population's"),
      eps: z.number().min(0).default(1e-4).describe('Added to the deviation'),
    }),
    z.strictObject({ kind: z.literal('rloo'), normalize: z.boolean().default(false).describe('Whiten over the batch') }),
    z.strictObject({ kind: z.literal('remax') }),
    z.strictObject({
      kind: z.literal('reinforce'),
      baseline: z.enum(['none', 'batchMean', 'ema']).default('batchMean').describe('What is subtracted'),
    }),
    z.strictObject({ kind: z.literal('opo') }),
    z.strictObject({ kind: z.literal('passK'), scale: z.boolean().default(false).describe("Divide by the group's deviation") }),
    z.strictObject({ kind: z.literal('gpg') }),
    z.strictObject({
      kind: z.literal('brpo'),
      tau: z.number().min(0).max(1).default(0.6).describe('Groups whose verdicts lean further to one side are left out'),
    }),
    z.strictObject({
      kind: z.literal('chosen'),
      keep: z.int().positive().optional().describe('So many of the best of each group are learned; 1 unless above is given'),
      above: z.number().optional().describe('Only those with a reward above this'),
    }),
    z.strictObject({ kind: z.literal('otb') }),
    z.strictObject({
      kind: z.literal('reinforce++'),
      gamma: z.number().min(0).max(1).default(1).describe('Discount per token'),
      baseline: z.enum(['none', 'group']).default('none').describe("Subtract the group's mean reward first"),
    }),
    z.strictObject({
      kind: z.literal('minillm'),
      gamma: z.number().min(0).max(1).default(0).describe('Discount per token of the log-ratio of teacher and student'),
      lengthNormalized: z.boolean().default(true).describe('Divide by the sum of the discounts'),
    }),
    z.strictObject({
      kind: z.literal('iwOpd'),
      gamma: z.number().min(0).max(1).default(0.5).describe('How much more the first tokens weigh than the last'),
    }),
    z.strictObject({
      kind: z.literal('a2po'),
      beta1: z.number().positive().default(0.5).describe('Temperature of the optimal value: 0 is the best sample, infinity their mean'),
      referenceSamples: z
        .int()
        .positive()
        .default(8)
        .describe('Samples of the reference from which the optimal value of a prompt is estimated'),
    }),
    z.strictObject({
      kind: z.literal('turns'),
      gamma: z.number().min(0).max(1).default(1).describe('Discount per turn'),
      eps: z.number().min(0).default(1e-4).describe('Added to the deviation'),
    }),
    z.strictObject({
      kind: z.literal('gigpo'),
      gamma: z.number().min(0).max(1).default(0.95).describe('Discount per turn'),
      omega: z.number().min(0).default(1).describe('Weight of the comparison between turns that start from the same state'),
      scale: z.boolean().default(true).describe('Divide by the deviations'),
    }),
    z.strictObject({
      kind: z.literal('gae'),
      gamma: z.number().min(0).max(1).default(1).describe('Discount per token'),
      lambda: z.number().min(0).max(1).default(0.95).describe('Share of the estimate that comes from later values'),
      whitenRewards: z.boolean().default(false).describe('Divide token rewards by their deviation over the batch'),
    }),
  ]),
);
export type AdvantageConfig = z.infer<typeof AdvantageConfig>;

/** Advantages that do not compare the samples of a prompt. */
const single: readonly string[] = ['remax', 'reinforce', 'reinforce++', 'gae', 'chosen', 'minillm', 'iwOpd', 'a2po'];
/** Advantages that take rewards per turn or token themselves, so that the KL cannot be in a sequence's reward. */
const ofTurns: readonly string[] = ['turns', 'gigpo', 'otb', 'brpo', 'chosen', 'minillm', 'iwOpd', 'a2po'];

const lossNames = [
  'grpo',
  'bnpo',
  'dr_grpo',
  'dapo',
  'luspo',
  'cispo',
  'sapo',
  'vespo',
  'gmpo',
  'reinforce',
  'rloo',
  'kl_cov',
  'clip_cov',
  'kl_penalty',
  'a2po',
] as const;

/** Settings of `trainPolicy`. */
export const PolicyTrainConfig = z
  .strictObject({
    steps: z.int().positive().describe('Batches of prompts: each is sampled, scored and learned from'),
    promptsPerStep: z.int().positive().default(16).describe('Prompts of a batch'),
    samplesPerPrompt: z.int().positive().default(8).describe('Completions of each prompt: the group (GRPO uses 64 at 7B, TRL 8)'),
    maxTokens: z.int().positive().default(256).describe('Tokens of a completion at most'),
    temperature: z.number().positive().default(1).describe('Of sampling; the log-probabilities of training are at the same temperature'),
    topP: z.number().positive().max(1).default(1).describe('Share of probability that is sampled from'),
    topK: z.int().min(0).default(0).describe('Likeliest tokens that are sampled from; 0 is all'),
    minP: z.number().min(0).lt(1).default(0).describe('Share of the likeliest token that a token must reach'),
    repetitionPenalty: z
      .number()
      .positive()
      .default(1)
      .describe(
        'Of sampling, not of the reward: divides the logits of tokens that are in the prompt or were written, where positive, and multiplies negative ones; 1 is off',
      ),
    advantage: AdvantageConfig.default({ kind: 'group', scale: 'group', ddof: 1, eps: 1e-4 }).describe('How rewards become advantages'),
    rewardAggregation: z
      .enum(['sum', 'normalizeThenSum'])
      .default('sum')
      .describe('Several rewards: add them, or normalize each within its group first (GDPO)'),
    loss: z.enum(lossNames).default('grpo').describe('Policy loss'),
    lossOptions: z.record(z.string(), z.unknown()).default({}).describe("The loss's own options, such as epsilon"),
    aggregation: z
      .enum(['token-mean', 'seq-mean-token-mean', 'seq-mean-token-sum', 'seq-mean-token-sum-norm', 'local-token-mean'])
      .optional()
      .describe("How tokens are added up, if not as the loss's paper does"),
    klCoef: z.number().min(0).default(0.04).describe('Weight of the KL to the reference (DeepSeekMath 0.04); 0 needs no reference'),
    klIn: z.enum(['loss', 'reward']).default('loss').describe('Per token in the loss, or subtracted from the reward of the sequence'),
    klEstimator: z.enum(['k1', 'k2', 'k3', 'k3+']).optional().describe('k3 in the loss and k1 in the reward, unless given'),
    klTarget: z.number().positive().optional().describe('Nats per sequence that the KL weight is steered to'),
    klHorizon: z.number().positive().default(10_000).describe('Samples over which it is steered'),
    referenceSync: ReferenceSync.optional().describe(
      'Moves the reference towards the policy, every so many batches; the reference is a snapshot of the policy',
    ),
    biasCorrectedKl: z.boolean().default(false).describe('Multiply the KL term of the loss by the ratio'),
    epochs: z.int().positive().default(1).describe('Passes over each batch of samples'),
    miniBatches: z.int().positive().default(1).describe('Updates of each pass'),
    tokensPerMicroBatch: z
      .int()
      .positive()
      .optional()
      .describe(
        'Prompt and completion tokens in memory at once; unless given 8192, or as many as 256 MB hold the activations of; lower it when memory runs out',
      ),
    sharePrompts: z.boolean().default(true).describe('Compute a prompt once for all its samples in a micro-batch'),
    dynamicSampling: z
      .strictObject({
        maxRounds: z.int().min(2).default(4).describe('Rounds of sampling at most, the first among them'),
      })
      .optional()
      .describe('Sample groups again whose rewards are all equal, and leave out those that stay so (DAPO)'),
    replay: z
      .strictObject({ capacity: z.int().positive().default(64).describe('Groups that are kept, those with most to learn') })
      .optional()
      .describe('Replace groups whose rewards are all equal by kept ones of earlier steps'),
    maskTruncated: z.boolean().default(false).describe('Leave completions that did not end by themselves out of the loss'),
    missingEosPenalty: z.number().min(0).default(0).describe('Subtracted from their score'),
    softOverlong: z
      .strictObject({ cache: z.int().positive().describe('Tokens before maxTokens over which the penalty grows from 0 to 1') })
      .optional()
      .describe('Subtract a penalty that grows with length from the score (DAPO)'),
    rewardClip: z.tuple([z.number(), z.number()]).optional().describe('Bounds of the score, before penalties'),
    countEmptySequences: z
      .boolean()
      .default(false)
      .describe('Means over sequences divide by those without counting tokens too, as TRL does'),
    maxStaleness: z.int().min(0).default(0).describe('Batches that the policy may have learned from since somebody else sampled'),
    topEntropyQuantile: z
      .number()
      .positive()
      .max(1)
      .default(1)
      .describe('Share of the tokens, those of highest entropy, that keep their loss'),
    offPolicyMaskThreshold: z
      .number()
      .optional()
      .describe('Drop bad samples whose mean log-probability has fallen by more than this, in nats (DeepSeek-V3.2)'),
    entropyCoef: z.number().default(0).describe('Weight of the entropy bonus'),
    adaptiveEntropy: z
      .strictObject({
        target: z.number().positive().default(0.2).describe('Nats per token; above it there is no bonus'),
        delta: z.number().positive().default(0.005).describe('What is added to the weight, or taken from it, after each update'),
        min: z.number().min(0).default(0).describe('Least weight'),
        max: z.number().positive().default(1).describe('Largest weight'),
      })
      .optional()
      .describe('Let the weight of the entropy bonus follow the entropy'),
    samplingCorrection: z
      .strictObject({
        mode: z
          .enum(['token_truncate', 'token_mask', 'sequence_truncate', 'sequence_mask'])
          .default('sequence_mask')
          .describe('Per token or sequence, clipped or dropped'),
        min: z.number().min(0).default(0).describe('Lower bound of the weight'),
        max: z.number().positive().default(3).describe('Upper bound of the weight'),
      })
      .optional()
      .describe("Weigh tokens by the trainer's over the sampler's probability"),
    clipRangeValue: z.number().positive().default(0.2).describe('With gae: how far a value may move from its old one'),
    criticLearningRate: z
      .number()
      .positive()
      .optional()
      .describe('With gae: peak rate of the value model, that of the policy unless given'),
    criticWarmupSteps: z.int().min(0).default(0).describe('With gae: first steps in which only the value model learns'),
    learningRate: z.number().positive().default(1e-6).describe('Peak rate, after warm-up; small decoders take 1e-4 and more'),
    schedule: ScheduleConfig.default({ kind: 'constant', warmupSteps: 0 }).describe('Course of the learning rate, over updates'),
    maxGradNorm: z.number().positive().default(1).describe('Gradients are scaled down to this global L2 norm'),
    beta1: z.number().min(0).lt(1).default(0.9).describe('AdamW: decay of the mean of the gradients'),
    beta2: z.number().min(0).lt(1).default(0.999).describe('AdamW: decay of the mean of their squares'),
    eps: z.number().positive().default(1e-8).describe('AdamW: added to the root of the second moment'),
    weightDecay: z.number().min(0).default(0).describe('AdamW: decoupled weight decay, on matrices only'),
    evaluateEvery: z.int().positive().optional().describe('Steps between evaluations; the last step is evaluated as well'),
    earlyStopping: EarlyStopping.optional().describe(
      'Stop where eval/reward no longer rises (or, without one, eval/loss no longer falls), and go back to the best weights',
    ),
  })
  .refine((c) => c.samplesPerPrompt > 1 || single.includes(c.advantage.kind), {
    path: ['samplesPerPrompt'],
    error: 'must be at least 2: this advantage compares the samples of a prompt',
  })
  .refine((c) => (c.promptsPerStep * c.samplesPerPrompt) % c.miniBatches === 0, {
    path: ['miniBatches'],
    error: 'must divide promptsPerStep * samplesPerPrompt',
  })
  .refine((c) => c.rewardAggregation === 'sum' || (c.advantage.kind === 'group' && c.klIn === 'loss'), {
    path: ['rewardAggregation'],
    error: 'normalizeThenSum goes with advantage group and the KL in the loss',
  })
  .refine((c) => c.klIn === 'loss' || !ofTurns.includes(c.advantage.kind), {
    path: ['klIn'],
    error: 'must be loss with this advantage, which does not take the KL from the reward',
  })
  .refine((c) => c.dynamicSampling === undefined || c.samplesPerPrompt > 1, {
    path: ['dynamicSampling'],
    error: 'needs at least 2 samplesPerPrompt: one sample has no deviation',
  })
  .refine((c) => c.replay === undefined || c.dynamicSampling === undefined, {
    path: ['replay'],
    error: 'goes without dynamicSampling: both fill the place of groups without deviation',
  })
  .refine((c) => c.replay === undefined || !['remax', 'gae', 'a2po'].includes(c.advantage.kind), {
    path: ['replay'],
    error: 'goes with advantages that compare the samples of a prompt',
  })
  .refine((c) => c.softOverlong === undefined || c.softOverlong.cache <= c.maxTokens, {
    path: ['softOverlong', 'cache'],
    error: 'must be at most maxTokens',
  })
  .refine((c) => c.rewardClip === undefined || c.rewardClip[0] < c.rewardClip[1], {
    path: ['rewardClip'],
    error: 'the lower bound must be below the upper one',
  })
  .refine(
    (c) => c.rewardAggregation === 'sum' || (c.rewardClip === undefined && c.softOverlong === undefined && c.missingEosPenalty === 0),
    {
      path: ['rewardAggregation'],
      error: 'normalizeThenSum takes each reward as it is: rewardClip, softOverlong and missingEosPenalty change their sum',
    },
  )
  .refine((c) => c.referenceSync === undefined || c.klCoef > 0 || c.advantage.kind === 'a2po', {
    path: ['referenceSync'],
    error: 'moves a reference that nothing is learned from: klCoef is 0',
  })
  .refine((c) => c.referenceSync === undefined || !['minillm', 'iwOpd'].includes(c.advantage.kind), {
    path: ['referenceSync'],
    error: 'goes without this advantage, whose reference is the teacher',
  })
  .refine((c) => c.klTarget === undefined || c.klCoef > 0, { path: ['klTarget'], error: 'steers klCoef, which is 0' });
export type PolicyTrainConfig = z.infer<typeof PolicyTrainConfig>;

/** The settings for one policy, with what its size decides. */
export type PolicySettings = PolicyTrainConfig & { tokensPerMicroBatch: number };

/** @throws ConfigError naming each field, what it held and what it may hold */
export function parsePolicyConfig(settings: z.input<typeof PolicyTrainConfig>, policy: Decoder): PolicySettings {
  const parsed = PolicyTrainConfig.safeParse(settings);
  if (!parsed.success) throw new ConfigError(`trainPolicy: ${z.prettifyError(parsed.error)}`);
  const { tokensPerMicroBatch = Math.min(8192, affordableTokens(policy)), ...config } = parsed.data;
  return { ...config, tokensPerMicroBatch };
}
