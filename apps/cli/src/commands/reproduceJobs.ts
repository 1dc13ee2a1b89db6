/** Several experiments at a time, each in a process of its own: `plumb reproduce A B C --jobs 2`. */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import { InterruptedError, PlumblineError } from '@plumbline/core';
import pc from 'picocolors';

type Outcome = { id: string; exitCode: number | null; printed: string; lastLine: string };

/**
 * Runs `plumb reproduce ID FLAGS` for each id, `jobs` of them at a time, the machine's threads divided among them. What one says while it works is shown behind its id, what it prints in the end as a
 * whole. One that fails does not stop the others.
 *
 * @returns what each printed, in the order of the ids
 * @throws PlumblineError naming those that failed, once all are done; InterruptedError after `signal`: the running ones save and stop
 */
export async function reproduceJobs(
  ids: readonly string[],
  flags: readonly string[],
  {
    jobs,
    threads,
    signal,
    onDone,
  }: { jobs: number; threads?: string; signal: AbortSignal; onDone(outcome: { id: string; printed: string }): void },
): Promise<string[]> {
  const each = threads ?? String(Math.max(1, Math.floor(availableParallelism() / jobs)));
  const waiting = [...ids];
  const outcomes: Outcome[] = [];
  const worker = async () => {
    for (let id = waiting.shift(); id !== undefined && !signal.aborted; id = waiting.shift()) {
      const outcome = await runOne(id, [...flags, '--threads', each], signal);
      outcomes.push(outcome);
      if (outcome.exitCode === 0) onDone(outcome);
      else if (!signal.aborted) console.error(pc.red(`${id} failed: ${outcome.lastLine}`));
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, ids.length) }, worker));
  if (signal.aborted) throw new InterruptedError('Stopped. Seeds that are finished are kept; the same command goes on from there.');
  const failed = outcomes.filter(({ exitCode }) => exitCode !== 0);
  if (failed.length > 0)
    throw new PlumblineError(`${failed.map(({ id }) => id).join(', ')} failed; the same command tries them again and keeps the rest`);
  return ids.map((id) => outcomes.find((one) => one.id === id)!.printed);
}

async function runOne(id: string, flags: readonly string[], signal: AbortSignal): Promise<Outcome> {
  const child = spawn(process.execPath, [process.argv[1], 'reproduce', id, ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [printed, lastLine] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
  });
  createInterface({ input: child.stderr }).on('line', (line) => {
    if (line.trim() !== '') lastLine = line.trim();
    console.error(`${pc.dim(`${id.padEnd(24)}`)}${line}`);
  });
  const stop = () => child.kill('SIGINT');
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  const exitCode = await new Promise<number | null>((done) => {
    child.on('close', done);
    child.on('error', (error) => {
      lastLine = error.message;
      done(1);
    });
  });
  signal.removeEventListener('abort', stop);
  return { id, exitCode, printed, lastLine };
}
