/**
 * What to do to a reward before a policy is trained on it. Fu et al. 2025, "Reward shaping to mitigate reward hacking", arXiv:2502.18770: a bounded function
 * of the centred reward that rises fast at first and flattens later. Group-normalised advantages (GRPO) cancel every affine shaper here (`centered`,
 * `runningMeanStd`, `runningMinMax`), so those are compared under ReMax or PPO.
 *
 * A shaper that uses references needs them for every row; a function over several references is the mean of its values, not its value at the mean.
 */
import { CheckpointError, type Json, type Saved } from '@plumbline/core';
import { quantileOf, type ShapeInput, type Shaper } from '@plumbline/data';

type Warn = (message: string) => void;
export type ReferenceOptions = {
  /** Of a row's references the first so many are used; rows with fewer are allowed, and `warn` hears of the first. */
  maxReferences?: number;
  warn?: Warn;
};

// Bounded functions of the reward minus the reference

/** PAR: `mean_m σ(k · (reward - reference_m))`, in [0, 1]: how likely the reward model prefers the completion to a reference (arXiv:2502.18770, eq. 6). */
export function sigmoidPreference({ k = 1, ...options }: { k?: number } & ReferenceOptions = {}): Shaper {
  if (!(k > 0)) throw new RangeError(`sigmoidPreference: k must be > 0, got ${k}`);
  return overReferences('sigmoidPreference', options, (gap) => sigmoid(k * gap));
}

/** `mean_m (reward - reference_m)`: affine, the baseline of the others. */
export const centered = (options: ReferenceOptions = {}): Shaper => overReferences('centered', options, (gap) => gap);
/** `mean_m tanh(reward - reference_m)`, in [-1, 1]. */
export const centeredTanh = (options: ReferenceOptions = {}): Shaper => overReferences('centeredTanh', options, Math.tanh);
/** `mean_m atan(reward - reference_m)`, in [-π/2, π/2]. */
export const centeredAtan = (options: ReferenceOptions = {}): Shaper => overReferences('centeredAtan', options, Math.atan);

/** The negative control: `mean_m σ(slope · (reward - shift - reference_m))` grows slowly first and fast later. */
export function slowGrowth({ shift = 3, slope = 1, ...options }: { shift?: number; slope?: number } & ReferenceOptions = {}): Shaper {
  if (!(slope > 0)) throw new RangeError(`slowGrowth: slope must be > 0, got ${slope}`);
  return overReferences('slowGrowth', options, (gap) => sigmoid(slope * (gap - shift)));
}

/**
 * The least-squares polynomial of σ on 100 points of [-range, range], 0 below and 1 above. At the ends it leaves [0, 1] by a little
 * (1.0017 at 4.9 for degree 5).
 */
export function polynomialSigmoid({
  degree = 5,
  range = 5,
  ...options
}: { degree?: number; range?: number } & ReferenceOptions = {}): Shaper {
  const coefficients = sigmoidPolynomial({ degree, range });
  const value = (gap: number) => coefficients.reduce((sum, c) => sum * gap + c, 0);
  return overReferences('polynomialSigmoid', options, (gap) => (gap < -range ? 0 : gap > range ? 1 : value(gap)));
}

/** Its coefficients, highest power first. */
export function sigmoidPolynomial({ degree = 5, range = 5 }: { degree?: number; range?: number } = {}): number[] {
  if (!(Number.isInteger(degree) && degree >= 1 && degree <= 15))
    throw new RangeError(`polynomialSigmoid: degree must be a whole number in 1 to 15, got ${degree}`);
  if (!(range > 0)) throw new RangeError(`polynomialSigmoid: range must be > 0, got ${range}`);
  // On z = x / range in [-1, 1] the normal equations are well enough conditioned.
  const points = Array.from({ length: 100 }, (_, i) => -1 + (2 * i) / 99);
  const moment = (power: number) => points.reduce((sum, z) => sum + z ** power, 0);
  const matrix = Array.from({ length: degree + 1 }, (_, i) => [
    ...Array.from({ length: degree + 1 }, (_, j) => moment(i + j)),
    points.reduce((sum, z) => sum + z ** i * sigmoid(range * z), 0),
  ]);
  return solve(matrix)
    .map((c, power) => c / range ** power)
    .reverse();
}

/**
 * LSC: `log σ(reward - q)`, where q is a quantile of the prompt's reference rewards (Wang et al. 2024, arXiv:2402.00742): no more reward for what is good already,
 * a constant push for what is bad. `gaussian` takes `mean + z · (sd + 1e-5)` with the sample standard deviation (1.036433 for the default 0.85), `empirical` the
 * interpolated quantile.
 *
 * @throws RangeError for one reference with `gaussian`: a standard deviation needs two
 */
