/**
 * STARC metrics. Skalse et al. 2024, arXiv:2309.15257: a distance between reward functions that is zero exactly where they order all policies alike, and that bounds the regret of
 * optimising one where the other counts. Random processes, pairs of random rewards interpolated in steps; regret is computed by solving the process, apart from any metric.
 */
import { byArm, defineExperiment, pause } from '@plumbline/bench';
import { mean, pearson, spearman } from '@plumbline/bench/metrics';
import type { Rng } from '@plumbline/core';
import type { TabularMdp } from '@plumbline/data/tabular';
import { randomMdp } from '@plumbline/envs';
import { averageRegret, type Canonicalisation, starcDistance } from '@plumbline/rewards';
import { z } from 'zod';
import { apply } from './apply.js';

const canons = { none: 'none', epic: 'epic', dard: 'dard', valPotential: 'valPotential', starcVal: 'val' } as const satisfies Record<
  string,
  Canonicalisation
>;
type Arm = keyof typeof canons;
const armNames = Object.keys(canons) as Arm[];

export default defineExperiment({
  id: 'starc',
  paper: 'arXiv:2309.15257',
  packages: ['rewards', 'envs'],
  config: z.strictObject({
    mdps: z.int().positive().default(64).describe('Random processes; the paper has 128'),
    states: z.int().min(2).default(16).describe('States of each; the paper has 32'),
    actions: z.int().min(2).default(4).describe('Actions of each'),
    pairs: z.int().positive().default(4).describe('Pairs of rewards of each process; the paper has 8'),
    steps: z.int().min(2).default(8).describe('Steps from one reward of a pair to the other; the paper has 16'),
    gamma: z.number().min(0).lt(1).default(0.95).describe('Discount'),
  }),
  quick: { mdps: 2, states: 4, pairs: 2, steps: 3 },
  arms: armNames,
  metrics: { correlation: { unit: "Pearson's r", better: 'higher' }, rankCorrelation: { unit: "Spearman's ρ", better: 'higher' } },
  units: 'processes',
  claims: [
    {
      id: 'epic',
      text: 'STARC follows regret more closely than EPIC does',
      test: { metric: 'correlation', better: 'starcVal', than: 'epic', smallestEffect: 0.02, resample: 'drawnUnits' },
    },
    {
      id: 'dard',
      text: 'STARC follows regret more closely than DARD does',
      test: { metric: 'correlation', better: 'starcVal', than: 'dard', smallestEffect: 0.02, resample: 'drawnUnits' },
    },
    {
      id: 'blind',
      text: 'STARC does not see a redistribution of rewards over next states',
      test: { statistic: 'redistributionStarc', below: 1e-3, smallestEffect: 5e-4 },
    },
    {
      id: 'seeing',
      text: 'EPIC takes rewards that differ by such a redistribution alone for different ones',
      test: { statistic: 'redistributionEpic', above: 0.05, smallestEffect: 0.05 },
    },
    { id: 'reacher', text: 'It also follows regret more closely in the continuous Reacher', test: 'full scale only' },
  ],
  apply,
  async run({ config, rng, signal, say }) {
    const values = byArm(armNames, () => ({ pearson: [] as number[], spearman: [] as number[] }));
    const moved = { val: [] as number[], epic: [] as number[] };
    for (let m = 0; m < config.mdps; m++) {
      if (m % 8 === 0) say(`process ${m + 1} of ${config.mdps}`);
      await pause(signal);
      const draw = rng.fork('mdp', m);
      const mdp = randomMdp(draw, { states: config.states, actions: config.actions, gamma: config.gamma, kind: 'logits' });
      const regrets: number[] = [];
      const distances = byArm(armNames, (): number[] => []);
      for (let p = 0; p < config.pairs; p++) {
        const [from, to] = [randomReward(draw.fork('from', p), mdp), randomReward(draw.fork('to', p), mdp)];
        for (let step = 1; step <= config.steps; step++) {
          const other = from.map((value, at) => value + (step / config.steps) * (to[at] - value));
          regrets.push(averageRegret(from, other, mdp));
          for (const arm of armNames) distances[arm].push(starcDistance(from, other, mdp, { canon: canons[arm] }));
        }
        if (p > 0) continue;
        const redistributed = redistribute(draw.fork('redistribution'), from, mdp);
        for (const canon of ['val', 'epic'] as const) moved[canon].push(starcDistance(from, redistributed, mdp, { canon }));
      }
      for (const arm of armNames) {
        values[arm].pearson.push(correlated(distances[arm], regrets, pearson));
        values[arm].spearman.push(correlated(distances[arm], regrets, spearman));
      }
    }
    return {
      arms: byArm(armNames, (arm) => ({
        correlation: Float64Array.from(values[arm].pearson),
        rankCorrelation: Float64Array.from(values[arm].spearman),
      })),
      statistics: { redistributionStarc: mean(moved.val), redistributionEpic: mean(moved.epic) },
    };
  },
});

/** Where all regrets are alike nothing can correlate with them. */
function correlated(distances: readonly number[], regrets: readonly number[], how: typeof pearson): number {
  const { value } = how(distances, regrets);
  return Number.isFinite(value) ? value : 0;
}

/** Normal rewards; of them 20% sparse, 70% scaled, 30% shifted, 50% shaped by a potential, as in the paper's study. */
function randomReward(rng: Rng, { states: S, actions: A, gamma }: TabularMdp): Float64Array {
  const [sparse, scaled, shifted, shaped, factor, offset, spread, level] = rng.fork('kind').uniform(8);
  let reward = Float64Array.from(rng.fork('values').normal(S * A * S));
  if (sparse < 0.2) reward = reward.map((value) => (value > 3 ? value : 0));
  if (scaled < 0.7) reward = reward.map((value) => value * 10 * factor);
  if (shifted < 0.3) reward = reward.map((value) => value + 10 * offset);
  if (shaped >= 0.5) return reward;
  const potential = Array.from(rng.fork('potential').normal(S), (value) => value * 10 * spread + level);
  return reward.map((value, at) => value + gamma * potential[at % S] - potential[Math.floor(at / (A * S))]);
}

/** Adds to each state and action a change over next states whose mean is zero: no policy's return changes. */
function redistribute(rng: Rng, reward: Float64Array, { states: S, actions: A, transition }: TabularMdp): Float64Array {
  const out = reward.slice();
  const noise = rng.normal(S * A * S);
  for (let row = 0; row < S * A; row++) {
    let average = 0;
    for (let next = 0; next < S; next++) average += transition[row * S + next] * noise[row * S + next];
    for (let next = 0; next < S; next++) out[row * S + next] += noise[row * S + next] - average;
  }
  return out;
}
