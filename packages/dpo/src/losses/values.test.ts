/** Values and gradients of every pair loss on two pairs, computed in double precision from the papers' formulas. */
import { describe, expect, it } from 'vitest';
import { A, B, type Extras, measureSpec } from '../testing/pairs.js';
import { type Divergence, withDivergence } from './divergence.js';
import { type PairLossName, pairLoss } from './index.js';

type Case = {
  loss: PairLossName;
  options: object;
  a: number;
  aRewards: [number, number];
  b: number;
  bRewards: [number, number];
  aGrads: [number, number];
  extras?: Extras;
  divergence?: Divergence;
};
const cases: Case[] = [
  {
    loss: 'sigmoid',
    options: { beta: 0.1 },
    a: 0.620957,
    aRewards: [0.1, -0.05],
    b: 0.825939,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.046257, 0.046257],
  },
  {
    loss: 'sigmoid',
    options: { beta: 0.5 },
    a: 0.386871,
    aRewards: [0.5, -0.25],
    b: 1.501929,
    bRewards: [-1, 0.25],
    aGrads: [-0.160411, 0.160411],
  },
  {
    loss: 'sigmoid',
    options: { beta: 0.1, labelSmoothing: 0.1 },
    a: 0.635957,
    aRewards: [0.1, -0.05],
    b: 0.800939,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.036257, 0.036257],
  },
  {
    loss: 'sigmoid',
    options: { beta: 0.1, labelSmoothing: 0.3 },
    a: 0.665957,
    aRewards: [0.1, -0.05],
    b: 0.750939,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.016257, 0.016257],
  },
  {
    loss: 'robust',
    options: { beta: 0.1, labelSmoothing: 0.1 },
    a: 0.602207,
    aRewards: [0.1, -0.05],
    b: 0.857189,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.058757, 0.058757],
  },
  { loss: 'hinge', options: { beta: 0.1 }, a: 0.85, aRewards: [0.1, -0.05], b: 1.25, bRewards: [-0.2, 0.05], aGrads: [-0.1, 0.1] },
  { loss: 'hinge', options: { beta: 1 }, a: 0, aRewards: [1, -0.5], b: 3.5, bRewards: [-2, 0.5], aGrads: [0, 0] },
  {
    loss: 'ipo',
    options: { beta: 0.1, lengthNormalize: true },
    a: 22.443906,
    aRewards: [0.1, -0.05],
    b: 29.793403,
    bRewards: [-0.2, 0.05],
    aGrads: [-1.895, 1.184375],
  },
  {
    loss: 'ipo',
    options: { beta: 0.1, lengthNormalize: false },
    a: 12.25,
    aRewards: [0.1, -0.05],
    b: 56.25,
    bRewards: [-0.2, 0.05],
    aGrads: [-7, 7],
  },
  {
    loss: 'exo_pair',
    options: { beta: 0.1, labelSmoothing: 0.001 },
    a: 2.505517,
    aRewards: [0.1, -0.05],
    b: 3.19842,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.167972, 0.167972],
  },
  {
    loss: 'nca_pair',
    options: { beta: 0.1 },
    a: 1.350825,
    aRewards: [0.1, -0.05],
    b: 1.456438,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.021253, 0.024375],
  },
  {
    loss: 'bco_pair',
    options: { beta: 0.1 },
    a: 1.312856,
    aRewards: [0.1, -0.05],
    b: 1.516599,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.047502, 0.04875],
  },
  { loss: 'sppo_hard', options: { beta: 0.1 }, a: 36.25, aRewards: [0.1, -0.05], b: 79.25, bRewards: [-0.2, 0.05], aGrads: [-8, 9] },
  {
    loss: 'sppo',
    options: { beta: 0.1 },
    a: 6.25,
    aRewards: [0.1, -0.05],
    b: 31.25,
    bRewards: [-0.2, 0.05],
    aGrads: [-4, 3],
    extras: { chosenScore: 0.8, rejectedScore: 0.3 },
  },
  {
    loss: 'apo_zero',
    options: { beta: 0.1 },
    a: 0.962523,
    aRewards: [0.1, -0.05],
    b: 1.062331,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.024938, 0.024984],
  },
  {
    loss: 'apo_down',
    options: { beta: 0.1 },
    a: 0.987549,
    aRewards: [0.1, -0.05],
    b: 1.012343,
    bRewards: [-0.2, 0.05],
    aGrads: [0.000078, 0.02486],
  },
  {
    loss: 'discopop',
    options: { beta: 0.1, discopopTau: 0.05 },
    a: 0.849338,
    aRewards: [0.1, -0.05],
    b: 0.829005,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.06252, 0.06252],
  },
  {
    loss: 'sigmoid_norm',
    options: { beta: 0.1 },
    a: 0.680108,
    aRewards: [0.1, -0.05],
    b: 0.716326,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.009869, 0.006168],
  },
  {
    loss: 'sigmoid_norm',
    options: { beta: 5 },
    a: 0.238345,
    aRewards: [5, -2.5],
    b: 2.387974,
    bRewards: [-10, 2.5],
    aGrads: [-0.212069, 0.132543],
  },
  {
    loss: 'sigmoid',
    options: { beta: 0.1 },
    a: 0.631154,
    aRewards: [0.1, -0.05],
    b: 1.088707,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.017218, 0.077164],
    divergence: { type: 'forward_kl' },
  },
  {
    loss: 'sigmoid',
    options: { beta: 0.1 },
    a: 0.660652,
    aRewards: [0.1, -0.05],
    b: 0.779201,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.013003, 0.030095],
    divergence: { type: 'js_divergence' },
  },
  {
    loss: 'sigmoid',
    options: { beta: 0.1 },
    a: 0.627691,
    aRewards: [0.1, -0.05],
    b: 0.905786,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.028275, 0.059858],
    divergence: { type: 'alpha_divergence', coef: 0.5 },
  },
  {
    loss: 'sigmoid',
    options: { beta: 0.1 },
    a: 0.631154,
    aRewards: [0.1, -0.05],
    b: 1.088707,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.017218, 0.077164],
    divergence: { type: 'alpha_divergence', coef: 0 },
  },
  {
    loss: 'ipo',
    options: { beta: 0.1, lengthNormalize: true },
    a: 23.901408,
    aRewards: [0.1, -0.05],
    b: 28.023588,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.525932, 0.760786],
    divergence: { type: 'js_divergence' },
  },
  {
    loss: 'cpo',
    options: { beta: 0.1, cpoAlpha: 0 },
    a: 0.598139,
    aRewards: [-1, -1.2],
    b: 0.974077,
    bRewards: [-1.4, -0.9],
    aGrads: [-0.045017, 0.045017],
  },
  { loss: 'slic', options: { beta: 0.1 }, a: 0.8, aRewards: [-1, -1.2], b: 1.5, bRewards: [-1.4, -0.9], aGrads: [-0.1, 0.1] },
  {
    loss: 'cpo_ipo',
    options: { beta: 0.1, cpoAlpha: 0 },
    a: 30.25,
    aRewards: [-0.2, -0.15],
    b: 25.840278,
    bRewards: [-0.233333, -0.225],
    aGrads: [-2.2, 1.375],
  },
  {
    loss: 'simpo',
    options: { beta: 2, simpoGamma: 1 },
    a: 2.126928,
    aRewards: [-4, -3],
    b: 1.437764,
    bRewards: [-4.666667, -4.5],
    aGrads: [-0.352319, 0.220199],
  },
  {
    loss: 'simpo',
    options: { beta: 2.5, simpoGamma: 1.375 },
    a: 2.694936,
    aRewards: [-5, -3.75],
    b: 1.770053,
    bRewards: [-5.833333, -5.625],
    aGrads: [-0.466227, 0.291392],
  },
  {
    loss: 'alphapo',
    options: { beta: 2, simpoGamma: 1, alpha: 0.25 },
    a: 2.625034,
    aRewards: [-5.18977, -3.639931],
    b: 1.537535,
    bRewards: [-6.336015, -6.040437],
    aGrads: [-0.611717, 0.337399],
  },
  {
    loss: 'alphapo',
    options: { beta: 2, simpoGamma: 1, alpha: -0.25 },
    a: 1.822378,
    aRewards: [-3.147755, -2.501686],
    b: 1.382823,
    bRewards: [-3.535719, -3.441737],
    aGrads: [-0.203396, 0.144049],
  },
  {
    loss: 'gamma_dpo',
    options: { beta: 0.1, gamma: 0 },
    a: 0.598139,
    aRewards: [0.1, -0.05],
    b: 0.974077,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.045017, 0.045017],
  },
  {
    loss: 'gamma_dpo',
    options: { beta: 0.1, gamma: 0.5 },
    a: 0.60947,
    aRewards: [0.1, -0.05],
    b: 0.898123,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.045636, 0.045636],
  },
  {
    loss: 'gamma_dpo',
    options: { beta: 0.1, gamma: 2 },
    a: 0.644397,
    aRewards: [0.1, -0.05],
    b: Math.LN2,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.047502, 0.047502],
  },
  {
    loss: 'flex',
    options: { betaPlus: 0.1, betaMinus: 0.08 },
    a: 0.625595,
    aRewards: [0.1, -0.04],
    b: 0.82033,
    bRewards: [-0.2, 0.04],
    aGrads: [-0.046506, 0.037205],
  },
  {
    loss: 'flex',
    options: { betaPlus: 0.1, betaMinus: 0.02 },
    a: 0.639659,
    aRewards: [0.1, -0.01],
    b: 0.80365,
    bRewards: [-0.2, 0.01],
    aGrads: [-0.047253, 0.009451],
  },
  {
    loss: 'dno',
    options: { eta: 0.1 },
    a: 0.677588,
    aRewards: [0.1, -0.05],
    b: 0.731554,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.008503, 0.008503],
    extras: { chosenScore: 0.8, rejectedScore: 0.3 },
  },
  {
    loss: 'dno',
    options: { eta: 1 },
    a: 0.767724,
    aRewards: [1, -0.5],
    b: 1.635038,
    bRewards: [-2, 0.5],
    aGrads: [0.195115, -0.195115],
    extras: { chosenScore: 0.8, rejectedScore: 0.3 },
  },
  {
    loss: 'irepo',
    options: { beta: 0.1, scale: 'reward' },
    a: 0.899865,
    aRewards: [0.1, -0.05],
    b: 1.818755,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.189722, 0.189722],
    extras: { chosenScore: 0, rejectedScore: 0, preference: 0.75 },
  },
  {
    loss: 'irepo',
    options: { beta: 0.1, scale: 'reward' },
    a: 4.191128,
    aRewards: [0.1, -0.05],
    b: 5.988908,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.409445, 0.409445],
    extras: { chosenScore: 0, rejectedScore: 0, preference: 0.9 },
  },
  {
    loss: 'irepo',
    options: { beta: 0.1, scale: 'logRatio' },
    a: 89.986527,
    aRewards: [0.1, -0.05],
    b: 181.875511,
    bRewards: [-0.2, 0.05],
    aGrads: [-18.972246, 18.972246],
    extras: { chosenScore: 0, rejectedScore: 0, preference: 0.75 },
  },
  {
    loss: 'rebel',
    options: { eta: 1 },
    a: 0.25,
    aRewards: [1, -0.5],
    b: 12.25,
    bRewards: [-2, 0.5],
    aGrads: [1, -1],
    extras: { chosenScore: 2, rejectedScore: 1 },
  },
  {
    loss: 'rebel',
    options: { eta: 2 },
    a: 0.0625,
    aRewards: [0.5, -0.25],
    b: 5.0625,
    bRewards: [-1, 0.25],
    aGrads: [-0.25, 0.25],
    extras: { chosenScore: 2, rejectedScore: 1 },
  },
  {
    loss: 'reward_aware',
    options: { beta: 0.1, eta: 1 },
    a: 0.079095,
    aRewards: [0.1, -0.05],
    b: 0.176501,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.019363, 0.019363],
    extras: { chosenScore: 2, rejectedScore: 1 },
  },
  {
    loss: 'reward_aware',
    options: { beta: 1, eta: 1 },
    a: 0.022622,
    aRewards: [1, -0.5],
    b: 1.324333,
    bRewards: [-2, 0.5],
    aGrads: [0.086516, -0.086516],
    extras: { chosenScore: 2, rejectedScore: 1 },
  },
  {
    loss: 'rdpo',
    options: { beta: 0.1, lengthAlpha: 0.02 },
    a: 0.649159,
    aRewards: [0.1, -0.05],
    b: 0.80365,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.047752, 0.047752],
  },
  {
    loss: 'dpop',
    options: { beta: 0.1, dpopLambda: 5 },
    a: 0.620957,
    aRewards: [0.1, -0.05],
    b: 1.501929,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.046257, 0.046257],
  },
  {
    loss: 'chi_po',
    options: { beta: 0.1 },
    a: 0.528778,
    aRewards: [0.1, -0.05],
    b: 0.913817,
    bRewards: [-0.2, 0.05],
    aGrads: [-0.152701, 0.065976],
  },
];

