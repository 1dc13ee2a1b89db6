/** Values and gradients on the two sequences of F, computed in double precision from the papers' formulas. */
import { readCopy, rng, tokenLogps } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { type Aggregation, aggregate } from '../aggregate.js';
import { klController, klEstimate, klValue } from '../kl.js';
import { adaptEntropyCoef, entropyThreshold, offPolicyMask, samplingWeights } from '../masks.js';
import { distinctNgrams, missingEosPenalty, repetitionPenalty, softOverlongPenalty, tokenRewards } from '../rewards.js';
import { F, type Rows, tokensOf, valueAndGrad } from '../testing/tokens.js';
import { cispoLoss } from './cispo.js';
import { clippedPolicyLoss } from './clipped.js';
import { clipCovCandidates, clipCovLoss, klCovLoss, tokenCovariance } from './covariance.js';
import { gmpoLoss } from './gmpo.js';
import { type PolicyLossName, policyLoss, policyLosses } from './index.js';
import { ratioOf } from './ratio.js';
import { reinforceLoss } from './reinforce.js';
import { sapoLoss } from './sapo.js';
import type { PolicyLoss, TokenLosses } from './types.js';
import { adaptKlPenalty, clippedValueLoss, klPenaltyLoss } from './value.js';
import { vespoLoss } from './vespo.js';

const close = (ours: ArrayLike<number>, theirs: ArrayLike<number>, tolerance = 1e-5) => {
  expect(ours.length).toBe(theirs.length);
  for (let i = 0; i < theirs.length; i++)
    expect(Math.abs(ours[i] - theirs[i]), `entry ${i} of ${Array.from(ours)}`).toBeLessThan(tolerance);
};

type Setting = { how: Aggregation; rows?: Rows; klCoef?: number; biasCorrection?: boolean; weights?: number[]; counts?: object };

/** Loss and gradient with respect to the log-probabilities, aggregated. */
async function onF(loss: (t: TokenLosses) => PolicyLoss, { how, rows = F, klCoef = 0, biasCorrection = false, weights, counts }: Setting) {
  const rest = tokensOf(rows);
  const active = (rows.mask ?? rows.logps.map((r) => r.map(() => 1))).map((r) => r.reduce((a, b) => a + b, 0));
  const result = await valueAndGrad((logps) => {
    const t = { ...rest, logps };
    const { loss: x, ratio } = loss(t);
    let total: tf.Tensor1D = weights ? tf.mul(x, tf.tensor1d(weights)) : x;
    if (klCoef > 0) {
      const kl = klEstimate(logps, tf.tensor1d(F.ref.flat()));
      total = tf.add(total, tf.mul(klCoef, biasCorrection ? tf.mul(ratio, kl) : kl));
    }
    return aggregate(total, rest.completionMask, rest.seqIds, how, {
      tokensInStep: active.reduce((a, b) => a + b, 0),
      sequencesInStep: active.filter((n) => n > 0).length,
      sequences: rows.logps.length,
      maxCompletionLength: 4,
      ...counts,
    });
  }, rows.logps.flat());
  tf.dispose(rest);
  return result;
}

/** They hold back tokens by a comparison within the micro-batch. */
const overTheBatch: readonly PolicyLossName[] = ['kl_cov', 'clip_cov'];

