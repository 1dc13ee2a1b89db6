/** What holds for many losses at once: where runs begin, what a shift changes, extremes, bad input, memory. */
import { readCopy } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { A, B, C, inputsOf, measure, measureSpec, pair, type Row } from '../testing/pairs.js';
import { cpoLoss, plusNll } from './cpo.js';
import { type Divergence, divergenceScore, withDivergence } from './divergence.js';
import { dpo, dpoLoss } from './dpo.js';
import { exoPairLoss } from './exoPair.js';
import { type PairLossName, pairLoss, pairLosses } from './index.js';
import { ipoLoss } from './ipo.js';
import { gapWeights, mixture, policyWeight, withLengthDesensitization, withOptions, withPolicyWeighting } from './modifiers.js';
import { geometricMixture, nashMdLoss } from './nashMd.js';
import { odpoLoss } from './odpo.js';
import { orpoLoss } from './orpo.js';
import { reverseBonusLoss } from './reverseBonus.js';
import { robustLoss } from './robust.js';
import { sft, sftLoss } from './sft.js';
import { simpoLoss } from './simpo.js';
import { slicLoss } from './slic.js';
import { startingLosses } from './startingLosses.js';
import { tpoLoss } from './tpo.js';
import type { PairLoss } from './types.js';
import { xpoLoss } from './xpo.js';

const names = Object.keys(pairLosses) as PairLossName[];
const scores = { chosenScore: 2, rejectedScore: 1 };
const mean = (x: number[]) => x.reduce((a, b) => a + b, 0) / x.length;

async function lossOf(result: PairLoss): Promise<number[]> {
  const values = Array.from(await readCopy(result.loss));
  tf.dispose(result);
  return values;
}