/** 1e-5 relative, 1e-4 above 10: what float32 keeps of these numbers. */
const close = (x: number, expected: number) =>
  expect(Math.abs(x - expected)).toBeLessThanOrEqual((Math.abs(expected) > 10 ? 1e-4 : 1e-5) * (1 + Math.abs(expected)));

describe('losses on the pairs A and B', () => {
  for (const { loss, options, a, aRewards, b, bRewards, aGrads, extras, divergence } of cases)
    it(`${loss} ${JSON.stringify({ ...options, ...extras, ...divergence })} has the values and gradients of its formula`, async () => {
      const spec = divergence ? withDivergence(pairLoss(loss), divergence) : pairLoss(loss);
      const onA = await measureSpec(spec, options, [A], extras);
      const onB = await measureSpec(spec, options, [B], extras);
      close(onA.loss[0], a);
      close(onA.chosenRewards[0], aRewards[0]);
      close(onA.rejectedRewards[0], aRewards[1]);
      close(onB.loss[0], b);
      close(onB.chosenRewards[0], bRewards[0]);
      close(onB.rejectedRewards[0], bRewards[1]);
      close(onA.chosenGrad[0], aGrads[0]);
      close(onA.rejectedGrad[0], aGrads[1]);
    });
});

describe('losses on both pairs at once', () => {
  for (const { loss, options, a, b, extras, divergence } of cases)
    it(`${loss} ${JSON.stringify({ ...options, ...extras, ...divergence })} gives each pair the value it has alone`, async () => {
      const spec = divergence ? withDivergence(pairLoss(loss), divergence) : pairLoss(loss);
      const both = await measureSpec(spec, options, [B, A], extras);
      close(both.loss[0], b);
      close(both.loss[1], a);
    });
});
