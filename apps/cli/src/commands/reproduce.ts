/** `plumb reproduce`: papers' experiments, claim by claim. */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type ArmSummary,
  type Confirmation,
  confirmResult,
  type Experiment,
  type ExperimentResult,
  loadExperimentFrom,
  type Progress,
  reproductionsMarkdown,
  runExperiment,
  sourceWords,
} from '@plumbline/bench';
import { ConfigError, InterruptedError, onInterrupt, PlumblineError, writeFileAtomic } from '@plumbline/core';
import { experimentDir, experimentIds, loadExperiment, matrix } from '@plumbline/experiments';
import pc from 'picocolors';
import { type BackendFlags, startBackend } from '../backend.js';
import { duration } from '../progress.js';
import { parseSettings, wholeNumber } from '../settings.js';
import { table } from '../table.js';
import { reproduceJobs } from './reproduceJobs.js';

type ReproduceOptions = BackendFlags & {
  seeds?: string;
  pilot?: string;
  scale?: string;
  quick?: boolean;
  store?: boolean;
  confirm?: boolean;
  json?: boolean;
  quiet?: boolean;
  all?: boolean;
  jobs?: string;
  out: string;
  set?: string[];
};

/** An experiment by its id, or by the path of its folder or file. */
export async function findExperiment(which: string): Promise<{ which: string; experiment: Experiment; dir: string }> {
  const path = /[\\/.]/.test(which) || (existsSync(which) && existsSync(join(which, 'experiment.ts')));
  if (path) return { which, experiment: await loadExperimentFrom(which), dir: resolve(which) };
  return { which, experiment: await loadExperiment(which), dir: experimentDir(which) };
}

export async function reproduce(named: readonly string[], options: ReproduceOptions): Promise<void> {
  if (options.all && named.length > 0) throw new ConfigError(`--all is every experiment; leave ${named.join(', ')} out, or --all`);
  const ids = options.all ? experimentIds() : named;
  if (ids.length === 0) throw new ConfigError(`name an experiment, or --all; there are ${experimentIds().join(', ')}`);
  if (options.confirm) {
    const given = (['seeds', 'pilot', 'scale', 'quick', 'store', 'set'] as const).filter((name) => options[name] !== undefined);
    if (given.length > 0)
      throw new ConfigError(`--confirm repeats a stored seed with the settings that are stored; leave --${given.join(', --')} out`);
  }
  const found = await Promise.all(ids.map(findExperiment));
  const seeds = options.seeds === undefined ? undefined : seedsOf(options.seeds);
  const few = typeof seeds === 'number' ? seeds : seeds?.length;
  if (options.store && few !== undefined && few < 5 && options.scale === undefined)
    throw new ConfigError(`--store keeps results of at least 5 seeds, not ${few}; with --scale, of any number`);
  const jobs = options.jobs === undefined ? 1 : wholeNumber('--jobs', options.jobs, 1);
  const signal = onInterrupt();
  if (jobs > 1 && ids.length > 1) {
    await atOnce(ids, options, { jobs, signal });
    return;
  }
  await startBackend(options);
  const results: (ExperimentResult | Confirmation)[] = [];
  const run = async ({ which, experiment, dir }: (typeof found)[number]) => {
    const started = Date.now();
    const say = (line: string) => console.error(pc.dim(`  ${duration((Date.now() - started) / 1000).padStart(12)}  ${line}`));
    console.error(`${pc.bold(experiment.id)}: ${experiment.arms.join(', ')}`);
    let last = 0;
    const storeDir = join(docsFolder(), 'reproductions', experiment.id);
    const common = {
      outDir: join(options.out, experiment.id),
      experimentDir: dir,
      signal,
      onProgress(progress: Progress) {
        if (progress.kind === 'message') say(`seed ${progress.seed}: ${progress.text}`);
        else if (progress.kind === 'seed')
          say(
            `seed ${progress.seed}${progress.pilot ? ' (pilot)' : ''}, ${progress.index + 1} of ${progress.total}: ${progress.state}${progress.seconds ? ` after ${duration(progress.seconds)}` : ''}`,
          );
        else if (Date.now() - last > 5000) {
          last = Date.now();
          say(`seed ${progress.seed}, ${progress.run}: step ${progress.step + 1}`);
        }
      },
    };
    if (options.confirm) {
      results.push(await confirm(experiment, { ...common, storeDir }));
      return;
    }
    const { result, reportPath } = await runExperiment(experiment, {
      ...common,
      ...(seeds !== undefined && { seeds }),
      config: parseSettings(options.set ?? []),
      quick: options.quick,
      ...(options.pilot !== undefined && { pilot: wholeNumber('--pilot', options.pilot, 0) }),
      ...(options.scale !== undefined && { scale: options.scale }),
      ...(options.store && { storeDir }),
      command: commandOf(which, options),
    });
    results.push(result);
    if (!options.json && !options.quiet) print(result, reportPath);
    if (options.store) await writeReproductions();
  };
  const failed: string[] = [];
  for (const one of found) {
    try {
      await run(one);
    } catch (error) {
      if (found.length === 1 || error instanceof InterruptedError) throw error;
      failed.push(one.experiment.id); // the others are none the worse
      console.error(pc.red(`${one.experiment.id} failed: ${error instanceof Error ? error.message : error}`));
    }
  }
  if (options.json && !options.quiet) console.log(JSON.stringify(results.length === 1 ? results[0] : results, null, 2));
  if (failed.length > 0) throw new PlumblineError(`${failed.join(', ')} failed; the same command tries them again and keeps the rest`);
}

