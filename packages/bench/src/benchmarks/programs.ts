/** Programs of this machine that check what a model wrote: each in a folder of its own, with a time limit, as many at once as there are processors. */
import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { ConfigError } from '@plumbline/core';

export type Ran = { code: number | null; output: string; errors: string; timedOut: boolean };
export type RunOptions = { timeoutSeconds: number; signal?: AbortSignal };

/**
 * Writes `files` into a new folder, runs the steps there one after another until one fails, and removes the folder. A step is a program with its arguments.
 *
 * @param timeoutSeconds of each step; what it has started is stopped with it
 * @returns what each step wrote, for the steps that were run
 * @throws ConfigError where a program is not installed; the signal's reason once it is aborted
 */
export async function runPrograms(
  files: Readonly<Record<string, string>>,
  steps: readonly (readonly string[])[],
  { timeoutSeconds, signal }: RunOptions,
): Promise<Ran[]> {
  const leave = await enter();
  const dir = await mkdtemp(join(tmpdir(), 'plumbline-code-'));
  try {
    for (const [name, content] of Object.entries(files)) await writeFile(join(dir, name), content);
    const ran: Ran[] = [];
    for (const [program, ...args] of steps) {
      signal?.throwIfAborted(); // a program that is started now would not hear of it
      const one = await runProgram(program, args, { cwd: dir, timeoutSeconds, signal });
      ran.push(one);
      if (one.code !== 0) break;
    }
    return ran;
  } finally {
    await rm(dir, { recursive: true, force: true });
    leave();
  }
}

/** Whether a program of this name can be started. */
export const isInstalled = (program: string): boolean =>
  (process.env.PATH ?? '').split(delimiter).some((folder) =>
    ['', '.exe'].some((ending) => {
      try {
        accessSync(join(folder, program + ending), constants.X_OK);
        return true;
      } catch {
        return false;
      }
    }),
  );

/** A command's words; quotes hold words together. */
export const splitCommand = (command: string): string[] =>
  [...command.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(([, a, b, c]) => a ?? b ?? c);

let running = 0;
const waiting: (() => void)[] = [];
/** Waits for a free processor; the answer gives it back. */
async function enter(): Promise<() => void> {
  if (running < availableParallelism()) running++;
  else await new Promise<void>((go) => waiting.push(go)); // handed on by the one that leaves
  return () => {
    const next = waiting.shift();
    if (next) next();
    else running--;
  };
}

function runProgram(program: string, args: readonly string[], { cwd, timeoutSeconds, signal }: RunOptions & { cwd: string }): Promise<Ran> {
  return new Promise((done, fail) => {
    // a group of its own, so that what the program starts stops with it
    const child = spawn(program, args, {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: process.platform !== 'win32',
      env: { PATH: process.env.PATH, HOME: cwd, LANG: 'C.UTF-8' },
    });
    const written = { output: '', errors: '' };
    let timedOut = false;
    const keep = (where: keyof typeof written) => (chunk: Buffer) => {
      if (written[where].length < 100_000) written[where] += chunk.toString('utf8');
    };
    child.stdout.on('data', keep('output'));
    child.stderr.on('data', keep('errors'));
    const stop = () => {
      try {
        if (child.pid) process.kill(process.platform === 'win32' ? child.pid : -child.pid, 'SIGKILL');
      } catch {
        // it has ended already
      }
    };
    const timer = setTimeout(() => {
      timedOut = true;
      stop();
    }, timeoutSeconds * 1000);
    signal?.addEventListener('abort', stop, { once: true });
    const settle = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    };
    child.once('error', (error: NodeJS.ErrnoException) => {
      settle();
      fail(error.code === 'ENOENT' ? new ConfigError(`"${program}" is not installed here; this benchmark needs it`) : error);
    });
    child.once('close', (code) => {
      settle();
      stop();
      if (signal?.aborted) fail(signal.reason);
      else done({ code, ...written, timedOut });
    });
  });
}
