/** `plumb new paper` and `plumb check experiment`: a paper's folder, begun and examined. */
import { existsSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { experimentContract, experimentFile, papers } from '@plumbline/bench';
import { ConfigError, makeFolder, PlumblineError, writeFileAtomic } from '@plumbline/core';
import { experimentDir, experimentIds } from '@plumbline/experiments';
import pc from 'picocolors';
import { type BackendFlags, startBackend } from '../backend.js';
import { experimentSource, readmeSource } from '../paper/template.js';
import { findExperiment } from './reproduce.js';

/** Writes an experiment that runs as it stands, to be changed into the paper's. */
export async function newPaper(name: string, { out }: { out?: string }): Promise<void> {
  if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name))
    throw new ConfigError(`"${name}": a paper's name is lower-case words joined by hyphens, such as my-paper`);
  const listed = papers.find(({ id }) => id === name);
  const checkout = dirname(experimentDir(name));
  const dir = resolve(out ?? (listed && existsSync(join(checkout, 'package.json')) ? experimentDir(name) : name));
  if (existsSync(dir)) throw new ConfigError(`${dir} is there already; nothing was written`);
  const paper = { id: name, title: listed?.title ?? name, arxiv: listed?.arxiv ?? '0000.00000' };
  await makeFolder(dir);
  await writeFileAtomic(join(dir, 'experiment.ts'), experimentSource(paper));
  const path = relative(process.cwd(), dir);
  const command = dirname(dir) === checkout ? name : path.startsWith('..') ? path : `./${path}`;
  await writeFileAtomic(join(dir, 'README.md'), readmeSource(paper, command));
  console.log(`Written: ${join(path, 'experiment.ts')} and README.md. It runs as it stands:\n`);
  console.log(`  plumb check experiment ${command}\n  plumb reproduce ${command} --seeds 1`);
}

/** Runs what every experiment must hold, and names what it does not. */
export async function checkExperiment(which: string, options: BackendFlags): Promise<void> {
  const { experiment, dir } = await findExperiment(which);
  await startBackend(options);
  const own = !experimentIds().includes(which);
  let failed = 0;
  const checks = experimentContract(experiment, { dir: basename(dir).includes('.') ? dirname(experimentFile(dir)) : dir, listed: !own });
  for (const { name, run } of checks) {
    try {
      await run();
      console.log(`${pc.green('holds')}   ${name}`);
    } catch (error) {
      failed++;
      console.log(
        `${pc.red('fails')}   ${name}\n        ${error instanceof PlumblineError || error instanceof RangeError || error instanceof Error ? error.message : error}`,
      );
    }
  }
  if (failed > 0) throw new PlumblineError(`${failed} of ${checks.length} checks of "${experiment.id}" fail`);
}
