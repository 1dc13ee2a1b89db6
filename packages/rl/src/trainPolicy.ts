import {
  adamW,
  bestWeights,
  ConfigError,
  checkSynchronisable,
  clipScale,
  gradientSum,
  gradients,
  learningRateSchedule,
  type MetricName,
  type ParameterTree,
  type Run,
  saveIfAborted,
  saveIfDue,
  synchroniseReference,
} from '@plumbline/core';
import type { Batches, Decoder, PromptBatch, PromptRecord, Shaper } from '@plumbline/data';
import type { LocalDecoder } from '@plumbline/models';
import { z } from 'zod';
import { emaBaseline } from './advantages/baselines.js';
import { type PolicyTrainConfig, parsePolicyConfig } from './config.js';
import type { Critic } from './critic.js';
import { entropyController } from './entropy.js';
import { type AdvantageFunction, collect, type Experience } from './experience.js';
import { klController } from './kl.js';
import { policyLoss } from './losses/index.js';
import type { PolicyLossSpec } from './losses/types.js';
import { microsOf, orderOf, policyObjective, valueObjective } from './objective.js';
import { rollout as ownRollout, type Rollout } from './rollout/generate.js';
import { groupReplay } from './rollout/replay.js';
import type { Reward } from './scoring.js';

export type PolicyTraining = {
  /** Its trainable parameters are changed in place. */
  policy: LocalDecoder;
  /** Frozen; needed where `klCoef` is above 0, and for the KL that is logged. With `referenceSync` a snapshot of the policy, which is changed in place. */
  reference?: Decoder;
  /** The value model of PPO, for `advantage: 'gae'`; its trainable parameters are changed in place. */
  critic?: Critic;
  prompts: Batches<PromptBatch<string | PromptRecord>>;
  /** Where dynamic sampling draws further prompts from; without it the same prompts are sampled again. */
  morePrompts?: Batches<PromptBatch<string | PromptRecord>>;
  reward: Reward;
  /** Where completions come from: the policy's own generator, unless episodes, a server or a recording take its place. */
  rollout?: Rollout;
  /** In place of the configured advantage. */
  advantage?: AdvantageFunction;
  /** Between the reward and the advantage. Reference rewards are read from a prompt's `meta.reference_rewards`. */
  shaper?: Shaper;
  run: Run;
  /** What it answers is logged with the step, under the names of core's `metrics`. */
  evaluate?: (policy: LocalDecoder, step: number) => Promise<Partial<Record<MetricName, number>>>;
  /** Told once the policy has learned from another batch, such as to bring its adapter to a server. */
  afterUpdate?: (policy: LocalDecoder, version: number) => Promise<void>;
  /** Sees every batch of samples, with scores and advantages, after the update. */
  observe?: (experience: Experience, step: number) => void | Promise<void>;
  onProgress?: (progress: { tokens: number; finished: number; total: number }) => void;
};

export type PolicyResult = {
  /** Batches that were learned from; fewer than asked for where it stopped early. */
  steps: number;
  /** The best evaluation (`eval/reward`, else `eval/loss`), and the step after which it was; with early stopping the policy has these weights. */
  best?: { step: number; value: number };
};

/**
 * Trains `policy` by online reinforcement learning: samples completions, scores them, and follows the policy gradient of the chosen advantage
 * and loss (GRPO, RLOO, ReMax, REINFORCE, PPO and their kin); goes on from `run`'s last checkpoint if it has one.
 *
 * Log-probabilities that the loss compares come from the training path, at the temperature of sampling. With one update a batch the old ones are
 * the current ones without gradient, so that the ratio is exactly 1. Sums over tokens and sequences are divided by those of the whole update, so
 * that micro-batches cannot matter. Everything random is a function of seed and step.
 *
 * The loop is the same for completions, for episodes of several turns (`episodes`) and for a server that samples (`remotePolicy`).
 *
 * @throws ConfigError for a wrong setting; NonFiniteError for a reward that is not finite (naming it, the prompt and the sample) or a loss that is
 * not (naming the step and the prompts), once the state is saved; InterruptedError once the run's signal has fired and the state is saved
 */