describe('every pair loss', () => {
  for (const [name, value] of Object.entries(startingLosses))
    it(`${name} is ${value} while the policy is its reference`, async () => {
      const { loss } = await measureSpec(pairLoss(name), {}, [{ ...A, rc: A.pc, rr: A.pr }]);
      expect(loss[0]).toBeCloseTo(value, 5);
    });

  for (const name of names) {
    const spec = pairLoss(name);
    if (spec.needs.includes('reference'))
      it(`${name} does not change when policy and reference shift together`, async () => {
        const plain = await measureSpec(spec, {}, [A, B, C], scores);
        const shifted = await measureSpec(
          spec,
          {},
          [A, B, C].map((r) => ({ ...r, pc: r.pc - 3, rc: r.rc - 3, pr: r.pr + 2, rr: r.rr + 2 })),
          scores,
        );
        // by pair for losses over pairs; a batch loss that sorts within one model alone (aot) is another loss after such a shift
        if (name !== 'aot' && name !== 'gamma_dpo') shifted.loss.forEach((x, i) => void expect(x).toBeCloseTo(plain.loss[i], 3));
      });

    if (spec.scope === 'pair' && !spec.needs.includes('nll'))
      it(`${name} of a permuted batch is the permuted losses`, async () => {
        const plain = await measureSpec(spec, {}, [A, B, C], scores);
        const permuted = await measureSpec(spec, {}, [C, A, B], scores);
        [2, 0, 1].forEach((from, to) => void expect(permuted.loss[to]).toBeCloseTo(plain.loss[from], 5));
      });

    it(`${name} leaves no tensor behind`, () => {
      const inputs = inputsOf([A, B], scores);
      const before = tf.memory().numTensors;
      tf.dispose(spec.apply(inputs, spec.options.parse({})));
      expect(tf.memory().numTensors).toBe(before);
      tf.dispose(inputs);
    });

    it(`${name} refuses an option that it does not have`, () => {
      expect(spec.options.safeParse({ bta: 1 }).success).toBe(false);
    });

    if (!['ipo', 'sppo', 'sppo_hard', 'irepo', 'rebel', 'cpo_ipo', 'orpo', 'alphapo'].includes(name))
      it(`${name} is finite, with finite gradients, at log-ratios of ±10⁴`, async () => {
        const rows: Row[] = [-1e4, 1e4].flatMap((x) =>
          [-1e4, 1e4].map((y) => ({ pc: -2e4 + x, pr: -2e4 + y, rc: -2e4, rr: -2e4, lc: 5, lr: 8 })),
        );
        const { loss, chosenGrad, rejectedGrad } = await measureSpec(spec, {}, rows, scores);
        for (const x of [...loss, ...chosenGrad, ...rejectedGrad]) expect(Number.isFinite(x)).toBe(true);
      });
  }

  for (const name of ['sigmoid', 'robust', 'hinge', 'exo_pair', 'discopop', 'dno', 'irepo'])
    it(`${name} does not change when the policy's two log-probabilities shift by the same amount`, () =>
      fc.assert(
        fc.asyncProperty(fc.double({ min: -5, max: 5, noNaN: true }), async (shift) => {
          const plain = await measureSpec(pairLoss(name), {}, [A], scores);
          const shifted = await measureSpec(pairLoss(name), {}, [{ ...A, pc: A.pc + shift, pr: A.pr + shift }], scores);
          expect(shifted.loss[0]).toBeCloseTo(plain.loss[0], 4);
        }),
        { numRuns: 5 },
      ));

  for (const name of ['nca_pair', 'bco_pair', 'sppo_hard', 'apo_zero'])
    it(`${name} sees absolute log-ratios`, async () => {
      const plain = await measureSpec(pairLoss(name), {}, [A]);
      const shifted = await measureSpec(pairLoss(name), {}, [{ ...A, pc: A.pc + 1, pr: A.pr + 1 }]);
      expect(Math.abs(shifted.loss[0] - plain.loss[0])).toBeGreaterThan(1e-4);
    });

  it('has the gradient of central differences, whichever it is', async () => {
    for (const name of names) {
      if (name === 'hinge' || name === 'slic') continue; // their slope is in the table; differences across the corner are not a gradient
      const at = (dc: number, dr: number) =>
        measureSpec(
          pairLoss(name),
          {},
          [A, B, C].map((r) => ({ ...r, pc: r.pc + dc, pr: r.pr + dr })),
          scores,
        );
      const step = 0.02;
      const total = async (dc: number, dr: number) => (await at(dc, dr)).loss.reduce((a, b) => a + b, 0);
      const { chosenGrad, rejectedGrad } = await at(0, 0);
      for (const [grad, dc, dr] of [
        [chosenGrad, step, 0],
        [rejectedGrad, 0, step],
      ] as const) {
        const analytic = grad.reduce((a, b) => a + b, 0);
        const numeric = ((await total(dc, dr)) - (await total(-dc, -dr))) / (2 * step);
        expect(Math.abs(analytic - numeric), name).toBeLessThan(2e-3 * (1 + Math.abs(analytic)));
      }
    }
  });
});

describe('batch losses', () => {
  it('aot ranks differences of each model apart', async () => {
    const { loss } = await measureSpec(pairLosses.aot, {}, [A, B, C]);
    [0.825939, 0.59365, 0.575939].forEach((x, i) => void expect(loss[i]).toBeCloseTo(x, 5));
    expect(mean((await measureSpec(pairLosses.aot, { labelSmoothing: 0.1 }, [A, B, C])).loss)).toBeCloseTo(0.672176, 5);
    expect(mean((await measureSpec(pairLosses.aot, {}, [C, B, A])).loss)).toBeCloseTo(0.665176, 5);
  });

  it('aot_unpaired ranks log-ratios of each side apart', async () => {
    const { loss } = await measureSpec(pairLosses.aot_unpaired, {}, [A, B, C]);
    [0.649159, 0.65876, 0.66846].forEach((x, i) => void expect(loss[i]).toBeCloseTo(x, 5));
    expect(mean(loss)).toBeCloseTo(0.658793, 5);
    expect(mean((await measureSpec(pairLosses.sigmoid, {}, [A, B, C])).loss)).toBeCloseTo(0.665669, 5);
  });
});

