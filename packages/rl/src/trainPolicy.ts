import {
  adamW,
  ConfigError,
  clipScale,
  gradientSum,
  gradients,
  learningRateSchedule,
  type MetricName,
  type ParameterTree,
  type Run,
  saveIfAborted,
  stopGradient,
} from '@plumbline/core';
import type { Batches, Decoder, PromptBatch, PromptRecord, Shaper } from '@plumbline/data';
import type { LocalDecoder } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { emaBaseline } from './advantages/baselines.js';
import { aggregate, type StepCounts } from './aggregate.js';
import { type PolicyTrainConfig, parsePolicyConfig } from './config.js';
import { collect, type Experience, type Reward } from './experience.js';
import { klController, klEstimate } from './kl.js';
import { policyLoss } from './losses/index.js';
import type { PolicyLossSpec } from './losses/types.js';
import { entropyThreshold, samplingWeights } from './masks.js';
import { microBatches, rollout as ownRollout, packSamples } from './rollout.js';

export type PolicyTraining = {
  /** Its trainable parameters are changed in place. */
  policy: LocalDecoder;
  /** Frozen; needed where `klCoef` is above 0, and for the KL that is logged. */
  reference?: Decoder;
  prompts: Batches<PromptBatch<string | PromptRecord>>;
  reward: Reward;
  /** Where completions come from: the policy's own generator, unless a server or a recording takes its place. */
  rollout?: typeof ownRollout;
  /** Between the reward and the advantage. Reference rewards are read from a prompt's `meta.reference_rewards`. */
  shaper?: Shaper;
  run: Run;
  /** What it answers is logged with the step, under the names of core's `metrics`. */
  evaluate?: (policy: LocalDecoder, step: number) => Promise<Partial<Record<MetricName, number>>>;
  /** Sees every batch of samples, with scores and advantages, after the update. */
  observe?: (experience: Experience, step: number) => void | Promise<void>;
  onProgress?: (progress: { tokens: number; finished: number; total: number }) => void;
};

/**
 * Trains `policy` by online reinforcement learning: samples completions, scores them, and follows the policy gradient of the chosen advantage
 * and loss (GRPO, RLOO, ReMax, REINFORCE and their kin); goes on from `run`'s last checkpoint if it has one.
 *
 * Log-probabilities that the loss compares come from the training path, at the temperature of sampling. With one update a batch the old ones are
 * the current ones without gradient, so that the ratio is exactly 1. Sums over tokens and sequences are divided by those of the whole update, so
 * that micro-batches cannot matter. Everything random is a function of seed and step.
 *
 * @throws ConfigError for a wrong setting; NonFiniteError for a reward that is not finite (naming it, the prompt and the sample) or a loss that is
 * not (naming the step and the prompts), once the state is saved; InterruptedError once the run's signal has fired and the state is saved
 */
