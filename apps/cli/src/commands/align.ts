/** `plumb align`: the main job on a user's model and preference pairs. */
import { existsSync, readdirSync, statSync } from 'node:fs';
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
import { duration } from '../progress.js';
import { runFolder } from '../runs.js';
import { readSettings, type SettingSources, wholeNumber } from '../settings.js';

export async function align(
  options: BackendFlags & SettingSources & { model: string; dataset: string; seed: string; out: string; fresh?: boolean },
): Promise<void> {
  const seed = wholeNumber('--seed', options.seed);
  const config = readSettings(AlignConfig, options);
  // An error now, not after reading the data; a name on the hub is pinned to a commit.
  const model = await resolveModel(ggufIn(options.model));
  const { records, skipped } = await readPreferences(options.dataset);
  if (records.length < 10)
    throw new ConfigError(
      `${options.dataset}: ${records.length} preference pairs; at least 10 are needed to train on some and measure on others`,
    );
  const backend = await startBackend(options);
  const signal = onInterrupt();
  const dataset = basename(options.dataset);
  const identity = { config, seed, backend: backend.name, model: resolve(model), dataset: resolve(options.dataset) };
  const dir = await runFolder({ out: options.out, prefix: `align-seed${seed}-${backend.name}`, identity, fresh: options.fresh });

  const outcome = await runAlign({ config, model, records, skipped: skipped.length, seed, dir, signal });

  const facts = { outcome, config, dataset, seed, backend };
  const summary = summariseAlign(facts);
  const page = join(dir, 'report.html');
  await writeFileAtomic(page, reportPage(alignPage(facts, summary)));
  await writeFileAtomic(join(dir, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  console.log(`\n${alignTable(summary)}\n`);
  for (const paragraph of alignStory(facts, summary)) console.log(`${paragraph}\n`);
  console.log(`${duration(summary.seconds)} on ${backend.name}. The page with the answers side by side:\n${pc.cyan(resolve(page))}`);
}

/** A folder without a config.json that holds one GGUF file stands for that file. */
export function ggufIn(model: string): string {
  if (model.startsWith('zoo:') || !existsSync(model) || !statSync(model).isDirectory() || existsSync(join(model, 'config.json')))
    return model;
  const files = readdirSync(model).filter((name) => name.endsWith('.gguf'));
  if (files.length > 1) throw new ConfigError(`${model} holds ${files.length} GGUF files (${files.join(', ')}); name one of them`);
  return files.length === 1 ? join(model, files[0]) : model;
}