export function logSigmoidCentered({
  quantile = 0.85,
  estimate = 'gaussian',
}: {
  quantile?: number;
  estimate?: 'gaussian' | 'empirical';
} = {}): Shaper {
  if (!(quantile > 0 && quantile < 1)) throw new RangeError(`logSigmoidCentered: quantile must be in (0, 1), got ${quantile}`);
  const z = normalQuantile(quantile);
  const name = 'logSigmoidCentered';
  return stateless(name, ({ rewards, references }) =>
    rewards.map((reward, row) => {
      const of = referencesOf(name, references, row);
      if (estimate === 'empirical') return logSigmoid(reward - quantileOf(of, quantile));
      if (of.length < 2)
        throw new RangeError(`${name}: row ${row} has one reference; it needs at least 2 references for a standard deviation`);
      const mean = of.reduce((a, b) => a + b, 0) / of.length;
      const sd = Math.sqrt(of.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (of.length - 1));
      return logSigmoid(reward - (mean + z * (sd + 1e-5)));
    }),
  );
}

// Functions of the reward alone

/** The reward as it is. */
export const identity = (): Shaper => stateless('identity', ({ rewards }) => rewards.slice());

/** `σ(k · reward)`, uncentred. */
export function sigmoidReward({ k = 1 }: { k?: number } = {}): Shaper {
  if (!(k > 0)) throw new RangeError(`sigmoidReward: k must be > 0, got ${k}`);
  return stateless('sigmoidReward', ({ rewards }) => rewards.map((reward) => sigmoid(k * reward)));
}

/** `tanh(reward)`, uncentred. */
export const tanhReward = (): Shaper => stateless('tanhReward', ({ rewards }) => rewards.map(Math.tanh));

/** `min(reward, c)`. */
export function ceiling(c: number): Shaper {
  if (!Number.isFinite(c)) throw new RangeError(`ceiling: c must be finite, got ${c}`);
  return stateless('ceiling', ({ rewards }) => rewards.map((reward) => Math.min(reward, c)));
}

/** `reward - perToken · max(0, length - validLength)`, lengths in tokens of the completion; 0.01 beyond 300 in arXiv:2502.18770, before any other shaper. */
export function lengthPenalty({ validLength, perToken }: { validLength: number; perToken: number }): Shaper {
  if (!(validLength >= 0)) throw new RangeError(`lengthPenalty: validLength must be >= 0, got ${validLength}`);
  if (!(perToken >= 0)) throw new RangeError(`lengthPenalty: perToken must be >= 0, got ${perToken}`);
  return stateless('lengthPenalty', ({ rewards, lengths }) => {
    if (lengths?.length !== rewards.length)
      throw new RangeError(`lengthPenalty: ${rewards.length} rewards, but ${lengths?.length ?? 'no'} lengths`);
    return rewards.map((reward, i) => reward - perToken * Math.max(0, lengths[i] - validLength));
  });
}

// Running statistics over all rewards so far, those of this batch included

/** `(reward - mean) / sd`, with the population's standard deviation; 0 while that is 0. */
export function runningMeanStd(): Shaper {
  return running(
    'runningMeanStd',
    ({ mean, sd }) =>
      (reward) =>
        sd > 0 ? (reward - mean) / sd : 0,
  );
}

/** The reward, moved into [mean - sd, mean + sd]. */
export function runningClip(): Shaper {
  return running(
    'runningClip',
    ({ mean, sd }) =>
      (reward) =>
        Math.min(mean + sd, Math.max(mean - sd, reward)),
  );
}

/** `(reward - min) / (max - min)`; 0, with one warning, until two different rewards were seen. */
export function runningMinMax({ warn = console.warn }: { warn?: Warn } = {}): Shaper {
  const once = onlyOnce(warn);
  return running('runningMinMax', ({ min, max }) => {
    if (max > min) return (reward) => (reward - min) / (max - min);
    once('runningMinMax: all rewards so far are the same; they become 0');
    return () => 0;
  });
}

/** One after another. References are those of the raw reward: a shaper that uses them comes first, or after one that leaves the scale alone. */
export function chain(...shapers: Shaper[]): Shaper {
  return {
    name: shapers.map(({ name }) => name).join(' > '),
    apply: (x) => shapers.reduce((rewards, shaper) => shaper.apply({ ...x, rewards }), x.rewards),
    async save() {
      const parts = await Promise.all(shapers.map((shaper) => shaper.save()));
      return { tensors: {}, json: { parts: parts.map(({ json }) => json) } };
    },
    async load({ json }) {
      const parts = (json as { parts?: Json[] } | null)?.parts;
      if (parts?.length !== shapers.length)
        throw new CheckpointError(`chain: ${shapers.length} shapers, but ${parts?.length ?? 'no'} saved ones`);
      for (const [i, shaper] of shapers.entries()) await shaper.load({ tensors: {}, json: parts[i] });
    },
  };
}

type Statistics = { count: number; mean: number; m2: number; min: number; max: number };

