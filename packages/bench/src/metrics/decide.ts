/** From estimates to verdicts: Holm's correction, power, and the rule by which a claim is said to hold. */
import { type Estimate, lnGamma, normalCdf, tQuantile } from '@plumbline/data/statistics';

/**
 * Holm's step-down adjustment. A claim whose adjusted p is at most 0.05 is significant with a family-wise error of 5%.
 * The family is the claims of one paper, never those of several: over 75 papers it would leave little power to any.
 */
export function holm(pValues: readonly number[]): number[] {
  const order = pValues.map((_, i) => i).sort((i, j) => pValues[i] - pValues[j]);
  const adjusted = new Array<number>(pValues.length);
  let largest = 0;
  order.forEach((index, rank) => {
    largest = Math.max(largest, Math.min(1, pValues[index] * (pValues.length - rank)));
    adjusted[index] = largest;
  });
  return adjusted;
}

/**
 * Power of a two-sided paired t test of `n` units: the probability that it finds a true mean difference `effect` with
 * standard deviation `sd`. Integrates `P(Z > t·s − δ) + P(Z < −t·s − δ)` over the chi density of the sample deviation, δ = effect·√n / sd.
 */
export function pairedPower(n: number, effect: number, sd: number, { alpha = 0.05 } = {}): number {
  if (!(n >= 2)) return 0;
  if (!(sd > 0)) return effect === 0 ? alpha : 1;
  const df = n - 1;
  const critical = tQuantile(1 - alpha / 2, df);
  const delta = (Math.abs(effect) * Math.sqrt(n)) / sd;
  // density of s = sqrt(chi²/df) at s, over a range that holds all but 1e-12 of it
  const logScale = Math.log(2) + (df / 2) * Math.log(df / 2) - lnGamma(df / 2);
  const density = (s: number) => (s <= 0 ? 0 : Math.exp(logScale + (df - 1) * Math.log(s) - (df * s * s) / 2));
  const end = 1 + 9 / Math.sqrt(df);
  const steps = 2000; // even, Simpson
  let sum = 0;
  for (let i = 0; i <= steps; i++) {
    const s = (end * i) / steps;
    const reject = normalCdf(delta - critical * s) + normalCdf(-delta - critical * s);
    const weight = i === 0 || i === steps ? 1 : i % 2 ? 4 : 2;
    // df = 1 has density at 0
    sum += weight * reject * (s === 0 && df === 1 ? Math.exp(logScale) : density(s));
  }
  return Math.min(1, (sum * end) / steps / 3);
}

/** The least number of units, `minimum` or more, at which `pairedPower` reaches `power`; Infinity beyond `maximum`. */
export function unitsForPower(
  effect: number,
  sd: number,
  { power = 0.8, alpha = 0.05, minimum = 5, maximum = 10_000 }: { power?: number; alpha?: number; minimum?: number; maximum?: number } = {},
): number {
  if (!(Math.abs(effect) > 0)) throw new RangeError(`unitsForPower: the effect must not be 0, got ${effect}`);
  const enough = (n: number) => pairedPower(n, effect, sd, { alpha }) >= power;
  if (enough(minimum)) return minimum;
  let low = minimum;
  let high = minimum * 2;
  while (!enough(high)) {
    if (high >= maximum) return Infinity;
    low = high;
    high = Math.min(maximum, high * 2);
  }
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (enough(middle)) high = middle;
    else low = middle;
  }
  return high;
}

export const verdicts = ['holds', 'does not hold', 'undecided at this scale', 'not testable at this scale'] as const;
export type Verdict = (typeof verdicts)[number];
export type VerdictRule = {
  /** The smallest effect worth having, in the metric's unit, fixed before the counted seeds run. */
  smallestEffect?: number;
  /** For a claim of "not worse": how much worse still counts as not worse. */
  margin?: number;
  /** Units (seeds, unless the claim resamples something else) below which nothing is decided; 5 unless said. */
  minimumUnits?: number;
  /** What the units are called, such as seeds. */
  unit?: string;
  /** The p after Holm's correction within the paper; the estimate's own where absent. */
  adjustedP?: number;
  alpha?: number;
};

/**
 * The verdict on a claim that an effect is positive (or, with `margin`, not below `−margin`), from its estimate, which
 * is oriented so that a positive mean speaks for the claim.
 *
 * - holds: significantly above 0 after Holm's correction (with `margin`: the interval lies above `−margin`)
 * - does not hold: the interval lies below 0 or, where `smallestEffect` is given, below that (with `margin`: below `−margin`)
 * - undecided: neither, or fewer units than `minimumUnits`
 */
export function verdict(
  estimate: Estimate | undefined,
  { smallestEffect = 0, margin, minimumUnits = 5, unit = 'units', adjustedP, alpha = 0.05 }: VerdictRule = {},
): { verdict: Verdict; why: string } {
  if (!estimate) return { verdict: 'not testable at this scale', why: 'the claim needs the full scale of the paper' };
  const interval =
    estimate.method === 'none' ? round(estimate.mean) : `${round(estimate.mean)} [${round(estimate.low)}, ${round(estimate.high)}]`;
  if (estimate.n < minimumUnits)
    return {
      verdict: 'undecided at this scale',
      why: `${interval} from ${estimate.n} of the ${minimumUnits} ${unit} that a verdict needs`,
    };
  if (margin !== undefined) {
    if (estimate.low > -margin) return { verdict: 'holds', why: `${interval} lies above −${round(margin)}, the margin of "not worse"` };
    if (estimate.high < -margin)
      return { verdict: 'does not hold', why: `${interval} lies below −${round(margin)}, the margin of "not worse"` };
    return { verdict: 'undecided at this scale', why: `${interval} contains −${round(margin)}, the margin of "not worse"` };
  }
  if (estimate.high < smallestEffect || estimate.high < 0)
    return {
      verdict: 'does not hold',
      why:
        estimate.high < 0 ? `${interval} lies below 0` : `${interval} lies below ${round(smallestEffect)}, the smallest effect of interest`,
    };
  const p = adjustedP ?? estimate.p;
  if (estimate.low > 0 && (p === undefined || p <= alpha))
    return { verdict: 'holds', why: `${interval} lies above 0${p === undefined ? '' : `, ${shownP(p)} after Holm's correction`}` };
  return {
    verdict: 'undecided at this scale',
    why: estimate.low > 0 ? `${interval} lies above 0, but ${shownP(p!)} after Holm's correction` : `${interval} contains 0`,
  };
}

const shownP = (p: number) => (p < 0.001 ? 'p < 0.001' : `p = ${round(p)}`);
const round = (x: number) => (Number.isFinite(x) ? String(Number(x.toPrecision(3))).replace('-', '−') : x > 0 ? '∞' : '−∞');
