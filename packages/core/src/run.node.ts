/**
 * Run folders:
 *
 *     config.json        the configuration, as given
 *     environment.json   seed, backend, versions, commit, and when the run was gone on with
 *     metrics.jsonl      one line for each logged step
 *     events.out.tfevents.*  the same for TensorBoard, one file each time that the run is gone on with
 *     checkpoints/step-N/  `PART.safetensors` for each part, and checkpoint.json with their JSON and hashes: the state after N steps
 *     failure.json       what was not finite, where a run failed
 *
 * A checkpoint is written under another name, flushed and renamed, so that it is whole or not there.
 */
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { hostname } from 'node:os';
import { basename, join, resolve } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { backendInfo } from './backends.node.js';
import { commitOf } from './commit.node.js';
import { CheckpointError, ConfigError, PlumblineError } from './errors.js';
import { fileError, flushFolder, makeFolder, temporaryName, writeChunks, writeFileAtomic } from './files.node.js';
import { rng } from './rng.js';
import { checkMetrics, checkSaveEvery, loadParts, nonFinite } from './run.js';
import { safetensorsChunks } from './safetensors.js';
import { readSafetensors } from './safetensors.node.js';
import { symptomWatch } from './symptoms.js';
import { type EventFile, openEventFile } from './tensorboard.node.js';
import type { Checkpointable, Json, Run, Saved } from './types.js';

export type RunOptions = {
  dir: string;
  /** Everything that decides what the run computes; it is compared when the run is gone on with. */
  config: Readonly<Record<string, unknown>>;
  seed: number;
  /** Steps between the trainer's checkpoints; 100 unless given. */
  saveEvery?: number;
  /** Checkpoints that are kept; 2 unless given. */
  keep?: number;
  /** Asks the trainer to save and stop; see `onInterrupt`. */
  signal?: AbortSignal;
  /** Whether a run that is in the folder is gone on with; true unless given. False refuses such a folder. */
  resume?: boolean;
  /** Top-level keys of the configuration that may differ from what the run began with, such as `steps`. */
  mayChange?: readonly string[];
  /** Goes on with a run that was computed on another backend, which then is no longer the run that it would have been. */
  allowOtherBackend?: boolean;
  onLog?: (...logged: Parameters<Run['log']>) => void;
  /** Whether TensorBoard event files are written beside metrics.jsonl; true unless given. */
  tensorboard?: boolean;
  /** Receives lines about what was skipped or repaired, and hints where a number is a known symptom; standard error unless given. */
  onWarning?: (line: string) => void;
  /** Symptoms by name (`knownSymptoms`) that are this run's design, and of which it gives no hint. */
  expected?: readonly string[];
};

export type OpenRun = Run & { close(): Promise<void> };

/**
 * Opens a run folder, making it where it is not there. `restore` goes on from its newest intact checkpoint; one that is damaged is
 * set aside with a warning. One process at a time has a folder open, until `close`.
 *
 * @throws ConfigError  where the folder holds a run of another configuration or seed (the first keys that differ are named), where
 *   it is open in another process, or where it holds a run and `resume` is false
 * @throws FileError    where it cannot be written
 */