/** @throws PlumblineError with the numbers and verdicts that are others than those stored */
async function confirm(experiment: Experiment, options: Parameters<typeof confirmResult>[1]): Promise<Confirmation> {
  const confirmation = await confirmResult(experiment, options);
  const { id, seed, compared, differences } = confirmation;
  if (differences.length > 0)
    throw new PlumblineError(
      [
        `seed ${seed} of "${id}" gives other results on today's code; what is stored stays as it is`,
        ...differences.map(({ where, stored, now }) => `  ${where}: ${stored ?? 'nothing'} stored, ${now ?? 'nothing'} now`),
      ].join('\n'),
    );
  await writeReproductions();
  console.error(`${pc.green('confirmed')} ${id}: seed ${seed} gives the ${compared} numbers and verdicts that are stored, bit for bit`);
  return confirmation;
}

/** A number of seeds, or seeds by name: `0` and `3,7` are seeds, `5` is how many. */
function seedsOf(given: string): number | number[] {
  if (given !== '0' && !given.includes(',')) return wholeNumber('--seeds', given, 1);
  return given.split(',').map((seed) => wholeNumber('--seeds', seed.trim(), 0));
}

/** In processes of their own; the page of all papers is written once more at the end, since each wrote it without the others. */
async function atOnce(
  ids: readonly string[],
  options: ReproduceOptions,
  { jobs, signal }: { jobs: number; signal: AbortSignal },
): Promise<void> {
  const { seeds, pilot, scale, set = [], out, backend } = options;
  const flags = [
    ...Object.entries({ seeds, pilot, scale, out, backend }).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value])),
    ...(['quick', 'store', 'confirm', 'json'] as const).filter((name) => options[name]).map((name) => `--${name}`),
    ...set.flatMap((one) => ['--set', one]),
  ];
  const show = !options.json && !options.quiet;
  try {
    const printed = await reproduceJobs(ids, flags, {
      jobs,
      threads: options.threads,
      signal,
      onDone: ({ printed: text }) => show && console.log(text.trimEnd()),
    });
    if (options.json && !options.quiet)
      console.log(
        JSON.stringify(
          printed.map((text) => JSON.parse(text)),
          null,
          2,
        ),
      );
  } finally {
    if (options.store || options.confirm) await writeReproductions();
  }
}

function commandOf(which: string, { seeds, pilot, scale, quick, set = [] }: ReproduceOptions): string {
  const flags = Object.entries({ seeds, pilot, scale }).flatMap(([name, value]) => (value === undefined ? [] : [`--${name} ${value}`]));
  return ['plumb reproduce', which, ...flags, ...(quick ? ['--quick'] : []), ...set.map((one) => `--set ${one}`)].join(' ');
}

function print(result: ExperimentResult, reportPath: string): void {
  console.log(`\n${pc.bold(result.title)} (${result.paper}${result.source ? `; from ${sourceWords[result.source]}` : ''})\n`);
  console.log(`${armsTable(result)}\n`);
  for (const { claim, verdict, why } of result.claims) console.log(`  ${pc.bold(verdict)}: ${claim}\n    ${why}`);
  if (result.quick) console.log(pc.yellow('\nTwo steps, to see that it runs: its numbers say nothing about the paper.'));
  console.log(
    `\n${result.seeds.length} seed${result.seeds.length === 1 ? '' : 's'}, ${duration(result.seconds)} on ${result.backend}. Report: ${pc.cyan(resolve(reportPath))}`,
  );
}

/** A row a metric, a column an arm: there are more metrics than a line holds. */
function armsTable({ arms }: ExperimentResult): string {
  const names = Object.keys(arms);
  const shown = ({ mean, ci95: [low, high] }: ArmSummary) =>
    `${mean.toFixed(3)}${low === null || high === null ? '' : ` [${low.toFixed(3)}, ${high.toFixed(3)}]`}`;
  const rows = Object.keys(arms[names[0]]).map((metric) => [metric, ...names.map((arm) => shown(arms[arm][metric]))]);
  return table([['', ...names], ...rows]).replaceAll(/^/gm, '  ');
}

/** The page of all papers, from what is stored. */
export async function writeReproductions(): Promise<void> {
  const rows = await matrix(join(docsFolder(), 'reproductions'));
  await writeFileAtomic(join(docsFolder(), 'REPRODUCTIONS.md'), reproductionsMarkdown(rows));
}

/** `docs` of the checkout that this tool was built in. */
export const docsFolder = () => join(dirname(fileURLToPath(import.meta.url)), '../../../docs');
