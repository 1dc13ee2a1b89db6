/** `plumb reproduce`: papers' experiments, claim by claim. */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Experiment, type ExperimentResult, loadExperimentFrom, reproductionsMarkdown, runExperiment } from '@plumbline/bench';
import { ConfigError, onInterrupt, writeFileAtomic } from '@plumbline/core';
import { experimentDir, loadExperiment, matrix } from '@plumbline/experiments';
import pc from 'picocolors';
import { type BackendFlags, startBackend } from '../backend.js';
import { duration } from '../progress.js';
import { parseSettings, wholeNumber } from '../settings.js';

type ReproduceOptions = BackendFlags & {
  seeds?: string;
  pilot?: string;
  scale?: string;
  quick?: boolean;
  store?: boolean;
  json?: boolean;
  quiet?: boolean;
  out: string;
  set?: string[];
};

/** An experiment by its id, or by the path of its folder or file. */
export async function findExperiment(which: string): Promise<{ experiment: Experiment; dir: string }> {
  const path = /[\\/.]/.test(which) || (existsSync(which) && existsSync(join(which, 'experiment.ts')));
  if (path) return { experiment: await loadExperimentFrom(which), dir: resolve(which) };
  return { experiment: await loadExperiment(which), dir: experimentDir(which) };
}

export async function reproduce(ids: readonly string[], options: ReproduceOptions): Promise<void> {
  const found = await Promise.all(ids.map(findExperiment));
  const seeds = options.seeds === undefined ? undefined : seedsOf(options.seeds);
  const few = typeof seeds === 'number' ? seeds : seeds?.length;
  if (options.store && few !== undefined && few < 5 && options.scale === undefined)
    throw new ConfigError(`--store keeps results of at least 5 seeds, not ${few}; with --scale, of any number`);
  await startBackend(options);
  const signal = onInterrupt();
  const results: ExperimentResult[] = [];
  for (const { experiment, dir } of found) {
    const started = Date.now();
    const say = (line: string) => console.error(pc.dim(`  ${duration((Date.now() - started) / 1000).padStart(12)}  ${line}`));
    console.error(`${pc.bold(experiment.id)}: ${experiment.arms.join(', ')}`);
    let last = 0;
    const { result, reportPath } = await runExperiment(experiment, {
      ...(seeds !== undefined && { seeds }),
      config: parseSettings(options.set ?? []),
      quick: options.quick,
      ...(options.pilot !== undefined && { pilot: wholeNumber('--pilot', options.pilot, 0) }),
      ...(options.scale !== undefined && { scale: options.scale }),
      outDir: join(options.out, experiment.id),
      experimentDir: dir,
      ...(options.store && { storeDir: join(docsFolder(), 'reproductions', experiment.id) }),
      command: commandOf(experiment.id, options),
      signal,
      onProgress(progress) {
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
    });
    results.push(result);
    if (!options.json && !options.quiet) print(result, reportPath);
    if (options.store) await writeReproductions();
  }
  if (options.json && !options.quiet) console.log(JSON.stringify(results.length === 1 ? results[0] : results, null, 2));
}

/** A number of seeds, or seeds by name: `0` and `3,7` are seeds, `5` is how many. */
function seedsOf(given: string): number | number[] {
  if (given !== '0' && !given.includes(',')) return wholeNumber('--seeds', given, 1);
  return given.split(',').map((seed) => wholeNumber('--seeds', seed.trim(), 0));
}

function commandOf(id: string, { seeds, pilot, scale, set = [] }: ReproduceOptions): string {
  const flags = Object.entries({ seeds, pilot, scale }).flatMap(([name, value]) => (value === undefined ? [] : [`--${name} ${value}`]));
  return ['plumb reproduce', id, ...flags, ...set.map((one) => `--set ${one}`)].join(' ');
}

function print(result: ExperimentResult, reportPath: string): void {
  console.log(`\n${pc.bold(result.title)} (${result.paper}${result.source ? `; our card rests on the ${result.source}` : ''})\n`);
  for (const [arm, metrics] of Object.entries(result.arms)) {
    const shown = Object.entries(metrics).map(
      ([name, { mean, ci95 }]) =>
        `${name} ${mean.toFixed(3)}${ci95[0] === null || ci95[1] === null ? '' : ` [${ci95[0].toFixed(3)}, ${ci95[1].toFixed(3)}]`}`,
    );
    console.log(`  ${arm.padEnd(18)} ${shown.join('   ')}`);
  }
  console.log();
  for (const { claim, verdict, why } of result.claims) console.log(`  ${pc.bold(verdict)}: ${claim}\n    ${why}`);
  console.log(
    `\n${result.seeds.length} seed${result.seeds.length === 1 ? '' : 's'}, ${duration(result.seconds)} on ${result.backend}. Report: ${pc.cyan(resolve(reportPath))}`,
  );
}

/** The page of all papers, from what is stored. */
export async function writeReproductions(): Promise<void> {
  const rows = await matrix(join(docsFolder(), 'reproductions'));
  await writeFileAtomic(join(docsFolder(), 'REPRODUCTIONS.md'), reproductionsMarkdown(rows));
}

/** `docs` of the checkout that this tool was built in. */
export const docsFolder = () => join(dirname(fileURLToPath(import.meta.url)), '../../../docs');
