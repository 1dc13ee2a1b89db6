/** How every `plumb train` command begins and ends: settings, an interrupted run or a new folder, the backend; and what it says in the end. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ConfigError, NonFiniteError, onInterrupt, writeFileAtomic } from '@plumbline/core';
import { modelPath, resolveModel } from '@plumbline/models';
import pc from 'picocolors';
import type { z } from 'zod';
import { type BackendFlags, startBackend } from '../backend.js';
import { wholeModel } from '../models.js';
import { duration } from '../progress.js';
import { leavingNothing, runFolder } from '../runs.js';
import { parseFlags, readSettings, wholeNumber } from '../settings.js';
import type { Job, Spent } from './training.js';
import { ofEveryTraining, refuseUnused, type Unused } from './unused.js';

export type TrainOptions = BackendFlags & {
  help?: boolean;
  model?: string;
  dataset?: string;
  config?: string;
  set?: string[];
  seed?: string;
  out: string;
  fresh?: boolean;
  resume?: string | true;
  json?: boolean;
};

/** What a command is given beside model and data, and which settings it does not look at. */
type More<S, E, R> = {
  unused?(settings: S): Unused;
  /** Its names, which a run that goes on must share; `before` has those of the run to go on with. */
  identity?(settings: S, before?: E): E;
  /** Before there is a folder: what cannot be loaded leaves none behind. */
  load?(names: E): Promise<R>;
};

/**
 * @param kind the word behind `plumb train`, which run folders begin with
 * @throws ConfigError where a setting is wrong, or the run to go on with has other ones
 */
export async function startTraining<Z extends z.ZodObject, E extends object = object, R = undefined>(
  kind: string,
  schema: Z,
  options: TrainOptions,
  rest: readonly string[],
  more?: More<z.infer<Z>, E, R>,
): Promise<{ job: Job<z.infer<Z>>; backend: Awaited<ReturnType<typeof startBackend>>; loaded: R }> {
  type Identity = { command: string; model: string; dataset: string; seed: number; settings: z.infer<Z>; backend: string } & E;
  const command = `train ${kind}`;
  const flags = parseFlags(rest);
  const before = options.resume === undefined ? undefined : interrupted<Identity>(options.resume, options.out, kind);
  const given = options.config !== undefined || options.set !== undefined || Object.keys(flags).length > 0;
  const settings = before && !given ? before.identity.settings : readSettings(schema, { ...options, flags });
  refuseUnused([...ofEveryTraining(settings as never), ...(more?.unused?.(settings) ?? [])]);
  const seed = options.seed === undefined ? (before?.identity.seed ?? 0) : wholeNumber('--seed', options.seed);
  const model = nameOf(options.model ?? before?.identity.model, '--model', command);
  const source = nameOf(options.dataset ?? before?.identity.dataset, '--dataset', command);
  const names = more?.identity?.(settings, before?.identity);
  const dataset = existsSync(source) ? resolve(source) : source; // else a hub id
  // An error now, not after reading the data; a name on the hub is pinned to a commit.
  const where = model.startsWith('zoo:') && modelPath(model) ? model : await resolveModel(wholeModel(model));
  const backend = await startBackend(options);
  const identity = { command, model: where, dataset, ...names, seed, settings, backend: backend.name };
  const differing = before && differences(before.identity, identity);
  if (differing) throw new ConfigError(`${before.dir} is a run of other settings (${differing}); without --resume a new run begins`);
  const loaded = (await more?.load?.(names!)) as R;
  const prefix = `${kind}-seed${seed}-${backend.name}`;
  const dir = before?.dir ?? (await runFolder({ out: options.out, prefix, identity, fresh: options.fresh }));
  return { job: { settings, seed, model: where, dataset, dir, signal: onInterrupt() }, backend, loaded };
}

/** What a training gives; where it fails before it has learned anything, its folder goes again, unless it holds the state in which a number was not finite. */
export function trained<J extends { dir: string }, S>(job: J, train: (job: J) => Promise<S>): Promise<S> {
  const checkpoints = join(job.dir, 'checkpoints');
  const begun = (error: unknown) =>
    existsSync(checkpoints) && (error instanceof NonFiniteError || readdirSync(checkpoints).some((name) => name !== 'step-0'));
  return leavingNothing(job.dir, begun, () => train(job));
}

/**
 * Leaves `summary.json`, by which a run is known to be finished, and prints the summary: as JSON, or what `tell` says of data and
 * measures, then what it took, then where its results are.
 */
export async function endTraining<S extends Spent & { model: { parameters: number; trained: number } }>(
  summary: S,
  { dir, backend, json }: { dir: string; backend: { name: string }; json?: boolean },
  { tell, where }: { tell(summary: S): readonly (string | false | undefined)[]; where(summary: S): readonly string[] },
): Promise<void> {
  const text = JSON.stringify(summary, null, 2);
  await writeFileAtomic(join(dir, 'summary.json'), `${text}\n`);
  if (json) {
    console.log(text);
    return;
  }
  const { model, seconds, tokensPerSecond, peakBytes } = summary;
  const took = `${duration(seconds)} on ${backend.name}, ${Math.round(tokensPerSecond)} tokens/s, ${Math.round(peakBytes / 1e6)} MB of memory at most; ${model.trained.toLocaleString('en')} of ${model.parameters.toLocaleString('en')} parameters were trained.`;
  console.log(`\n${[...tell(summary), took, ...where(summary)].filter(Boolean).join('\n')}`);
}

/** Where a policy is, for `endTraining`. */
export const policyIs = ({ output, settings }: { output: string; settings: { full: boolean } }): string =>
  `The ${settings.full ? 'model' : 'adapter, in PEFT’s format,'} is in\n${pc.cyan(resolve(output))}`;

function nameOf(name: string | undefined, flag: string, command: string): string {
  if (name === undefined) throw new ConfigError(`${flag} is missing (plumb ${command} --help)`);
  return name;
}

/** The run to go on with: the named one, or the newest that is not finished. */
function interrupted<I>(which: string | true, out: string, prefix: string): { dir: string; identity: I } {
  const candidates =
    which === true
      ? (existsSync(out) ? readdirSync(out) : [])
          .filter((name) => name.startsWith(`${prefix}-`))
          .sort()
          .reverse()
          .map((name) => join(out, name))
      : [which];
  const dir = candidates.find((folder) => existsSync(join(folder, 'identity.json')) && !existsSync(join(folder, 'summary.json')));
  if (dir) return { dir, identity: JSON.parse(readFileSync(join(dir, 'identity.json'), 'utf8')) as I };
  const finished = which !== true && existsSync(join(which, 'summary.json'));
  throw new ConfigError(
    finished
      ? `${which} is finished; there is nothing to go on with`
      : `there is no interrupted run ${which === true ? `in ${out}` : `at ${which}`} to go on with`,
  );
}

function differences(before: object, now: object, at = ''): string {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  const record = (x: unknown): x is Record<string, unknown> => typeof x === 'object' && x !== null && !Array.isArray(x);
  return keys
    .flatMap((key) => {
      const [a, b] = [(before as Record<string, unknown>)[key], (now as Record<string, unknown>)[key]];
      if (JSON.stringify(a) === JSON.stringify(b)) return [];
      return record(a) && record(b)
        ? [differences(a, b, `${at}${key}.`)]
        : [`${at}${key} was ${JSON.stringify(a)} and is ${JSON.stringify(b)}`];
    })
    .filter((line) => line !== '')
    .join(', ');
}
