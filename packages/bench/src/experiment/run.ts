/** Runs an experiment: arms on the same seeds, one folder a seed, resumable, then verdicts and a report. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import {
  backendInfo,
  CheckpointError,
  ConfigError,
  FileError,
  InterruptedError,
  openRun,
  parameterCount,
  rng,
  writeFileAtomic,
} from '@plumbline/core';
import { papers } from '../papers.js';
import { reportPage } from '../report/index.js';
import { bedMakers } from './beds.js';
import { codeHash, packageVersions } from './bundle.js';
import { parseConfig } from './define.js';
import { judgeClaims, minimumSeeds, seedsForClaims, summarise } from './judge.js';
import { experimentReport } from './report.js';
import { scaleRow, storeScale } from './scales.js';
import type { BedMakers, Beds, Experiment, ExperimentResult, LoggedRow, Progress, StoredSeed } from './types.js';

export type RunOptions = {
  /** Counted seeds: 1 to n, or these; seed 0 is the one on which settings are chosen. Without a number as many as the pilot asks for, 5 to `maximumSeeds`. */
  seeds?: number | readonly number[];
  /** Seeds of a pilot, run first on other seeds (1000 and up): they fix the power and never count. The experiment's own number, unless `seeds`, `scale` or `quick` is given: then none. */
  pilot?: number;
  /** 20 unless said. */
  maximumSeeds?: number;
  config?: Record<string, unknown>;
  /** The experiment's own two-step settings. */
  quick?: boolean;
  /** Everything goes under here, in a folder a config: `outDir/<hash of the config>`. */
  outDir: string;
  /** Where the experiment's own files are, for the hash. */
  experimentDir?: string;
  /** Also stores the result as JSON here: `docs/reproductions/<id>`. */
  storeDir?: string;
  /** Another model in place of the experiment's own (zoo name or folder), or one of its own `scales`; what is stored is then a row of `scales.json`, and the main result stays. */
  scale?: string;
  /** What the user typed, for the record. */
  command?: string;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
  beds?: Partial<BedMakers>;
};

const firstPilotSeed = 1000;

/**
 * Runs what is not there yet and judges all. A seed that finished under the same config, code and backend is kept; one that was interrupted goes on from its arms'
 * checkpoints. @returns the result, and where its report lies
 *
 * @throws ConfigError for a config that does not fit, or a seed that would count twice; InterruptedError where `signal` stopped it, after saving
 */
