/** Finds the experiments: every folder beside `src` that holds an `experiment.ts`. Nothing is registered by hand. */
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Experiment, type MatrixRow, papers, reproductionMatrix } from '@plumbline/bench';
import { ConfigError } from '@plumbline/core';

/** The package's folder: the one above this file that has its package.json. */
function packageDir(): string {
  let dir = import.meta.dirname;
  while (!existsSync(join(dir, 'package.json'))) dir = dirname(dir);
  return dir;
}

/** Where the experiment modules are: compiled beside this file when built, else the sources. */
const modules = import.meta.url.endsWith('.ts')
  ? { dir: packageDir(), file: 'experiment.ts' }
  : { dir: import.meta.dirname, file: 'experiment.js' };

/** Ids of the experiments that are there, in the order of the papers. */
export function experimentIds(): string[] {
  const there = new Set(readdirSync(modules.dir).filter((name) => existsSync(join(modules.dir, name, modules.file))));
  const listed = papers.map(({ id }) => id).filter((id) => there.delete(id));
  return [...listed, ...[...there].sort()];
}

/** The folder with an experiment's source and README. */
export const experimentDir = (id: string) => join(packageDir(), id);

/**
 * @throws ConfigError naming the nearest ids, or saying that the paper is known and not yet implemented
 */
export async function loadExperiment(id: string): Promise<Experiment> {
  const ids = experimentIds();
  if (!ids.includes(id)) throw new ConfigError(unknown(id, ids));
  const module = (await import(pathToFileURL(join(modules.dir, id, modules.file)).href)) as { default: Experiment };
  return module.default;
}

function unknown(id: string, ids: readonly string[]): string {
  const list = `There are: ${ids.join(', ')}.`;
  if (papers.some((paper) => paper.id === id)) return `the experiment of "${id}" is not yet implemented. ${list}`;
  const nearest = ids.map((known) => ({ known, distance: editDistance(id, known) })).sort((a, b) => a.distance - b.distance)[0];
  const guess = nearest && nearest.distance <= Math.max(2, id.length / 3) ? ` Did you mean "${nearest.known}"?` : '';
  return `there is no experiment "${id}".${guess} ${list}`;
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next.push(Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length];
}

/** Every paper with what was measured, for `docs/REPRODUCTIONS.md`. @param resultsDir `docs/reproductions` */
export const matrix = (resultsDir: string): Promise<MatrixRow[]> =>
  reproductionMatrix({ implemented: new Map(experimentIds().map((id) => [id, experimentDir(id)])), resultsDir });
