/** From the seeds' outcomes to claims with verdicts. */
import { rng } from '@plumbline/core';
import {
  bootstrapInterval,
  type Estimate,
  holm,
  mean,
  pairedPower,
  standardDeviation,
  tInterval,
  unitsForPower,
  verdict,
} from '../metrics/index.js';
import { formatNumber } from '../report/index.js';
import type { ArmSummary, Claim, ClaimResult, Experiment, StoredSeed } from './types.js';

/** Fewer seeds than this decide nothing. */
export const minimumSeeds = 5;

type Tested = {
  claim: Claim;
  estimate?: Estimate;
  unit: 'seeds' | 'units';
  oriented?: { smallestEffect: number; margin?: number };
  pilotSd?: number;
  /** Units of the interval that one more seed adds. */
  perSeed?: number;
};

/**
 * Verdicts on all claims of one experiment, Holm's correction within them. Differences are oriented so that positive speaks for the claim: of a metric
 * where lower is better, the sign is turned.
 *
 * @param pilot outcomes on other seeds, from which the power is taken; without them there is none
 */
export function judgeClaims(experiment: Experiment, seeds: readonly StoredSeed[], pilot: readonly StoredSeed[] = []): ClaimResult[] {
  const tested = experiment.claims.map((claim) => test(experiment, claim, seeds, pilot));
  const family = tested.filter((t) => t.estimate?.p !== undefined && t.oriented?.margin === undefined);
  const adjusted = holm(family.map((t) => t.estimate!.p!));
  return tested.map((t): ClaimResult => {
    const { claim, estimate } = t;
    const unit = t.unit === 'seeds' ? 'seeds' : (experiment.units ?? 'units');
    const inFamily = family.indexOf(t);
    const adjustedP = inFamily >= 0 ? adjusted[inFamily] : undefined;
    const smallest = t.oriented?.smallestEffect;
    const ruled =
      estimate && t.unit === 'units' && !resamplesUnits(claim)
        ? {
            verdict: 'undecided at this scale' as const,
            why: `${shown(estimate)} over the ${estimate.n} ${unit} of one training run, which says nothing of other runs`,
          }
        : verdict(estimate, {
            smallestEffect: smallest || undefined,
            margin: t.oriented?.margin,
            adjustedP,
            minimumUnits: resamplesUnits(claim) ? 2 : minimumSeeds,
            unit,
          });
    const effect = smallest || t.oriented?.margin; // "not worse": the power where there is no difference
    const known = t.pilotSd !== undefined && effect ? { sd: t.pilotSd, effect } : undefined;
    const needed = known && unitsForPower(known.effect, known.sd);
    const seedsNeeded = needed && Math.max(minimumSeeds, Math.ceil(needed / (t.perSeed ?? 1)));
    return {
      id: claim.id,
      claim: claim.text,
      ...ruled,
      difference: estimate?.mean ?? null,
      ci95: estimate ? [finite(estimate.low), finite(estimate.high)] : null,
      n: estimate?.n ?? 0,
      unit,
      p: estimate?.method === 'none' ? null : (estimate?.p ?? null),
      adjustedP: estimate?.method === 'none' ? null : (adjustedP ?? null),
      smallestEffect: smallest || null,
      margin: t.oriented?.margin ?? null,
      pilotDeviation: t.pilotSd ?? null,
      power: known && estimate && estimate.n > 1 ? pairedPower(estimate.n, known.effect, known.sd) : null,
      seedsForPower: seedsNeeded === undefined || !Number.isFinite(seedsNeeded) ? null : seedsNeeded,
    };
  });
}

const shown = ({ mean, low, high }: Estimate) => `${formatNumber(mean)} [${formatNumber(low)}, ${formatNumber(high)}]`;
const finite = (x: number) => (Number.isFinite(x) ? x : null);
const resamplesUnits = ({ test }: Claim) =>
  typeof test === 'object' && 'resample' in test && (test.resample === 'units' || test.resample === 'drawnUnits');

