/** For tests of trainings: jobs on one data set, each in a folder of its own, and what they leave. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const never = new AbortController().signal;

export function jobsIn(folder: string, dataset: string) {
  return {
    job: <S>(settings: S, dir: string, signal = never) => ({
      settings,
      model: 'zoo:words-1m',
      dataset,
      seed: 1,
      dir: join(folder, dir),
      signal,
    }),
    adapterOf: (dir: string) => readFileSync(join(folder, dir, 'adapter', 'adapter_model.safetensors')),
  };
}