export async function openRun(options: RunOptions): Promise<OpenRun> {
  const { config, seed, saveEvery = 100, keep = 2, signal = new AbortController().signal, resume = true } = options;
  const { onLog, onWarning = (line: string) => void process.stderr.write(`${line}\n`), tensorboard = true } = options;
  const watch = symptomWatch(options.expected);
  checkSaveEvery(saveEvery);
  if (!Number.isSafeInteger(keep) || keep < 1) throw new RangeError(`openRun: keep must be a whole number, at least 1, got ${keep}`);
  const random = rng(seed);
  const dir = resolve(options.dir);
  const checkpoints = join(dir, 'checkpoints');
  try {
    await makeFolder(checkpoints);
  } catch (error) {
    throw fileError(error, `cannot make the run folder ${dir}`);
  }
  const unlock = lock(dir);
  const metricsPath = join(dir, 'metrics.jsonl');
  let metricsFile: number | undefined;
  let events: EventFile | undefined;
  let firstStep = 0;
  const closeFiles = () => {
    if (metricsFile !== undefined) closeSync(metricsFile);
    events?.close();
    [metricsFile, events] = [undefined, undefined];
  };
  try {
    await begin({ dir, config, seed, resume, mayChange: options.mayChange ?? [] });
    await cleanUp(checkpoints);
  } catch (error) {
    unlock();
    throw fileError(error, `cannot open the run folder ${dir}`);
  }

  const save: Run['save'] = async (step, parts) => {
    try {
      await writeCheckpoint(checkpoints, step, { seed, backend: tf.getBackend() }, parts);
      if (metricsFile !== undefined) fsyncSync(metricsFile);
      const steps = await stepsIn(checkpoints);
      for (const old of steps.slice(keep)) await rm(join(checkpoints, `step-${old}`), { recursive: true, force: true });
    } catch (error) {
      const [newest] = await stepsIn(checkpoints).catch(() => [] as number[]);
      const left = newest === undefined ? 'no checkpoint was there before' : `the checkpoint of step ${newest} is intact`;
      throw fileError(error, `cannot save the checkpoint of step ${step} in ${dir} (${left})`);
    }
  };
  return {
    dir,
    rng: random,
    signal,
    saveEvery,
    restore: async (parts) => {
      const step = await restoreNewest(checkpoints, parts, { allowOtherBackend: options.allowOtherBackend ?? false, onWarning });
      closeFiles();
      firstStep = step;
      await keepMetricsBefore(metricsPath, step);
      if (step > 0) await noteResumed(dir, step);
      return step;
    },
    save,
    log: (step, metrics) => {
      const line = { step, ...checkMetrics(step, metrics) };
      try {
        metricsFile ??= openSync(metricsPath, 'a');
        writeSync(metricsFile, `${JSON.stringify(line, finite)}\n`);
        if (tensorboard) {
          events ??= openEventFile(dir, firstStep);
          events.scalars(step, checkMetrics(step, metrics) as Record<string, number>);
        }
      } catch (error) {
        throw fileError(error, `cannot write ${metricsPath}`);
      }
      for (const { hint } of watch(line)) onWarning(`hint: step ${step}: ${hint}`);
      onLog?.(step, metrics);
    },
    fail: async (step, why, parts) => {
      try {
        await writeFileAtomic(join(dir, 'failure.json'), `${JSON.stringify({ step, ...why }, finite, 2)}\n`);
        await save(step, parts);
      } catch (error) {
        throw new PlumblineError(
          `${nonFinite(step, why).message} The state before this step could not be saved: ${(error as Error).message}`,
          { cause: error },
        );
      }
      throw nonFinite(step, why, join(checkpoints, `step-${step}`));
    },
    close: async () => {
      closeFiles();
      unlock();
    },
  };
}

let interrupt: AbortController | undefined;

/**
 * A signal that aborts on the first Ctrl-C (SIGINT) or SIGTERM, so that the trainer can save and stop; the second exits at once.
 * @param say receives the line that tells so; standard error unless given
 */
export function onInterrupt(say: (line: string) => void = (line) => void process.stderr.write(`${line}\n`)): AbortSignal {
  if (interrupt && !interrupt.signal.aborted) return interrupt.signal;
  const controller = new AbortController();
  interrupt = controller;
  const codes = { SIGINT: 130, SIGTERM: 143 } as const;
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(codes[name]);
      controller.abort();
      say('stopping: the step in progress is finished and saved first; once more to stop at once');
    });
  return controller.signal;
}

