import {
  adamW,
  bestWeights,
  ConfigError,
  clipScale,
  createParameters,
  EarlyStopping,
  gradientSum,
  gradients,
  learningRateSchedule,
  type MetricName,
  type Parameter,
  type ParameterTree,
  type Run,
  ScheduleConfig,
  saveIfAborted,
  saveIfDue,
} from '@plumbline/core';
import { affordableTokens, type Batches, microBatches, type Scorer } from '@plumbline/data';
import { z } from 'zod';
import type { RewardModel } from './heads.js';
import type { LabelledRewardBatch, StepBatch, TargetBatch } from './items.js';
import { bradleyTerry } from './losses/bradleyTerry.js';
import type { PairRewardLoss, StepRewardLoss, TargetRewardLoss } from './losses/types.js';
import { type AnyBatch, batchSlopes, microLoss, type Objective, pairObjective, stepObjective, targetObjective } from './objectives.js';

/** Settings of `trainReward`. */
export const RewardTrainConfig = z.strictObject({
  steps: z.int().positive().describe('Optimizer updates'),
  groupsPerMicroBatch: z.int().positive().optional().describe('Groups (or pairs) in memory at once at most'),
  tokensPerMicroBatch: z
    .int()
    .positive()
    .optional()
    .describe(
      'Tokens in memory at once, though one group at least; as many as 256 MB hold the activations of unless given; lower it when memory runs out',
    ),
  learningRate: z
    .number()
    .positive()
    .default(5e-6)
    .describe('Peak rate, after warm-up; 5e-6 for a pretrained model of billions, 5e-4 for one of a million parameters'),
  schedule: ScheduleConfig.prefault({ kind: 'cosine', warmupSteps: 0 }).describe('Warm-up and decay of the rate'),
  beta1: z.number().min(0).lt(1).default(0.9).describe('Decay of the mean of gradients'),
  beta2: z.number().min(0).lt(1).default(0.999).describe('Decay of the mean of squared gradients'),
  weightDecay: z.number().min(0).default(0).describe('Decoupled decay a step, of matrices alone'),
  maxGradNorm: z.number().positive().default(1).describe('Gradients are scaled down to this global L2 norm'),
  labelSmoothing: z.number().min(0).lt(0.5).default(0).describe('Assumed share of flipped labels'),
  centerCoefficient: z
    .number()
    .min(0)
    .default(0)
    .describe('Weight of (chosen + rejected)²; 0.01 where scores of different prompts are compared'),
  normCoefficient: z.number().min(0).default(0).describe('Weight of chosen² + rejected²'),
  temperature: z.number().positive().default(1).describe('Score differences are divided by it'),
  lossOptions: z
    .record(z.string(), z.unknown())
    .optional()
    .describe("Options of a loss other than Bradley-Terry's, such as grades or theta"),
  evaluateEvery: z.int().positive().optional().describe('Steps between evaluations; at the end alone by default'),
  earlyStopping: EarlyStopping.optional().describe(
    'Stop where eval/loss no longer falls (or, without one, eval/accuracy no longer rises), and go back to the best weights',
  ),
});
export type RewardTrainConfig = z.input<typeof RewardTrainConfig>;

// biome-ignore lint/suspicious/noExplicitAny: a loss takes and gives its options, which only its own schema can check
type AnyOptions = any;
type Shared = {
  run: Run;
  /** Metrics on held-out data, such as `eval/accuracy` or `eval/loss`; logged with the step after which they hold. */
  evaluate?: (scorer: RewardModel, step: number) => Promise<Partial<Record<MetricName, number>>>;
};
/** The loss decides what a batch holds: pairs (the default, Bradley-Terry), completions with targets, or solutions with labelled steps. */
export type RewardTraining = Shared &
  (
    | { scorer: Scorer; batches: Batches<LabelledRewardBatch>; loss?: undefined }
    | { scorer: RewardModel; batches: Batches<LabelledRewardBatch>; loss: PairRewardLoss<AnyOptions> }
    | { scorer: RewardModel; batches: Batches<TargetBatch>; loss: TargetRewardLoss<AnyOptions> }
    | { scorer: RewardModel; batches: Batches<StepBatch>; loss: StepRewardLoss<AnyOptions> }
  );
