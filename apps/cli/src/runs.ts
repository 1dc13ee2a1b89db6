/** Run folders of the long commands: found again after an interruption, filled stage by stage. */
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FormatError, InterruptedError, makeFolder, openRun, writeFileAtomic } from '@plumbline/core';
import pc from 'picocolors';
import { ask } from './offMain.js';
import { progress } from './progress.js';

/** What two runs must have in common for one to go on where the other stopped. */
export type Identity = Record<string, unknown>;

/**
 * The folder of an interrupted run with the same identity, if there is one and the user (where there is one to ask) wants to go on with it;
 * otherwise a new folder `out/prefix-TIME`. A run is finished once its folder holds `summary.json`.
 */
export async function runFolder({
  out,
  prefix,
  identity,
  fresh = false,
}: {
  out: string;
  prefix: string;
  identity: Identity;
  fresh?: boolean;
}): Promise<string> {
  const same = JSON.stringify(identity);
  const interrupted = fresh ? undefined : unfinished(out, prefix).find((dir) => identityOf(dir) === same);
  if (interrupted && (await wantsToGoOn(interrupted))) return interrupted;
  const time = new Date().toISOString().slice(0, 19).replaceAll(':', '').replace('T', '-');
  let dir = join(out, `${prefix}-${time}`);
  for (let n = 2; existsSync(dir); n++) dir = join(out, `${prefix}-${time}-${n}`);
  await makeFolder(dir);
  await writeFileAtomic(join(dir, 'identity.json'), same);
  return dir;
}

/**
 * What `work` gives in the run folder `dir`. Where it fails and nothing is there that a second start could go on from, the folder goes again, and the one
 * that it stands in where it is empty: a mistake leaves nothing behind.
 *
 * @param begun whether there is something, given how it failed; an interruption leaves the folder as it is
 */
export async function leavingNothing<T>(dir: string, begun: (error: unknown) => boolean, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const stopped = error instanceof InterruptedError || (error instanceof DOMException && error.name === 'AbortError');
    if (!stopped && !begun(error)) {
      rmSync(dir, { recursive: true, force: true });
      if (readdirSync(dirname(dir)).length === 0) rmdirSync(dirname(dir));
    }
    throw error;
  }
}

/** Newest first. */
function unfinished(out: string, prefix: string): string[] {
  if (!existsSync(out)) return [];
  return readdirSync(out)
    .filter((name) => name.startsWith(`${prefix}-`))
    .sort()
    .reverse()
    .map((name) => join(out, name))
    .filter((dir) => existsSync(join(dir, 'identity.json')) && !existsSync(join(dir, 'summary.json')));
}

const identityOf = (dir: string): string => readFileSync(join(dir, 'identity.json'), 'utf8');

async function wantsToGoOn(dir: string): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    console.error(pc.dim(`Going on with the interrupted run in ${dir} (--fresh begins anew)`));
    return true;
  }
  return !/^n/i.test((await ask(`There is an interrupted run in ${dir}. Go on with it? [Y/n] `)).trim());
}

type Run = Awaited<ReturnType<typeof openRun>>;
export type Training<M> = {
  /** Its folder in the run's folder, with the metrics, the checkpoints and, in the end, the model. */
  name: string;
  label: string;
  steps: number;
  /** Symptoms by name that are this training's design. */
  expected?: readonly string[];
  train(run: Run): Promise<M>;
  save(folder: string, model: M): Promise<void>;
  load(folder: string): Promise<M>;
};

/** The stages of a long command. Each is kept in the run's folder once it is done, so that a second start reads it instead. */
export function stages({ dir, seed, config, signal }: { dir: string; seed: number; config: object; signal: AbortSignal }) {
  /** What `compute` answered, now or before, kept as `NAME.json`. Typed arrays come back as arrays of numbers. */
  async function run<T>(name: string, compute: () => Promise<T>): Promise<{ value: Kept<T>; seconds: number }> {
    const file = join(dir, `${name}.json`);
    if (!existsSync(file)) {
      const started = Date.now();
      const value = await stoppable(signal, dir, compute);
      await makeFolder(dirname(file));
      await writeFileAtomic(file, JSON.stringify({ seconds: (Date.now() - started) / 1000, value }, plainArrays));
    }
    return readJson(file);
  }

  /** A model that was trained, now or before: from its checkpoints where it was interrupted, from its files where it was done. */
  async function train<M>({ name, label, steps, expected, ...model }: Training<M>): Promise<{ model: M; seconds: number }> {
    const folder = join(dir, name, 'model');
    let fresh: { model: M } | undefined;
    const { seconds } = await run(`${name}/trained`, async () => {
      const bar = progress(label, steps, 'steps');
      const onLog = (step: number, metrics: Record<string, number | undefined>) => bar.update(step + 1, note(metrics));
      const opened = await openRun({
        dir: join(dir, name),
        config: { ...config, stage: name },
        seed,
        saveEvery: 20,
        signal,
        onLog,
        expected,
      });
      try {
        fresh = { model: await model.train(opened) };
        await model.save(folder, fresh.model);
      } finally {
        bar.stop();
        await opened.close();
      }
      return { steps };
    });
    return { model: fresh ? fresh.model : await model.load(folder), seconds };
  }
  return { run, train };
}

/** The readings that tell how a training goes, beside its bar. */
function note(metrics: Record<string, number | undefined>): string {
  const policy = metrics['reward/mean'] !== undefined; // the loss of a policy says nothing
  const shown = {
    ...(!policy && { loss: 'loss' }),
    'rewards/accuracy': 'accuracy',
    accuracy: 'accuracy',
    'reward/mean': 'learned',
    'reward/gold': 'gold',
    'policy/klSequence': 'KL',
  };
  return Object.entries(shown)
    .flatMap(([name, label]) => (metrics[name] === undefined ? [] : `${label} ${metrics[name].toFixed(2)}`))
    .join('  ');
}

/** What JSON makes of a value with typed arrays in it. */
export type Kept<T> = T extends Float32Array | Float64Array | Int32Array | Uint8Array
  ? number[]
  : T extends object
    ? { [K in keyof T]: Kept<T[K]> }
    : T;

export const plainArrays = (_key: string, value: unknown): unknown =>
  ArrayBuffer.isView(value) ? Array.from(value as Float32Array) : value;

function readJson<T>(file: string): T {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as T;
  } catch (error) {
    throw new FormatError(`${file} is damaged (${(error as Error).message}). Remove it, and the next start makes it again.`);
  }
}

/** An aborted stage ends as an interruption, whatever the stage made of the signal. */
async function stoppable<T>(signal: AbortSignal, dir: string, compute: () => Promise<T>): Promise<T> {
  const stopped = () => new InterruptedError(`Stopped. What is done is saved in ${dir}; the same command goes on from there.`);
  if (signal.aborted) throw stopped();
  try {
    const value = await compute();
    if (signal.aborted) throw stopped();
    return value;
  } catch (error) {
    if (signal.aborted) throw stopped();
    throw error;
  }
}

/** The logged steps of a run folder: one record a line. */
export function loggedSteps(dir: string): ({ step: number } & Record<string, number>)[] {
  const file = join(dir, 'metrics.jsonl');
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}