describe('policy losses on F', () => {
  const clip =
    (options = {}) =>
    (t: TokenLosses) =>
      clippedPolicyLoss(t, options);
  const three = (a: number, b: number) => [a, a, a, b, b];
  const cases: [string, (t: TokenLosses) => PolicyLoss, Setting, number, number[]][] = [
    ['grpo', clip(), { how: 'seq-mean-token-mean' }, -0.24024, [0, -0.166667, -0.11172, 0.138146, 0]],
    ['bnpo, dapo', clip(), { how: 'token-mean' }, -0.383547, [0, -0.2, -0.134064, 0.110517, 0]],
    ['bnpo of one micro-batch', clip(), { how: 'local-token-mean' }, -0.383547, [0, -0.2, -0.134064, 0.110517, 0]],
    ['dr_grpo', clip(), { how: 'seq-mean-token-sum-norm' }, -0.239717, [0, -0.125, -0.08379, 0.069073, 0]],
    [
      'grpo, clip-higher',
      clip({ epsilonHigh: 0.28 }),
      { how: 'seq-mean-token-mean' },
      -0.243807,
      [-0.203567, -0.166667, -0.11172, 0.138146, 0],
    ],
    [
      'grpo with KL',
      clip(),
      { how: 'seq-mean-token-mean', klCoef: 0.04 },
      -0.239876,
      [0.000634, -0.166032, -0.112421, 0.137095, -0.002214],
    ],
    [
      'grpo with corrected KL',
      clip(),
      { how: 'seq-mean-token-mean', klCoef: 0.04, biasCorrection: true },
      -0.239971,
      [0.000814, -0.166, -0.112167, 0.137041, -0.001098],
    ],
    [
      'GSPO, narrow',
      clip({ level: 'sequence', epsilon: 3e-4, epsilonHigh: 4e-4 }),
      { how: 'seq-mean-token-mean' },
      -0.217828,
      three(-0.155918, 0),
    ],
    ['GSPO', clip({ level: 'sequence' }), { how: 'seq-mean-token-mean' }, -0.267753, three(-0.155918, 0)],
    ['GSPO-token', clip({ level: 'sequence_token' }), { how: 'seq-mean-token-mean' }, -0.267753, three(-0.155918, 0)],
    ['luspo', clip({ level: 'sequence' }), { how: 'seq-mean-token-sum' }, -1.00326, three(-0.467753, 0)],
    ['cispo', (t) => cispoLoss(t), { how: 'token-mean' }, 0.368965, [-0.244281, -0.2, -0.134064, 0.110517, 0.054881]],
    ['cispo, capped', (t) => cispoLoss(t, { epsilonHigh: 1.1 }), { how: 'token-mean' }, 0.357239, [-0.22, -0.2, -0.134064, 0.11, 0.054881]],
    ['sapo', (t) => sapoLoss(t), { how: 'seq-mean-token-mean' }, -0.548339, [-0.201093, -0.166667, -0.108738, 0.137726, 0.064892]],
    ['vespo', (t) => vespoLoss(t), { how: 'token-mean' }, 0.594769, three(-0.230932, 0.049014)],
    ['gmpo', (t) => gmpoLoss(t), { how: 'seq-mean-token-mean' }, -0.252576, [-0.155918, -0.155918, -0.155918, 0.107588, 0]],
    ['gmpo, narrow', (t) => gmpoLoss(t, { epsilon: 0.1 }), { how: 'seq-mean-token-mean' }, -0.202419, [0, -0.150806, -0.150806, 0.125, 0]],
    ['rloo', clip({ level: 'sequence_sum' }), { how: 'seq-mean-token-mean' }, -0.209365, [-0.409365, -0.409365, -0.409365, 0, 0]],
    ['dual clip that no token reaches', clip({ dualClip: 3 }), { how: 'token-mean' }, -0.383547, [0, -0.2, -0.134064, 0.110517, 0]],
  ];
  for (const [name, loss, setting, value, grad] of cases)
    it(`${name} is ${value}`, async () => {
      const ours = await onF(loss, setting);
      close([ours.value], [value]);
      if (name !== 'rloo') close(ours.grad, grad);
    });

  it('ratios are formed per token, by the mean or by the sum of a sequence', async () => {
    const t = { ...tokensOf(F), logps: tf.tensor1d(F.logps.flat()) };
    close(await readCopy(ratioOf(t)), [1.221403, 1, 0.67032, 1.105171, 0.548812]);
    close(await readCopy(ratioOf(t, 'sequence')), three(0.935507, 0.778801));
    close(await readCopy(ratioOf(t, 'sequence_token')), three(0.935507, 0.778801));
    close(await readCopy(ratioOf(t, 'sequence_sum')), three(0.818731, 0.606531));
  });

  it('rloo has one gradient a sequence, that of the product of its ratios', async () => {
    const { grad } = await onF(clip({ level: 'sequence_sum' }), { how: 'seq-mean-token-sum', counts: { sequencesInStep: 1 } });
    // per token of a sequence, the derivative of its one loss times its number of tokens
    close(grad, [-0.818731 * 3, -0.818731 * 3, -0.818731 * 3, 0.4 * 0, 0.4 * 0], 1e-4);
  });

  it('two-sided and dual clips bound what a large ratio does to a negative advantage', async () => {
    const rows = { ...F, oldLogps: [F.oldLogps[0], [-2.8, -0.6]] };
    const plain = await onF(clip(), { how: 'seq-mean-token-mean', rows });
    close([plain.value, plain.grad[3]], [0.545245, 0.923632]);
    const twoSided = await onF(clip({ delta: 2 }), { how: 'seq-mean-token-mean', rows });
    close([twoSided.value, twoSided.grad[3]], [-0.128387, 0]);
    close([(await onF(clip({ dualClip: 3 }), { how: 'token-mean', rows })).value], [-0.194064]);
    close([(await onF(clip({ dualClip: 1.5 }), { how: 'token-mean', rows })).value], [-0.344064]);
  });

  it('a masked sequence adds nothing and leaves the denominator, or stays in it for parity', async () => {
    const rows = {
      ...F,
      mask: [
        [1, 1, 1],
        [0, 0],
      ],
    };
    close([(await onF(clip(), { how: 'seq-mean-token-mean', rows })).value], [-0.956773]);
    close([(await onF(clip(), { how: 'seq-mean-token-mean', rows, counts: { sequencesInStep: 2 } })).value], [-0.478387]);
    close([(await onF(clip(), { how: 'token-mean', rows })).value], [-0.956773]);
  });

  it('garbage where the mask is 0 changes nothing', async () => {
    const rows = {
      ...F,
      logps: [[...F.logps[0], -77], F.logps[1]],
      oldLogps: [[...F.oldLogps[0], 3], F.oldLogps[1]],
      mask: [
        [1, 1, 1, 0],
        [1, 1],
      ],
    };
    for (const name of Object.keys(policyLosses) as PolicyLossName[]) {
      if (name === 'clip_cov') continue; // it draws as many numbers as there are tokens
      const spec = policyLoss(name);
      const apply = (t: TokenLosses) => spec.apply(t, spec.options.parse({}));
      const plain = await onF(apply, { how: spec.aggregation });
      const padded = await onF(apply, { how: spec.aggregation, rows });
      close([padded.value, ...padded.grad], [plain.value, ...plain.grad.slice(0, 3), 0, ...plain.grad.slice(3)], 1e-6);
    }
  });

  it('micro-batches of one sequence add up to the whole, for all but bnpo and those that compare the tokens of a batch', async () => {
    for (const name of Object.keys(policyLosses) as PolicyLossName[]) {
      if (name === 'bnpo' || overTheBatch.includes(name)) continue;
      const spec = policyLoss(name);
      const apply = (t: TokenLosses) => spec.apply(t, spec.options.parse({}));
      const whole = await onF(apply, { how: spec.aggregation });
      const parts = await Promise.all(
        [0, 1].map((i) =>
          onF(apply, {
            how: spec.aggregation,
            rows: { logps: [F.logps[i]], oldLogps: [F.oldLogps[i]], advantages: [F.advantages[i]] },
            counts: { tokensInStep: 5, sequencesInStep: 2 },
          }),
        ),
      );
      close([parts[0].value + parts[1].value, ...parts[0].grad, ...parts[1].grad], [whole.value, ...whole.grad], 1e-6);
    }
  });

  it('on policy: ratio 1, nothing clipped, and per token the gradient −A', async () => {
    const rows = { ...F, oldLogps: F.logps };
    const losses: [string, (t: TokenLosses) => PolicyLoss][] = [
      ['clipped', clip()],
      ['cispo', (t) => cispoLoss(t)],
      ['sapo', (t) => sapoLoss(t)],
      ['vespo', (t) => vespoLoss(t)],
      ['reinforce', (t) => reinforceLoss(t)],
      ['kl-cov', (t) => klCovLoss(t)],
    ];
    for (const [name, loss] of losses) {
      const { grad, value } = await onF(loss, { how: 'token-mean', rows, counts: { tokensInStep: 1 } });
      close(grad, [-1, -1, -1, 0.5, 0.5], 1e-5);
      if (name === 'clipped') close([value], [-2]);
      const t = { ...tokensOf(rows), logps: tf.tensor1d(F.logps.flat()) };
      const { ratio, clipped } = loss(t);
      close(await readCopy(ratio), [1, 1, 1, 1, 1], 1e-6);
      if (name !== 'kl-cov') close(await readCopy(clipped), [0, 0, 0, 0, 0]);
    }
  });

  it('counts as clipped only what the clip took the gradient from', async () => {
    const t = { ...tokensOf(F), logps: tf.tensor1d(F.logps.flat()) };
    close(await readCopy(clippedPolicyLoss(t).clipped), [1, 0, 0, 0, 1]);
  });

  it('leaves no tensor behind', () => {
    const t = { ...tokensOf(F), logps: tf.tensor1d(F.logps.flat()) };
    const before = tf.memory().numTensors;
    for (const name of Object.keys(policyLosses) as PolicyLossName[])
      tf.dispose(policyLoss(name).apply(t, policyLoss(name).options.parse({}), rng(1)));
    expect(tf.memory().numTensors).toBe(before);
  });

  it('names the option, field or name that is wrong', () => {
    const t = { ...tokensOf(F), logps: tf.tensor1d(F.logps.flat()) };
    expect(() => clippedPolicyLoss(t, { epsilon: 1 })).toThrow('epsilon must be in (0, 1), got 1');
    expect(() => clippedPolicyLoss(t, { delta: 1.1 })).toThrow('delta must be above 1 + epsilonHigh = 1.2, got 1.1');
    expect(() => clippedPolicyLoss({ ...t, oldLogps: tf.tensor1d([1]) })).toThrow('logps is [5] and oldLogps is [1]');
    expect(() => policyLoss('gpro')).toThrow(/no policy loss "gpro"; there are grpo, bnpo/);
    expect(policyLosses.luspo.options.safeParse({ level: 'token' }).success).toBe(false);
    expect(policyLosses.grpo.options.safeParse({ delta: 1.1 }).success).toBe(false);
    expect(() =>
      aggregate(t.logps, t.completionMask, t.seqIds, 'token-mean', { tokensInStep: 0, sequencesInStep: 0, sequences: 2 }),
    ).toThrow('no token of the step counts');
  });
});

