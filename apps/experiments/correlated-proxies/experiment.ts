/**
 * Correlated proxies. Laidlaw et al. 2025, arXiv:2403.03185: a proxy that correlates with the true reward under a base policy is hacked once it is optimised; what bounds the loss is
 * the chi-squared divergence of the occupancy measures, not the KL divergence of the actions. Tomato boards and base policies are drawn at random and everything is solved exactly, with all
 * four of {actions, occupancy} x {KL, chi-squared}; with a chi-squared price the solutions over all weights are those of its square root, which the paper uses.
 */
import { byArm, defineExperiment, pause } from '@plumbline/bench';
import { mean } from '@plumbline/bench/metrics';
import type { Rng } from '@plumbline/core';
import {
  expectedReward,
  mixPolicies,
  policyEvaluation,
  policyIteration,
  type TabularPolicy,
  uniformPolicy,
  withReward,
} from '@plumbline/data/tabular';
import { sampleTomatoBoard, tomatoWorld } from '@plumbline/envs';
import { chiSquared, hackingLowerBound, proxyCorrelation, type Regularisation, regularisationPath } from '@plumbline/rl';
import { z } from 'zod';
import { apply } from './apply.js';

const prices = {
  actionKl: { over: 'action', divergence: 'kl' },
  actionChi2: { over: 'action', divergence: 'chi2' },
  occupancyKl: { over: 'occupancy', divergence: 'kl' },
  occupancyChi2: { over: 'occupancy', divergence: 'chi2' },
} as const satisfies Record<string, Regularisation>;
type Arm = keyof typeof prices;
const armNames = Object.keys(prices) as Arm[];

