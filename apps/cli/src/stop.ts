/** Ctrl-C and SIGTERM, for commands that have nothing to save. */

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