export type RewardResult = {
  /** Updates that were made; fewer than asked for where it stopped early. */
  steps: number;
  /** The best evaluation, and the step after which it was; with early stopping the model has these weights. */
  best?: { step: number; value: number };
  /** Parameters of the loss itself as they are now: the raw thresholds of an ordinal loss. */
  lossParameters: Record<string, Float32Array>;
};

/**
 * Trains a reward model under any loss of `rewardLosses`; goes on from `run`'s last checkpoint if it has one.
 *
 * Each candidate of a batch is scored once, however many pairs it is in. The loss is the weighted mean over the step's items (pairs, targets or labelled steps) plus the mean penalty, so
 * micro-batches do not change it; a loss of the whole batch takes one pass without gradients first. Logs `loss` (nats an item), `gradNorm` (before clipping), `learningRate`, `tokens`,
 * `tokensPerSecond`, and of pairs `accuracy` (a tie counts as wrong), `margin`, `scores/chosen`, `scores/rejected` and `scores/mean` (means over pairs); of steps `accuracy`.
 *
 * @throws ConfigError naming the option that is wrong; InterruptedError, after saving, where the run's signal is aborted;
 *   NonFiniteError naming the step and the groups, once the state before that step is saved
 */
export async function trainReward(config: RewardTrainConfig, training: RewardTraining): Promise<RewardResult> {
  const { scorer, batches, run, evaluate } = training as Shared & { scorer: RewardModel; batches: Batches<AnyBatch> };
  const {
    steps,
    groupsPerMicroBatch: rows,
    tokensPerMicroBatch = affordableTokens(scorer),
    learningRate: peak,
    schedule,
    maxGradNorm,
    evaluateEvery = steps,
    earlyStopping,
    ...rest
  } = parse(config);
  if (batches.steps < steps) throw new ConfigError(`trainReward: ${steps} steps, but the batches end after ${batches.steps}`);
  if (earlyStopping && !evaluate)
    throw new ConfigError('trainReward: earlyStopping looks at eval/loss or eval/accuracy; give a function that evaluates');
  const { beta1, beta2, weightDecay, lossOptions, ...bradleyTerryOptions } = rest;
  const { objective, scope, own } = objectiveOf(training, lossOptions, bradleyTerryOptions, config);
  const rate = learningRateSchedule({ ...schedule, peak, steps });
  const optimizer = adamW({ beta1, beta2, weightDecay, decays: isMatrix });
  const weights = [...scorer.parameters.trainable(), ...(own?.trainable() ?? [])];
  if (weights.length === 0) throw new ConfigError(`trainReward: ${scorer.name} has nothing to train: all its weights are frozen`);
  const stopping = bestWeights(scorer.parameters, {
    trainer: 'trainReward',
    watch: { 'eval/loss': 'lower', 'eval/accuracy': 'higher' },
    stop: earlyStopping,
  });
  const state = { scorer: scorer.parameters, optimizer, ...(own && { loss: own }), ...(evaluate && { stopping }) };
  try {
    let step = await run.restore(state);
    for (; step < steps && !stopping.over(); step++) {
      await saveIfAborted(run, step, state);
      const start = performance.now();
      const batch = await batches.at(step);
      const divisor = objective.divisor(batch);
      if (!(divisor > 0))
        throw new ConfigError(`trainReward: the weights of step ${step} add up to ${divisor} (${batch.ids.slice(0, 4).join(', ')}, ...)`);
      const micros = microBatches<AnyBatch>(batch, { rows, tokens: tokensPerMicroBatch }).filter((micro) => objective.items(micro) > 0);
      const slopes = scope === 'batch' ? await batchSlopes(objective, batch, micros) : undefined;
      const sum = gradientSum(weights);
      for (const micro of micros) sum.add(gradients(() => microLoss(objective, micro, batch, slopes), weights));
      const values = await sum.read();
      if (!Number.isFinite(values.loss + values.gradNorm)) await run.fail(step, { rows: batch.ids, values }, state);
      const learningRate = rate(step);
      optimizer.apply(sum.grads, { scale: clipScale(values.gradNorm, maxGradNorm), learningRate });
      sum.dispose();
      const tokens = batch.packed.tokens.length;
      const tokensPerSecond = (tokens * 1000) / (performance.now() - start);
      const due = evaluate && ((step + 1) % evaluateEvery === 0 || step + 1 === steps);
      const evaluated = due ? await evaluate(scorer, step + 1) : {};
      if (due) await stopping.look(step + 1, evaluated);
      run.log(step, { ...values, learningRate, tokens, tokensPerSecond, ...evaluated });
      await saveIfDue(run, step + 1, state, step + 1 === steps || stopping.over());
    }
    await stopping.goBack();
    const saved = own ? (await own.save()).tensors : {};
    const lossParameters = Object.fromEntries(Object.entries(saved).map(([name, { data }]) => [name, data as Float32Array]));
    return { steps: step, ...(stopping.best() && { best: stopping.best() }), lossParameters };
  } finally {
    optimizer.dispose();
    own?.dispose();
  }
}