describe('aggregate', () => {
  const x = [1, 2, 3, 4, 5, 6];
  const ids = [0, 0, 0, 1, 2, 2];
  const counts = { tokensInStep: 6, sequencesInStep: 3, sequences: 3, maxCompletionLength: 4 };
  const value = async (how: Aggregation, keep = [0, 1, 2, 3, 4, 5], more = {}) => {
    const own = keep.map((i) => ids[i] - ids[keep[0]]);
    const scalar = aggregate(tf.tensor1d(keep.map((i) => x[i])), tf.ones([keep.length]), tf.tensor1d(own, 'int32'), how, {
      ...counts,
      sequences: Math.max(...own) + 1,
      ...more,
    });
    return (await readCopy(scalar))[0];
  };
  it('divides by tokens, by sequences and their tokens, by sequences, or by a fixed length', async () => {
    close(
      [
        await value('token-mean'),
        await value('seq-mean-token-mean'),
        await value('seq-mean-token-sum'),
        await value('seq-mean-token-sum-norm'),
      ],
      [3.5, 3.833333, 7, 1.75],
    );
  });
  it('of bnpo depends on the split, by design', async () => {
    const split =
      (await value('local-token-mean', [0, 1, 2, 3], { microBatches: 2 })) + (await value('local-token-mean', [4, 5], { microBatches: 2 }));
    close([await value('local-token-mean'), split], [3.5, 4]);
  });
});

