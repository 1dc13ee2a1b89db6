/** What the cells of a sweep measured, as one table. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '@plumbline/core';
import type { Sweep } from './cells.js';
import { cellFolder, cellState } from './run.js';

export type SweepRow = {
  id: string;
  status: string;
  seconds: number | null;
  settings: Record<string, string>;
  values: Record<string, number>;
};

/** One row a cell: its settings, how it ended, and the numbers in the newest `result.json` or `summary.json` that it left. */
export const collect = (dir: string, sweep: Sweep): SweepRow[] =>
  sweep.cells.map((cell) => {
    const state = cellState(dir, cell);
    const settings = Object.fromEntries(Object.entries(cell.settings).map(([key, value]) => [key, String(value)]));
    return {
      id: cell.id,
      status: state?.status ?? 'waiting',
      seconds: state?.seconds ?? null,
      settings,
      values: state?.status === 'done' ? measured(cellFolder(dir, cell)) : {},
    };
  });

/** Keys of a result that hold no measurement; its seconds would stand beside those of the cell. */
const notMeasured = new Set(['config', 'versions', 'format', 'seconds']);

function measured(folder: string): Record<string, number> {
  const file = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => /(^|[\\/])(result|summary)\.json$/.test(name))
    .sort()
    .at(-1);
  if (!file || !existsSync(join(folder, file))) return {};
  const values: Record<string, number> = {};
  addNumbers(values, '', JSON.parse(readFileSync(join(folder, file), 'utf8')));
  return values;
}

/** Numbers by their path: of an estimate its mean, of a list of claims each one's difference, and nothing of other lists. */
function addNumbers(into: Record<string, number>, path: string, value: unknown): void {
  if (typeof value === 'number') into[path] = value;
  if (Array.isArray(value)) {
    for (const { id, difference } of value.filter((entry) => typeof entry?.id === 'string' && typeof entry.difference === 'number'))
      into[`${path}.${id}`] = difference;
    return;
  }
  if (value === null || typeof value !== 'object') return;
  if ('mean' in value && typeof value.mean === 'number') {
    into[path] = value.mean;
    return;
  }
  for (const [key, inner] of Object.entries(value)) if (!notMeasured.has(key)) addNumbers(into, path ? `${path}.${key}` : key, inner);
}

/** Columns that the user asks for, or those that tell the cells apart, at most `most`. */
export function chosenColumns(rows: readonly SweepRow[], asked: readonly string[] = [], most = 6): string[] {
  const all = [...new Set(rows.flatMap(({ values }) => Object.keys(values)))];
  if (asked.length > 0) return all.filter((name) => asked.some((part) => name.includes(part)));
  const done = rows.filter(({ values }) => Object.keys(values).length > 0);
  return all.filter((name) => new Set(done.map(({ values }) => values[name])).size > 1).slice(0, most);
}

export async function writeSweepCsv(dir: string, rows: readonly SweepRow[]): Promise<string> {
  const keys = [...new Set(rows.flatMap(({ settings }) => Object.keys(settings)))];
  const names = [...new Set(rows.flatMap(({ values }) => Object.keys(values)))];
  const line = (fields: readonly (string | number | null | undefined)[]) =>
    fields
      .map((field) => (/[",\n]/.test(String(field ?? '')) ? `"${String(field).replaceAll('"', '""')}"` : String(field ?? '')))
      .join(',');
  const lines = [
    line(['cell', 'status', 'seconds', ...keys, ...names]),
    ...rows.map((row) =>
      line([row.id, row.status, row.seconds, ...keys.map((key) => row.settings[key]), ...names.map((name) => row.values[name])]),
    ),
  ];
  const file = join(dir, 'sweep.csv');
  await writeFileAtomic(file, `${lines.join('\n')}\n`);
  return file;
}