describe('sft', () => {
  it('is a mean over tokens, over sequences, or a sum, as asked', async () => {
    expect(mean((await measureSpec(sft, {}, [A])).loss)).toBeCloseTo(2, 5);
    expect(mean((await measureSpec(sft, {}, [A, B])).loss)).toBeCloseTo(24 / 11, 5);
    expect(mean((await measureSpec(sft, { normalization: 'sequence' }, [A, B])).loss)).toBeCloseTo(13 / 6, 5);
    expect(mean((await measureSpec(sft, { normalization: 'sum' }, [A, B])).loss)).toBeCloseTo(12, 5);
    const { policy, lengths } = inputsOf([A, B]);
    expect(mean(await lossOf(sftLoss(policy, lengths!)))).toBeCloseTo(24 / 11, 5);
  });

  it('over prompt and completion makes iterative RPO 1.530048 on A with a prompt of 6 tokens', async () => {
    const { policy, reference, lengths } = inputsOf([A]);
    const nll = await lossOf(sftLoss(policy, { ...lengths!, prompt: tf.tensor1d([6]) }, { normalization: 'total' }));
    expect(nll[0] + (await lossOf(dpoLoss(policy, reference)))[0]).toBeCloseTo(1.530048, 5);
    expect(() => sftLoss(policy, lengths!, { normalization: 'total' })).toThrow('lengths.prompt');
  });
});

describe('mixture', () => {
  const mpo = mixture([
    { loss: pairLosses.sigmoid, weight: 0.8 },
    { loss: pairLosses.bco_pair, weight: 0.2 },
    { loss: pairLosses.sft, weight: 1 },
  ]);
  it('adds weighted losses (MPO, RPO)', async () => {
    expect(mean((await measureSpec(mpo, {}, [A])).loss)).toBeCloseTo(2.759337, 5);
    expect(mean((await measureSpec(mpo, {}, [A, B])).loss)).toBeCloseTo(3.043522, 5);
    const rpo = mixture([{ loss: pairLosses.sigmoid }, { loss: pairLosses.sft, weight: 0.005 }]);
    expect(mean((await measureSpec(rpo, {}, [A])).loss)).toBeCloseTo(0.630957, 5);
    const irpo = mixture([{ loss: pairLosses.sigmoid }, { loss: pairLosses.sft }]);
    expect(mean((await measureSpec(irpo, {}, [A])).loss)).toBeCloseTo(2.620957, 5);
  });
  it('needs what its parts need, and reports the rewards of the part with a reference', async () => {
    expect([...mpo.needs].sort()).toEqual(['lengths', 'nll', 'reference']);
    expect(mixture([{ loss: pairLosses.aot }]).scope).toBe('batch');
    const sftFirst = mixture([{ loss: pairLosses.sft }, { loss: pairLosses.sigmoid }]);
    expect((await measureSpec(sftFirst, {}, [A])).chosenRewards[0]).toBeCloseTo(0.1, 6);
  });
  it('names the part whose options are wrong', () => {
    expect(() => mixture([])).toThrow('at least one loss');
    expect(() => mixture([{ loss: pairLosses.sigmoid }, { loss: pairLosses.hinge, options: { beta: -1 } }])).toThrow(/part 1.*\n?.*beta/s);
    expect(() => mixture([{ loss: pairLosses.sigmoid, weight: Number.NaN }])).toThrow('weight 0 is NaN');
  });
});