describe('KL', () => {
  it('estimators have their values and gradients on F', async () => {
    const [lp, ref] = [F.logps.flat(), F.ref.flat()];
    const at = (estimator: Parameters<typeof klEstimate>[2]) =>
      valueAndGrad((x) => tf.tidy(() => tf.mean(klEstimate(x, tf.tensor1d(ref), estimator))), lp);
    close(
      [(await at('k1')).value, (await at('k2')).value, (await at('k3')).value, (await at('k3+')).value],
      [-0.04, 0.008, 0.008284, 0.008284],
      2e-6,
    );
    close(
      [(await at('k1')).grad[0], (await at('k2')).grad[0], (await at('k3')).grad[0], (await at('k3+')).grad[0]].map((g) => 5 * g),
      [1, 0.1, 0.095163, 0.1],
    );
    close(await readCopy(klEstimate(tf.tensor1d(lp), tf.tensor1d(ref), 'k3')), [0.004837, 0.004837, 0.005171, 0.005171, 0.021403], 1e-6);
  });
  it('may be held within bounds, beyond which there is no gradient', async () => {
    const at = (estimator: 'k1' | 'k3', x: number) =>
      valueAndGrad((logps) => tf.tidy(() => tf.sum(klEstimate(logps, tf.tensor1d([0]), estimator, { clamped: true }))), [x]);
    expect([(await at('k1', 50)).value, (await at('k3', -50)).value]).toEqual([20, 10]);
    expect((await at('k3', -50)).grad[0]).toBe(0);
    close([(await at('k3', 0.1)).value, (await at('k3', 0.1)).grad[0]], [0.004837, 0.095163]);
  });
  it('k1 and k3 are unbiased, k2 is not', () => {
    const [p, q] = [
      [0.5, 0.3, 0.2],
      [0.4, 0.4, 0.2],
    ];
    const expected = (e: 'k1' | 'k2' | 'k3') => p.reduce((sum, pi, i) => sum + pi * klValue(Math.log(pi), Math.log(q[i]), e), 0);
    close([expected('k1'), expected('k3'), expected('k2')], [0.025267, 0.025267, 0.024862], 1e-6);
    const variance = (e: 'k1' | 'k2' | 'k3') =>
      p.reduce((sum, pi, i) => sum + pi * (klValue(Math.log(pi), Math.log(q[i]), e) - expected(e)) ** 2, 0);
    close([variance('k1'), variance('k2'), variance('k3')], [0.049086, 0.000205, 0.000255], 1e-6);
  });
  it('in the reward: every token pays, the score stands on the last', () => {
    const at = (estimator: 'k1' | 'k3') => tokenRewards(2, [-1, -2, -0.5], [-1.2, -1.5, -0.9], { klCoef: 0.05, estimator });
    close(at('k1'), [-0.01, 0.025, 1.98]);
    close(at('k3'), [-0.000937, -0.007436, 1.996484], 1e-6);
    close([klValue(-1, -1.2), klValue(-2, -1.5), klValue(-0.5, -0.9)], [0.018731, 0.148721, 0.07032], 1e-6);
  });
  it('the adaptive coefficient follows its target and stays fixed without one', async () => {
    for (const [kl, coef] of [
      [3, 0.198976],
      [6, 0.2],
      [6.6, 0.200512],
      [12, 0.201024],
    ]) {
      const controller = klController({ coef: 0.2, target: 6 });
      controller.update(kl, 256);
      expect(controller.coef).toBeCloseTo(coef, 6);
      const other = klController({ coef: 1, target: 6 });
      await other.load(await controller.save());
      expect(other.coef).toBe(controller.coef);
    }
    const fixed = klController({ coef: 0.2 });
    fixed.update(100, 256);
    expect(fixed.coef).toBe(0.2);
  });
});

