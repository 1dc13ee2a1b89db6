/** Runs the command-line tool as a user does and keeps what it printed. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { root } from './install.js';

export type Outcome = { code: number | null; signal: NodeJS.Signals | null; stdout: string; stderr: string };
/** When the process stops itself (stopsItself.mjs). */
export type Stop =
  | { signal: NodeJS.Signals; printed: string }
  | { signal: NodeJS.Signals; path: string; at: number }
  | { path: string; tally: string };

export function plumb(
  args: readonly string[],
  { cwd = root, env = {}, stop }: { cwd?: string; env?: Record<string, string>; stop?: Stop } = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const preload = stop ? ['--import', new URL('./stopsItself.mjs', import.meta.url).href] : [];
    const child = spawn(process.execPath, [...preload, join(root, 'apps/cli/bin/plumb.mjs'), ...args], {
      cwd,
      env: { ...process.env, ...env, ...(stop && { STOP: JSON.stringify(stop) }) },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const printed = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const)
      child[stream].setEncoding('utf8').on('data', (text: string) => {
        printed[stream] += text;
      });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...printed }));
  });
}