/** Writes config.json and environment.json, or holds them against what is there. */
async function begin(o: {
  dir: string;
  config: Readonly<Record<string, unknown>>;
  seed: number;
  resume: boolean;
  mayChange: readonly string[];
}): Promise<void> {
  const config = JSON.parse(JSON.stringify(o.config)) as Record<string, Json>;
  const configPath = join(o.dir, 'config.json');
  const environmentPath = join(o.dir, 'environment.json');
  const [before, environment] = [await readJson(configPath), await readJson(environmentPath)];
  if (before && environment) {
    if (!o.resume) throw new ConfigError(`${o.dir} already holds a run; go on with it (resume), or choose another folder`);
    const keys = [...new Set([...Object.keys(before), ...Object.keys(config)])].filter((key) => !o.mayChange.includes(key));
    const differing = keys.flatMap((key) => differences(key, before[key], config[key]));
    if (environment.seed !== o.seed) differing.unshift(`seed was ${JSON.stringify(environment.seed)} and is ${o.seed} now`);
    if (differing.length > 0) {
      const more = differing.length > 3 ? ` and ${differing.length - 3} more` : '';
      throw new ConfigError(
        `${o.dir} holds a run of another configuration: ${differing.slice(0, 3).join('; ')}${more}. Go back to it, or choose another folder`,
      );
    }
    if (o.mayChange.length === 0) return;
  }
  await writeFileAtomic(configPath, `${JSON.stringify(config, null, 2)}\n`);
  if (environment) return;
  const versions = { node: process.versions.node, plumbline: version('@plumbline/core'), tfjs: tf.version_core };
  const { device, threads, simd, version: backendVersion } = backendInfo();
  const commit = commitOf(process.cwd());
  const fresh = {
    seed: o.seed,
    backend: tf.getBackend(),
    ...(device && { device }),
    ...(threads && { threads }),
    ...(simd && { simd }),
    ...(backendVersion && { backendVersion }),
    versions,
    ...(commit && { commit }),
    platform: `${process.platform} ${process.arch}`,
    started: new Date().toISOString(),
    resumed: [],
  };
  await writeFileAtomic(environmentPath, `${JSON.stringify(fresh, null, 2)}\n`);
}

async function noteResumed(dir: string, step: number): Promise<void> {
  const path = join(dir, 'environment.json');
  const environment = (await readJson(path)) ?? {};
  const resumed = [
    ...((environment.resumed as Json[] | undefined) ?? []),
    { step, backend: tf.getBackend(), at: new Date().toISOString() },
  ];
  await writeFileAtomic(path, `${JSON.stringify({ ...environment, resumed }, null, 2)}\n`);
}

/** What differs between two values, each difference named by its path. */
function differences(path: string, before: Json | undefined, now: Json | undefined): string[] {
  const text = (value: Json | undefined) => (value === undefined ? 'not set' : JSON.stringify(value).slice(0, 80));
  if (JSON.stringify(before) === JSON.stringify(now)) return [];
  const isObject = (value: Json | undefined): value is { readonly [key: string]: Json } =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isObject(before) || !isObject(now)) return [`${path} was ${text(before)} and is ${text(now)} now`];
  return [...new Set([...Object.keys(before), ...Object.keys(now)])].flatMap((key) => differences(`${path}.${key}`, before[key], now[key]));
}

type Manifest = {
  format: 1;
  step: number;
  seed: number;
  backend: string;
  parts: Record<string, { sha256: string; bytes: number; json: Json }>;
};

async function writeCheckpoint(
  folder: string,
  step: number,
  about: { seed: number; backend: string },
  parts: Record<string, Checkpointable>,
): Promise<void> {
  if (!Number.isSafeInteger(step) || step < 0) throw new RangeError(`run.save: step must be a whole number, at least 0, got ${step}`);
  const final = join(folder, `step-${step}`);
  const temporary = temporaryName(final);
  const manifest: Manifest = { format: 1, step, ...about, parts: {} };
  try {
    await mkdir(temporary);
    for (const [name, part] of Object.entries(parts)) {
      if (!/^[\w.-]+$/.test(name)) throw new RangeError(`run.save: a part's name holds letters, digits, ".", "_" and "-", got "${name}"`);
      const { tensors, json } = await part.save();
      const hash = createHash('sha256');
      let bytes = 0;
      const hashed = function* (chunks: Iterable<Uint8Array>) {
        for (const chunk of chunks) {
          hash.update(chunk);
          bytes += chunk.length;
          yield chunk;
        }
      };
      await writeChunks(join(temporary, `${name}.safetensors`), hashed(safetensorsChunks(tensors, { format: 'pt' })));
      manifest.parts[name] = { sha256: hash.digest('hex'), bytes, json };
    }
    await writeChunks(join(temporary, 'checkpoint.json'), [new TextEncoder().encode(`${JSON.stringify(manifest, null, 2)}\n`)]);
    await flushFolder(temporary);
    // A folder cannot be renamed onto another: one of this step goes aside first, and comes back if we are stopped in between.
    const aside = `${temporary}.replaced`;
    const replacing = await rename(final, aside).then(
      () => true,
      () => false,
    );
    await rename(temporary, final);
    await flushFolder(folder);
    if (replacing) await rm(aside, { recursive: true, force: true });
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {});
    throw error;
  }
}

