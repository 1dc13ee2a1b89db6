/** What every run of `plumb train` does around its trainer: the model with its adapter, the run folder with a bar, and what is left in the end. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openRun, parameterCount, type Rng, type Run, type ScheduleConfig, writeFileAtomic } from '@plumbline/core';
import {
  addLora,
  isAdapted,
  type LocalDecoder,
  type LoraConfig,
  loadDecoder,
  parameterBytes,
  saveAdapter,
  saveDecoder,
} from '@plumbline/models';
import { progress } from '../progress.js';

type Weights = {
  full: boolean;
  lora: LoraConfig;
  storage: 'f32' | 'bf16' | 'int8';
  products: 'f32' | 'bf16';
  gradientCheckpointing?: boolean;
};
type Checkpoints = { saveEvery: number; keepCheckpoints: number };
export type Job<S> = { settings: S; model: string; dataset: string; seed: number; dir: string; signal: AbortSignal };

/** What the summary of every run says. */
export type Spent = {
  seconds: number;
  tokensPerSecond: number;
  /** Of the whole process, at its largest. */
  peakBytes: number;
  /** What was said on the way: hints, and what was skipped or repaired. */
  warnings: string[];
};

export const loadBase = ({ model, settings }: { model: string; settings: Weights }): Promise<LocalDecoder> => {
  const { products, gradientCheckpointing, full, storage } = settings;
  return loadDecoder(model, { products, gradientCheckpointing, ...(!full && { storage }) });
};

/** The policy is the base itself under `full`, else an adapter on it. */
export async function loadPolicy(
  job: { model: string; settings: Weights },
  rng: Rng,
): Promise<{ base: LocalDecoder; policy: LocalDecoder }> {
  const base = await loadBase(job);
  return { base, policy: job.settings.full ? base : await addLora(base, job.settings.lora, { rng: rng.fork('adapter') }) };
}

export const about = (base: LocalDecoder, { parameters }: Pick<LocalDecoder, 'parameters'>) => ({
  name: base.name,
  parameters: parameterCount(base.parameters).total,
  trained: parameterCount(parameters).trainable,
  bytes: parameterBytes(base.parameters),
});

/** In an order of their own, so that a limit takes no beginning of a file. */
export const drawn = <T>(records: readonly T[], most: number | undefined, rng: Rng): T[] =>
  Array.from(rng.fork('records').permutation(records.length), (i) => records[i]).slice(0, most);

export const stepsOf = ({ steps, epochs }: { steps?: number; epochs: number }, records: number, perStep: number): number =>
  steps ?? Math.max(1, Math.round((epochs * records) / perStep));

/** Under a run of few steps the warm-up ends before they do. */
export const within = (schedule: ScheduleConfig, steps: number): ScheduleConfig => ({
  ...schedule,
  ...('warmupSteps' in schedule && { warmupSteps: Math.min(schedule.warmupSteps!, steps - 1) }),
});

type Readings = Parameters<NonNullable<Parameters<typeof openRun>[0]['onLog']>>[1];

/**
 * Opens the run folder, shows a bar, and closes both however `work` ends.
 * @param readings what stands beside the bar; what is false or undefined is left out, and tokens a second come last
 * @param said what is to be warned of before the first step
 * @param work trains and saves; it calls `ended` once the trainer is done, so that the bar stops, and takes `spent` into its summary
 */
export async function training<R>(
  { settings, model, dataset, seed, dir, signal }: Job<Checkpoints & Record<string, unknown>>,
  {
    steps,
    label,
    readings,
    said = [],
    started,
  }: {
    steps: number;
    label: string;
    readings(metrics: Readings): readonly (string | false | undefined)[];
    said?: readonly string[];
    /** Date.now() where the command began to work. */
    started: number;
  },
  work: (t: { run: Run; ended(): void; spent(): Spent }) => Promise<R>,
): Promise<R> {
  const warnings: string[] = [];
  const warn = (line: string) => {
    warnings.push(line);
    process.stderr.write(`\n${line}\n`);
  };
  for (const line of said) warn(`warning: ${line}`);
  const bar = progress(label, steps, 'steps');
  let [tokens, seconds] = [0, 0];
  try {
    const run = await openRun({
      dir,
      config: { ...settings, model, dataset },
      seed,
      saveEvery: settings.saveEvery,
      keep: settings.keepCheckpoints,
      signal,
      onWarning: warn,
      onLog: (step, metrics) => {
        tokens += metrics.tokens ?? 0;
        seconds += (metrics.tokens ?? 0) / (metrics.tokensPerSecond ?? 1);
        const shown = [...readings(metrics), `${Math.round(metrics.tokensPerSecond ?? 0)} tokens/s`];
        bar.update(step + 1, shown.filter(Boolean).join('  '));
      },
    });
    try {
      return await work({
        run,
        ended: () => bar.stop(),
        spent: () => ({
          seconds: (Date.now() - started) / 1000,
          tokensPerSecond: seconds > 0 ? tokens / seconds : 0,
          peakBytes: process.resourceUsage().maxRSS * 1024,
          warnings,
        }),
      });
    } finally {
      await run.close();
    }
  } finally {
    bar.stop();
  }
}

/** The folder of the adapter, or of the model. */
export async function saved({ settings, model, dir }: Job<Pick<Weights, 'full'>>, policy: LocalDecoder): Promise<string> {
  const output = join(dir, settings.full ? 'model' : 'adapter');
  if (isAdapted(policy)) await saveAdapter(output, policy, { base: model });
  else await saveDecoder(output, policy);
  return output;
}

/** What a resumed run reads instead of computing it again. */
export async function kept<T>(file: string, compute: () => Promise<T>): Promise<T> {
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as T;
  const value = await compute();
  await writeFileAtomic(file, JSON.stringify(value));
  return value;
}

export type Interval = { mean: number; low: number; high: number };
export const interval = ({ mean, low, high }: Interval): Interval => ({ mean, low, high });
