/** The objective of one micro-batch, and how a batch of experience is cut into updates and micro-batches. */
import { ConfigError, type Rng, stopGradient } from '@plumbline/core';
import type { Decoder } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { aggregate, type StepCounts } from './aggregate.js';
import type { PolicySettings, PolicyTrainConfig } from './config.js';
import type { Critic } from './critic.js';
import type { Experience } from './experience.js';
import { klEstimate } from './kl.js';
import { onTokens, sequenceLengths, sequenceSums } from './losses/ratio.js';
import type { PolicyLossSpec, TokenLosses } from './losses/types.js';
import { clippedValueLoss } from './losses/value.js';
import { entropyThreshold, samplingWeights } from './masks.js';
import { countOf, microBatches, packSamples, type RolloutSample } from './rollout/generate.js';

export type Objective = {
  policy: Decoder;
  experience: Experience;
  config: PolicySettings;
  loss: PolicyLossSpec<unknown>;
  options: unknown;
  klCoef: number;
  entropyCoef: number;
  /** For losses that draw. */
  rng: Rng;
  /** One update a batch: the policy is still the one that sampled. */
  onPolicy: boolean;
};
/** Samples of a micro-batch, what their tokens count, and the numbers of the whole update. */
export type Micro = {
  indices: number[];
  mask: Float32Array;
  /** Of tokens: the entropy mask, and the correction for the sampler unless the loss takes `samplingLogRatio` itself, [sequences]. */
  weights?: Float32Array;
  samplingLogRatio?: Float32Array;
  counts: StepCounts;
};

/** The loss of one micro-batch and the step's metrics, as sums that add up over the micro-batches of the update. */
export function policyObjective(
  { policy, experience, config, loss, options, klCoef, entropyCoef, rng, onPolicy }: Objective,
  { indices, mask, weights, samplingLogRatio, counts }: Micro,
) {
  const { samples, advantages, perToken: estimates, oldLogps, refLogps } = experience;
  const perToken = (values: (i: number) => ArrayLike<number> | number) => {
    const rows = indices.map((i) => ({ value: values(i), length: countOf(samples[i]) }));
    return tf.tensor1d(
      Float32Array.from(
        rows.flatMap(({ value, length }) => (typeof value === 'number' ? Array<number>(length).fill(value) : Array.from(value))),
      ),
    );
  };
  const out = policy.completionLogps(packSamples(samples, indices, config.sharePrompts), {
    temperature: config.temperature,
    entropy: true,
  });
  const completionMask = tf.tensor1d(mask.slice());
  const seqIds = tf.tensor1d(Int32Array.from(indices.flatMap((i, s) => Array<number>(countOf(samples[i])).fill(s))), 'int32');
  const old = onPolicy ? stopGradient(out.tokens) : perToken((i) => oldLogps![i]);
  const reference = refLogps && perToken((i) => refLogps[i]);
  const tokens: TokenLosses = {
    ...(reference && { refLogps: reference }),
    ...(samplingLogRatio && { samplingLogRatio: tf.tensor1d(samplingLogRatio.slice()) }),
    logps: out.tokens,
    oldLogps: old,
    advantages: perToken((i) => estimates?.advantages[i] ?? advantages[i]),
    completionMask,
    seqIds,
    sequences: indices.length,
  };
  const { loss: x, ratio, clipped } = loss.apply(tokens, options, rng);
  let total: tf.Tensor1D = weights ? tf.mul(x, tf.tensor1d(weights.slice())) : x;
  if (config.offPolicyMaskThreshold !== undefined) total = tf.mul(total, keptOnPolicy(tokens, config.offPolicyMaskThreshold));
  if (reference && config.klIn === 'loss' && klCoef > 0) {
    const estimate = klEstimate(out.tokens, reference, config.klEstimator ?? 'k3');
    total = tf.add(total, tf.mul(klCoef, config.biasCorrectedKl ? tf.mul(ratio, estimate) : estimate));
  }
  const add = (values: tf.Tensor1D) =>
    aggregate(values, completionMask, seqIds, config.aggregation ?? loss.aggregation, { ...counts, maxCompletionLength: config.maxTokens });
  const tokenMean = (values: tf.Tensor1D): tf.Scalar => tf.div(tf.sum(tf.mul(completionMask, values)), counts.tokensInStep);
  const entropy = tokenMean(out.entropy!);
  const detached = stopGradient(out.tokens);
  return {
    loss: (entropyCoef === 0 ? add(total) : tf.sub(add(total), tf.mul(entropyCoef, entropy))) as tf.Scalar,
    metrics: {
      'policy/loss': add(stopGradient(x)),
      'policy/entropy': stopGradient(entropy),
      'policy/ratio': tokenMean(stopGradient(ratio)),
      'policy/clipFraction': tokenMean(clipped),
      ...(indices.every((i) => knowsSampler(samples[i])) && {
        'policy/samplerGap': tokenMean(
          tf.abs(
            tf.sub(
              old,
              perToken((i) => samples[i].samplingLogps),
            ),
          ),
        ),
      }),
      ...(reference && {
        'policy/kl': tokenMean(klEstimate(detached, reference, 'k3')),
        'policy/klSequence': tf.div(tf.sum(tf.mul(completionMask, tf.sub(detached, reference))), counts.sequencesInStep) as tf.Scalar,
      }),
    },
  };
}