function test(experiment: Experiment, claim: Claim, seeds: readonly StoredSeed[], pilot: readonly StoredSeed[]): Tested {
  const rule = claim.test;
  if (rule === 'full scale only') return { claim, unit: 'seeds' };
  const deviation = (values: ArrayLike<number>) => (values.length > 1 ? standardDeviation(Array.from(values)) : undefined);
  if ('statistic' in rule) {
    const sign = rule.above !== undefined ? 1 : -1;
    const bound = rule.above ?? rule.below!;
    const over = (some: readonly StoredSeed[]) => some.map((s) => sign * (s.statistics[rule.statistic] - bound));
    const oriented = { smallestEffect: rule.smallestEffect ?? 0 };
    return { claim, estimate: tInterval(over(seeds)), unit: 'seeds', oriented, pilotSd: deviation(over(pilot)) };
  }
  const sign = experiment.metrics[rule.metric].better === 'higher' ? 1 : -1;
  const meanDifference = (s: StoredSeed) => sign * (meanOf(s.arms[rule.better][rule.metric]) - meanOf(s.arms[rule.than][rule.metric]));
  const unitDifferences = (s: StoredSeed) => {
    const [a, b] = [s.arms[rule.better][rule.metric], s.arms[rule.than][rule.metric]] as number[][];
    if (a.length !== b.length)
      throw new RangeError(
        `claim "${claim.id}": ${a.length} units of ${rule.metric} against ${b.length}; the arms must be measured on the same ones`,
      );
    return a.map((x, i) => sign * (x - b[i]));
  };
  const oriented = { smallestEffect: rule.smallestEffect ?? 0, margin: rule.margin };
  const inUnits = Array.isArray(seeds[0].arms[rule.better][rule.metric]) && Array.isArray(seeds[0].arms[rule.than][rule.metric]);
  if (inUnits && (resamplesUnits(claim) || seeds.length === 1)) {
    const drawn = rule.resample === 'drawnUnits';
    const over = (some: readonly StoredSeed[]) => {
      const each = some.map(unitDifferences);
      return drawn ? each.flat() : each.length === 0 ? [] : each[0].map((_, i) => mean(each.map((own) => own[i])));
    };
    const estimate = bootstrapInterval(Float64Array.from(over(seeds)), rng(0).fork('bootstrap', claim.id));
    const pilotSd = resamplesUnits(claim) ? deviation(over(pilot)) : deviation(pilot.map(meanDifference));
    return { claim, estimate, unit: 'units', oriented, pilotSd, ...(drawn && { perSeed: estimate.n / seeds.length }) };
  }
  return { claim, estimate: tInterval(seeds.map(meanDifference)), unit: 'seeds', oriented, pilotSd: deviation(pilot.map(meanDifference)) };
}

/** Seeds that give every claim power 0.8, at least 5, from the pilot's deviations; undefined where no number does. */
export function seedsForClaims(experiment: Experiment, pilot: readonly StoredSeed[]): number | undefined {
  const needed = judgeClaims(experiment, pilot, pilot)
    .filter((claim) => claim.pilotDeviation !== null && (claim.smallestEffect ?? claim.margin) !== null)
    .map((claim) => claim.seedsForPower ?? Infinity);
  const most = Math.max(minimumSeeds, ...needed);
  return Number.isFinite(most) ? most : undefined;
}

export const meanOf = (value: number | readonly number[]) => (typeof value === 'number' ? value : mean(value));

/** Mean of each arm's metrics over the seeds, with t intervals; one seed of many units has a bootstrap over them. */
export function summarise(
  seeds: readonly StoredSeed[],
  pick: (seed: StoredSeed) => Record<string, number | number[]>,
): Record<string, ArmSummary> {
  return Object.fromEntries(
    Object.keys(pick(seeds[0])).map((name) => {
      const perSeed = seeds.map((s) => meanOf(pick(s)[name]));
      const only = pick(seeds[0])[name];
      const usable = perSeed.every(Number.isFinite);
      const estimate = !usable
        ? { mean: Number.NaN, low: Number.NaN, high: Number.NaN }
        : seeds.length === 1 && Array.isArray(only) && only.length > 1
          ? bootstrapInterval(only, rng(0).fork('bootstrap', name))
          : tInterval(perSeed);
      return [
        name,
        { mean: estimate.mean, ci95: [finite(estimate.low), finite(estimate.high)] as [number | null, number | null], perSeed },
      ];
    }),
  );
}
