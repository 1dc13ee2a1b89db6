import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Operation } from './cases.js';

/** What a measuring process is asked, one line of JSON each; nothing is measured unless it is asked for, so processes can take turns. */
export type Request = { open: Operation } | { calls: number } | { close: true };
/** What it says of itself once it is ready, then one answer a request. */
export type Answer = {
  error?: string;
  name?: string;
  device?: string;
  version?: string;
  threads?: number;
  seconds?: number;
  peakBytes?: number;
  /** What the machine reads and multiplies a second (src/perf/generation.ts). */
  bytesPerSecond?: number;
  flops?: { f32: number; bf16: number };
};

export type Participant = {
  name: string;
  device?: string;
  version?: string;
  threads?: number;
  /** @throws Error with the process's own message, or the last of what it printed if it died */
  ask(request: Request): Promise<Answer>;
  stop(): Promise<void>;
};

/** Starts a process and waits until it is ready. @throws Error saying in one line why it is not */
export async function startParticipant(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Participant> {
  const child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
  const errors: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => void errors.push(line));
  child.stdin.on('error', () => {}); // it died: `next` says so
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(lastError(errors) ?? `the process ended with ${signal ?? code}`));
  });
  const next = async (): Promise<Answer> => {
    const line = await Promise.race([lines.next(), ended.then(() => null)]);
    if (!line || line.done) throw new Error(await ended);
    const answer = JSON.parse(line.value) as Answer;
    if (answer.error !== undefined) throw new Error(answer.error.split('\n')[0]);
    return answer;
  };
  try {
    const { name = '', device, version, threads } = await next();
    return {
      name,
      device,
      version,
      threads,
      ask: (request) => {
        child.stdin.write(`${JSON.stringify(request)}\n`);
        return next();
      },
      stop: () => stop(child, ended),
    };
  } catch (error) {
    await stop(child, ended);
    throw error;
  }
}

async function stop(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  child.stdin?.end();
  const kill = setTimeout(() => child.kill('SIGKILL'), 5000);
  await ended;
  clearTimeout(kill);
}

const lastError = (lines: readonly string[]): string | undefined =>
  lines.findLast((line) => /error/i.test(line)) ?? lines.findLast((line) => line.trim() !== '');