function running(
  name: string,
  make: (statistics: { mean: number; sd: number; min: number; max: number }) => (reward: number) => number,
): Shaper {
  let s: Statistics = { count: 0, mean: 0, m2: 0, min: 0, max: 0 };
  return {
    name,
    apply({ rewards }) {
      checkFinite(name, rewards);
      for (const reward of rewards) {
        // Welford 1962: the sum of squared deviations without cancellation.
        const count = s.count + 1;
        const mean = s.mean + (reward - s.mean) / count;
        const m2 = s.m2 + (reward - s.mean) * (reward - mean);
        s = { count, mean, m2, min: s.count > 0 ? Math.min(s.min, reward) : reward, max: s.count > 0 ? Math.max(s.max, reward) : reward };
      }
      return rewards.map(make({ ...s, sd: Math.sqrt(s.m2 / Math.max(1, s.count)) }));
    },
    save: async () => ({ tensors: {}, json: { shaper: name, ...s } }),
    async load({ json }) {
      const { shaper, ...saved } = json as { shaper: string } & Statistics;
      const whole = (['count', 'mean', 'm2', 'min', 'max'] as const).every((key) => Number.isFinite(saved[key]));
      if (shaper !== name || !whole)
        throw new CheckpointError(`${name}: the checkpoint holds the state of ${shaper ?? 'something else'}: ${JSON.stringify(json)}`);
      s = saved;
    },
  };
}

function stateless(name: string, apply: (x: ShapeInput) => Float32Array): Shaper {
  return {
    name,
    apply(x) {
      checkFinite(name, x.rewards);
      return apply(x);
    },
    save: async (): Promise<Saved> => ({ tensors: {}, json: { shaper: name } }),
    async load({ json }) {
      const saved = (json as { shaper?: string } | null)?.shaper;
      if (saved !== name) throw new CheckpointError(`${name}: the checkpoint holds the state of ${saved ?? 'something else'}`);
    },
  };
}

function overReferences(name: string, { maxReferences = 10, warn = console.warn }: ReferenceOptions, f: (gap: number) => number): Shaper {
  if (!(Number.isInteger(maxReferences) && maxReferences > 0))
    throw new RangeError(`${name}: maxReferences must be a whole number above 0, got ${maxReferences}`);
  const once = onlyOnce(warn);
  return stateless(name, ({ rewards, references }) =>
    rewards.map((reward, row) => {
      const used = referencesOf(name, references, row).subarray(0, maxReferences);
      if (used.length < maxReferences) once(`${name}: row ${row} has ${used.length} of ${maxReferences} references`);
      return used.reduce((sum, reference) => sum + f(reward - reference), 0) / used.length;
    }),
  );
}

function referencesOf(name: string, references: ShapeInput['references'], row: number): Float32Array {
  const of = references?.[row];
  if (!of || of.length === 0) throw new RangeError(`${name}: prompt row ${row} has no reference rewards; score some with scoreReferences`);
  const bad = of.findIndex((reference) => !Number.isFinite(reference));
  if (bad >= 0) throw new RangeError(`${name}: reference ${bad} of prompt row ${row} is ${of[bad]}`);
  return of;
}

function checkFinite(name: string, rewards: Float32Array): void {
  const bad = rewards.findIndex((reward) => !Number.isFinite(reward));
  if (bad >= 0) throw new RangeError(`${name}: the reward of row ${bad} is ${rewards[bad]}`);
}

function onlyOnce(warn: Warn): Warn {
  let told = false;
  return (message) => {
    if (!told) warn(message);
    told = true;
  };
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const logSigmoid = (x: number): number => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x)));

/** z with Φ(z) = p, by bisection on the error function's series-free complement; exact to 1e-12. */
function normalQuantile(p: number): number {
  let [low, high] = [-40, 40];
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2;
    if (normalCdf(middle) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** Φ(x), by its Taylor series near 0 and the continued fraction of Mills' ratio in the tails. */
function normalCdf(x: number): number {
  const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  if (Math.abs(x) < 3) {
    let [term, sum] = [x, x];
    for (let n = 1; n < 100; n++) {
      term *= (x * x) / (2 * n + 1);
      sum += term;
    }
    return 0.5 + density * sum;
  }
  let fraction = 0;
  for (let n = 200; n > 0; n--) fraction = n / (Math.abs(x) + fraction);
  const tail = density / (Math.abs(x) + fraction);
  return x > 0 ? 1 - tail : tail;
}

/** Gaussian elimination with pivoting of an augmented matrix. */
function solve(matrix: number[][]): number[] {
  const n = matrix.length;
  for (let column = 0; column < n; column++) {
    let pivot = column;
    for (let row = column + 1; row < n; row++) if (Math.abs(matrix[row][column]) > Math.abs(matrix[pivot][column])) pivot = row;
    [matrix[column], matrix[pivot]] = [matrix[pivot], matrix[column]];
    for (let row = 0; row < n; row++) {
      if (row === column) continue;
      const factor = matrix[row][column] / matrix[column][column];
      for (let k = column; k <= n; k++) matrix[row][k] -= factor * matrix[column][k];
    }
  }
  return matrix.map((row, i) => row[n] / row[i]);
}