export async function trainPolicy(settings: z.input<typeof PolicyTrainConfig>, training: PolicyTraining): Promise<void> {
  const { policy, reference, prompts, reward, shaper, run, evaluate, observe, onProgress, rollout = ownRollout } = training;
  const config = parsePolicyConfig(settings);
  const loss = policyLoss(config.loss);
  const options = lossOptions(loss, config);
  if (config.klCoef > 0 && !reference)
    throw new ConfigError(
      `trainPolicy: klCoef is ${config.klCoef}, and there is no reference to measure the KL to; set klCoef to 0 or give one`,
    );
  if (prompts.steps < config.steps)
    throw new ConfigError(`trainPolicy: ${config.steps} steps are asked for, and the prompts are for ${prompts.steps}`);
  const updates = config.epochs * config.miniBatches;
  const weights = policy.parameters.trainable();
  const optimizer = adamW({ ...config, decays: matricesOf(policy.parameters) });
  const schedule = learningRateSchedule({ ...config.schedule, peak: config.learningRate, steps: config.steps * updates });
  const kl = klController({ coef: config.klCoef, target: config.klTarget, horizon: config.klHorizon });
  const baseline = emaBaseline();
  const state = { policy: policy.parameters, optimizer, kl, baseline, ...(shaper && { shaper }) }; // all that a step changes
  try {
    for (let step = await run.restore(state); step < config.steps; step++) {
      await saveIfAborted(run, step, state);
      const started = performance.now();
      const batch = await prompts.at(step);
      if (batch.prompts.length !== config.promptsPerStep)
        throw new ConfigError(
          `trainPolicy: promptsPerStep is ${config.promptsPerStep}, and the batches have ${batch.prompts.length} prompts`,
        );
      const rng = run.rng.fork('step', step);
      const before = { shaper: await shaper?.save(), baseline: await baseline.save() };
      const undo = async () => {
        if (before.shaper) await shaper?.load(before.shaper);
        await baseline.load(before.baseline);
      };
      const experience = await collect(batch, {
        config,
        policy,
        reference,
        reward,
        shaper,
        rollout,
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
        for (const micro of microsOf(experience, config, orderOf(experience, config, update, rng))) {
          sum.add(
            gradients(
              () => policyObjective({ policy, experience, config, loss, options, klCoef: kl.coef, onPolicy: updates === 1 }, micro),
              weights,
            ),
          );
        }
        const values = await sum.read(); // loss, gradNorm and metrics, in one transfer
        if (!Number.isFinite(values.loss + values.gradNorm)) await run.fail(step, { rows: batch.ids, values }, state);
        const learningRate = schedule(step * updates + update);
        optimizer.apply(sum.grads, { scale: clipScale(values.gradNorm, config.maxGradNorm), learningRate });
        sum.dispose();
        logged.push({ ...values, learningRate });
      }
      const values = meanOf(logged);
      if (reference) kl.update(logged[0]['policy/klSequence'], experience.samples.length);
      const tokens = experience.samples.reduce((n, { tokens, prompt }) => n + prompt.length + tokens.length, 0);
      const tokensPerSecond = tokens / ((performance.now() - started) / 1000);
      const last = step + 1 === config.steps;
      const evaluation =
        config.evaluateEvery && evaluate && ((step + 1) % config.evaluateEvery === 0 || last) ? await evaluate(policy, step + 1) : {};
      run.log(step, { ...experience.metrics, ...values, tokens, tokensPerSecond, ...evaluation });
      await observe?.(experience, step);
      if ((step + 1) % run.saveEvery === 0 || (last && Number.isFinite(run.saveEvery))) await run.save(step + 1, state);
    }
  } finally {
    optimizer.dispose();
  }
}

type Objective = {
  policy: Decoder;
  experience: Experience;
  config: PolicyTrainConfig;
  loss: PolicyLossSpec<unknown>;
  options: unknown;
  klCoef: number;
  /** One update a batch: the policy is still the one that sampled. */
  onPolicy: boolean;
};
/** Samples of a micro-batch, what their tokens count, and the numbers of the whole update. */
type Micro = { indices: number[]; mask: Float32Array; weights?: Float32Array; counts: StepCounts };

/** The loss of one micro-batch and the step's metrics, as sums that add up over the micro-batches of the update. */
function policyObjective(
  { policy, experience, config, loss, options, klCoef, onPolicy }: Objective,
  { indices, mask, weights, counts }: Micro,
) {
  const { samples, advantages, oldLogps, refLogps } = experience;
  const perToken = (values: (i: number) => ArrayLike<number> | number) => {
    const rows = indices.map((i) => ({ value: values(i), length: samples[i].tokens.length }));
    return tf.tensor1d(
      Float32Array.from(
        rows.flatMap(({ value, length }) => (typeof value === 'number' ? Array<number>(length).fill(value) : Array.from(value))),
      ),
    );
  };
  const out = policy.completionLogps(packSamples(samples, indices), { temperature: config.temperature, entropy: true });
  const completionMask = tf.tensor1d(mask.slice());
  const seqIds = tf.tensor1d(Int32Array.from(indices.flatMap((i, s) => Array<number>(samples[i].tokens.length).fill(s))), 'int32');
  const old = onPolicy ? stopGradient(out.tokens) : perToken((i) => oldLogps![i]);
  const {
    loss: x,
    ratio,
    clipped,
  } = loss.apply(
    { logps: out.tokens, oldLogps: old, advantages: perToken((i) => advantages[i]), completionMask, seqIds, sequences: indices.length },
    options,
  );
  let total: tf.Tensor1D = weights ? tf.mul(x, tf.tensor1d(weights.slice())) : x;
  const reference = refLogps && perToken((i) => refLogps[i]);
  if (reference && config.klIn === 'loss' && klCoef > 0) {
    const estimate = klEstimate(out.tokens, reference, config.klEstimator ?? 'k3');
    total = tf.add(total, tf.mul(klCoef, config.biasCorrectedKl ? tf.mul(ratio, estimate) : estimate));
  }
  const add = (values: tf.Tensor1D) =>
    aggregate(values, completionMask, seqIds, config.aggregation ?? loss.aggregation, { ...counts, maxCompletionLength: config.maxTokens });
  const tokenMean = (values: tf.Tensor1D): tf.Scalar => tf.div(tf.sum(tf.mul(completionMask, values)), counts.tokensInStep);
  const entropy = tokenMean(out.entropy!);
  const loss_ = add(total);
  const detached = stopGradient(out.tokens);
  return {
    loss: (config.entropyCoef === 0 ? loss_ : tf.sub(loss_, tf.mul(config.entropyCoef, entropy))) as tf.Scalar,
    metrics: {
      'policy/loss': add(stopGradient(x)),
      'policy/entropy': stopGradient(entropy),
      'policy/ratio': tokenMean(stopGradient(ratio)),
      'policy/clipFraction': tokenMean(clipped),
      'policy/samplerGap': tokenMean(
        tf.abs(
          tf.sub(
            old,
            perToken((i) => samples[i].samplingLogps),
          ),
        ),
      ),
      ...(reference && {
        'policy/kl': tokenMean(klEstimate(detached, reference, 'k3')),
        'policy/klSequence': tf.div(tf.sum(tf.mul(completionMask, tf.sub(detached, reference))), counts.sequencesInStep) as tf.Scalar,
      }),
    },
  };
}

/** Cuts the samples of one update into micro-batches and counts what the update's sums are divided by. */
function microsOf({ samples, oldLogps, entropies }: Experience, config: PolicyTrainConfig, order: ArrayLike<number>): Micro[] {
  const counts = (i: number) => (config.maskTruncated && samples[i].finish !== 'stop' ? 0 : 1);
  const active = Array.from(order).filter((i) => counts(i) === 1 && samples[i].tokens.length > 0);
  if (active.length === 0)
    throw new ConfigError('trainPolicy: no completion of the update counts: all were cut short (maskTruncated); raise maxTokens');
  const tokensInStep = active.reduce((n, i) => n + samples[i].tokens.length, 0);
  const threshold =
    entropies &&
    entropyThreshold(
      active.flatMap((i) => Array.from(entropies[i])),
      new Uint8Array(tokensInStep).fill(1),
      config.topEntropyQuantile,
    );
  const batches = microBatches(samples, active, config.tokensPerMicroBatch);
  return batches.map((indices) => {
    const flat = (f: (i: number) => ArrayLike<number>) => indices.flatMap((i) => Array.from(f(i)));
    const ones = flat((i) => new Float32Array(samples[i].tokens.length).fill(1));
    const kept = threshold === undefined ? ones : flat((i) => entropies![i].map((h) => (h >= threshold ? 1 : 0)));
    const corrections = config.samplingCorrection
      ? samplingWeights(
          flat((i) => oldLogps![i]),
          flat((i) => samples[i].samplingLogps),
          flat((i) => new Int32Array(samples[i].tokens.length).fill(i)),
          config.samplingCorrection,
        )
      : ones;
    return {
      indices,
      mask: Float32Array.from(ones),
      ...((threshold !== undefined || config.samplingCorrection) && { weights: Float32Array.from(kept, (m, t) => m * corrections[t]) }),
      counts: { tokensInStep, sequencesInStep: active.length, sequences: indices.length, microBatches: batches.length },
    };
  });
}

/** Samples of an update, in their order; with several updates a pass, a permutation of the batch is cut into that many parts. */
function orderOf({ samples }: Experience, { miniBatches }: PolicyTrainConfig, update: number, rng: Run['rng']): ArrayLike<number> {
  if (miniBatches === 1) return samples.map((_, i) => i);
  const size = samples.length / miniBatches;
  const epoch = Math.floor(update / miniBatches);
  const part = update % miniBatches;
  return rng
    .fork('order', epoch)
    .permutation(samples.length)
    .subarray(part * size, (part + 1) * size);
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