describe('masks and corrections', () => {
  const clip = (t: TokenLosses) => clippedPolicyLoss(t);
  const entropies = [0.1, 2, 1, 0.5, 3];
  const ids = [0, 0, 0, 1, 1];
  it('the entropy mask keeps the upper quantile and divides by all tokens', async () => {
    for (const [q, threshold, grpo, dapo] of [
      [0.2, 2.2, 0.1, 0.08],
      [0.4, 1.4, -0.066667, -0.12],
      [0.5, 1, -0.178387, -0.254064],
    ]) {
      const at = entropyThreshold(entropies, [1, 1, 1, 1, 1], q);
      expect(at).toBeCloseTo(threshold, 9);
      const weights = entropies.map((h) => (h >= at ? 1 : 0));
      close(
        [(await onF(clip, { how: 'seq-mean-token-mean', weights })).value, (await onF(clip, { how: 'token-mean', weights })).value],
        [grpo, dapo],
      );
    }
  });
  it('sampler corrections are per token or sequence, truncated or masked', async () => {
    const [old, samp] = [F.oldLogps.flat(), F.samp.flat()];
    const bounds = { min: 0.9, max: 1.1 };
    for (const [mode, value] of [
      ['token_truncate', -0.243538],
      ['token_mask', -0.230646],
      ['sequence_truncate', -0.264264],
      ['sequence_mask', 0],
    ] as const)
      close(
        [
          (await onF(clip, { how: 'seq-mean-token-mean', weights: Array.from(samplingWeights(old, samp, ids, { mode, ...bounds })) }))
            .value,
        ],
        [value],
      );
    close(samplingWeights(old, samp, ids, { mode: 'token_truncate', max: 10 }), [1.051271, 0.951229, 1.221403, 1, 1.105171]);
  });
  it('the off-policy mask drops bad samples that the policy has moved away from', async () => {
    const drift = [0.066667, 0.25];
    const weights = (threshold: number) =>
      Array.from(offPolicyMask(drift, F.advantages, threshold)).flatMap((m, i) => F.logps[i].map(() => m));
    close([(await onF(clip, { how: 'seq-mean-token-mean', weights: weights(0.1) })).value], [-0.478387]);
    close([(await onF(clip, { how: 'seq-mean-token-mean', weights: weights(0.3) })).value], [-0.24024]);
  });
  it('the entropy of logits (1, 0, -1) falls with the temperature', async () => {
    const at = async (temperature: number) => {
      const identity = tf.tensor2d([1, 0, 0, 0, 1, 0, 0, 0, 1], [3, 3]);
      const { entropy } = tokenLogps(
        { hidden: tf.tensor2d([[1, 0, -1]]), weight: identity },
        { targets: Int32Array.of(0), temperature, entropy: true },
      );
      return (await readCopy(entropy!))[0];
    };
    close([await at(1), await at(0.5)], [0.832396, 0.441057]);
  });
  it('the entropy coefficient follows its target', () => {
    expect(adaptEntropyCoef(0.01, 0.15).coef).toBeCloseTo(0.015, 9);
    expect(adaptEntropyCoef(0.01, 0.5)).toEqual({ coef: 0.005, applied: 0 });
  });
});