/** Steps of the checkpoints in a folder, newest first. */
async function stepsIn(folder: string): Promise<number[]> {
  const names = await readdir(folder);
  return names
    .flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => b - a);
}

/** Removes what a stopped process left half written, and brings back what it was about to replace. */
async function cleanUp(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith('.step-')) continue;
    const final = join(folder, /^\.(step-\d+)/.exec(name)?.[1] ?? '');
    if (name.endsWith('.replaced') && !(await readdir(final).catch(() => undefined))) await rename(join(folder, name), final);
    else await rm(join(folder, name), { recursive: true, force: true });
  }
}

async function restoreNewest(
  folder: string,
  parts: Record<string, Checkpointable>,
  { allowOtherBackend, onWarning }: { allowOtherBackend: boolean; onWarning: (line: string) => void },
): Promise<number> {
  const damaged: { path: string; why: string }[] = [];
  for (const step of await stepsIn(folder)) {
    const path = join(folder, `step-${step}`);
    let checkpoint: { manifest: Manifest; saved: Record<string, Saved> };
    try {
      checkpoint = await readCheckpoint(path, step);
    } catch (error) {
      damaged.push({ path, why: (error as Error).message });
      continue;
    }
    const { backend } = checkpoint.manifest;
    if (backend !== tf.getBackend() && !allowOtherBackend)
      throw new CheckpointError(
        `${path} was computed on the backend "${backend}", and this is "${tf.getBackend()}": the run would not go on as it began. Choose ${backend} (PLUMB_BACKEND=${backend}), or allow another backend`,
      );
    try {
      await loadParts(parts, checkpoint.saved);
    } catch (error) {
      throw new CheckpointError(`${path}: ${(error as Error).message}`, { cause: error });
    }
    for (const bad of damaged) {
      const aside = join(folder, `damaged-${basename(bad.path)}`);
      await rm(aside, { recursive: true, force: true });
      await rename(bad.path, aside);
      onWarning(`warning: the checkpoint ${bad.path} is damaged and was set aside: ${bad.why}; going on from step ${step}`);
    }
    return step;
  }
  if (damaged.length > 0)
    throw new CheckpointError(
      `no checkpoint is intact: ${damaged.map(({ path, why }) => `${path}: ${why}`).join('; ')}. Delete ${folder} to start from the beginning`,
    );
  return 0;
}

/** Reads and checks one checkpoint: nothing of it is used unless all of it is as it was written. */
async function readCheckpoint(path: string, step: number): Promise<{ manifest: Manifest; saved: Record<string, Saved> }> {
  const manifest = (await readJson(join(path, 'checkpoint.json'))) as Manifest | undefined;
  if (!manifest) throw new CheckpointError('checkpoint.json is missing');
  if (manifest.format !== 1)
    throw new CheckpointError(`checkpoint.json has format ${JSON.stringify(manifest.format)}; this release reads 1`);
  if (manifest.step !== step || typeof manifest.parts !== 'object' || manifest.parts === null)
    throw new CheckpointError('checkpoint.json is not that of this step');
  const saved: Record<string, Saved> = {};
  for (const [name, { sha256, bytes, json }] of Object.entries(manifest.parts)) {
    const file = join(path, `${name}.safetensors`);
    const found = await hashOf(file);
    if (found.bytes !== bytes) throw new CheckpointError(`${name}.safetensors has ${found.bytes} bytes where ${bytes} were written`);
    if (found.sha256 !== sha256) throw new CheckpointError(`${name}.safetensors is not what was written (its hash differs)`);
    const tensors = await readSafetensors(file);
    saved[name] = {
      tensors: Object.fromEntries(tensors.names.map((tensor) => [tensor, tensors.read(tensor) as Saved['tensors'][string]])),
      json,
    };
  }
  return { manifest, saved };
}