/** `offPolicyMask` on the tape's side, without gradient: 1 on the tokens of sequences that are kept, [tokens]. */
function keptOnPolicy(tokens: TokenLosses, threshold: number): tf.Tensor1D {
  const moved: tf.Tensor1D = tf.mul(tokens.completionMask, tf.sub(tokens.oldLogps, stopGradient(tokens.logps)));
  const drift = onTokens(tf.div(sequenceSums(moved, tokens), sequenceLengths(tokens)) as tf.Tensor1D, tokens);
  return tf.cast(tf.logicalOr(tf.greaterEqual(tokens.advantages, 0), tf.lessEqual(drift, threshold)), 'float32');
}

/** The critic's loss on one micro-batch: a mean over the update's tokens. */
export function valueObjective(
  critic: Critic,
  { samples, perToken }: Experience,
  { clipRangeValue, sharePrompts }: PolicyTrainConfig,
  { indices, mask, counts }: Micro,
) {
  const flat = (rows: readonly ArrayLike<number>[]) => tf.tensor1d(Float32Array.from(indices.flatMap((i) => Array.from(rows[i]))));
  const { loss, clipped } = clippedValueLoss(
    {
      values: critic.values(packSamples(samples, indices, sharePrompts)),
      oldValues: flat(perToken!.values!),
      returns: flat(perToken!.returns!),
      completionMask: tf.tensor1d(mask.slice()),
    },
    { clipRangeValue },
  );
  const mean = (x: tf.Tensor1D): tf.Scalar => tf.div(tf.sum(x), counts.tokensInStep);
  return { loss: mean(loss), metrics: { 'value/clipFraction': mean(clipped) } };
}

/** Cuts the samples of one update into micro-batches and counts what the update's sums are divided by. */
export function microsOf(
  { samples, oldLogps, entropies, excluded }: Experience,
  config: PolicySettings,
  order: ArrayLike<number>,
  correctsSampler = false,
): Micro[] {
  const counts = (i: number) => excluded[i] === 0 && !(config.maskTruncated && samples[i].finish !== 'stop');
  const active = Array.from(order).filter((i) => counts(i) && countOf(samples[i]) > 0);
  if (active.length === 0)
    throw new ConfigError('trainPolicy: no completion of the update counts: all were cut short (maskTruncated) or empty; raise maxTokens');
  const tokensInStep = active.reduce((n, i) => n + countOf(samples[i]), 0);
  const threshold =
    entropies &&
    entropyThreshold(
      active.flatMap((i) => Array.from(entropies[i])),
      new Uint8Array(tokensInStep).fill(1),
      config.topEntropyQuantile,
    );
  const silent = config.samplingCorrection && active.find((i) => !knowsSampler(samples[i]));
  if (silent !== undefined)
    throw new ConfigError('trainPolicy: samplingCorrection needs the log-probabilities of the sampler, and it gave none');
  const batches = microBatches(samples, active, config);
  return batches.map((indices) => {
    const flat = (f: (i: number) => ArrayLike<number>) => indices.flatMap((i) => Array.from(f(i)));
    const ones = flat((i) => new Float32Array(countOf(samples[i])).fill(1));
    const kept = threshold === undefined ? ones : flat((i) => entropies![i].map((h) => (h >= threshold ? 1 : 0)));
    const corrections = config.samplingCorrection
      ? samplingWeights(
          flat((i) => oldLogps![i]),
          flat((i) => samples[i].samplingLogps),
          flat((i) => new Int32Array(countOf(samples[i])).fill(i)),
          config.samplingCorrection,
        )
      : ones;
    return {
      indices,
      mask: Float32Array.from(ones),
      ...(correctsSampler && config.samplingCorrection
        ? {
            samplingLogRatio: sequenceLogs(corrections, indices, samples, config.samplingCorrection.mode.startsWith('token')),
            ...(threshold !== undefined && { weights: Float32Array.from(kept) }),
          }
        : (threshold !== undefined || config.samplingCorrection) && { weights: Float32Array.from(kept, (m, t) => m * corrections[t]) }),
      counts: {
        tokensInStep,
        sequencesInStep: config.countEmptySequences ? order.length : active.length,
        sequences: indices.length,
        microBatches: batches.length,
      },
    };
  });
}

/** Logs of corrections, summed over each sequence's tokens, or as they stand on its first where they are the sequence's; one of 0 is as good as gone. */
function sequenceLogs(
  corrections: ArrayLike<number>,
  indices: readonly number[],
  samples: readonly RolloutSample[],
  perToken: boolean,
): Float32Array {
  let at = 0;
  return Float32Array.from(indices, (i) => {
    const n = countOf(samples[i]);
    let sum = 0;
    for (let t = 0; t < (perToken ? n : 1); t++) sum += Math.log(Math.max(1e-8, corrections[at + t]));
    at += n;
    return sum;
  });
}

/** Whether the sampler said how likely each token was. */
const knowsSampler = (sample: RolloutSample): boolean => sample.samplingLogps.length === countOf(sample);

/** Samples of an update, in their order; with several updates a pass, a permutation of the batch is cut into that many parts. */
export function orderOf({ samples }: Experience, { miniBatches }: PolicyTrainConfig, update: number, rng: Rng): ArrayLike<number> {
  if (miniBatches === 1) return samples.map((_, i) => i);
  const epoch = Math.floor(update / miniBatches);
  const border = (part: number) => Math.round((part * samples.length) / miniBatches);
  const part = update % miniBatches;
  return rng
    .fork('order', epoch)
    .permutation(samples.length)
    .subarray(border(part), border(part + 1));
}
