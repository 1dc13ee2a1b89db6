/** From items' values to a benchmark's table: subsets, groups of subsets, the whole, each with its interval. */
import { normalQuantile } from '../metrics/index.js';
import type { BenchmarkNumber } from './types.js';

type Value = { subset: string; value: number };
type Moments = { mean: number; variance: number; n: number };

/** How the whole follows from the parts: the mean of the groups, of the subsets, or of all items. */
export type Overall = 'groups' | 'subsets' | 'items';

/**
 * Subset means, group means and the headline. Groups that have no item are left out, as are subsets of a group; a subset of no group is a group of its own.
 *
 * @param groups  the subsets of each group
 * @param weights of the subsets within their group; equal unless given, or the numbers of items with `'items'`
 */
export function tabulate(
  values: readonly Value[],
  {
    overall,
    groups,
    weights = 'equal',
    name = 'overall',
  }: { overall: Overall; groups?: Record<string, readonly string[]>; weights?: Record<string, number> | 'items' | 'equal'; name?: string },
): BenchmarkNumber[] {
  const bySubset = new Map<string, Moments>();
  for (const subset of new Set(values.map((v) => v.subset)))
    bySubset.set(subset, moments(values.filter((v) => v.subset === subset).map(({ value }) => value)));
  const weightOf = (subset: string) => (typeof weights === 'string' ? 1 : (weights[subset] ?? bySubset.get(subset)!.n));
  const grouped = new Set(Object.values(groups ?? {}).flat());
  const allGroups = Object.entries(groups ?? {}).map(
    ([group, subsets]) => [group, subsets.filter((subset) => bySubset.has(subset))] as const,
  );
  const groupMoments = new Map<string, Moments>();
  for (const [group, subsets] of allGroups)
    if (subsets.length > 0)
      groupMoments.set(
        group,
        weights === 'items'
          ? moments(values.flatMap(({ subset, value }) => (subsets.includes(subset) ? [value] : [])))
          : combine(subsets.map((subset) => [bySubset.get(subset)!, weightOf(subset)])),
      );
  const top = new Map([...groupMoments, ...[...bySubset].filter(([subset]) => !grouped.has(subset))]);
  const whole =
    overall === 'items'
      ? moments(values.map(({ value }) => value))
      : combine([...(overall === 'groups' ? top : bySubset).values()].map((one) => [one, 1]));
  const groupRows = [...groupMoments].flatMap(([group, m]) => {
    const subsets = (groups?.[group] ?? []).filter((subset) => bySubset.has(subset));
    const alone = subsets.length === 1 && subsets[0] === group;
    return [row(group, 'group', m), ...(alone ? [] : subsets.map((subset) => row(subset, 'subset', bySubset.get(subset)!)))];
  });
  const others = [...bySubset].filter(([subset]) => !grouped.has(subset)).map(([subset, m]) => row(subset, groups ? 'group' : 'subset', m));
  return [row(name, 'overall', whole), ...groupRows, ...others];
}

export function moments(values: readonly number[]): Moments {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const variance = n > 1 ? values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1) : Number.NaN;
  return { mean, variance: variance / n, n };
}

/** A weighted mean of independent means. */
function combine(parts: readonly (readonly [Moments, number])[]): Moments {
  const total = parts.reduce((sum, [, weight]) => sum + weight, 0);
  const sum = (f: (m: Moments, weight: number) => number) => parts.reduce((s, [m, weight]) => s + f(m, weight / total), 0);
  return { mean: sum((m, w) => w * m.mean), variance: sum((m, w) => w * w * m.variance), n: parts.reduce((s, [m]) => s + m.n, 0) };
}

const z = normalQuantile(0.975);
/**
 * A share in [0, 1] with Wilson's interval: of as many items as would have this variance, where the share is a mean of means. It stays inside [0, 1], and is not empty where all are right.
 */
export function row(name: string, level: BenchmarkNumber['level'], { mean, variance, n }: Moments): BenchmarkNumber {
  if (Number.isNaN(variance)) return { name, level, value: mean, n };
  const size = variance > 0 ? (mean * (1 - mean)) / variance : n;
  const middle = (mean + z ** 2 / (2 * size)) / (1 + z ** 2 / size);
  const half = (z / (1 + z ** 2 / size)) * Math.sqrt((mean * (1 - mean)) / size + z ** 2 / (4 * size ** 2));
  return { name, level, value: mean, n, ci95: [Math.max(0, middle - half), Math.min(1, middle + half)] };
}
/** A number without an interval. */
export const plain = (name: string, level: BenchmarkNumber['level'], value: number, n: number): BenchmarkNumber => ({
  name,
  level,
  value,
  n,
});