describe('length desensitization', () => {
  const tokensOfA = () => ({
    chosen: {
      policy: tf.tensor1d([-1, -2, -1.5, -2.5, -3]),
      reference: tf.tensor1d([-1.2, -2.3, -1.5, -2.8, -3.2]),
      lengths: Int32Array.of(5),
      squaredSum: tf.tensor1d([-0.8, -1.1, -0.9, -1.3, -1.2]),
    },
    rejected: {
      policy: tf.tensor1d([-0.5, -1.5, -2, -1, -2.5, -1.5, -1, -2]),
      reference: tf.tensor1d([-0.6, -1.4, -1.9, -1.1, -2.2, -1.4, -1, -1.9]),
      lengths: Int32Array.of(8),
      squaredSum: tf.tensor1d([-0.6, -1, -1.1, -0.9, -1.4, -0.7, -0.8, -1.2]),
    },
  });
  it('counts the tail of the longer completion by ldAlpha, in policy and reference', async () => {
    for (const [ldAlpha, loss] of [
      [1, 0.620957],
      [0.5, 0.625595],
      [0, 0.630258],
    ] as const) {
      const inputs = { ...inputsOf([A]), tokens: tokensOfA() };
      const spec = withLengthDesensitization(dpo, ldAlpha);
      expect(spec.needs).toContain('tokens');
      expect((await lossOf(spec.apply(inputs, { beta: 0.1, labelSmoothing: 0 })))[0]).toBeCloseTo(loss, 5);
    }
    const { chosen, rejected } = tokensOfA();
    expect((await readCopy(policyWeight(chosen)))[0]).toBeCloseTo(0.390628, 5);
    expect((await readCopy(policyWeight(rejected)))[0]).toBeCloseTo(0.584207, 5);
    expect(() => withLengthDesensitization(dpo, 1.5)).toThrow('ldAlpha must be in [0, 1], got 1.5');
  });
  it('and policy weighting multiplies by 0.228207 on A', async () => {
    const spec = withPolicyWeighting(dpo);
    expect((await lossOf(spec.apply({ ...inputsOf([A]), tokens: tokensOfA() }, { beta: 0.1, labelSmoothing: 0 })))[0]).toBeCloseTo(
      0.141707,
      5,
    );
    expect((await lossOf(spec.apply({ ...inputsOf([B]), tokens: tokensOfA() }, { beta: 0.1, labelSmoothing: 0 })))[0]).toBeCloseTo(
      0.188486,
      5,
    );
    expect(() => withPolicyWeighting(pairLosses.aot)).toThrow('not pairs');
  });
});