async function hashOf(path: string): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    const file = await open(path, 'r');
    try {
      const buffer = new Uint8Array(1 << 22);
      for (;;) {
        const { bytesRead } = await file.read(buffer, 0, buffer.length);
        if (bytesRead === 0) break;
        hash.update(buffer.subarray(0, bytesRead));
        bytes += bytesRead;
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    throw fileError(error, `cannot read ${path}`);
  }
  return { sha256: hash.digest('hex'), bytes };
}

/** Drops the lines of steps that are done again, and a last line that was cut short. */
async function keepMetricsBefore(path: string, step: number): Promise<void> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw fileError(error, `cannot read ${path}`);
  }
  const kept = text.split('\n').filter((line) => {
    try {
      return (JSON.parse(line) as { step: number }).step < step;
    } catch {
      return false;
    }
  });
  const next = kept.map((line) => `${line}\n`).join('');
  if (next !== text) await writeFileAtomic(path, next);
}

async function readJson(path: string): Promise<Record<string, Json> | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fileError(error, `cannot read ${path}`);
  }
  try {
    const json = JSON.parse(text) as Json;
    if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Record<string, Json>;
  } catch {
    // told below
  }
  throw new CheckpointError(`${path} holds no JSON object; it is damaged`);
}

/** Numbers that JSON has no words for, as strings: "NaN", "Infinity", "-Infinity". */
const finite = (_key: string, value: unknown) => (typeof value === 'number' && !Number.isFinite(value) ? String(value) : value);

function version(name: string): string {
  try {
    return (createRequire(import.meta.url)(`${name}/package.json`) as { version: string }).version;
  } catch {
    return 'unknown';
  }
}

const openHere = new Set<string>();

/** Claims a folder for this process; a claim whose process is gone does not count. Returns what gives it up. */
function lock(dir: string): () => void {
  const path = join(dir, 'run.lock');
  const refuse = (who: string) => new ConfigError(`${dir} is open in ${who}; wait for it, or choose another folder`);
  if (openHere.has(dir)) throw refuse('this process');
  const mine = JSON.stringify({ pid: process.pid, host: hostname(), began: beganOf('self') });
  try {
    for (let attempt = 0; ; attempt++) {
      try {
        writeFileSync(path, mine, { flag: 'wx' });
        break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt === 2) throw error;
        const holder = holderOf(path);
        if (holder !== undefined) throw refuse(`process ${holder} (if that is no run of Plumbline, delete ${path})`);
        rmSync(path, { force: true });
      }
    }
  } catch (error) {
    throw fileError(error, `cannot write ${path}`);
  }
  openHere.add(dir);
  return () => {
    openHere.delete(dir);
    rmSync(path, { force: true });
  };
}

/** The living process on this machine that a lock names, if there is one other than this. */
function holderOf(path: string): number | undefined {
  let holder: { pid?: unknown; host?: unknown; began?: unknown };
  try {
    holder = JSON.parse(readFileSync(path, 'utf8')) ?? {};
  } catch {
    return undefined; // gone, or cut short
  }
  const { pid, host, began } = holder;
  if (typeof pid !== 'number' || host !== hostname() || pid === process.pid) return undefined;
  try {
    process.kill(pid, 0);
    return began !== undefined && beganOf(pid) !== began ? undefined : pid; // else another process that was given the same number
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? pid : undefined; // EPERM: there, but another user's
  }
}

/** When a process began, in clock ticks since the system did; known on Linux alone. */
function beganOf(pid: number | 'self'): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19]; // the name before it may hold spaces
  } catch {
    return undefined;
  }
}