/** The loss on the model: how a batch is read, and the loss's own parameters. */
function objectiveOf(
  training: RewardTraining,
  lossOptions: Record<string, unknown> | undefined,
  bradleyTerryOptions: z.infer<typeof bradleyTerry.options>,
  config: RewardTrainConfig,
): { objective: Objective<AnyBatch>; scope: 'item' | 'batch'; own?: ParameterTree } {
  const loss = (training.loss ?? bradleyTerry) as unknown as PairRewardLoss<unknown> | TargetRewardLoss<unknown> | StepRewardLoss<unknown>;
  const isDefault = (loss as unknown) === bradleyTerry;
  const unused = isDefault
    ? []
    : Object.keys(bradleyTerryOptions).filter((name) => (config as Record<string, unknown>)[name] !== undefined);
  if (unused.length > 0)
    throw new ConfigError(`trainReward: ${unused.join(', ')} belong to Bradley-Terry; options of another loss go into lossOptions`);
  const given = isDefault ? { ...bradleyTerryOptions, ...lossOptions } : (lossOptions ?? {});
  const parsed = loss.options.safeParse(given);
  if (!parsed.success) throw new ConfigError(`trainReward: lossOptions: ${z.prettifyError(parsed.error)}`);
  const options = parsed.data;
  const own = loss.parameters && createParameters(loss.parameters(options));
  const values = () => Object.fromEntries((own?.names ?? []).map((name) => [name, (own!.get(name) as Parameter).value]));
  const model = training.scorer as RewardModel;
  const make = () => {
    switch (loss.kind) {
      case 'pairs':
        return pairObjective(model, loss, options, values) as unknown;
      case 'targets':
        return targetObjective(model, loss, options, values) as unknown;
      case 'steps':
        return stepObjective(model, loss, options, values) as unknown;
      default:
        throw new ConfigError(
          `trainReward: there are losses of pairs, targets and steps, not of "${(loss satisfies never as { kind: string }).kind}"`,
        );
    }
  };
  return { objective: make() as Objective<AnyBatch>, scope: loss.scope, ...(own && { own }) };
}

function parse(config: RewardTrainConfig): z.infer<typeof RewardTrainConfig> {
  const parsed = RewardTrainConfig.safeParse(config);
  if (!parsed.success) throw new ConfigError(`trainReward: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** Norm weights and biases are not decayed. */
const isMatrix = (name: string): boolean => !/norm|bias|thresholds/.test(name);