describe('reference-free losses', () => {
  it('add the cross-entropy of the chosen completions', async () => {
    expect((await measureSpec(pairLosses.cpo, { cpoAlpha: 1 }, [A])).loss[0]).toBeCloseTo(2.598139, 5);
    expect((await measureSpec(pairLosses.orpo, {}, [A])).loss[0]).toBeCloseTo(2.104206, 5);
    expect((await measureSpec(pairLosses.orpo, {}, [B])).loss[0]).toBeCloseTo(2.407391, 5);
  });
  it('ORPO alone is 0.104206 on A, with gradients -0.014972 and 0.010415', async () => {
    const { lengths } = inputsOf([A]);
    const at = await measure((policy) => orpoLoss(policy, lengths!), { chosen: [A.pc], rejected: [A.pr] });
    expect(at.loss[0]).toBeCloseTo(0.104206, 5);
    expect(at.chosenRewards[0]).toBeCloseTo(-0.2, 6);
    expect(at.chosenGrad[0]).toBeCloseTo(-0.014972, 5);
    expect(at.rejectedGrad[0]).toBeCloseTo(0.010415, 5);
    const onB = await measure((policy) => orpoLoss(policy, inputsOf([B]).lengths!), { chosen: [B.pc], rejected: [B.pr] });
    expect(onB.loss[0]).toBeCloseTo(0.074058, 5);
    // β·log(1 + e^−o) at the log odds -0.607069 and -0.092709
    expect(Math.log(Math.expm1(10 * at.loss[0]))).toBeCloseTo(0.607069, 4);
    expect(Math.log(Math.expm1(10 * onB.loss[0]))).toBeCloseTo(0.092709, 4);
  });
  it('ORPO is finite next to certainty', async () => {
    const lengths = { chosen: tf.tensor1d([1]), rejected: tf.tensor1d([1]) };
    const at = await measure((policy) => orpoLoss(policy, lengths), { chosen: [-1e-5], rejected: [-30] });
    for (const x of [at.loss[0], at.chosenGrad[0], at.rejectedGrad[0]]) expect(Number.isFinite(x)).toBe(true);
  });
  it('SLiC is 0 on A and 6 on B', async () => {
    const inputs = inputsOf([A, B]);
    expect(await lossOf(slicLoss(inputs.policy))).toEqual([0, 6]);
  });
  it('TPO as a trainer names it has the numbers of its terms', async () => {
    const value = async (options: object) => (await measureSpec(pairLoss('tpo'), options, [A, B])).loss;
    expect((await value({}))[0]).toBeCloseTo(2.183197, 5);
    expect((await value({ tpoAlpha: 0 }))[1]).toBeCloseTo(0.71846, 5);
    expect((await value({ term: 'tpo-l', beta: 2, tpoAlpha: 0 }))[0]).toBeCloseTo(1.701413, 5);
    expect((await value({ term: 'ipo', beta: 0.1, tpoAlpha: 0 }))[0]).toBeCloseTo((-10 / 5 + 12 / 8 - 5) ** 2, 4);
    expect((await value({ term: 'hinge', beta: 1, tpoAlpha: 0 }))[1]).toBeCloseTo(6, 5);
  });
  it('TPO adds the gold completion', async () => {
    const { policy, lengths } = inputsOf([A, B]);
    const pair = () => cpoLoss(policy, { beta: 0.01 });
    const alone = await lossOf(tpoLoss(pair(), tf.tensor1d([1.5, 1.5]), { tpoAlpha: 0 }));
    expect(alone[0]).toBeCloseTo(0.683197, 5);
    expect(alone[1]).toBeCloseTo(0.71846, 5);
    expect((await lossOf(tpoLoss(pair(), tf.tensor1d([1.5, 1.5]))))[0]).toBeCloseTo(2.183197, 5);
    const tpoL = await lossOf(simpoLoss(policy, lengths!, { beta: 2, simpoGamma: 0.5 }));
    expect(tpoL[0]).toBeCloseTo(1.701413, 5);
    expect(tpoL[1]).toBeCloseTo(1.081037, 5);
  });
});

