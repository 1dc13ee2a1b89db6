/** TRL's own policy losses, metrics and gradients on random completions, in double precision. */

import { fixturePath, largestError, readFixture } from '@plumbline/tools/fixtures';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { gae, whiten } from '../advantages/temporal.js';
import { aggregate } from '../aggregate.js';
import { klEstimate } from '../kl.js';
import { entropyThreshold, offPolicyMask } from '../masks.js';
import { tokenRewards } from '../rewards.js';
import { tokensOf, valueAndGrad } from '../testing/tokens.js';
import { clippedPolicyLoss } from './clipped.js';
import { type PolicyLossName, policyLoss } from './index.js';
import { clippedValueLoss } from './value.js';

type Config = {
  loss_type: PolicyLossName;
  importance_sampling_level?: 'token' | 'sequence';
  epsilon: number;
  epsilon_high: number | null;
  delta: number | null;
  beta: number;
  use_bias_correction_kl?: boolean;
  top_entropy_quantile?: number;
  off_policy_mask_threshold?: number | null;
  sapo_temperature_pos: number;
  sapo_temperature_neg: number;
  vespo_k_pos: number;
  vespo_lambda_pos: number;
  vespo_k_neg: number;
  vespo_lambda_neg: number;
  max_completion_length: number;
  old_logps: boolean;
  tool_mask: boolean;
  gradient_accumulation_steps: number;
  steps_per_generation: number;
  entropy_coef: number;
  sampling_logps: boolean;
};
type Case = { config: Config; loss: number; grad_logps: number[][]; metrics: Record<string, number> };
type Inputs = {
  lengths: number[];
  mask: number[][];
  tool_mask: number[][];
  old: number[][];
  new: number[][];
  ref: number[][];
  entropy: number[][];
  sampling: number[][];
  advantages: number[];
};

const why = (path: string | undefined) => (path ? '' : ' (skipped: the reference numbers are not in this checkout)');

function optionsOf(c: Config): Record<string, unknown> {
  const level = c.importance_sampling_level ?? 'token';
  switch (c.loss_type) {
    case 'cispo':
      return { epsilonHigh: c.epsilon_high, level };
    case 'sapo':
      return { temperaturePos: c.sapo_temperature_pos, temperatureNeg: c.sapo_temperature_neg, level };
    case 'vespo':
      return { kPos: c.vespo_k_pos, lambdaPos: c.vespo_lambda_pos, kNeg: c.vespo_k_neg, lambdaNeg: c.vespo_lambda_neg };
    case 'gmpo':
      return { epsilon: c.epsilon };
    case 'reinforce':
    case 'kl_cov':
    case 'clip_cov':
    case 'kl_penalty':
    case 'a2po': // no cases of these
      return {};
    case 'grpo':
    case 'bnpo':
    case 'dr_grpo':
    case 'dapo':
    case 'luspo':
    case 'rloo':
      return {
        epsilon: c.epsilon,
        ...(c.epsilon_high !== null && { epsilonHigh: c.epsilon_high }),
        ...(c.delta !== null && { delta: c.delta }),
        level,
      };
  }
}