describe('covariance', () => {
  const rows: Rows = {
    logps: [
      [-0.1, -2, -0.5],
      [-0.2, -3, -0.9],
    ],
    oldLogps: [
      [-0.2, -1.9, -0.5],
      [-0.4, -2.9, -0.9],
    ],
    advantages: [1, -1],
  };
  const t = () => ({ ...tokensOf(rows), logps: tf.tensor1d(rows.logps.flat()) });
  it('kl-cov holds back the tokens that lose entropy fastest', async () => {
    close(await readCopy(tokenCovariance(t())), [1.016667, -0.883333, 0.616667, -0.916667, 1.883333, -0.216667]);
    const { loss, clipped } = klCovLoss(t(), { share: 2 / 6 });
    close(await readCopy(loss), [-1.005171, -0.904837, -1, 1.221403, 1.004837, 1]);
    close(await readCopy(clipped), [1, 0, 0, 0, 1, 0]);
  });
  it('clip-cov drops tokens drawn from those within bounds', async () => {
    const tokens = t();
    const plain = clippedPolicyLoss(tokens);
    close(await readCopy(clipCovCandidates(tokens, plain, { low: 0.3 })), [1, 0, 1, 0, 1, 0]);
    const { loss } = clipCovLoss(plain, tf.tensor1d([1, 0, 0, 0, 1, 0]));
    const values = await readCopy(loss);
    expect([values[0], values[4]].map((x) => Math.abs(x))).toEqual([0, 0]);
    expect(values[2]).toBeCloseTo(-1, 6);
  });
});

