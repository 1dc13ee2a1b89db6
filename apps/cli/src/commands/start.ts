/** `plumb start`: the main job on embedded defaults. */
import { join, resolve } from 'node:path';
import { reportPage } from '@plumbline/bench';
import { onInterrupt, writeFileAtomic } from '@plumbline/core';
import pc from 'picocolors';
import { type BackendFlags, startBackend } from '../backend.js';
import { duration } from '../progress.js';
import { QuickstartConfig, shareOfSteps, shortened } from '../quickstart/config.js';
import { runQuickstart } from '../quickstart/job.js';
import { quickstartPage, story, summarise, textTable } from '../quickstart/report.js';
import { runFolder } from '../runs.js';
import { parseFlags, readSettings, type SettingSources, settingsSection, wholeNumber } from '../settings.js';

export type StartOptions = BackendFlags & SettingSources & { help?: boolean; seed: string; out: string; fresh?: boolean };

export const startHelp = (): string => settingsSection(QuickstartConfig);

export async function start(options: StartOptions, rest: readonly string[]): Promise<void> {
  const seed = wholeNumber('--seed', options.seed);
  const asked = readSettings(QuickstartConfig, { ...options, flags: parseFlags(rest) });
  const backend = await startBackend(options);
  const share = shareOfSteps(backend.name);
  const config = shortened(asked, share);
  const signal = onInterrupt();
  const dir = await runFolder({
    out: options.out,
    prefix: `quickstart-seed${seed}-${backend.name}`,
    identity: { config, seed, backend: backend.name },
    fresh: options.fresh,
  });

  const outcome = await runQuickstart({ config, seed, dir, signal });

  const facts = { outcome, config, seed, backend, share };
  const summary = summarise(facts);
  const page = join(dir, 'report.html');
  await writeFileAtomic(page, reportPage(quickstartPage(facts, summary)));
  await writeFileAtomic(join(dir, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  console.log(`\n${textTable(summary)}\n`);
  for (const paragraph of story(facts, summary)) console.log(`${wrapped(paragraph)}\n`);
  if (share < 1)
    console.log(`This backend is slow, so the policies took ${share < 0.1 ? `1/${Math.round(1 / share)}` : 'a third'} of the steps.\n`);
  console.log(`${duration(summary.seconds)} on ${backend.name}. The page with the curves and the texts:\n${pc.cyan(resolve(page))}`);
}

/** At most 100 characters a line. */
const wrapped = (text: string): string => text.replace(/(?![^\n]{1,100}$)([^\n]{1,100})\s/g, '$1\n');
