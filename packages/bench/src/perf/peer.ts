import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The PyTorch that we measure beside. */
export const torchVersion = '2.15.0';
const numpyVersion = '2.4.6';

/**
 * A Python that has PyTorch: the one below `folder`, made there first if it is not. Run again after an interruption, it goes on.
 *
 * @returns the program, or in one line why there is none
 */
export async function torchPython(folder: string, say: (line: string) => void): Promise<{ python: string } | { why: string }> {
  const home = join(folder, `torch-${torchVersion}`);
  const python = process.platform === 'win32' ? join(home, 'Scripts', 'python.exe') : join(home, 'bin', 'python');
  const complete = join(home, 'complete');
  if (existsSync(complete) && existsSync(python)) return { python };

  const system = await systemPython();
  if (!system) return { why: 'there is no Python 3.10 or newer here (python3, python)' };
  mkdirSync(folder, { recursive: true });
  const made = await run(system, ['-m', 'venv', home]);
  if (made.code !== 0) return { why: `${system} -m venv failed: ${made.last}` };
  const pip = (more: readonly string[]) =>
    run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--retries', '1', ...more]);
  // On Linux pip's own registry has PyTorch for CUDA alone; an index of CPU builds in PIP_INDEX_URL makes it a seventh.
  const size = process.platform === 'linux' && !process.env.PIP_INDEX_URL ? 'with CUDA: 3 GB to fetch, 6 GB on disk' : '0.8 GB';
  say(`Installing PyTorch ${torchVersion} into ${home} (${size}, once; --no-peer goes without)`);
  const installed = await pip([`torch==${torchVersion}`]);
  if (installed.code !== 0) return { why: `pip could not install torch==${torchVersion}: ${installed.last}` };
  const works = await pip([`numpy==${numpyVersion}`]).then(() => run(python, ['-c', 'import torch']));
  if (works.code !== 0) return { why: `PyTorch does not start: ${works.last}` };
  writeFileSync(complete, `${torchVersion}\n`);
  return { python };
}

/**
 * OPENBLAS_* pick kernels for other machines than this one, and a card is not what is measured here. On a busy machine OpenMP's threads
 * wait asleep: as they wait by default, a training step takes six times as long there, and idle machines alone profit.
 */
export function peerEnvironment(threads: number | undefined, busy: boolean): NodeJS.ProcessEnv {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('OPENBLAS_')));
  return {
    ...(busy && { OMP_WAIT_POLICY: 'PASSIVE' }),
    ...env,
    CUDA_VISIBLE_DEVICES: '',
    ...(threads !== undefined && { OMP_NUM_THREADS: String(threads) }),
  };
}

async function systemPython(): Promise<string | null> {
  for (const name of ['python3', 'python'])
    if ((await run(name, ['-c', 'import sys; sys.exit(sys.version_info < (3, 10))'])).code === 0) return name;
  return null;
}

function run(command: string, args: readonly string[]): Promise<{ code: number | null; last: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let text = '';
    child.stderr.on('data', (part: Buffer) => {
      text = (text + part.toString()).slice(-4000);
    });
    const last = () => text.trim().split('\n').at(-1) ?? '';
    child.once('error', (error) => resolve({ code: null, last: error.message }));
    child.once('close', (code) => resolve({ code, last: last() }));
  });
}
