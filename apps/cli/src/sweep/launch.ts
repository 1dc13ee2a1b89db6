/** Where the cells of a sweep run when not here: as a Slurm array, or under mpirun. Both only start `plumb sweep` again, once a cell or a rank. */
import { spawn, spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { ConfigError, InterruptedError, writeFileAtomic } from '@plumbline/core';

const words = (list: readonly string[]) =>
  list.map((word) => (/^[\w./:=@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(' ');

/**
 * Writes `sweep.sbatch` and hands it to Slurm. @returns what sbatch said, and how to see what the cells measured
 *
 * @throws ConfigError where there is no Slurm, naming the file to submit elsewhere
 */
export async function submitToSlurm(dir: string, cells: number, jobs: number): Promise<string> {
  const file = join(resolve(dir), 'sweep.sbatch');
  const script = [
    '#!/bin/sh',
    '#SBATCH --job-name=plumb-sweep',
    `#SBATCH --array=0-${cells - 1}%${jobs}`,
    `#SBATCH --output=${resolve(dir)}/slurm-%a.txt`,
    `cd ${words([process.cwd()])}`,
    `exec ${words([process.execPath, resolve(process.argv[1]), 'sweep', '--out', resolve(dir), '--cell'])} "$SLURM_ARRAY_TASK_ID"`,
    '',
  ].join('\n');
  await writeFileAtomic(file, script);
  const submitted = spawnSync('sbatch', [file], { encoding: 'utf8' });
  if (submitted.error) throw new ConfigError(`there is no sbatch on this machine; ${file} is written: submit it where Slurm is`);
  if (submitted.status !== 0) throw new ConfigError(`sbatch refused ${file}: ${submitted.stderr.trim()}`);
  return `${submitted.stdout.trim()}\nOnce its tasks have ended, the same command without --launch shows the table, and runs what they did not finish.`;
}

/**
 * Starts `jobs` ranks that share the cells. After `signal` mpirun is asked to stop them, and they save.
 *
 * @throws ConfigError where there is no mpirun, or it fails; InterruptedError after `signal`
 */
export async function runUnderMpi(dir: string, jobs: number, signal: AbortSignal): Promise<void> {
  const child = spawn(
    'mpirun',
    ['-n', String(jobs), process.execPath, resolve(process.argv[1]), 'sweep', '--out', resolve(dir), '--rank'],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
      detached: process.platform !== 'win32', // out of reach of the terminal's Ctrl-C: a second signal makes mpirun kill what is saving
      env: {
        OMPI_MCA_odls_base_sigkill_timeout: '10', // seconds that Open MPI waits before it kills a rank, which saves meanwhile; one, by itself
        ...process.env,
        ...(!process.stderr.isTTY && { NO_COLOR: '1' }), // mpirun gives its ranks a terminal of their own
      },
    },
  );
  const stop = () => child.kill('SIGTERM');
  signal.addEventListener('abort', stop, { once: true });
  const code = await new Promise<number | null>((done, failed) => {
    child.once('error', () =>
      failed(new ConfigError('there is no mpirun on this machine; install Open MPI or MPICH, or leave --launch out')),
    );
    child.once('close', done);
  });
  signal.removeEventListener('abort', stop);
  if (signal.aborted) throw new InterruptedError(`Stopped. What is done is saved in ${dir}; the same command goes on from there.`);
  if (code !== 0) throw new ConfigError(`mpirun ended with exit code ${code}; what it printed says why`);
}

/** This process's place among those that mpirun or srun started, and how many of them share its machine (1 where nobody says). @throws ConfigError where nobody did */
export function rankAndSize(env: NodeJS.ProcessEnv = process.env): { rank: number; size: number; here: number } {
  const pairs = [
    ['OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'],
    ['PMI_RANK', 'PMI_SIZE'],
    ['SLURM_PROCID', 'SLURM_NTASKS'],
  ];
  const found = pairs.find(([rank, size]) => env[rank] !== undefined && env[size] !== undefined);
  if (!found) throw new ConfigError('--rank is for processes that mpirun or srun started: none of their variables is set');
  const here = Number(env.OMPI_COMM_WORLD_LOCAL_SIZE ?? env.MPI_LOCALNRANKS ?? 1);
  return { rank: Number(env[found[0]]), size: Number(env[found[1]]), here };
}