const grpoPath = fixturePath('losses/grpo.json');
describe.skipIf(!grpoPath)(`grpo.json${why(grpoPath)}`, () => {
  if (!grpoPath) return;
  const { inputs, cases } = readFixture<{ inputs: Inputs; cases: Record<string, Case> }>(grpoPath);
  for (const [title, { config, loss, grad_logps, metrics }] of Object.entries(cases))
    it(title, async () => {
      const cut = (rows: number[][]) => rows.map((row, i) => row.slice(0, inputs.lengths[i]));
      const logps = cut(inputs.new);
      const mask = cut(config.tool_mask ? inputs.mask.map((row, i) => row.map((m, t) => m * inputs.tool_mask[i][t])) : inputs.mask);
      const oldLogps = config.old_logps === false ? logps : cut(inputs.old);
      const rest = tokensOf({ logps, oldLogps, advantages: inputs.advantages, mask });
      const entropies = cut(inputs.entropy).flat();
      const active = mask.flat();
      let weights = active.map(() => 1);
      if ((config.top_entropy_quantile ?? 1) < 1) {
        const threshold = entropyThreshold(entropies, active, config.top_entropy_quantile!);
        weights = weights.map((w, i) => (entropies[i] >= threshold ? w : 0));
      }
      if (config.off_policy_mask_threshold != null) {
        const from = config.sampling_logps ? cut(inputs.sampling) : oldLogps;
        const drift = logps.map((row, i) => {
          const n = mask[i].reduce((a, b) => a + b, 0);
          return row.reduce((sum, x, t) => sum + mask[i][t] * (from[i][t] - x), 0) / Math.max(1, n);
        });
        const kept = offPolicyMask(drift, inputs.advantages, config.off_policy_mask_threshold);
        const keptTokens = logps.flatMap((row, i) => row.map(() => kept[i]));
        weights = weights.map((w, i) => w * keptTokens[i]);
      }
      const spec = policyLoss(config.loss_type);
      const tokensInStep = active.reduce((a, b) => a + b, 0);
      // luspo insists on a ratio per sequence; TRL lets it be formed per token too
      const parse = config.loss_type === 'luspo' ? policyLoss('grpo') : spec;
      const options = parse.options.parse(optionsOf(config));
      let clippedShare = 0;
      const ours = await valueAndGrad((x) => {
        const result = spec.apply({ ...rest, logps: x }, options);
        clippedShare = tf.tidy(() => tf.sum(result.clipped)).dataSync()[0] / tokensInStep;
        let total: tf.Tensor1D = tf.mul(result.loss, tf.tensor1d(weights));
        if (config.beta > 0) {
          const kl = klEstimate(x, tf.tensor1d(cut(inputs.ref).flat()));
          total = tf.add(total, tf.mul(config.beta, config.use_bias_correction_kl ? tf.mul(result.ratio, kl) : kl));
        }
        return aggregate(total, rest.completionMask, rest.seqIds, spec.aggregation, {
          tokensInStep,
          sequencesInStep: logps.length,
          sequences: logps.length,
          maxCompletionLength: config.max_completion_length,
        });
      }, logps.flat());
      // what TRL's trainer divides by when a generation is spread over several backward passes
      const accumulated = config.gradient_accumulation_steps ?? 1;
      const scale = ['dapo', 'cispo', 'vespo'].includes(config.loss_type)
        ? (config.steps_per_generation ?? 1) / accumulated
        : 1 / accumulated;
      const bonus = (config.entropy_coef ?? 0) * (entropies.reduce((sum, h, i) => sum + h * active[i], 0) / tokensInStep);
      expect(Math.abs(scale * ours.value - bonus - loss) / (1 + Math.abs(loss))).toBeLessThan(1e-5);
      expect(
        largestError(
          ours.grad.map((g) => g * scale),
          cut(grad_logps).flat(),
        ),
      ).toBeLessThan(1e-5);
      if (
        'clip_ratio/region_mean' in metrics &&
        ['grpo', 'dapo', 'bnpo', 'dr_grpo'].includes(config.loss_type) &&
        config.importance_sampling_level === 'token'
      )
        expect(Math.abs(clippedShare - metrics['clip_ratio/region_mean'])).toBeLessThan(1e-5);
      tf.dispose(rest);
    });
});

const rlooPath = fixturePath('losses/rloo.json');
describe.skipIf(!rlooPath)(`rloo.json${why(rlooPath)}`, () => {
  if (!rlooPath) return;
  const { inputs, cases } = readFixture<{
    inputs: { logps: number[]; old_logps: number[]; advantages: number[] };
    cases: Record<
      string,
      { config: { epsilon: number; epsilon_high: number }; loss: number; grad_sequence_logps: number[]; metrics: Record<string, number> }
    >;
  }>(rlooPath);
  for (const [title, { config, loss, grad_sequence_logps }] of Object.entries(cases))
    it(title, async () => {
      const rows = (x: number[]) => x.map((v) => [v]);
      const rest = tokensOf({ logps: rows(inputs.logps), oldLogps: rows(inputs.old_logps), advantages: inputs.advantages });
      const n = inputs.logps.length;
      const ours = await valueAndGrad(
        (logps) =>
          aggregate(
            clippedPolicyLoss({ ...rest, logps }, { epsilon: config.epsilon, epsilonHigh: config.epsilon_high, level: 'sequence_sum' })
              .loss,
            rest.completionMask,
            rest.seqIds,
            'seq-mean-token-mean',
            { tokensInStep: n, sequencesInStep: n, sequences: n },
          ),
        inputs.logps,
      );
      expect(Math.abs(ours.value - loss)).toBeLessThan(1e-5);
      expect(largestError(ours.grad, grad_sequence_logps)).toBeLessThan(1e-5);
      tf.dispose(rest);
    });
});