export async function trainPolicy(settings: z.input<typeof PolicyTrainConfig>, training: PolicyTraining): Promise<PolicyResult> {
  const { policy, reference, critic, prompts, reward, shaper, run, evaluate, observe, onProgress, rollout = ownRollout } = training;
  const { morePrompts, advantage, afterUpdate } = training;
  const config = parsePolicyConfig(settings, policy);
  const loss = policyLoss(config.loss);
  const options = lossOptions(loss, config);
  if (config.klCoef > 0 && !reference)
    throw new ConfigError(
      `trainPolicy: klCoef is ${config.klCoef}, and there is no reference to measure the KL to; set klCoef to 0 or give one`,
    );
  if (prompts.steps < config.steps)
    throw new ConfigError(`trainPolicy: ${config.steps} steps are asked for, and the prompts are for ${prompts.steps}`);
  if (shaper && config.rewardAggregation === 'normalizeThenSum')
    throw new ConfigError('trainPolicy: normalizeThenSum normalizes each reward by itself; a shaper sees their sum');
  if (shaper && config.advantage.kind === 'a2po')
    throw new ConfigError('trainPolicy: advantage a2po compares rewards with those of the reference, which no shaper sees');
  if (advantage && critic) throw new ConfigError('trainPolicy: a critic is for advantage gae, and another advantage is given');
  if (morePrompts && !config.dynamicSampling) throw new ConfigError('trainPolicy: morePrompts are for dynamicSampling, which is off');
  if (critic && config.advantage.kind !== 'gae')
    throw new ConfigError(`trainPolicy: a critic is for advantage gae, not ${config.advantage.kind}`);
  if (!critic && !advantage && config.advantage.kind === 'gae')
    throw new ConfigError('trainPolicy: advantage gae needs a critic; createCritic(policy) makes one');
  const { earlyStopping, referenceSync } = config;
  if (earlyStopping && !(evaluate && config.evaluateEvery))
    throw new ConfigError('trainPolicy: earlyStopping looks at eval/reward or eval/loss; give evaluateEvery and a function that evaluates');
  const stopping = bestWeights(policy.parameters, {
    trainer: 'trainPolicy',
    watch: { 'eval/reward': 'higher', 'eval/loss': 'lower' },
    stop: earlyStopping,
  });
  const moving = referenceSync && movingReference(policy, reference);
  const updates = config.epochs * config.miniBatches;
  const weights = policy.parameters.trainable();
  const optimizer = adamW({ ...config, decays: matricesOf(policy.parameters) });
  const schedule = learningRateSchedule({ ...config.schedule, peak: config.learningRate, steps: config.steps * updates });
  const kl = klController({ coef: config.klCoef, target: config.klTarget, horizon: config.klHorizon });
  const entropy = entropyController(config.entropyCoef, config.adaptiveEntropy);
  const replay = config.replay && groupReplay(config.replay);
  const baseline = emaBaseline();
  const criticWeights = critic?.parameters.trainable() ?? [];
  const criticOptimizer = adamW(config);
  const criticSchedule = learningRateSchedule({
    ...config.schedule,
    peak: config.criticLearningRate ?? config.learningRate,
    steps: config.steps * updates,
  });
  const state = {
    policy: policy.parameters,
    optimizer,
    kl,
    baseline,
    ...(moving && { reference: moving.parameters }),
    ...(config.adaptiveEntropy && { entropy }),
    ...(replay && { replay }),
    ...(shaper && { shaper }),
    ...(critic && { critic: critic.parameters, criticOptimizer }),
    ...(evaluate && { stopping }),
  }; // all that a step changes
  try {
    let step = await run.restore(state);
    for (; step < config.steps && !stopping.over(); step++) {
      await saveIfAborted(run, step, state);
      const started = performance.now();
      const batch = await prompts.at(step);
      if (batch.prompts.length !== config.promptsPerStep)
        throw new ConfigError(
          `trainPolicy: promptsPerStep is ${config.promptsPerStep}, and the batches have ${batch.prompts.length} prompts`,
        );
      const rng = run.rng.fork('step', step);
      const before = { shaper: await shaper?.save(), baseline: await baseline.save(), replay: await replay?.save() };
      const undo = async () => {
        if (before.shaper) await shaper?.load(before.shaper);
        await baseline.load(before.baseline);
        if (before.replay) await replay?.load(before.replay);
      };
      const experience = await collect(batch, {
        critic,
        config,
        policy,
        reference,
        reward,
        shaper,
        rollout,
        morePrompts,
        advantage,
        replay,
        klCoef: kl.coef,
        baseline,
        rng,
        step,
        signal: run.signal,
        onProgress,
      }).catch(async (error) => {
        await undo();
        await run.save(step, state); // a judge that fails in hour nine loses nothing
        throw error;
      });
      if (!experience) {
        await saveIfAborted(run, step, state);
        continue;
      }
      const logged: Record<string, number>[] = [];
      for (let update = 0; update < updates; update++) {
        const sum = gradientSum(weights);
        const criticSum = gradientSum(criticWeights);
        const objective = {
          policy,
          experience,
          config,
          loss,
          options,
          klCoef: kl.coef,
          entropyCoef: entropy.coef,
          onPolicy: updates === 1 && !replay,
        };
        for (const [m, micro] of microsOf(experience, config, orderOf(experience, config, update, rng), loss.correctsSampler).entries()) {
          const draws = rng.fork('loss', update, m);
          sum.add(gradients(() => policyObjective({ ...objective, rng: draws }, micro), weights));
          if (critic) criticSum.add(gradients(() => valueObjective(critic, experience, config, micro), criticWeights));
        }
        const values = await sum.read(); // loss, gradNorm and metrics, in one transfer
        const { loss: valueLoss, gradNorm: criticNorm, ...criticValues } = critic ? await criticSum.read() : { loss: 0, gradNorm: 0 };
        if (!Number.isFinite(values.loss + values.gradNorm + valueLoss + criticNorm))
          await run.fail(step, { rows: batch.ids, values: { ...values, ...(critic && { 'value/loss': valueLoss }) } }, state);
        const at = step * updates + update;
        const learningRate = schedule(at);
        if (!critic || step >= config.criticWarmupSteps)
          optimizer.apply(sum.grads, { scale: clipScale(values.gradNorm, config.maxGradNorm), learningRate });
        if (critic)
          criticOptimizer.apply(criticSum.grads, { scale: clipScale(criticNorm, config.maxGradNorm), learningRate: criticSchedule(at) });
        sum.dispose();
        criticSum.dispose();
        logged.push({ ...values, ...criticValues, ...(critic && { 'value/loss': valueLoss }), learningRate });
      }
      const values = meanOf(logged);
      if (reference) kl.update(logged[0]['policy/klSequence'], experience.samples.length);
      entropy.update(values['policy/entropy']);
      const tokens = experience.samples.reduce((n, { tokens, prompt }) => n + prompt.length + tokens.length, 0);
      const tokensPerSecond = tokens / ((performance.now() - started) / 1000);
      if (moving && (step + 1) % referenceSync.every === 0) await synchroniseReference(policy, moving, referenceSync.mixup);
      const last = step + 1 === config.steps;
      const due = config.evaluateEvery && evaluate && ((step + 1) % config.evaluateEvery === 0 || last);
      const evaluation = due ? await evaluate(policy, step + 1) : {};
      if (due) await stopping.look(step + 1, evaluation);
      run.log(step, { ...experience.metrics, ...values, tokens, tokensPerSecond, ...evaluation });
      await afterUpdate?.(policy, step + 1);
      await observe?.(experience, step);
      await saveIfDue(run, step + 1, state, last || stopping.over());
    }
    await stopping.goBack();
    return { steps: step, ...(stopping.best() && { best: stopping.best() }) };
  } finally {
    optimizer.dispose();
    criticOptimizer.dispose();
  }
}

function movingReference(policy: Decoder, reference: Decoder | undefined): Decoder {
  if (!reference) throw new ConfigError('trainPolicy: referenceSync moves the reference, and there is none; policy.snapshot() is one');
  checkSynchronisable(policy, reference);
  return reference;
}

function lossOptions(loss: PolicyLossSpec<unknown>, config: PolicyTrainConfig): unknown {
  const parsed = loss.options.safeParse(config.lossOptions);
  if (!parsed.success) throw new ConfigError(`trainPolicy: lossOptions of ${config.loss}: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** Norm weights and biases, which have one axis, are not decayed. */
function matricesOf(parameters: ParameterTree): (name: string) => boolean {
  return (name) => parameters.get(name).shape.length > 1;
}

function meanOf(rows: readonly Record<string, number>[]): Record<string, number> {
  return Object.fromEntries(Object.keys(rows[0]).map((key) => [key, rows.reduce((sum, row) => sum + row[key], 0) / rows.length]));
}
