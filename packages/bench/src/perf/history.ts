/** What earlier runs of the benches measured, case by case: the last run beside those before it. */
import { FormatError } from '@plumbline/core';
import { quantile } from '../metrics/index.js';
import type { BenchResult, Spread } from './bench.js';
import type { GenerationResult } from './generation.js';
import type { TrlResult } from './trl.js';

/** What one run measured of one participant at one case. */
type Point = { date: string; rate: number; ratio?: Spread; busy: boolean };
export type HistoryRow = {
  suite: string;
  /** Processor and cores: runs on other machines are another row. */
  machine: string;
  case: string;
  who: string;
  unit: string;
  /** How many runs there are, the last included, and the days of the first and the last. */
  runs: number;
  first: string;
  last: string;
  rate: number;
  /** Times the peer's speed in the last run: median, lowest and highest of its rounds. */
  ratio?: Spread;
  /** Of the runs before the last: median, lowest and highest of their medians; of the ratios where the last has one too, else of the rates. */
  before?: Spread;
  /** The last run's ratio (or rate) over the median of those before; and whether it lies outside of all of them, where there are at least two. */
  trend?: { change: number; outside: boolean };
  /** The ratios (or rates), in order of time. */
  values: number[];
  /** The last run found the machine busy. */
  busy: boolean;
};

type Result = (BenchResult | GenerationResult | TrlResult) & { quick?: boolean };

/**
 * Rows of a history file, a line of JSON a run. Runs on tiny shapes (`--quick`) are left out, as is what failed.
 *
 * @throws FormatError naming the line that is none
 */
export function benchHistory(text: string, { suite }: { suite?: string } = {}): HistoryRow[] {
  const series = new Map<string, { about: Pick<HistoryRow, 'suite' | 'machine' | 'case' | 'who' | 'unit'>; points: Point[] }>();
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    let result: Result;
    try {
      result = JSON.parse(line) as Result;
      if (!Array.isArray(result.cases)) throw new TypeError('there are no cases');
    } catch (error) {
      throw new FormatError(`bench history, line ${i + 1}: no run of a bench (${(error as Error).message})`);
    }
    if (result.quick || (suite !== undefined && result.suite !== suite)) continue;
    const { cpu, cores, busy } = result.machine;
    const machine = `${cpu}, ${cores} cores`;
    for (const { name, who, unit, rate, ratio } of measuresOf(result)) {
      const key = JSON.stringify([result.suite, machine, name, who, unit]);
      const known = series.get(key) ?? { about: { suite: result.suite, machine, case: name, who, unit }, points: [] };
      known.points.push({ date: result.date.slice(0, 10), rate, ...(ratio && { ratio }), busy: busy === true });
      series.set(key, known);
    }
  }
  return [...series.values()].map(({ about, points }) => rowOf(about, points));
}

function measuresOf(result: Result): { name: string; who: string; unit: string; rate: number; ratio?: Spread }[] {
  if (result.suite === 'trl')
    return result.cases.flatMap(({ task, precision, plumbline, speed }) =>
      'error' in plumbline
        ? []
        : [
            {
              name: `${task}, ${precision}`,
              who: 'plumbline',
              unit: 'tokens/s',
              rate: plumbline.tokensPerSecond,
              ...(speed !== undefined && { ratio: { median: speed, low: speed, high: speed } }),
            },
          ],
    );
  const all = result.cases as {
    name: string;
    unit?: string;
    results: Record<string, { rate?: Spread; ratio?: Spread; ratios?: Record<string, Spread> }>;
  }[];
  return all.flatMap(({ name, unit = 'tokens/s', results }) =>
    Object.entries(results).flatMap(([who, { rate, ratio, ratios }]) => {
      const own = ratio ?? Object.values(ratios ?? {})[0];
      return rate ? [{ name, who, unit, rate: rate.median, ...(own && { ratio: own }) }] : [];
    }),
  );
}

function rowOf(about: Pick<HistoryRow, 'suite' | 'machine' | 'case' | 'who' | 'unit'>, points: readonly Point[]): HistoryRow {
  const last = points[points.length - 1];
  // the ratio to a peer in the same run is less moved by what else the machine did
  const values = last.ratio ? points.flatMap(({ ratio }) => ratio?.median ?? []) : points.map(({ rate }) => rate);
  const earlier = values.slice(0, -1);
  const before = earlier.length > 0 ? { median: quantile(earlier, 0.5), low: Math.min(...earlier), high: Math.max(...earlier) } : undefined;
  const now = values[values.length - 1];
  return {
    ...about,
    runs: points.length,
    first: points[0].date,
    last: last.date,
    rate: last.rate,
    ...(last.ratio && { ratio: last.ratio }),
    ...(before && {
      before,
      trend: { change: now / before.median, outside: earlier.length > 1 && (now < before.low || now > before.high) },
    }),
    values,
    busy: last.busy,
  };
}
