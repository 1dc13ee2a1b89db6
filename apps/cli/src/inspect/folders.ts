/** Run folders as they lie on disk, whatever command made them, finished or not. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ConfigError, type LoggedStep, type MetricName, metrics } from '@plumbline/core';

export type RunFolder = {
  dir: string;
  name: string;
  /** When it began, as the environment says, else when the folder was last written. */
  started: string;
  state: 'finished' | 'failed' | 'unfinished';
  command?: string;
  config: Record<string, unknown>;
  environment: Record<string, unknown>;
  summary?: Record<string, unknown>;
  failure?: Record<string, unknown>;
  /** Of each part that was trained: the folder itself (`''`) or those in it. A last line that was cut short is left out. */
  histories: { name: string; steps: LoggedStep[] }[];
  checkpoints: number[];
  /** Steps of which samples lie there. */
  sampled: number[];
};

/** Folders with a run in them, newest first. */
export function runFolders(out: string): RunFolder[] {
  if (!existsSync(out)) return [];
  return readdirSync(out)
    .map((name) => join(out, name))
    .filter(isRun)
    .map(readRun)
    .sort((a, b) => b.started.localeCompare(a.started) || b.name.localeCompare(a.name));
}

/** @throws ConfigError where there is no run, with the runs that are near by */
export function findRun(which: string, out: string): RunFolder {
  for (const dir of [which, join(out, which)]) if (isRun(dir)) return readRun(dir);
  const known = runFolders(out).map(({ name }) => name);
  const alike = known.filter((name) => name.startsWith(which));
  if (alike.length === 1) return readRun(join(out, alike[0]));
  const listed = (alike.length > 0 ? alike : known).slice(0, 8).join(', ');
  throw new ConfigError(
    alike.length > 1
      ? `${which} is the beginning of ${alike.length} runs: ${listed}`
      : `${which} is no run folder${listed ? `; in ${out} there are ${listed}` : `, and ${out} holds none`}`,
  );
}

const marks = ['metrics.jsonl', 'identity.json', 'environment.json', 'summary.json'];
const isRun = (dir: string): boolean => existsSync(dir) && statSync(dir).isDirectory() && marks.some((name) => existsSync(join(dir, name)));

function readRun(dir: string): RunFolder {
  const json = (...path: string[]) => readObject(join(dir, ...path));
  const parts = ['', ...readdirSync(dir, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))];
  const histories = parts.flatMap((name) => {
    const steps = readSteps(join(dir, name, 'metrics.jsonl'));
    return steps.length > 0 ? [{ name, steps }] : [];
  });
  const first = parts.find((part) => existsSync(join(dir, part, 'environment.json')));
  const environment = (first === undefined ? undefined : json(first, 'environment.json')) ?? {};
  const identity = json('identity.json');
  const summary = json('summary.json');
  const failure = json('failure.json');
  return {
    dir,
    name: basename(dir),
    started: typeof environment.started === 'string' ? environment.started : statSync(dir).mtime.toISOString(),
    state: summary ? 'finished' : failure ? 'failed' : 'unfinished',
    ...(typeof identity?.command === 'string' && { command: identity.command }),
    config: json('config.json') ?? (identity?.settings as Record<string, unknown>) ?? (identity?.config as Record<string, unknown>) ?? {},
    environment,
    summary,
    failure,
    histories,
    checkpoints: parts
      .flatMap((part) => (existsSync(join(dir, part, 'checkpoints')) ? readdirSync(join(dir, part, 'checkpoints')) : []))
      .flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b),
    sampled: (existsSync(join(dir, 'samples')) ? readdirSync(join(dir, 'samples')) : [])
      .flatMap((name) => /^step-(\d+)\.jsonl$/.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b),
  };
}

/** What a run wrote of one step. */
export const samplesOf = ({ dir }: Pick<RunFolder, 'dir'>, step: number): Record<string, unknown>[] =>
  readLines(join(dir, 'samples', `step-${String(step).padStart(6, '0')}.jsonl`));

function readObject(path: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined; // not there, or damaged: a listing shows what can be read
  }
}

export const readSteps = (path: string): LoggedStep[] => readLines(path).map(numbers);

/** The records of a file, one a line; a line that was cut short is left out. */
function readLines(path: string): Record<string, unknown>[] {
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as Record<string, unknown>];
      } catch {
        return [];
      }
    });
}

const notFinite: Record<string, number> = { NaN: Number.NaN, Infinity: Infinity, '-Infinity': -Infinity };
const numbers = (line: Record<string, unknown>): LoggedStep =>
  Object.fromEntries(
    Object.entries(line).map(([name, value]) => [name, typeof value === 'string' ? (notFinite[value] ?? value) : value]),
  ) as LoggedStep;

/** Metrics of a history in the order of the record of metrics, others behind. */
export function metricNames(steps: readonly LoggedStep[]): MetricName[] {
  const there = new Set(steps.flatMap((step) => Object.keys(step)));
  there.delete('step');
  const known = Object.keys(metrics).filter((name) => there.has(name));
  return [...known, ...[...there].filter((name) => !known.includes(name)).sort()] as MetricName[];
}

/** The last value of a metric, whichever step logged it. */
export const lastOf = (steps: readonly LoggedStep[], name: MetricName): number | undefined =>
  steps.findLast((step) => step[name] !== undefined)?.[name];

/** Settings as one level: `lora.r`. */
export function flat(value: Record<string, unknown>, at = ''): Record<string, string> {
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, inner]): [string, string][] =>
      typeof inner === 'object' && inner !== null && !Array.isArray(inner)
        ? Object.entries(flat(inner as Record<string, unknown>, `${at}${key}.`))
        : [[`${at}${key}`, typeof inner === 'string' ? inner : JSON.stringify(inner)]],
    ),
  );
}
