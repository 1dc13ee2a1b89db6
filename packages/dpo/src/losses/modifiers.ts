/** What may be put around any pair loss: options bound in advance, weights, length desensitization, mixtures. */
import { ConfigError, segmentMean, segmentSum, stopGradient } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { within } from './inputs.js';
import type { PairInputs, PairLossSpec, PairNeed, TokenLogps } from './types.js';

/** `loss` with some options set; the rest keep their defaults and may still be given by the trainer's `lossOptions`. */
export function withOptions<O extends object>(loss: PairLossSpec<O>, options: Partial<O>): PairLossSpec<O> {
  const bound = z.preprocess(
    (given) => ({ ...options, ...((given as object | undefined) ?? {}) }),
    loss.options,
  ) as unknown as z.ZodType<O>;
  const checked = bound.safeParse({});
  if (!checked.success) throw new ConfigError(`withOptions: ${z.prettifyError(checked.error)}`);
  return { ...loss, options: bound };
}

/**
 * Length-desensitized DPO (LD-DPO): within a pair both completions keep the first `min(|chosen|, |rejected|)` tokens whole; the tail of the
 * longer one counts `ldAlpha`, in policy and reference alike. 1 changes nothing, 0 cuts the tail off.
 *
 * Liu et al. 2024, arXiv:2409.06411; TRL `ld_alpha` (LLaMA-Factory applies it to the policy only). Lengths that a loss divides by stay whole.
 * @throws RangeError if ldAlpha is not in [0, 1]
 */
export function withLengthDesensitization<O>(loss: PairLossSpec<O>, ldAlpha: number): PairLossSpec<O> {
  if (!(ldAlpha >= 0 && ldAlpha <= 1)) throw new RangeError(`withLengthDesensitization: ldAlpha must be in [0, 1], got ${ldAlpha}`);
  const apply: PairLossSpec<O>['apply'] = (inputs, options) =>
    tf.tidy(() => {
      const { chosen, rejected } = tokensOf('withLengthDesensitization', inputs);
      const shared = chosen.lengths.map((length, pair) => Math.min(length, rejected.lengths[pair]));
      const sums = (side: TokenLogps, which: 'policy' | 'reference') => weightedSums(side[which]!, side.lengths, shared, ldAlpha);
      const policy = { chosen: sums(chosen, 'policy'), rejected: sums(rejected, 'policy') };
      if (!inputs.reference) return loss.apply({ ...inputs, policy }, options);
      return loss.apply(
        { ...inputs, policy, reference: { chosen: sums(chosen, 'reference'), rejected: sums(rejected, 'reference') } },
        options,
      );
    });
  return { ...loss, needs: union(loss.needs, ['tokens']), apply };
}

/**
 * Weighted preference optimization (WPO): the loss of each pair times `w(chosen)·w(rejected)`, detached, where
 * `w(y) = exp(mean_t[log p(y_t) − log Σ_v p(v)²])`: pairs that the policy itself would write count more. Weights may exceed 1.
 *
 * Zhou et al. 2024, arXiv:2406.11827; TRL `use_weighting`.
 * @throws ConfigError for a loss whose rows are not pairs (aot, aot_unpaired)
 */
export function withPolicyWeighting<O>(loss: PairLossSpec<O>): PairLossSpec<O> {
  if (loss.scope === 'batch')
    throw new ConfigError('withPolicyWeighting: the rows of a batch loss are not pairs; aot and aot_unpaired take no weights');
  const apply: PairLossSpec<O>['apply'] = (inputs, options) =>
    tf.tidy(() => {
      const { chosen, rejected } = tokensOf('withPolicyWeighting', inputs);
      const pairs = loss.apply(inputs, options);
      return { ...pairs, loss: tf.mul(pairs.loss, tf.mul(policyWeight(chosen), policyWeight(rejected))) };
    });
  return { ...loss, needs: union(loss.needs, ['tokens', 'squaredSum']), apply };
}

/** `w(y)` of `withPolicyWeighting`, without gradient, [pairs]. */
export function policyWeight({ policy, squaredSum, lengths }: TokenLogps): tf.Tensor1D {
  if (!squaredSum) throw new TypeError('policyWeight: squaredSum, the log of the sum of squared probabilities of each token, is required');
  return tf.tidy(() => {
    const x = tf.reshape(tf.sub(stopGradient(policy), stopGradient(squaredSum)), [-1, 1]) as tf.Tensor2D;
    return tf.exp(tf.reshape(segmentMean({ x }, { cuSeqlens: cuts(lengths) }).y, [-1]));
  });
}