export async function runExperiment(
  experiment: Experiment,
  {
    seeds,
    quick = false,
    scale,
    pilot = seeds === undefined && scale === undefined && !quick ? pilotSize(experiment) : 0,
    maximumSeeds = 20,
    config: given = {},
    outDir,
    experimentDir,
    storeDir,
    command,
    onProgress = () => {},
    signal,
    beds,
  }: RunOptions,
): Promise<{ result: ExperimentResult; dir: string; reportPath: string; resultPath: string }> {
  const settings = { ...(quick && experiment.quick), ...(scale !== undefined && settingsOf(experiment, scale)), ...given };
  const config = parseConfig(experiment.id, experiment.config, settings) as Record<string, unknown>;
  const configHash = createHash('sha256').update(stableJson(config)).digest('hex').slice(0, 8);
  const dir = join(outDir, configHash);
  makeFolder(dir);
  await writeFileAtomic(join(dir, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
  const versions = packageVersions(experiment.packages);
  const hash = await codeHash(experiment.packages, experimentDir);
  const running = {
    experiment,
    config,
    dir,
    hash,
    onProgress,
    signal: signal ?? new AbortController().signal,
    makers: { ...bedMakers, ...beds },
  };

  const pilotSeeds = Array.from({ length: pilot }, (_, i) => firstPilotSeed + i);
  checkSeeds(seeds, pilotSeeds);
  const pilotOutcomes = await runSeeds(running, pilotSeeds, true);
  const planned = pilot > 0 ? seedsForClaims(experiment, pilotOutcomes) : undefined;
  const fixed = pilot > 0 ? Math.min(maximumSeeds, planned ?? maximumSeeds) : minimumSeeds;
  const counted = typeof seeds === 'number' ? range(seeds) : (seeds ?? range(fixed));
  if (pilot > 0) await writePlan(join(dir, 'plan.json'), experiment, { pilotOutcomes, planned, counted, onProgress });
  const outcomes = await runSeeds(running, counted, false);

  const paper = papers.find(({ id }) => id === experiment.id);
  const result: ExperimentResult = {
    format: 1,
    id: experiment.id,
    title: paper?.title ?? experiment.id,
    paper: experiment.paper,
    source: paper?.source ?? null,
    command: command ?? `plumb reproduce ${experiment.id}`,
    date: new Date().toISOString().slice(0, 10),
    seeds: [...counted],
    pilotSeeds,
    plannedSeeds: planned ?? null,
    quick,
    claims: judgeClaims(experiment, outcomes, pilotOutcomes),
    arms: Object.fromEntries(experiment.arms.map((arm: string) => [arm, summarise(outcomes, (s) => s.arms[arm])])),
    statistics: summarise(outcomes, (s) => s.statistics),
    config,
    versions,
    backend: [...new Set(outcomes.map((s) => s.backend))].join(', '),
    parameters: outcomes[0].parameters ?? null,
    packages: [...experiment.packages],
    codeHash: hash,
    seconds: outcomes.reduce((sum, s) => sum + s.seconds, 0),
  };
  const json = `${JSON.stringify(result, null, 2)}\n`;
  const resultPath = join(dir, 'result.json');
  const reportPath = join(dir, 'report.html');
  await writeFileAtomic(resultPath, json);
  await writeFileAtomic(
    reportPath,
    reportPage(experimentReport(experiment, result, outcomes, (seed, arm) => readMetrics(join(dir, `seed-${seed}`, arm)))),
  );
  if (storeDir && scale !== undefined) await storeScale(storeDir, scaleRow(basename(scale.replace(/^zoo:/, '')), result));
  else if (storeDir) {
    makeFolder(storeDir);
    await writeFileAtomic(join(storeDir, 'result.json'), json);
  }
  return { result, dir, reportPath, resultPath };
}

/** The experiment's own at that scale, or another model for its bed. @throws ConfigError where it has its own, and this is none of them */
function settingsOf({ id, scales }: Experiment, scale: string): Record<string, unknown> {
  if (!scales) return { model: /[\\/]|^zoo:/.test(scale) ? scale : `zoo:${scale}` };
  if (!Object.hasOwn(scales, scale)) throw new ConfigError(`"${id}" has no scale "${scale}"; there are ${Object.keys(scales).join(', ')}`);
  return scales[scale];
}

/** A seed that is there twice, or that the pilot has seen, would make the interval narrower than it is. */
function checkSeeds(seeds: RunOptions['seeds'], pilotSeeds: readonly number[]): void {
  const counted = typeof seeds === 'number' ? range(seeds) : (seeds ?? [0]);
  if (counted.length === 0) throw new ConfigError('runExperiment: needs at least one seed');
  const twice = counted.find((seed, i) => counted.indexOf(seed) !== i);
  if (twice !== undefined) throw new ConfigError(`seed ${twice} is there twice; each counts once`);
  const seen = counted.find((seed) => pilotSeeds.includes(seed));
  if (seen !== undefined) throw new ConfigError(`seed ${seen} belongs to the pilot, whose seeds never count; count others`);
}

/** The experiment's own, or 3; 1 where each seed draws the units that are resampled, and nothing else is decided by the seeds. */
function pilotSize({ pilot, claims }: Experiment): number {
  if (pilot !== undefined) return pilot;
  const tests = claims.flatMap(({ test }) => (typeof test === 'object' ? [test] : []));
  if (tests.length === 0) return 0;
  return tests.every((test) => 'resample' in test && test.resample === 'drawnUnits') ? 1 : 3;
}

/** What is fixed before the counted seeds run. */
async function writePlan(
  file: string,
  experiment: Experiment,
  {
    pilotOutcomes,
    planned,
    counted,
    onProgress,
  }: { pilotOutcomes: readonly StoredSeed[]; planned?: number; counted: readonly number[]; onProgress: (progress: Progress) => void },
): Promise<void> {
  const claims = judgeClaims(experiment, pilotOutcomes, pilotOutcomes).map(
    ({ id, smallestEffect, margin, unit, pilotDeviation, seedsForPower }) => ({
      id,
      smallestEffect,
      margin,
      unit,
      pilotDeviation,
      seedsForPower,
    }),
  );
  const plan = { pilotSeeds: pilotOutcomes.map(({ seed }) => seed), claims, plannedSeeds: planned ?? null, countedSeeds: counted };
  await writeFileAtomic(file, `${JSON.stringify(plan, null, 2)}\n`);
  const asked = planned === undefined ? 'no number of seeds gives' : `${planned} seeds give`;
  onProgress({
    kind: 'message',
    seed: counted[0],
    text: `by the pilot, ${asked} every claim power 0.8; ${counted.length} are run`,
  });
}

type Settings = {
  experiment: Experiment;
  config: Record<string, unknown>;
  dir: string;
  hash: string;
  onProgress: (progress: Progress) => void;
  signal: AbortSignal;
  makers: BedMakers;
};

async function runSeeds(settings: Settings, seeds: readonly number[], pilot: boolean): Promise<StoredSeed[]> {
  const outcomes: StoredSeed[] = [];
  for (const [index, seed] of seeds.entries()) {
    const report = (state: 'started' | 'kept' | 'finished', seconds?: number) =>
      settings.onProgress({ kind: 'seed', seed, pilot, index, total: seeds.length, state, seconds });
    const file = join(settings.dir, `seed-${seed}`, 'outcome.json');
    const kept = readKept(file, settings);
    if (kept) {
      report('kept', kept.seconds);
      outcomes.push(kept);
      continue;
    }
    report('started');
    const outcome = await runSeed(settings, seed);
    await writeFileAtomic(file, `${JSON.stringify(outcome)}\n`);
    report('finished', outcome.seconds);
    outcomes.push(outcome);
  }
  return outcomes;
}

/** An outcome that this code and backend made; what others made is measured again. */
function readKept(file: string, { hash, dir, onProgress }: Settings): StoredSeed | undefined {
  if (!existsSync(file)) return undefined;
  let stored: StoredSeed;
  try {
    stored = JSON.parse(readFileSync(file, 'utf8')) as StoredSeed;
  } catch (error) {
    throw new CheckpointError(
      `${file} is damaged (${error instanceof Error ? error.message : error}); remove it to measure that seed again`,
    );
  }
  if (stored.codeHash === hash && stored.backend === backendName()) return stored;
  const what = stored.codeHash === hash ? `on ${stored.backend}` : 'by other code';
  onProgress({ kind: 'message', seed: stored.seed, text: `seed ${stored.seed} was measured ${what}; it is measured again` });
  rmSync(join(dir, `seed-${stored.seed}`), { recursive: true, force: true });
  return undefined;
}

async function runSeed({ experiment, config, dir, hash, onProgress, signal, makers }: Settings, seed: number): Promise<StoredSeed> {
  const started = performance.now();
  const seedDir = join(dir, `seed-${seed}`);
  // Work of other code or of another backend is no start to go on from.
  const marker = join(seedDir, 'code.json');
  const mark = JSON.stringify({ codeHash: hash, backend: backendName() });
  if (existsSync(seedDir) && (!existsSync(marker) || readFileSync(marker, 'utf8') !== mark))
    rmSync(seedDir, { recursive: true, force: true });
  makeFolder(seedDir);
  await writeFileAtomic(marker, mark);

  const open = new Map<string, Awaited<ReturnType<typeof openRun>>>();
  const start = async (name: string) => {
    const run = await openRun({
      dir: join(seedDir, name),
      config: { ...config, experiment: experiment.id, run: name },
      seed,
      saveEvery: 20,
      signal,
      onLog: (step, metrics) => onProgress({ kind: 'step', seed, run: name, step, metrics }),
      expected: experiment.expected,
      onWarning: (text) => onProgress({ kind: 'message', seed, text: `${name}: ${text}` }),
    });
    open.set(name, run);
    return run;
  };
  const opened: { [B in keyof Beds]?: Promise<Beds[B]> } = {};
  try {
    for (const arm of experiment.arms as readonly string[]) await start(arm);
    const outcome = await experiment.run({
      config,
      seed,
      rng: rng(seed).fork('experiment', experiment.id),
      signal,
      arm: (name: string) => open.get(name)!,
      shared: async (name) => open.get(name) ?? (await start(name)),
      history: (name) => readMetrics(join(seedDir, name)),
      bed: <B extends keyof Beds>(name: B) => {
        opened[name] ??= makers[name]({ seed, ...(typeof config.model === 'string' && { model: config.model }) }) as (typeof opened)[B];
        return opened[name] as Promise<Beds[B]>;
      },
      say: (text) => onProgress({ kind: 'message', seed, text }),
    });
    signal.throwIfAborted();
    return {
      seed,
      seconds: (performance.now() - started) / 1000,
      backend: backendName(),
      codeHash: hash,
      ...(await bedParameters(opened)),
      ...checkedOutcome(experiment, seed, outcome),
    };
  } catch (error) {
    // sampling stops with an error of its own
    if (!signal.aborted || error instanceof InterruptedError) throw error;
    throw new InterruptedError(`stopped in seed ${seed}; the same command goes on from there`, { cause: error });
  } finally {
    for (const run of open.values()) await run.close();
    for (const promised of Object.values(opened)) {
      const bed = await promised.catch(() => undefined);
      if (bed && 'dispose' in bed) bed.dispose();
      bed?.base.parameters.dispose();
    }
  }
}

/** Of the first bed's model. */
async function bedParameters(opened: { [B in keyof Beds]?: Promise<Beds[B]> }): Promise<{ parameters?: number }> {
  const bed = await Object.values(opened)[0];
  return bed ? { parameters: parameterCount(bed.base.parameters).total } : {};
}

type Outcome = Awaited<ReturnType<Experiment['run']>>;
function checkedOutcome(
  experiment: Experiment,
  seed: number,
  { arms, statistics = {}, parameters, samples = [] }: Outcome,
): Pick<StoredSeed, 'arms' | 'statistics' | 'parameters' | 'samples'> {
  const wanted = Object.keys(experiment.metrics);
  const where = `experiment "${experiment.id}", seed ${seed}`;
  for (const arm of experiment.arms as readonly string[]) {
    const got = arms[arm];
    if (!got) throw new RangeError(`${where}: run() answered no arm "${arm}"`);
    for (const name of wanted) if (!(name in got)) throw new RangeError(`${where}, arm "${arm}": the metric "${name}" is missing`);
    for (const [name, value] of Object.entries(got) as [string, number | Float64Array][]) {
      if (!wanted.includes(name))
        throw new RangeError(`${where}, arm "${arm}": the metric "${name}" is not declared; there are ${wanted.join(', ')}`);
      const bad = typeof value === 'number' ? !Number.isFinite(value) : value.length === 0 || value.some((x) => !Number.isFinite(x));
      if (bad) throw new RangeError(`${where}, arm "${arm}": the metric "${name}" holds a value that is not finite, or none`);
    }
  }
  for (const { id, test } of experiment.claims)
    if (typeof test === 'object' && 'statistic' in test && !Number.isFinite(statistics[test.statistic]))
      throw new RangeError(`${where}: claim "${id}" needs the statistic "${test.statistic}", which is ${statistics[test.statistic]}`);
  const listed = (values: Record<string, number | Float64Array>) =>
    Object.fromEntries(Object.entries(values).map(([name, value]) => [name, typeof value === 'number' ? value : Array.from(value)]));
  return {
    arms: Object.fromEntries(
      (Object.entries(arms) as [string, Record<string, number | Float64Array>][]).map(([arm, values]) => [arm, listed(values)]),
    ),
    statistics,
    ...(parameters !== undefined && { parameters }),
    samples: samples.map(({ prompt, texts }) => ({
      prompt,
      texts: Object.fromEntries(Object.entries(texts).filter((e): e is [string, string] => e[1] !== undefined)),
    })),
  };
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw new FileError(`cannot make the folder ${path}: ${(error as NodeJS.ErrnoException).code ?? error}; choose another with --out`, {
      cause: error,
    });
  }
}

/** What a run logged, from its metrics.jsonl files; empty where there is none. */
function readMetrics(runDir: string): LoggedRow[] {
  if (!existsSync(runDir)) return [];
  const file = readdirSync(runDir).find((name) => name === 'metrics.jsonl');
  if (!file) return [];
  return readFileSync(join(runDir, file), 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as LoggedRow);
}

/** Without the number of threads, on which results do not depend. */
export function backendName(): string {
  const { name, device } = backendInfo();
  return device ? `${name} (${device})` : name;
}

/** 1 to n. */
const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

/** Keys in order, so that equal configs have equal hashes. */
function stableJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(stableJson).join(',')}]`;
  if (value !== null && typeof value === 'object')
    return `{${Object.entries(value)
      .filter(([, v]) => v !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([k, v]) => `${JSON.stringify(k)}:${stableJson(v)}`)
      .join(',')}}`;
  return JSON.stringify(value);
}