export default defineExperiment({
  id: 'correlated-proxies',
  paper: 'arXiv:2403.03185',
  packages: ['rl', 'envs'],
  config: z.strictObject({
    boards: z.int().positive().default(40).describe('Boards with a base policy each that are counted; 5 seeds make 200'),
    tuningBoards: z.int().positive().default(10).describe('Other boards, on which each price gets its weight'),
    floor: z.int().min(7).default(8).describe('Cells of a board that can be entered'),
    gamma: z.number().min(0).lt(1).default(0.97).describe('Discount'),
    weights: z
      .array(z.number().positive())
      .min(2)
      .default([64, 32, 16, 8, 4, 2, 1, 0.5, 0.25, 0.125, 0.0625])
      .describe("Weights tried, in the proxy's deviation under the base policy"),
    leastNoise: z.number().min(0).max(1).default(0.3).describe('Least share of random actions in a base policy'),
    mostNoise: z.number().min(0).max(1).default(0.7).describe('Largest share'),
    leastCorrelation: z
      .number()
      .positive()
      .default(0.1)
      .describe('Boards whose proxy correlates less under the base policy are drawn again: they are no proxies'),
  }),
  quick: { boards: 2, tuningBoards: 1, floor: 7, weights: [1, 0.1] },
  arms: armNames,
  metrics: {
    gain: { unit: 'share of the gain over the base that is possible', better: 'higher' },
    bestGain: { unit: 'the same at the best weight of each board', better: 'higher' },
  },
  units: 'boards',
  claims: [
    {
      id: 'better',
      text: 'A chi-squared price on the occupancy keeps more true reward than a KL price on the actions',
      test: { metric: 'gain', better: 'occupancyChi2', than: 'actionKl', smallestEffect: 0.02, resample: 'drawnUnits' },
    },
    {
      id: 'occupancy',
      text: 'It is the occupancy: the chi-squared price on it beats the chi-squared price on the actions',
      test: { metric: 'gain', better: 'occupancyChi2', than: 'actionChi2', smallestEffect: 0.02, resample: 'drawnUnits' },
    },
    {
      id: 'chi2',
      text: 'It is the chi-squared: the price on the occupancy by chi-squared beats that by KL',
      test: { metric: 'gain', better: 'occupancyChi2', than: 'occupancyKl', smallestEffect: 0.02, resample: 'drawnUnits' },
    },
    { id: 'base', text: 'It ends above the base policy', test: { statistic: 'gainOccupancyChi2', above: 0, smallestEffect: 0.05 } },
    {
      id: 'hacked',
      text: 'Without a price the proxy is hacked on most boards: its optimum has less true reward than the base',
      test: { statistic: 'hacked', above: 0.5, smallestEffect: 0.1 },
    },
    {
      id: 'bound',
      text: 'No solution breaks the lower bound on the true reward',
      test: { statistic: 'largestViolation', below: 1e-6, smallestEffect: 1e-6 },
    },
    { id: 'sumo', text: 'It also holds for learned policies in traffic, glucose and pandemic control', test: 'full scale only' },
  ],
  apply,
  async run({ config, rng, signal, say }) {
    const { weights } = config;
    let largestViolation = -Infinity;
    /** Gains over the base of every price at every weight, and whether the proxy's optimum is hacked. */
    const measure = async (draw: Rng) => {
      await pause(signal);
      const { mdp, proxy, base, start, known } = drawBoard(draw, config);
      const proxyMdp = withReward(mdp, proxy);
      const [truth, proxyReward] = [expectedReward(mdp), expectedReward(proxyMdp)];
      const under = (occupancy: Float64Array, reward: Float64Array) => occupancy.reduce((sum, m, i) => sum + m * reward[i], 0);
      const possible = under(policyIteration(mdp).occupancy, truth) - known.mean;
      const gains = byArm(armNames, (): number[] => []);
      for (const arm of armNames)
        for (const { occupancy } of regularisationPath(
          mdp,
          proxy,
          base,
          prices[arm],
          weights.map((weight) => weight * known.proxyDeviation),
        )) {
          const gained = under(occupancy, truth) - known.mean;
          gains[arm].push(gained / possible);
          const bound = hackingLowerBound({
            correlation: known.correlation,
            proxyGain: (under(occupancy, proxyReward) - known.proxyMean) / known.proxyDeviation,
            chi2: chiSquared(occupancy, start.occupancy),
          });
          largestViolation = Math.max(largestViolation, bound - gained / known.deviation);
        }
      const hacked = under(policyEvaluation(mdp, policyIteration(proxyMdp).policy).occupancy, truth) < known.mean;
      return { gains, hacked, correlation: known.correlation };
    };
    const boards = async (name: string, n: number) => {
      const list = [];
      for (let i = 0; i < n; i++) {
        if (i % 5 === 0) say(`${name}: board ${i + 1} of ${n}`);
        list.push(await measure(rng.fork(name, i)));
      }
      return list;
    };
    const tuning = await boards('tuning', config.tuningBoards);
    const counted = await boards('counted', config.boards);
    const arms = {} as Record<Arm, { gain: Float64Array; bestGain: Float64Array }>;
    const chosen: Record<string, number> = {};
    for (const arm of armNames) {
      const average = weights.map((_, k) => mean(tuning.map(({ gains }) => gains[arm][k])));
      const best = average.indexOf(Math.max(...average));
      chosen[`weight ${arm}`] = weights[best];
      arms[arm] = {
        gain: Float64Array.from(counted, ({ gains }) => gains[arm][best]),
        bestGain: Float64Array.from(counted, ({ gains }) => Math.max(...gains[arm])),
      };
    }
    return {
      arms,
      statistics: {
        hacked: mean(counted.map(({ hacked }) => (hacked ? 1 : 0))),
        correlation: mean(counted.map(({ correlation }) => correlation)),
        gainOccupancyChi2: mean(arms.occupancyChi2.gain),
        largestViolation,
        ...chosen,
      },
    };
  },
});

/** A board on which the true optimum can be told from the base, with a base policy: the optimum mixed with random actions. */
function drawBoard(
  rng: Rng,
  {
    floor,
    gamma,
    leastNoise,
    mostNoise,
    leastCorrelation,
  }: { floor: number; gamma: number; leastNoise: number; mostNoise: number; leastCorrelation: number },
) {
  for (let attempt = 0; ; attempt++) {
    const draw = rng.fork('board', attempt);
    const { mdp, proxy } = tomatoWorld(sampleTomatoBoard(draw, { floor }), { gamma });
    const optimum = policyIteration(mdp);
    const noise = leastNoise + (mostNoise - leastNoise) * draw.fork('noise').uniform(1)[0];
    const base: TabularPolicy = mixPolicies(optimum.policy, uniformPolicy(mdp), noise);
    const start = policyEvaluation(mdp, base);
    const known = proxyCorrelation(start.occupancy, expectedReward(mdp), expectedReward(withReward(mdp, proxy)));
    if (optimum.return > start.return + 1e-6 && known.correlation >= leastCorrelation) return { mdp, proxy, base, start, known };
  }
}