export type MixturePart = { loss: PairLossSpec<unknown>; weight?: number; options?: Record<string, unknown> };

/**
 * A weighted sum of pair losses on the same pairs: TRL's `loss_type` list with `loss_weights`. Reported rewards are those of the first part that
 * has a reference, else of the first. Mixed preference optimization (arXiv:2411.10442) is sigmoid 0.8, bco_pair 0.2, sft 1.
 * @throws ConfigError where there is no part, a weight is not finite, or a part's options are wrong
 */
export function mixture(parts: readonly MixturePart[]): PairLossSpec<Record<string, never>> {
  if (parts.length === 0) throw new ConfigError('mixture: at least one loss is needed');
  const bound = parts.map(({ loss, weight = 1, options = {} }, i) => {
    if (!Number.isFinite(weight)) throw new ConfigError(`mixture: weight ${i} is ${weight}; it must be finite`);
    const parsed = loss.options.safeParse(options);
    if (!parsed.success) throw new ConfigError(`mixture: options of part ${i}: ${z.prettifyError(parsed.error)}`);
    return { loss, weight, options: parsed.data };
  });
  const reported = Math.max(
    0,
    bound.findIndex(({ loss }) => loss.needs.includes('reference')),
  );
  return {
    needs: union(...parts.map(({ loss }) => loss.needs)),
    scope: parts.some(({ loss }) => loss.scope === 'batch') ? 'batch' : 'pair',
    options: z.strictObject({}) as unknown as z.ZodType<Record<string, never>>,
    apply: (inputs) =>
      tf.tidy(() => {
        const values = bound.map(({ loss, options }) => loss.apply(inputs, options));
        const terms = values.map(({ loss }, i) => tf.mul(bound[i].weight, loss));
        return { ...values[reported], loss: tf.addN(terms) as tf.Tensor1D };
      }),
  };
}

/** Gap-aware weights of pairs: `power` `base^r_c − base^r_r`, `exp` `exp((r_c − r_r)/tau)`; `normalize` divides by their mean. */
export function gapWeights(
  scores: { chosen: ArrayLike<number>; rejected: ArrayLike<number> },
  form: { power: number; normalize?: boolean } | { tau: number; normalize?: boolean },
): Float32Array {
  if ('tau' in form) within('gapWeights', 'tau', form.tau, Number.MIN_VALUE, Number.POSITIVE_INFINITY);
  else within('gapWeights', 'power', form.power, Number.MIN_VALUE, Number.POSITIVE_INFINITY);
  const weights = Float64Array.from(scores.chosen, (c, i) =>
    'tau' in form ? Math.exp((c - scores.rejected[i]) / form.tau) : form.power ** c - form.power ** scores.rejected[i],
  );
  const mean = form.normalize ? weights.reduce((a, b) => a + b, 0) / weights.length : 1;
  return Float32Array.from(weights, (w) => w / mean);
}

function union(...lists: (readonly PairNeed[])[]): readonly PairNeed[] {
  return [...new Set(lists.flat())];
}

function tokensOf(where: string, { tokens }: PairInputs) {
  if (!tokens) throw new TypeError(`${where}: per-token log-probabilities are required`);
  return tokens;
}

function cuts(lengths: Int32Array): Int32Array {
  const cuSeqlens = new Int32Array(lengths.length + 1);
  for (let i = 0; i < lengths.length; i++) cuSeqlens[i + 1] = cuSeqlens[i] + lengths[i];
  return cuSeqlens;
}

function weightedSums(x: tf.Tensor1D, lengths: Int32Array, whole: Int32Array, tail: number): tf.Tensor1D {
  const cuSeqlens = cuts(lengths);
  const weights = new Float32Array(x.size).fill(1);
  lengths.forEach((_, i) => {
    weights.fill(tail, cuSeqlens[i] + whole[i], cuSeqlens[i + 1]);
  });
  return segmentSum({ x: tf.mul(x, tf.tensor1d(weights)) as tf.Tensor1D }, { cuSeqlens }).y;
}
