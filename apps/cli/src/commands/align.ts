/** `plumb align`: the main job on a user's model and preference pairs. */
import { existsSync, readdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { reportPage } from '@plumbline/bench';
import { ConfigError, onInterrupt, writeFileAtomic } from '@plumbline/core';
import { readPreferences } from '@plumbline/data';
import { resolveModel } from '@plumbline/models';
import pc from 'picocolors';
import { AlignConfig } from '../align/config.js';
import { runAlign } from '../align/job.js';
import { alignPage, alignStory, alignTable, summariseAlign } from '../align/report.js';
import { type BackendFlags, startBackend } from '../backend.js';
import { wholeModel } from '../models.js';
import { duration } from '../progress.js';
import { leavingNothing, runFolder } from '../runs.js';
import { parseFlags, readSettings, type SettingSources, settingsSection, wholeNumber } from '../settings.js';

export type AlignOptions = BackendFlags &
  SettingSources & {
    help?: boolean;
    model?: string;
    dataset?: string;
    skipBad?: boolean;
    seed: string;
    out: string;
    fresh?: boolean;
    json?: boolean;
  };

export const alignHelp = (): string => settingsSection(AlignConfig);

export async function align(options: AlignOptions, rest: readonly string[]): Promise<void> {
  const seed = wholeNumber('--seed', options.seed);
  const config = readSettings(AlignConfig, { ...options, flags: parseFlags(rest) });
  for (const name of ['model', 'dataset'] as const)
    if (options[name] === undefined) throw new ConfigError(`--${name} is missing (plumb align --help)`);
  const source = options.dataset!;
  // An error now, not after reading the data; a name on the hub is pinned to a commit.
  const model = await resolveModel(wholeModel(options.model!));
  const { records, skipped } = await readPreferences(source, options.skipBad ? { badRows: 'skip' } : {});
  const backend = await startBackend(options);
  const signal = onInterrupt();
  const dataset = basename(source);
  const identity = { config, seed, backend: backend.name, model: resolve(model), dataset: existsSync(source) ? resolve(source) : source };
  const dir = await runFolder({ out: options.out, prefix: `align-seed${seed}-${backend.name}`, identity, fresh: options.fresh });

  const outcome = await leavingNothing(
    dir,
    () => readdirSync(dir).length > 1, // a stage, beside what the run is known by
    () => runAlign({ config, model, records, skipped: skipped.length, seed, dir, signal }),
  );

  const facts = { outcome, config, dataset, seed, backend };
  const summary = summariseAlign(facts);
  const page = join(dir, 'report.html');
  await writeFileAtomic(page, reportPage(alignPage(facts, summary)));
  await writeFileAtomic(join(dir, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  if (options.json) {
    console.log(JSON.stringify(summary, null, 2));
    return;
  }
  console.log(`\n${alignTable(summary)}\n`);
  for (const paragraph of alignStory(facts, summary)) console.log(`${paragraph}\n`);
  console.log(`${duration(summary.seconds)} on ${backend.name}. The page with the answers side by side:\n${pc.cyan(resolve(page))}`);
}