describe('losses of single papers', () => {
  it('ODPO is 0.883382 on A and 1.136871 on B with an offset of half a nat', async () => {
    const { policy, reference } = inputsOf([A, B]);
    const values = await lossOf(odpoLoss(policy, reference, tf.tensor1d([0.5, 0.5])));
    expect(values[0]).toBeCloseTo(0.883382, 5);
    expect(values[1]).toBeCloseTo(1.136871, 5);
    const at = await measure((p) => odpoLoss(p, pair([A.rc, A.rr]), tf.tensor1d([0.5])), { chosen: [A.pc], rejected: [A.pr] });
    expect([at.chosenGrad[0], at.rejectedGrad[0]]).toEqual([expect.closeTo(-0.058662, 5), expect.closeTo(0.058662, 5)]);
  });
  it('gamma_dpo with γ 0 is CPO, flex with equal betas is DPO, dno with a large gap is DPO', async () => {
    const value = async (name: PairLossName, options: object, extras = scores) =>
      (await measureSpec(pairLoss(name), options, [A], extras)).loss[0];
    expect(await value('gamma_dpo', { gamma: 0 })).toBeCloseTo(await value('cpo', { cpoAlpha: 0 }), 6);
    expect(await value('flex', {})).toBeCloseTo(await value('sigmoid', {}), 6);
    expect(await value('dno', {}, { chosenScore: 50, rejectedScore: 0 })).toBeCloseTo(await value('sigmoid', {}), 6);
    expect(await value('reward_aware', {}, { chosenScore: 0.15, rejectedScore: 0 })).toBeCloseTo(0, 6);
  });
  it('reverse bonus adds the exchanged loss on flagged pairs only', async () => {
    const { policy, reference } = inputsOf([A, B]);
    const values = await lossOf(reverseBonusLoss((p, r) => dpoLoss(p, r), policy, reference, tf.tensor1d([1, 0]), { alpha: 0.5 }));
    expect(values[0]).toBeCloseTo(0.620957 + 0.5 * (0.620957 + 0.15), 5); // -log σ(-z) = -log σ(z) + z
    expect(values[1]).toBeCloseTo(0.825939, 5);
  });
  it('XPO adds α log π of the reference sample', async () => {
    const { policy, reference } = inputsOf([A]);
    const swapped = {
      policy: { chosen: policy.rejected, rejected: policy.chosen },
      reference: { chosen: reference.rejected, rejected: reference.chosen },
    };
    const preferred = await lossOf(xpoLoss(dpoLoss(policy, reference), policy.rejected, { alpha: 0.01 }));
    const other = await lossOf(xpoLoss(dpoLoss(swapped.policy, swapped.reference), policy.rejected, { alpha: 0.01 }));
    const sums = ipoLoss(policy, reference, inputsOf([A]).lengths!, { beta: 0.1, lengthNormalize: false });
    expect((await lossOf(xpoLoss(sums, policy.rejected, { alpha: 0.01 })))[0]).toBeCloseTo(12.13, 4);
    expect(preferred[0]).toBeCloseTo(0.500957, 5);
    expect(other[0]).toBeCloseTo(0.650957, 5);
  });
  it('Nash-MD pulls each token to the reference and pushes the sample by P - 1/2', async () => {
    for (const [p, loss, grads] of [
      [0.7, 0.64, [-0.18, -0.23]],
      [0.2, -0.86, [0.32, 0.27]],
    ] as const) {
      const result = await measure(
        (policy) => {
          const loss = nashMdLoss(policy.chosen, tf.tensor1d([-1.2, -1.7]), Int32Array.of(0, 2), tf.tensor1d([p]));
          return { loss, chosenRewards: tf.zerosLike(loss), rejectedRewards: tf.zerosLike(loss) };
        },
        { chosen: [-1, -2], rejected: [0] },
      );
      expect(result.loss[0]).toBeCloseTo(loss, 5);
      grads.forEach((g, i) => void expect(result.chosenGrad[i]).toBeCloseTo(g, 5));
    }
    const policy = tf.log(tf.tensor1d([0.7, 0.2, 0.1]));
    const opponent = await readCopy(geometricMixture(policy, tf.log(tf.tensor1d([0.2, 0.3, 0.5]))));
    [0.443997, 0.290664, 0.265339].forEach((x, i) => void expect(opponent[i]).toBeCloseTo(x, 5));
  });
  it('gap weights multiply the loss of their pair', () => {
    const onA = 0.620957;
    const weigh = (rejected: number, form: Parameters<typeof gapWeights>[1]) =>
      onA * gapWeights({ chosen: [0.9], rejected: [rejected] }, form)[0];
    expect(weigh(0.4, { power: 2 })).toBeCloseTo(0.339389, 5);
    expect(weigh(0.85, { power: 2 })).toBeCloseTo(0.039471, 5);
    expect(weigh(0.4, { tau: 0.5 })).toBeCloseTo(1.687936, 5);
    expect(weigh(0.85, { tau: 0.5 })).toBeCloseTo(0.686264, 5);
  });
  it('gap weights are a power or an exponential of the reward gap', () => {
    expect(gapWeights({ chosen: [0.9, 0.9], rejected: [0.4, 0.85] }, { power: 2 })[0]).toBeCloseTo(0.546558, 5);
    expect(gapWeights({ chosen: [0.9, 0.9], rejected: [0.4, 0.85] }, { power: 2 })[1]).toBeCloseTo(0.063565, 5);
    expect(gapWeights({ chosen: [0.9, 0.9], rejected: [0.4, 0.85] }, { tau: 0.5 })[0]).toBeCloseTo(Math.E, 5);
    expect(mean(Array.from(gapWeights({ chosen: [0.9, 0.9], rejected: [0.4, 0.85] }, { tau: 0.5, normalize: true })))).toBeCloseTo(1, 6);
  });
});

