/** `plumb runs` and `plumb report`: what lies in run folders. */
import { join, resolve } from 'node:path';
import { reportPage } from '@plumbline/bench';
import { ConfigError, symptomsOf, writeFileAtomic } from '@plumbline/core';
import pc from 'picocolors';
import { findRun, flat, lastOf, metricNames, type RunFolder, runFolders, samplesOf } from '../inspect/folders.js';
import { runPage } from '../inspect/page.js';
import { readSamples } from '../inspect/samples.js';
import { table } from '../table.js';

export function listRuns({ out, json }: { out: string; json?: boolean }): void {
  const runs = runFolders(out);
  if (json) {
    console.log(
      JSON.stringify(
        runs.map(({ histories, ...run }) => ({ ...run, steps: stepsOf({ histories }) })),
        null,
        2,
      ),
    );
    return;
  }
  if (runs.length === 0) {
    console.log(`There are no runs in ${out}.`);
    return;
  }
  const rows = runs.map((run) => {
    const loss = run.histories[0] && lastOf(run.histories[0].steps, 'loss');
    return [
      run.name,
      run.state,
      `${stepsOf(run)} steps`,
      loss === undefined ? '' : `loss ${loss.toPrecision(4)}`,
      run.started.slice(0, 16).replace('T', ' '),
    ];
  });
  console.log(table([['run', 'state', 'steps', 'last loss', 'begun'], ...rows]));
}

export function showRun(which: string, { out, json }: { out: string; json?: boolean }): void {
  const run = findRun(which, out);
  if (json) {
    const last = run.sampled.at(-1);
    console.log(JSON.stringify({ ...run, ...(last !== undefined && { samples: samplesOf(run, last) }) }, null, 2));
    return;
  }
  console.log(
    `${pc.bold(run.name)}: ${run.command ? `plumb ${run.command}, ` : ''}${run.state}, begun ${run.started.slice(0, 16).replace('T', ' ')}`,
  );
  const { backend, versions, commit } = run.environment as { backend?: string; versions?: object; commit?: string };
  console.log(
    pc.dim(
      [
        backend && `backend ${backend}`,
        versions &&
          Object.entries(versions)
            .map(([name, version]) => `${name} ${version}`)
            .join(', '),
        commit && `commit ${commit.slice(0, 12)}`,
      ]
        .filter(Boolean)
        .join('; '),
    ),
  );
  for (const { name, steps } of run.histories) {
    const rows = metricNames(steps).map((metric) => {
      const first = steps.find((step) => step[metric] !== undefined)?.[metric];
      return [metric, first?.toPrecision(4) ?? '', lastOf(steps, metric)?.toPrecision(4) ?? ''];
    });
    console.log(`\n${table([[name === '' ? `${steps.length} steps` : `${name}, ${steps.length} steps`, 'first', 'last'], ...rows])}`);
    for (const { step, hint } of symptomsOf(steps)) console.log(pc.yellow(`hint: up to step ${step}, ${hint}`));
  }
  const sampled = run.sampled.at(-1);
  if (sampled !== undefined) {
    console.log(`\nSamples of step ${sampled}, of ${run.sampled.length} steps in ${join(run.dir, 'samples')}:`);
    for (const { prompt, texts, note } of readSamples(run, sampled).slice(0, shownSamples)) {
      console.log(`\n${pc.dim(shortened(prompt))}`);
      for (const { label, text } of texts) console.log(`${pc.bold(label)}: ${shortened(text)}`);
      if (note !== '') console.log(pc.dim(note));
    }
  }
  if (run.failure) console.log(pc.red(`\nFailed at step ${String(run.failure.step)}: ${JSON.stringify(run.failure.values)}`));
  if (run.checkpoints.length > 0) console.log(`\nCheckpoints after ${run.checkpoints.join(', ')} steps.`);
}

export function compareRuns(which: readonly string[], { out, json }: { out: string; json?: boolean }): void {
  if (which.length < 2) throw new ConfigError('name at least two runs to compare');
  const runs = which.map((one) => findRun(one, out));
  const settings = runs.map(({ config }) => flat(config));
  const keys = [...new Set(settings.flatMap(Object.keys))].filter((key) => new Set(settings.map((one) => one[key])).size > 1);
  const logged = runs.map(({ histories }) => histories.at(-1)?.steps ?? []);
  const names = metricNames(logged.flat());
  const last = (name: (typeof names)[number]) => logged.map((steps) => lastOf(steps, name));
  if (json) {
    const columns = runs.map(({ name }, i) => ({
      run: name,
      settings: Object.fromEntries(keys.map((key) => [key, settings[i][key] ?? null])),
      metrics: Object.fromEntries(names.map((name) => [name, last(name)[i] ?? null])),
    }));
    console.log(JSON.stringify(columns, null, 2));
    return;
  }
  const head = ['', ...runs.map(({ name }) => name)];
  console.log(
    table([
      head,
      ...keys.map((key) => [key, ...settings.map((one) => one[key] ?? '-')]),
      ...names.map((name) => [name, ...last(name).map((value) => value?.toPrecision(4) ?? '-')]),
    ]),
  );
  if (keys.length === 0) console.log('\nTheir settings are the same.');
}

export async function report(which: string, { out, to }: { out: string; to?: string }): Promise<void> {
  const run = findRun(which, out);
  // A command's own report, where it made one, stays as it is.
  const page = to ?? join(run.dir, 'run.html');
  await writeFileAtomic(page, reportPage(runPage(run)));
  console.log(pc.cyan(resolve(page)));
}

const shownSamples = 4;
const shortened = (text: string): string => (text.length > 300 ? `${text.slice(0, 300)}…` : text).trim();

const stepsOf = ({ histories }: Pick<RunFolder, 'histories'>): number => histories.reduce((sum, { steps }) => sum + steps.length, 0);
