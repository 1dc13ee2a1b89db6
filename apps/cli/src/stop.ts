/** Ctrl-C and SIGTERM, for commands that have nothing to save. */
import { InterruptedError } from '@plumbline/core';

/** Aborted at the first SIGINT or SIGTERM, which `said` explains; a second one ends the process at once. */
export function stopSignal(said: string): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(130);
      console.error(said);
      controller.abort();
    });
  return controller.signal;
}

/** What `work` gives; once `signal` is aborted, whatever comes of it is an interruption. */
export async function unlessStopped<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const stopped = () => new InterruptedError('stopped before the end: there is no result');
  return work.then(
    (value) => {
      if (signal.aborted) throw stopped();
      return value;
    },
    (error: unknown) => {
      throw signal.aborted ? stopped() : error;
    },
  );
}
