/** Runs the command-line tool as a user does and keeps what it printed. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { root } from './install.js';

export type Outcome = { code: number | null; signal: NodeJS.Signals | null; stdout: string; stderr: string };

/**
 * @param kill   sends `signal` as soon as `when` is true of what was printed so far
 * @param signal sends SIGKILL once it is aborted
 */
export function plumb(
  args: readonly string[],
  o: {
    cwd?: string;
    env?: Record<string, string>;
    kill?: { signal: NodeJS.Signals; when: (printed: string) => boolean };
    signal?: AbortSignal;
  } = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'apps/cli/bin/plumb.mjs'), ...args], {
      cwd: o.cwd ?? root,
      env: { ...process.env, ...o.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const printed = { stdout: '', stderr: '' };
    let killed = false;
    for (const stream of ['stdout', 'stderr'] as const)
      child[stream].setEncoding('utf8').on('data', (text: string) => {
        printed[stream] += text;
        if (!killed && o.kill?.when(printed.stdout + printed.stderr)) {
          killed = true;
          child.kill(o.kill.signal);
        }
      });
    o.signal?.addEventListener('abort', () => child.kill('SIGKILL'));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...printed }));
  });
}
