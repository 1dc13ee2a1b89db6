/** Agreement of raters. */
import { normalQuantile } from './distributions.js';

/** Cohen's kappa of two raters' labels. With `weights`, labels are ordered numbers and far disagreements cost more. */
export function cohenKappa<T extends string | number>(
  a: ArrayLike<T>,
  b: ArrayLike<T>,
  { weights = 'none' }: { weights?: 'none' | 'linear' | 'quadratic' } = {},
): number {
  if (a.length !== b.length) throw new RangeError(`cohenKappa: ${a.length} labels against ${b.length}`);
  const classes = [...new Set([...Array.from(a), ...Array.from(b)])].sort((x, y) =>
    typeof x === 'number' && typeof y === 'number' ? x - y : x < y ? -1 : 1,
  );
  const index = new Map(classes.map((label, i) => [label, i]));
  const size = classes.length;
  const counts = Array.from({ length: size }, () => new Float64Array(size));
  for (let i = 0; i < a.length; i++) counts[index.get(a[i])!][index.get(b[i])!]++;
  const rows = counts.map((row) => row.reduce((s, x) => s + x, 0));
  const columns = classes.map((_, j) => counts.reduce((s, row) => s + row[j], 0));
  const cost = (i: number, j: number) => (weights === 'none' ? Number(i !== j) : weights === 'linear' ? Math.abs(i - j) : (i - j) ** 2);
  let observed = 0;
  let expected = 0;
  for (let i = 0; i < size; i++)
    for (let j = 0; j < size; j++) {
      observed += cost(i, j) * counts[i][j];
      expected += (cost(i, j) * rows[i] * columns[j]) / a.length;
    }
  return expected === 0 ? 1 : 1 - observed / expected;
}

/**
 * Cohen's kappa with its interval: `kappa ± z · se` with the large-sample standard error of Fleiss, Cohen & Everitt 1969, which holds for any kappa.
 * Where both raters used one and the same class throughout, kappa is undefined: it is given as 0, with the interval [-1, 1].
 *
 * @throws RangeError for no labels, unlike lengths, or a level outside of (0, 1)
 */
export function cohenKappaInterval<T extends string | number>(
  a: ArrayLike<T>,
  b: ArrayLike<T>,
  { level = 0.95 }: { level?: number } = {},
): { kappa: number; low: number; high: number; se: number; agreement: number } {
  const n = a.length;
  if (n !== b.length) throw new RangeError(`cohenKappaInterval: ${n} labels against ${b.length}`);
  if (n === 0) throw new RangeError('cohenKappaInterval: there are no labels');
  if (!(level > 0 && level < 1)) throw new RangeError(`cohenKappaInterval: level must be in (0, 1), got ${level}`);
  const classes = [...new Set([...Array.from(a), ...Array.from(b)])];
  const index = new Map(classes.map((label, i) => [label, i]));
  const p = classes.map(() => new Float64Array(classes.length));
  for (let i = 0; i < n; i++) p[index.get(a[i])!][index.get(b[i])!]++;
  for (const row of p) for (let j = 0; j < row.length; j++) row[j] /= n;
  const rows = p.map((row) => row.reduce((s, x) => s + x, 0));
  const columns = classes.map((_, j) => p.reduce((s, row) => s + row[j], 0));
  const agreement = classes.reduce((s, _, i) => s + p[i][i], 0);
  const chance = classes.reduce((s, _, i) => s + rows[i] * columns[i], 0);
  if (chance >= 1 - 1e-12) return { kappa: 0, low: -1, high: 1, se: Number.POSITIVE_INFINITY, agreement };
  const kappa = Math.min(1, (agreement - chance) / (1 - chance));
  let [diagonal, off] = [0, 0];
  for (let i = 0; i < classes.length; i++)
    for (let j = 0; j < classes.length; j++)
      if (i === j) diagonal += p[i][i] * (1 - (rows[i] + columns[i]) * (1 - kappa)) ** 2;
      else off += p[i][j] * (columns[i] + rows[j]) ** 2;
  const variance = (diagonal + (1 - kappa) ** 2 * off - (kappa - chance * (1 - kappa)) ** 2) / (n * (1 - chance) ** 2);
  const se = Math.sqrt(Math.max(0, variance));
  const half = normalQuantile(0.5 + level / 2) * se;
  return { kappa, low: Math.max(-1, kappa - half), high: Math.min(1, kappa + half), se, agreement };
}

/** Fleiss' kappa from counts [items][classes], the same number of raters for every item. */
export function fleissKappa(counts: readonly (readonly number[])[]): number {
  const raters = counts[0].reduce((s, x) => s + x, 0);
  const shares = counts[0].map((_, j) => counts.reduce((s, row) => s + row[j], 0) / (counts.length * raters));
  const within = counts.map((row) => (row.reduce((s, x) => s + x * x, 0) - raters) / (raters * (raters - 1)));
  const observed = within.reduce((s, x) => s + x, 0) / counts.length;
  const expected = shares.reduce((s, x) => s + x * x, 0);
  return (observed - expected) / (1 - expected);
}

/** Krippendorff's alpha from ratings [raters][units]; null where a rater did not rate a unit. */
export function krippendorffAlpha(
  ratings: readonly (readonly (number | null)[])[],
  level: 'nominal' | 'ordinal' | 'interval' = 'nominal',
): number {
  const units = ratings[0].map((_, u) => ratings.map((rater) => rater[u]).filter((x): x is number => x !== null && Number.isFinite(x)));
  const paired = units.filter((values) => values.length > 1);
  const classes = [...new Set(paired.flat())].sort((x, y) => x - y);
  const index = new Map(classes.map((value, i) => [value, i]));
  const totals = new Float64Array(classes.length);
  for (const values of paired) for (const value of values) totals[index.get(value)!]++;
  const n = totals.reduce((s, x) => s + x, 0);
  const distance = (i: number, j: number) => {
    if (i === j) return 0;
    if (level === 'nominal') return 1;
    if (level === 'interval') return (classes[i] - classes[j]) ** 2;
    const [low, high] = i < j ? [i, j] : [j, i];
    let between = 0;
    for (let k = low; k <= high; k++) between += totals[k];
    return (between - (totals[low] + totals[high]) / 2) ** 2;
  };
  let observed = 0;
  for (const values of paired)
    for (const x of values) for (const y of values) observed += distance(index.get(x)!, index.get(y)!) / (values.length - 1);
  let expected = 0;
  for (let i = 0; i < classes.length; i++) for (let j = 0; j < classes.length; j++) expected += totals[i] * totals[j] * distance(i, j);
  return expected === 0 ? 1 : 1 - ((n - 1) * observed) / expected;
}