type PpoCase = {
  config: {
    kl: 'k1' | 'k3';
    kl_coef: number;
    gamma: number;
    lam: number;
    whiten_rewards: boolean;
    cliprange: number;
    cliprange_value: number;
    vf_coef: number;
  };
  rewards: number[][];
  advantages: number[][];
  returns: number[][];
  whitened_advantages: number[][];
  policy_loss: number;
  value_loss: number;
  loss: number;
  grad_logps: number[][];
  grad_values: number[][];
  clip_fraction: number;
};
type PpoInputs = {
  lengths: number[];
  old_logps: number[][];
  new_logps: number[][];
  ref_logps: number[][];
  values: number[][];
  new_values: number[][];
  scores: number[];
};
const ppoPath = fixturePath('losses/ppo.json');
describe.skipIf(!ppoPath)(`ppo.json${why(ppoPath)}`, () => {
  if (!ppoPath) return;
  const { inputs, cases } = readFixture<{ inputs: PpoInputs; cases: Record<string, PpoCase> }>(ppoPath);
  for (const [title, expected] of Object.entries(cases))
    it(title, async () => {
      const { config } = expected;
      const cut = (rows: number[][]) => rows.map((row, i) => row.slice(0, inputs.lengths[i]));
      const regroup = (flat: ArrayLike<number>) => {
        let at = 0;
        return inputs.lengths.map((n) => Array.from({ length: n }, () => flat[at++]));
      };
      const old = cut(inputs.old_logps);
      let rewards = old.map((row, i) =>
        Array.from(
          tokenRewards(inputs.scores[i], row, inputs.ref_logps[i].slice(0, row.length), { klCoef: config.kl_coef, estimator: config.kl }),
        ),
      );
      if (config.whiten_rewards) rewards = regroup(whiten(rewards.flat(), undefined, { shift: false }));
      expect(largestError(rewards.flat(), cut(expected.rewards).flat())).toBeLessThan(1e-7);
      const estimates = rewards.map((row, i) =>
        gae(row, inputs.values[i].slice(0, row.length), { gamma: config.gamma, lambda: config.lam }),
      );
      expect(
        largestError(
          estimates.flatMap((e) => Array.from(e.advantages)),
          cut(expected.advantages).flat(),
        ),
      ).toBeLessThan(1e-7);
      expect(
        largestError(
          estimates.flatMap((e) => Array.from(e.returns)),
          cut(expected.returns).flat(),
        ),
      ).toBeLessThan(1e-7);
      const advantages = whiten(estimates.flatMap((e) => Array.from(e.advantages)));
      expect(largestError(advantages, cut(expected.whitened_advantages).flat())).toBeLessThan(1e-7);
      const n = advantages.length;
      const rest = {
        ...tokensOf({ logps: old, oldLogps: old, advantages: inputs.scores }),
        advantages: tf.tensor1d(Array.from(advantages)),
      };
      const policy = await valueAndGrad(
        (logps) => tf.tidy(() => tf.div(tf.sum(clippedPolicyLoss({ ...rest, logps }, { epsilon: config.cliprange }).loss), n)),
        cut(inputs.new_logps).flat(),
      );
      expect(Math.abs(policy.value - expected.policy_loss)).toBeLessThan(1e-5);
      expect(largestError(policy.grad, cut(expected.grad_logps).flat())).toBeLessThan(1e-5);
      const of = (x: ArrayLike<number>) => tf.tensor1d(Array.from(x));
      const fixed = {
        oldValues: of(cut(inputs.values).flat()),
        returns: of(estimates.flatMap((e) => Array.from(e.returns))),
        completionMask: rest.completionMask,
      };
      const value = await valueAndGrad(
        (values) =>
          tf.tidy(() => tf.div(tf.sum(clippedValueLoss({ values, ...fixed }, { clipRangeValue: config.cliprange_value }).loss), n)),
        cut(inputs.new_values).flat(),
      );
      expect(Math.abs(value.value - expected.value_loss)).toBeLessThan(1e-5);
      expect(
        largestError(
          value.grad.map((g) => config.vf_coef * g),
          cut(expected.grad_values).flat(),
        ),
      ).toBeLessThan(1e-5);
      expect(Math.abs(policy.value + config.vf_coef * value.value - expected.loss)).toBeLessThan(1e-5);
    });
});
