/** Whether probabilities can be believed, and how to mend them. Plain numbers. */
import type { Rng } from '@plumbline/core/light';

type Numbers = ArrayLike<number>;

/**
 * Margins of pairs (`score(chosen) - score(rejected)`) as probabilities with outcomes: a random half is presented swapped, without which every outcome is 1 and a calibration error means nothing.
 */
export function presentPairs(margins: Numbers, rng: Rng): { probability: Float64Array; outcome: Uint8Array } {
  const draws = rng.uniform(margins.length);
  const outcome = Uint8Array.from(draws, (u) => (u < 0.5 ? 1 : 0));
  const probability = Float64Array.from(outcome, (kept, i) => 1 / (1 + Math.exp(kept === 1 ? -margins[i] : margins[i])));
  return { probability, outcome };
}

/**
 * Expected and maximum calibration error, `Σ n_b / n |mean p - mean outcome|` and the largest of the gaps. `width`: bins of equal width, bin `min(floor(p · bins), bins - 1)`; `mass`: of
 * equally many items. (`calibration` of `@plumbline/bench/metrics` puts an edge into the bin below.)
 *
 * @throws RangeError for outcomes of one class, a probability outside of [0, 1], unlike lengths
 */
export function calibrationError(
  probability: Numbers,
  outcome: Numbers,
  { bins = 10, mode = 'width' }: { bins?: number; mode?: 'width' | 'mass' } = {},
): { ece: number; mce: number } {
  checkOutcomes('calibrationError', probability, outcome);
  if (!(Number.isInteger(bins) && bins > 0)) throw new RangeError(`calibrationError: bins must be a whole number above 0, got ${bins}`);
  const n = probability.length;
  const order = Array.from(probability, (_, i) => i).sort((i, j) => probability[i] - probability[j]);
  const sums = Array.from({ length: bins }, () => ({ count: 0, p: 0, z: 0 }));
  order.forEach((i, rank) => {
    const bin = mode === 'mass' ? Math.floor((rank * bins) / n) : Math.min(Math.floor(probability[i] * bins), bins - 1);
    sums[bin].count++;
    sums[bin].p += probability[i];
    sums[bin].z += outcome[i];
  });
  const filled = sums.filter(({ count }) => count > 0).map(({ count, p, z }) => ({ count, gap: Math.abs(p - z) / count }));
  return { ece: filled.reduce((sum, { count, gap }) => sum + (count / n) * gap, 0), mce: Math.max(...filled.map(({ gap }) => gap)) };
}

/**
 * The temperature T at which `σ(logit / T)` has the least negative log-likelihood, by Newton's method on 1 / T. Guo et al. 2017, arXiv:1706.04599. `before` and `after` in nats.
 *
 * @throws RangeError for outcomes of one class, or where no temperature is best: all outcomes on the side of their logit, or as good as random
 */
export function temperatureScale(probability: Numbers, outcome: Numbers): { temperature: number; before: number; after: number } {
  checkOutcomes('temperatureScale', probability, outcome);
  const logits = Array.from(probability, (p, i) => {
    if (p === 0 || p === 1) throw new RangeError(`temperatureScale: probability ${i} is ${p}, whose logit is infinite`);
    return Math.log(p / (1 - p));
  });
  const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
  const nll = (a: number) => logits.reduce((sum, x, i) => sum + softplus(a * x) - outcome[i] * a * x, 0) / logits.length;
  const slope = (a: number) => logits.reduce((sum, x, i) => sum + (1 / (1 + Math.exp(-a * x)) - outcome[i]) * x, 0) / logits.length;
  if (!(slope(0) < 0))
    throw new RangeError('temperatureScale: the probabilities say nothing about the outcomes, and no temperature is best');
  if (!(slope(1e4) > 0))
    throw new RangeError('temperatureScale: every outcome is on the side of its logit, and no temperature above 0 is best');
  let a = 1;
  let [low, high] = [0, 1e4]; // a bracket, for where Newton's step leaves it
  for (let k = 0; k < 100; k++) {
    const g = slope(a);
    if (Math.abs(g) < 1e-14) break;
    if (g > 0) high = a;
    else low = a;
    const h = logits.reduce((sum, x) => sum + x * x * (1 / (1 + Math.exp(-a * x))) * (1 / (1 + Math.exp(a * x))), 0) / logits.length;
    const next = a - g / h;
    a = next > low && next < high ? next : (low + high) / 2;
  }
  return { temperature: 1 / a, before: nll(1), after: nll(a) };
}

/** The non-decreasing values nearest to `values` by squares, in their order: pool adjacent violators. With outcomes sorted by score they are calibrated probabilities. */
export function isotonic(values: Numbers): Float64Array {
  const blocks: { mean: number; count: number }[] = [];
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) throw new RangeError(`isotonic: value ${i} is ${values[i]}`);
    blocks.push({ mean: values[i], count: 1 });
    for (let [below, top] = blocks.slice(-2); blocks.length > 1 && below.mean > top.mean; [below, top] = blocks.slice(-2)) {
      blocks.splice(-2, 2, {
        mean: (below.mean * below.count + top.mean * top.count) / (below.count + top.count),
        count: below.count + top.count,
      });
    }
  }
  return Float64Array.from(blocks.flatMap(({ mean, count }) => new Array<number>(count).fill(mean)));
}

function checkOutcomes(who: string, probability: Numbers, outcome: Numbers): void {
  if (probability.length !== outcome.length)
    throw new RangeError(`${who}: ${probability.length} probabilities and ${outcome.length} outcomes`);
  for (let i = 0; i < probability.length; i++)
    if (!(probability[i] >= 0 && probability[i] <= 1))
      throw new RangeError(`${who}: probability ${i} is ${probability[i]}, outside of [0, 1]`);
  const classes = new Set(Array.from(outcome));
  if (classes.size !== 2 || !classes.has(0) || !classes.has(1))
    throw new RangeError(`${who} needs both outcomes, 0 and 1; there are ${classes.size === 0 ? 'none' : [...classes].join(', ')}`);
}
