/** Runs the cells of a sweep here, some at a time; a cell that is done is kept. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { ConfigError, InterruptedError, makeFolder, writeFileAtomic } from '@plumbline/core';
import { type Cell, cellCommand, describe, type Sweep } from './cells.js';

export type CellState = { status: 'done' | 'failed'; command: string[]; exitCode: number | null; seconds: number };

const sweepFile = (dir: string) => join(dir, 'sweep.json');
export const cellFolder = (dir: string, { id }: Cell) => join(dir, `cell-${id}`);

export async function writeSweep(dir: string, sweep: Sweep): Promise<void> {
  await makeFolder(dir);
  await writeFileAtomic(sweepFile(dir), `${JSON.stringify(sweep, null, 2)}\n`);
}

/** @throws ConfigError where the folder holds no sweep */
export function readSweep(dir: string): Sweep {
  if (!existsSync(sweepFile(dir)))
    throw new ConfigError(`${dir} holds no sweep.json; start one with \`plumb sweep --grid ... --out ${dir} -- plumb ...\``);
  return JSON.parse(readFileSync(sweepFile(dir), 'utf8')) as Sweep;
}

/** How a cell ended; nothing where it has not. */
export function cellState(dir: string, cell: Cell): CellState | undefined {
  const file = join(cellFolder(dir, cell), 'cell.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as CellState) : undefined;
}

/**
 * Runs those of `cells` that are not done. What they print goes to `log.txt` in the cell's folder.
 *
 * @param jobs    cells at a time
 * @param beside  cells at a time on this machine, with those of other processes; its threads are divided among them, unless `PLUMB_THREADS` is set
 * @returns how many failed
 * @throws InterruptedError after `signal`: the running cells are asked to stop, and what they saved is used by the next start
 */
export async function runCells(
  dir: string,
  sweep: Sweep,
  cells: readonly Cell[],
  { jobs, beside = jobs, signal, say }: { jobs: number; beside?: number; signal: AbortSignal; say: (line: string) => void },
): Promise<number> {
  const waiting = cells.filter((cell) => cellState(dir, cell)?.status !== 'done');
  if (waiting.length < cells.length) say(`${cells.length - waiting.length} of ${cells.length} cells are done already`);
  const threads = process.env.PLUMB_THREADS ?? String(Math.max(1, Math.floor(availableParallelism() / beside)));
  let failed = 0;
  const worker = async () => {
    for (let cell = waiting.shift(); cell && !signal.aborted; cell = waiting.shift()) {
      say(`${cell.id}  ${describe(cell.settings)}: started`);
      const state = await runCell(dir, sweep, cell, { signal, threads });
      if (signal.aborted) return;
      if (state.status === 'failed') failed++;
      say(
        `${cell.id}  ${describe(cell.settings)}: ${state.status} after ${state.seconds.toFixed(0)} s${state.status === 'failed' ? `: ${lastLine(dir, cell)}` : ''}`,
      );
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, waiting.length) }, worker));
  if (signal.aborted) throw new InterruptedError(`Stopped. What is done is saved in ${dir}; the same command goes on from there.`);
  return failed;
}

async function runCell(
  dir: string,
  sweep: Sweep,
  cell: Cell,
  { signal, threads }: { signal: AbortSignal; threads: string },
): Promise<CellState> {
  const folder = resolve(cellFolder(dir, cell));
  await makeFolder(folder);
  const command = cellCommand(sweep, cell, folder);
  const [program, ...words] = command[0] === 'plumb' ? [process.execPath, process.argv[1], ...command.slice(1)] : command;
  const log = createWriteStream(join(folder, 'log.txt'), { flags: 'a' });
  const started = Date.now();
  const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, PLUMB_THREADS: threads } });
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  const stop = () => child.kill('SIGINT');
  signal.addEventListener('abort', stop, { once: true });
  const exitCode = await ended(child, log);
  signal.removeEventListener('abort', stop);
  await new Promise((done) => log.end(done));
  const state: CellState = { status: exitCode === 0 ? 'done' : 'failed', command, exitCode, seconds: (Date.now() - started) / 1000 };
  if (!signal.aborted) await writeFileAtomic(join(folder, 'cell.json'), `${JSON.stringify(state, null, 2)}\n`);
  return state;
}

const ended = (child: ChildProcess, log: NodeJS.WritableStream) =>
  new Promise<number | null>((done) => {
    child.once('error', (error) => {
      log.write(`${error.message}\n`);
      done(null);
    });
    child.once('close', done);
  });

function lastLine(dir: string, cell: Cell): string {
  const lines = readFileSync(join(cellFolder(dir, cell), 'log.txt'), 'utf8')
    .trimEnd()
    .split('\n');
  return lines.at(-1) || 'it printed nothing';
}
