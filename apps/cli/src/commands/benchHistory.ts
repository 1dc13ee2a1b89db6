/** `plumb bench history`: what the benches measured on this machine, run by run. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { benchHistory, type HistoryRow } from '@plumbline/bench/perf';
import { FormatError } from '@plumbline/core';
import pc from 'picocolors';

/** Other programs, which are there to be compared with. */
const peers = /^(pytorch|torch|transformers|llama\.cpp|trl)\b/i;

export function showBenchHistory({ json }: { json?: boolean }): void {
  const file = join(process.cwd(), '.plumbline', 'bench-history.jsonl');
  if (!existsSync(file))
    throw new FormatError(`${file}: nothing was measured here so far; plumb bench kernels, train, generate and trl add to it`);
  const rows = benchHistory(readFileSync(file, 'utf8')).filter(({ who }) => !peers.test(who));
  if (json) console.log(JSON.stringify(rows, null, 2));
  else console.log(historyTable(rows));
}

export function historyTable(rows: readonly HistoryRow[]): string {
  if (rows.length === 0) return 'No whole run is in the history.';
  const lines: string[] = [];
  for (const of of new Set(rows.map(({ suite, machine }) => `${suite} on ${machine}`))) {
    const own = rows.filter(({ suite, machine }) => `${suite} on ${machine}` === of);
    const cells = own.map((row) => [
      row.case,
      row.who,
      `${short(row.rate)} ${row.unit}${row.busy ? ' (busy)' : ''}`,
      row.ratio ? `${row.ratio.median.toFixed(2)}x [${row.ratio.low.toFixed(2)}, ${row.ratio.high.toFixed(2)}]` : '',
      String(row.runs),
      row.before ? `${value(row, row.before.median)} [${value(row, row.before.low)}, ${value(row, row.before.high)}]` : '',
      row.trend
        ? `${sparkline(row.values)} ${row.trend.change >= 1 ? '+' : ''}${(100 * (row.trend.change - 1)).toFixed(0)}%${row.trend.outside ? ' !' : ''}`
        : '',
    ]);
    const table = [['case', 'participant', 'last', 'times the peer', 'runs', 'before', 'trend'], ...cells];
    const widths = table[0].map((_, c) => Math.max(...table.map((row) => row[c].length)));
    lines.push(pc.bold(of), ...table.map((row) => `  ${row.map((cell, c) => cell.padEnd(widths[c])).join('  ')}`.trimEnd()), '');
  }
  lines.push(
    'The last run, its ratio to the peer of the same run (median, lowest and highest of its rounds), and the runs before it: their median, lowest and highest.',
    '"!" stands where the last lies outside of all before it; a busy machine moves rates more than ratios.',
  );
  return lines.join('\n');
}

const value = ({ ratio }: HistoryRow, x: number) => (ratio ? x.toFixed(2) : short(x));
const short = (x: number): string => (x >= 100 ? x.toFixed(0) : x.toPrecision(3));
const bars = '▁▂▃▄▅▆▇█';
/** The last twelve values, from the lowest to the highest of them. */
function sparkline(values: readonly number[]): string {
  const some = values.slice(-12);
  const [low, high] = [Math.min(...some), Math.max(...some)];
  return some.map((x) => bars[high > low ? Math.round((7 * (x - low)) / (high - low)) : 3]).join('');
}
