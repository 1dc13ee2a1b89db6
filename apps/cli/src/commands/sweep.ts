/** `plumb sweep`: one command over a grid of settings, here, as a Slurm array, or under mpirun. */
import { resolve } from 'node:path';
import { ConfigError, onInterrupt, PlumblineError } from '@plumbline/core';
import pc from 'picocolors';
import { wholeNumber } from '../settings.js';
import { cellSettings, makeSweep } from '../sweep/cells.js';
import { chosenColumns, collect, type SweepRow, writeSweepCsv } from '../sweep/collect.js';
import { rankAndSize, runUnderMpi, submitToSlurm } from '../sweep/launch.js';
import { readSweep, runCells, writeSweep } from '../sweep/run.js';
import { table } from '../table.js';
import { readYaml } from '../yaml.js';

type SweepOptions = {
  grid?: string[];
  list?: string;
  jobs: string;
  launch: 'local' | 'slurm' | 'mpirun';
  out: string;
  show?: string[];
  json?: boolean;
  cell?: string;
  rank?: boolean;
};

export async function sweep(command: readonly string[], options: SweepOptions): Promise<void> {
  const dir = options.out;
  const jobs = wholeNumber('--jobs', options.jobs, 1);
  const signal = onInterrupt();
  const say = (line: string) => console.error(pc.dim(`  ${line}`));
  if (options.cell !== undefined || options.rank) {
    const planned = readSweep(dir);
    const mine = options.rank ? rankAndSize() : { rank: wholeNumber('--cell', options.cell!), size: planned.cells.length, here: 1 };
    if (mine.rank >= Math.max(mine.size, planned.cells.length))
      throw new ConfigError(`--cell ${options.cell}: the sweep in ${dir} has ${planned.cells.length} cells`);
    const cells = planned.cells.filter((_, i) => i % mine.size === mine.rank);
    const failed = await runCells(dir, planned, cells, { jobs: 1, beside: mine.here, signal, say });
    if (failed > 0 && !options.rank) process.exitCode = 1; // mpirun would end all ranks for one that failed
    return;
  }
  const planned = makeSweep(command, cellSettings(options.grid ?? [], options.list === undefined ? undefined : readYaml(options.list)));
  await writeSweep(dir, planned);
  if (options.launch === 'slurm') {
    console.log(await submitToSlurm(dir, planned.cells.length, jobs));
    return;
  }
  if (options.launch === 'mpirun') await runUnderMpi(dir, jobs, signal);
  else await runCells(dir, planned, planned.cells, { jobs, signal, say });

  const rows = collect(dir, planned);
  const csv = await writeSweepCsv(dir, rows);
  if (options.json) console.log(JSON.stringify(rows, null, 2));
  else {
    console.log(`\n${sweepTable(rows, chosenColumns(rows, options.show))}\n`);
    console.log(`All numbers: ${pc.cyan(resolve(csv))}`);
  }
  const failed = rows.filter(({ status }) => status !== 'done').length;
  if (failed > 0) throw new PlumblineError(`${failed} of ${rows.length} cells failed; the same command tries them again`);
}

function sweepTable(rows: readonly SweepRow[], columns: readonly string[]): string {
  const keys = [...new Set(rows.flatMap(({ settings }) => Object.keys(settings)))];
  const short = (name: string) => name.replace(/^arms\./, '');
  const lines = [
    ['cell', ...keys, 'status', ...columns.map(short)],
    ...rows.map((row) => [
      row.id,
      ...keys.map((key) => row.settings[key] ?? ''),
      row.status,
      ...columns.map((name) => row.values[name]?.toPrecision(4) ?? ''),
    ]),
  ];
  return table(lines);
}
