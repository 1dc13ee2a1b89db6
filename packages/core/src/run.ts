/** Runs without a disk, and what every kind of run shares. */
import { CheckpointError, InterruptedError, NonFiniteError } from './errors.js';
import type { MetricName } from './metrics.js';
import { rng } from './rng.js';
import type { Checkpointable, Run, Saved } from './types.js';

export type LoggedStep = { step: number } & Partial<Record<MetricName, number>>;
export type MemoryRun = Run & {
  /** What was logged, in order. */
  readonly history: LoggedStep[];
  /** Checkpoints by step; the newest is restored. */
  readonly checkpoints: Map<number, Record<string, Saved>>;
};

/**
 * A run in memory: for tests, browsers and arms of experiments. It keeps the newest two checkpoints, if `saveEvery` is given.
 *
 * @param seed      seed of `rng`
 * @param saveEvery steps between checkpoints; none are made by the trainer unless given
 */
export function memoryRun({ seed, saveEvery = Infinity, signal }: { seed: number; saveEvery?: number; signal?: AbortSignal }): MemoryRun {
  checkSaveEvery(saveEvery);
  const history: LoggedStep[] = [];
  const checkpoints: MemoryRun['checkpoints'] = new Map();
  const save: Run['save'] = async (step, parts) => {
    checkpoints.delete(step);
    checkpoints.set(step, await saveParts(parts));
    for (const old of [...checkpoints.keys()].slice(0, -2)) checkpoints.delete(old);
  };
  return {
    dir: '(memory)',
    rng: rng(seed),
    signal: signal ?? new AbortController().signal,
    saveEvery,
    history,
    checkpoints,
    restore: async (parts) => {
      const newest = [...checkpoints.keys()].at(-1);
      if (newest === undefined) return 0;
      await loadParts(parts, checkpoints.get(newest)!);
      history.splice(0, history.length, ...history.filter(({ step }) => step < newest));
      return newest;
    },
    save,
    log: (step, metrics) => void history.push({ step, ...checkMetrics(step, metrics) }),
    fail: async (step, why, parts) => {
      await save(step, parts);
      throw nonFinite(step, why);
    },
  };
}

/**
 * Where the run was asked to stop: saves `parts`, in which `step` steps are done, and throws an InterruptedError. It lets the event loop turn once: a step whose reads are all
 * answered at once would otherwise never see a signal, nor draw its progress.
 */
export async function saveIfAborted(run: Run, step: number, parts: Record<string, Checkpointable>): Promise<void> {
  await eventLoopTurn();
  if (!run.signal.aborted) return;
  await run.save(step, parts);
  throw new InterruptedError(`stopped after step ${step}; the state is saved in ${run.dir}, and the same command goes on from there`);
}

/** Saves `parts`, in which `step` steps are done, every `saveEvery` steps and where the training `ends` with this one; nothing where the run makes no checkpoints. */
export async function saveIfDue(run: Run, step: number, parts: Record<string, Checkpointable>, ends: boolean): Promise<void> {
  if (step % run.saveEvery === 0 || (ends && Number.isFinite(run.saveEvery))) await run.save(step, parts);
}

const eventLoopTurn = (): Promise<void> =>
  new Promise((resolve) => {
    if (typeof setImmediate === 'function') setImmediate(resolve);
    else setTimeout(resolve, 0);
  });

export async function saveParts(parts: Record<string, Checkpointable>): Promise<Record<string, Saved>> {
  const saved = await Promise.all(Object.entries(parts).map(async ([name, part]) => [name, await part.save()] as const));
  return Object.fromEntries(saved);
}

/**
 * Loads every part, or none: where one refuses, those before it get back what they held.
 * @throws CheckpointError if a part is missing or not asked for, or does not fit
 */
export async function loadParts(parts: Record<string, Checkpointable>, saved: Record<string, Saved>): Promise<void> {
  const names = (record: object) => Object.keys(record).sort().join(', ') || 'nothing';
  if (names(parts) !== names(saved)) throw new CheckpointError(`the checkpoint holds ${names(saved)}; this run asks for ${names(parts)}`);
  const before: [Checkpointable, Saved][] = [];
  for (const [name, part] of Object.entries(parts)) {
    try {
      before.push([part, await part.save()]);
      await part.load(saved[name]);
    } catch (error) {
      for (const [changed, old] of before.slice(0, -1)) await changed.load(old);
      throw new CheckpointError(`part "${name}": ${error instanceof Error ? error.message : error}`, { cause: error });
    }
  }
}

export function checkSaveEvery(saveEvery: number): void {
  if (!(saveEvery === Infinity || (Number.isSafeInteger(saveEvery) && saveEvery > 0)))
    throw new RangeError(`saveEvery must be a whole number of steps, at least 1 (or Infinity), got ${saveEvery}`);
}

/** Without what is undefined. */
export function checkMetrics(step: number, metrics: Partial<Record<MetricName, number>>): Partial<Record<MetricName, number>> {
  if (!Number.isSafeInteger(step) || step < 0) throw new RangeError(`run.log: steps are whole numbers from 0, got ${step}`);
  return Object.fromEntries(Object.entries(metrics).filter(([, value]) => value !== undefined));
}

export function nonFinite(step: number, { rows, values }: Parameters<Run['fail']>[1], where?: string): NonFiniteError {
  const bad = Object.entries(values).filter(([, value]) => !Number.isFinite(value));
  const shown = rows.length <= 16 ? rows.join(', ') : `${rows.slice(0, 16).join(', ')} and ${rows.length - 16} more`;
  return new NonFiniteError(
    `step ${step}: ${bad.map(([name, value]) => `${name} is ${value}`).join(', ') || 'a value is not finite'}; rows: ${shown || 'none named'}.` +
      ` ${where ? `The state before this step is saved in ${where}. ` : ''}Lower the learning rate, or look at these rows.`,
  );
}