describe('the record and its errors', () => {
  it('lists the names there are when asked for another', () => {
    expect(() => pairLoss('sigmiod')).toThrow(/there is no pair loss "sigmiod"; there are dpo, sigmoid, robust/);
    expect(() => pairLoss('toString')).toThrow('there is no pair loss');
  });
  it('has a compile error for a wrong name', () => {
    // @ts-expect-error: not a name of the record
    const wrong: PairLossName = 'sigmiod';
    expect(wrong in pairLosses).toBe(false);
  });
  it('withOptions binds some options and leaves the rest', () => {
    const bound = withOptions(dpo, { labelSmoothing: 0.1 });
    expect(bound.options.parse({})).toEqual({ beta: 0.1, labelSmoothing: 0.1 });
    expect(bound.options.parse({ beta: 0.3 })).toEqual({ beta: 0.3, labelSmoothing: 0.1 });
    expect(() => withOptions(dpo, { beta: -1 })).toThrow('beta');
    expect(bound.options.safeParse({ gamma: 1 }).success).toBe(false);
  });
  it('scores of f-divergences are f up to a constant, which counts once scores are divided by lengths', async () => {
    const scores = async (divergence: Divergence) => {
      return [...(await readCopy(divergenceScore(tf.tensor1d([1, -0.5, -2, 0.5]), divergence)))];
    };
    const expectScores = async (divergence: Divergence, constant: number, f: number[]) =>
      (await scores(divergence)).forEach((score, i) => void expect(score - constant).toBeCloseTo(f[i], 5));
    await expectScores({ type: 'reverse_kl' }, 0, [1, -0.5, -2, 0.5]);
    await expectScores({ type: 'forward_kl' }, 1, [-0.367879, -1.648721, -7.389056, -0.606531]);
    await expectScores({ type: 'js_divergence' }, Math.LN2, [-0.313262, -0.974077, -2.126928, -0.474077]);
    await expectScores({ type: 'alpha_divergence', coef: 0.5 }, 2, [-1.213061, -2.568051, -5.436564, -1.557602]);
    // IPO over lengths: 24.412421 without the constant ln 2 of Jensen and Shannon, 23.901408 with it, as in TRL
    const none = pair([0, 0]);
    const bare = pair([-0.313262, -0.974077]);
    expect((await lossOf(ipoLoss(bare, none, inputsOf([A]).lengths!, { beta: 0.1 })))[0]).toBeCloseTo(24.412421, 3);
    const onB = pair([-2.126928, -0.474077]);
    expect((await lossOf(ipoLoss(onB, none, inputsOf([B]).lengths!, { beta: 0.1 })))[0]).toBeCloseTo(27.415369, 3);
  });
  it('refuses an f-divergence for losses that see more than a difference', () => {
    for (const name of ['nca_pair', 'bco_pair', 'sppo_hard', 'aot', 'aot_unpaired', 'apo_zero', 'apo_down'] as const)
      expect(() => withDivergence(pairLoss(name), { type: 'js_divergence' })).toThrow('f-divergences are defined for');
  });
  it('says that the reference is missing', () => {
    const policy = pair([-1, -2]);
    expect(() => pairLosses.robust.apply({ policy }, { beta: 0.1, labelSmoothing: 0 })).toThrow('reference log-probs are required');
    expect(() => robustLoss(policy, policy, { labelSmoothing: 0.5 })).toThrow('labelSmoothing must be in [0, 0.5), got 0.5');
    expect(() => exoPairLoss(policy, policy, { labelSmoothing: 0 })).toThrow('labelSmoothing must be in (0, 0.5), got 0');
    expect(() => robustLoss({ chosen: tf.tensor1d([]), rejected: tf.tensor1d([]) }, policy)).toThrow('at least one pair');
  });
  it('plusNll takes over the tensors of the pair term', () => {
    const policy = pair([-1, -2]);
    const nll = tf.tensor1d([1]);
    const before = tf.memory().numTensors;
    tf.dispose(plusNll(cpoLoss(policy), nll, 1));
    expect(tf.memory().numTensors).toBe(before);
  });
});
