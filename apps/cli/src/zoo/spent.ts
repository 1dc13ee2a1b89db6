/** How long a recipe has taken so far, over all the times it was started: kept beside its checkpoints. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export type Spent = {
  seconds: number;
  /** Of all threads. On a machine that does nothing else, about the threads times `seconds`. */
  processorSeconds: number;
};

/** Starts the clock; `stop` adds what this process took to what earlier ones left in `dir` and answers the sum. */
export async function clock(dir: string): Promise<{ stop(): Promise<Spent> }> {
  const file = join(dir, 'spent.json');
  const before = await readFile(file, 'utf8').then(
    (text) => JSON.parse(text) as Spent,
    () => ({ seconds: 0, processorSeconds: 0 }),
  );
  const started = performance.now();
  const cpu = process.cpuUsage();
  return {
    async stop() {
      const { user, system } = process.cpuUsage(cpu);
      const spent = {
        seconds: before.seconds + (performance.now() - started) / 1000,
        processorSeconds: before.processorSeconds + (user + system) / 1e6,
      };
      await mkdir(dir, { recursive: true });
      await writeFile(file, JSON.stringify(spent));
      return spent;
    },
  };
}