describe('PPO', () => {
  const rows: Rows = { logps: [[1.3, 0.7, 1, 0.5].map(Math.log)], oldLogps: [[0, 0, 0, 0]], advantages: [1] };
  const tokens = () => ({ ...tokensOf(rows), logps: tf.tensor1d(rows.logps.flat()), advantages: tf.tensor1d([1, 1, -2, -1]) });
  it('clips ratios and values', async () => {
    const { loss, clipped } = clippedPolicyLoss(tokens());
    close(await readCopy(loss), [-1.2, -0.7, 2, 0.8]);
    close(await readCopy(clipped), [1, 0, 0, 1]);
    expect(Array.from(await readCopy(loss)).reduce((a, b) => a + b, 0) / 4).toBeCloseTo(0.225, 6);
    const of = (x: number[]) => tf.tensor1d(x);
    const value = clippedValueLoss({
      values: of([1, 0.2, -0.5, 0.9]),
      oldValues: of([0.6, 0.3, 0, 0.8]),
      returns: of([1, 1, 0, 0.5]),
      completionMask: of([1, 1, 1, 1]),
    });
    close(
      (await readCopy(value.loss)).map((x) => 2 * x),
      [0.04, 0.64, 0.25, 0.16],
    );
    close(await readCopy(value.clipped), [1, 0, 0, 0]);
    const valueLoss = Array.from(await readCopy(value.loss)).reduce((a, b) => a + b, 0) / 4;
    expect(valueLoss).toBeCloseTo(0.13625, 6);
    expect(0.225 + 0.1 * valueLoss).toBeCloseTo(0.238625, 6);
  });
  it('has a KL-penalty form, whose weight follows its target', async () => {
    const penalized = Array.from(await readCopy(klPenaltyLoss(tokens())));
    const pull = penalized.map((x, t) => x + [1.3, 0.7, 1, 0.5][t] * [1, 1, -2, -1][t]); // β·(ρ − 1 − ln ρ)
    close(
      pull.map((x) => 2 * x),
      [0.037636, 0.056675, 0, 0.193147].map((x) => x),
    );
    close(penalized, [-1.281182, -0.671663, 2, 0.596574]);
    expect(penalized.reduce((a, b) => a + b, 0) / 4).toBeCloseTo(0.160932, 6);
    expect([0.031, 0.03, 0.02, 0.01, 0.0133].map((kl) => adaptKlPenalty(0.5, kl, 0.02))).toEqual([1, 0.5, 0.5, 0.25, 0.25]);
    expect(() => adaptKlPenalty(0.5, 1, 0)).toThrow('target must be > 0, got 0');
  });
});

describe('rewards', () => {
  it('are lowered for missing ends, overlong and repetitive completions', () => {
    expect(Array.from(missingEosPenalty([1, 2], [1, 0], 0.5))).toEqual([1, 1.5]);
    close(
      [80, 81, 90, 100, 101].map((n) => softOverlongPenalty(n, { maxTokens: 100, cache: 20 })),
      [0, -0.05, -0.5, -1, -1],
    );
    expect(repetitionPenalty('go go go go go', { n: 2 })).toBeCloseTo(-0.75, 9);
    expect(repetitionPenalty('a b', { n: 3 })).toBe(0);
  });
  it('tell how varied completions are: distinct n-grams over all, of all together', () => {
    expect(
      distinctNgrams([
        [1, 2, 3],
        [1, 2],
        [2, 3, 1],
      ]),
    ).toBe(3 / 5); // 12 23 | 12 | 23 31
    expect(distinctNgrams([[7, 7, 7, 7]])).toBe(1 / 3);
    expect(distinctNgrams([[1, 2]], 1)).toBe(1);
    expect(distinctNgrams([[1], []])).toBeNaN();
    expect(() => distinctNgrams([], 0)).toThrow('n must be a whole number above 0, got 0');
  });
  it('a softmax over three equal logits has the gradient (-2/3, 1/3, 1/3) for action 0 with advantage 1', async () => {
    const { grad } = await valueAndGrad(
      (logits) => tf.tidy(() => tf.reshape(tf.neg(tf.slice(tf.logSoftmax(logits), 0, 1)), []) as tf.Scalar),
      [0.2, 0.2, 0.2],
    );
    close(grad, [-2 / 3, 1 / 3, 1 / 3]);
  });
});
