import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { sweep as sweepCommand } from '../commands/sweep.js';
import { cellCommand, cellSettings, makeSweep } from './cells.js';
import { chosenColumns, collect, writeSweepCsv } from './collect.js';
import { rankAndSize, submitToSlurm } from './launch.js';
import { cellFolder, readSweep, runCells, writeSweep } from './run.js';

const root = mkdtempSync(join(tmpdir(), 'plumbline-sweep-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());
const never = new AbortController().signal;

describe('the cells of a sweep', () => {
  it('are the product of its axes, or a list, or each of these with each of those', () => {
    expect(cellSettings(['a=1,2', 'b=x,y'])).toEqual([
      { a: '1', b: 'x' },
      { a: '1', b: 'y' },
      { a: '2', b: 'x' },
      { a: '2', b: 'y' },
    ]);
    expect(cellSettings([], [{ a: 1 }, { a: 2, c: true }])).toEqual([{ a: 1 }, { a: 2, c: true }]);
    expect(cellSettings(['b=3,4'], [{ a: 1 }])).toEqual([
      { a: 1, b: '3' },
      { a: 1, b: '4' },
    ]);
  });
  it('are refused by name where they do not fit', () => {
    expect(() => cellSettings(['a'])).toThrow('--grid a: expected key=value,value');
    expect(() => cellSettings(['a=1,,2'])).toThrow('--grid a=1,,2: expected');
    expect(() => cellSettings(['a=1,1'])).toThrow('a value is there twice');
    expect(() => cellSettings(['a=1', 'a=2'])).toThrow('"a" is already set');
    expect(() => cellSettings([], { a: 1 })).toThrow('a list of settings is a list');
    expect(() => cellSettings([], [{ a: [1] }])).toThrow('entry 1 of the list: "a" holds [1]');
    expect(() => makeSweep([], [{}])).toThrow('goes behind --');
  });
  it('keep their ids when the sweep grows, and give settings as --set or where a word names them', () => {
    const small = makeSweep(['plumb', 'reproduce', 'par'], cellSettings(['steps=2']));
    const large = makeSweep(['plumb', 'reproduce', 'par'], cellSettings(['steps=1,2']));
    expect(large.cells[1].id).toBe(small.cells[0].id);
    expect(cellCommand(small, small.cells[0], 'out')).toEqual(['plumb', 'reproduce', 'par', '--set', 'steps=2', '--out', 'out']);
    const other = makeSweep(['node', 't.js', '--lr={lr}', '{out}/x'], cellSettings(['lr=1']));
    expect(cellCommand(other, other.cells[0], 'o')).toEqual(['node', 't.js', '--lr=1', 'o/x']);
    const deaf = makeSweep(['node', 't.js'], cellSettings(['lr=1']));
    expect(() => cellCommand(deaf, deaf.cells[0], 'o')).toThrow('"node" does not take up lr');
  });
});

describe('running a sweep', () => {
  const script = join(root, 'work.mjs');
  writeFileSync(
    script,
    `import { appendFileSync, writeFileSync } from 'node:fs';
     const [x, out, tally] = process.argv.slice(2);
     appendFileSync(tally, x);
     if (x === '3') { console.error('three is not allowed'); process.exit(1); }
     const claims = [{ id: 'better', difference: 2 * x }, { id: 'scale', difference: null }];
     writeFileSync(out + '/summary.json', JSON.stringify({ square: x * x, same: 1, inner: { gold: { mean: -x, ci95: [0, 1] } }, claims, seconds: 9 }));`,
  );
  const sweepOf = (values: string, tally: string) =>
    makeSweep([process.execPath, script, '{x}', '{out}', tally], cellSettings([`x=${values}`]));

  it('runs each cell once, keeps what is done, tells why one failed, and tabulates what they left', async () => {
    const dir = join(root, 'one');
    const tally = join(root, 'tally');
    const said: string[] = [];
    const options = { jobs: 2, signal: never, say: (line: string) => said.push(line) };
    const first = sweepOf('1,2,3', tally);
    await writeSweep(dir, first);
    expect(readSweep(dir)).toEqual(first);
    expect(await runCells(dir, first, first.cells, options)).toBe(1);
    expect(said.join('\n')).toMatch(/x=3: failed after \d+ s: three is not allowed/);
    const wider = sweepOf('1,2,4', tally);
    expect(await runCells(dir, wider, wider.cells, options)).toBe(0);
    expect([...readFileSync(tally, 'utf8')].sort().join('')).toBe('1234');
    const rows = collect(dir, wider);
    expect(rows.map(({ values }) => values)).toEqual(
      [1, 2, 4].map((x) => ({ square: x * x, same: 1, 'inner.gold': -x, 'claims.better': 2 * x })),
    );
    expect(chosenColumns(rows)).toEqual(['square', 'inner.gold', 'claims.better']);
    expect(chosenColumns(rows, ['same'])).toEqual(['same']);
    const csv = readFileSync(await writeSweepCsv(dir, rows), 'utf8').split('\n');
    expect(csv[0]).toBe('cell,status,seconds,x,square,same,inner.gold,claims.better');
    expect(csv[3]).toMatch(/,done,[\d.]+,4,16,1,-4,8$/);
  });
  it('divides the threads of the machine among the cells that run at once', async () => {
    const dir = join(root, 'threads');
    const sweep = makeSweep([process.execPath, '-p', 'process.env.PLUMB_THREADS + "{x}"'], cellSettings(['x=!']));
    vi.stubEnv('PLUMB_THREADS', undefined);
    await runCells(dir, sweep, sweep.cells, { jobs: 1, beside: 1000, signal: never, say: () => {} });
    expect(readFileSync(join(cellFolder(dir, sweep.cells[0]), 'log.txt'), 'utf8')).toBe('1!\n');
  });
  it('does not end the other ranks of mpirun where a cell of one fails', async () => {
    const dir = join(root, 'rank');
    await writeSweep(dir, makeSweep([process.execPath, '-e', 'process.exit({x})'], cellSettings(['x=0,1,2'])));
    vi.stubEnv('PMI_RANK', '1');
    vi.stubEnv('PMI_SIZE', '2');
    await sweepCommand([], { rank: true, out: dir, jobs: '1', launch: 'local' });
    expect(process.exitCode).toBeUndefined();
    expect(collect(dir, readSweep(dir)).map(({ status }) => status)).toEqual(['waiting', 'failed', 'waiting']);
  });
  it('stops its cells when it is interrupted, and does not count them as done', async () => {
    const dir = join(root, 'two');
    const sweep = makeSweep([process.execPath, '-e', 'setTimeout(() => {}, 60000)', '{x}'], cellSettings(['x=1,2']));
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 300);
    await expect(runCells(dir, sweep, sweep.cells, { jobs: 1, signal: controller.signal, say: () => {} })).rejects.toThrow(
      'the same command goes on',
    );
    expect(existsSync(join(cellFolder(dir, sweep.cells[0]), 'cell.json'))).toBe(false);
  });
  it('names a program that does not exist', async () => {
    const dir = join(root, 'three');
    const sweep = makeSweep(['no-such-program', '{x}'], cellSettings(['x=1']));
    const said: string[] = [];
    expect(await runCells(dir, sweep, sweep.cells, { jobs: 1, signal: never, say: (line) => said.push(line) })).toBe(1);
    expect(said.at(-1)).toContain('ENOENT');
  });
});

describe('launching elsewhere', () => {
  it('hands Slurm an array of one task a cell', async () => {
    const bin = mkdtempSync(join(root, 'bin-'));
    writeFileSync(join(bin, 'sbatch'), '#!/bin/sh\necho "Submitted batch job 7: $(grep -c "SBATCH --array=0-3%2" "$1")"\n');
    chmodSync(join(bin, 'sbatch'), 0o755);
    const path = process.env.PATH;
    process.env.PATH = `${bin}${delimiter}${path}`;
    try {
      expect(await submitToSlurm(bin, 4, 2)).toMatch(/^Submitted batch job 7: 1\n.*the same command without --launch/);
    } finally {
      process.env.PATH = path;
    }
    await expect(submitToSlurm(bin, 4, 2)).rejects.toThrow(/there is no sbatch on this machine; .*sweep\.sbatch is written/);
    expect(readFileSync(join(bin, 'sweep.sbatch'), 'utf8')).toContain('--cell "$SLURM_ARRAY_TASK_ID"');
  });
  it('reads its rank from what mpirun or srun set, and says so where nobody did', () => {
    expect(rankAndSize({ OMPI_COMM_WORLD_RANK: '1', OMPI_COMM_WORLD_SIZE: '3' })).toEqual({ rank: 1, size: 3, here: 1 });
    expect(rankAndSize({ PMI_RANK: '0', PMI_SIZE: '4', MPI_LOCALNRANKS: '2' })).toEqual({ rank: 0, size: 4, here: 2 });
    expect(() => rankAndSize({})).toThrow('none of their variables is set');
  });
});
