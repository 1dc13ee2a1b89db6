/** `plumb apply`: a paper's method on a user's own model and data. */
import { createHash } from 'node:crypto';
import { basename, join, resolve } from 'node:path';
import {
  type ApplyMeasure,
  type ApplyPlan,
  type ApplyResult,
  applyExperiment,
  applyMeasures,
  applyReport,
  parseConfig,
  planApply,
  reportPage,
  storeApplied,
} from '@plumbline/bench';
import { benchmarkRows, readItems, type StepItem } from '@plumbline/bench/benchmarks';
import type { Estimate } from '@plumbline/bench/metrics';
import { ConfigError, onInterrupt, writeFileAtomic } from '@plumbline/core';
import { readPreferences } from '@plumbline/data';
import { resolveModel } from '@plumbline/models';
import pc from 'picocolors';
import { type BackendFlags, startBackend } from '../backend.js';
import { wholeModel } from '../models.js';
import { duration } from '../progress.js';
import { runFolder } from '../runs.js';
import { loadReward } from '../serve/load.js';
import { parseSettings, wholeNumber } from '../settings.js';
import { docsFolder, findExperiment, writeReproductions } from './reproduce.js';

type ApplyFlags = BackendFlags & {
  model: string;
  dataset: string;
  rewards?: string;
  judge?: string;
  dryRun?: boolean;
  store?: boolean;
  fresh?: boolean;
  seed: string;
  out: string;
  set?: string[];
  json?: boolean;
};

export async function apply(id: string, options: ApplyFlags): Promise<void> {
  const seed = wholeNumber('--seed', options.seed);
  const { experiment, dir: folder } = await findExperiment(id);
  if (!experiment.apply)
    throw new ConfigError(
      `"${experiment.id}" has no form for a model and data of your own; \`plumb reproduce ${id}\` runs it on its test bed`,
    );
  const model = await resolveModel(wholeModel(options.model));
  const { benchmark, read = (path: string) => readPreferences(path, { badRows: 'skip' }) } = experiment.apply;
  const { records, skipped } = benchmark ? { records: [], skipped: [] } : await read(options.dataset);
  const solutions = benchmark ? ((await readItems(benchmark, benchmarkRows([options.dataset]))) as StepItem[]) : [];
  for (const { line, reason } of skipped.slice(0, 3)) console.error(pc.dim(`  ${options.dataset}, line ${line} is left out: ${reason}`));
  if (skipped.length > 3) console.error(pc.dim(`  and ${skipped.length - 3} more`));
  const backend = await startBackend(options);
  const rewards = await Promise.all((options.rewards?.split(',') ?? []).map((name) => loadReward(name.trim())));
  const judge = options.judge === undefined ? undefined : await loadReward(options.judge);
  const signal = onInterrupt();
  const started = Date.now();
  const config = parseSettings(options.set ?? []);
  const common = {
    model,
    records,
    solutions,
    unreadable: skipped.length,
    config,
    rewards,
    judge,
    seed,
    signal,
    onProgress: (line: string) => console.error(pc.dim(`  ${duration((Date.now() - started) / 1000).padStart(12)}  ${line}`)),
  };
  if (options.dryRun) {
    const plan = await planApply(experiment, common);
    console.log(options.json ? JSON.stringify(plan, null, 2) : planText(plan, backend.name));
    return;
  }
  const identity = {
    id: experiment.id,
    config: parseConfig(experiment.id, experiment.apply.config, config),
    seed,
    backend: backend.name,
    model,
    rows: createHash('sha256')
      .update(JSON.stringify([records, solutions]))
      .digest('hex'),
    rewards: options.rewards ?? '',
    judge: options.judge ?? '',
  };
  const dir = await runFolder({ out: options.out, prefix: `apply-${experiment.id}-seed${seed}`, identity, fresh: options.fresh });
  const result = await applyExperiment(experiment, { ...common, dir });
  await writeFileAtomic(join(dir, 'report.html'), reportPage(applyReport(result)));
  const { arms, prompts: _, sections: __, ...numbers } = result;
  const shown = Object.fromEntries(Object.entries(arms).map(([name, { answers: ___, ...arm }]) => [name, arm]));
  await writeFileAtomic(join(dir, 'summary.json'), `${JSON.stringify({ ...numbers, arms: shown }, null, 2)}\n`);
  if (options.store) {
    const extra = (['rewards', 'judge'] as const).map((flag) => (options[flag] ? ` --${flag} ${options[flag]}` : '')).join('');
    const command = `plumb apply ${experiment.id} --model ${basename(options.model)} --dataset ${basename(options.dataset)}${extra}${(options.set ?? []).map((one) => ` --set ${one}`).join('')}`;
    await storeApplied(experiment, result, {
      dir: join(docsFolder(), 'reproductions', experiment.id),
      command,
      experimentDir: folder,
      seed,
      backend: result.plan.backend,
    });
    await writeReproductions();
  }
  console.log(options.json ? JSON.stringify(result, null, 2) : resultText(result, dir));
}

function planText(
  { model, parameters, trained, unit, rows, tokens, memoryGigabytes, hours, leaves, refusal }: ApplyPlan,
  backend: string,
): string {
  const bad = [
    ...(rows.unreadable > 0 ? [`${rows.unreadable}: no preference pairs`] : []),
    ...rows.unusable.map(({ reason, rows: count }) => `${count}: ${reason}`),
    ...(rows.tooLong > 0 ? [`${rows.tooLong}: too long`] : []),
  ];
  return [
    `model    ${model}, ${(parameters / 1e6).toFixed(1)} million parameters; ${trained} trained on ${backend}`,
    `rows     ${rows.read + rows.unreadable} ${unit}, of which ${rows.train} are trained on and ${rows.heldOut} held out`,
    ...bad.map((line) => `         ${line}`),
    `tokens   ${tokens.trained.toLocaleString('en')} trained on, up to ${tokens.written.toLocaleString('en')} written`,
    `memory   about ${memoryGigabytes.toFixed(1)} GB`,
    `time     about ${duration(3600 * hours)} on this machine`,
    ...leaves.map(({ path, what }, i) => `${i === 0 ? 'leaves   ' : '         '}${path}: ${what}`),
    ...(refusal ? [`\n${pc.bold('It would be refused:')} ${refusal}`] : []),
  ].join('\n');
}

const percent = (x: number) => `${(100 * x).toFixed(1)}%`;
const interval = ({ mean, low, high }: { mean: number; low: number; high: number }) =>
  `${mean.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;

function resultText({ arms, differences, judge, plan, seconds }: ApplyResult, dir: string): string {
  return [
    '',
    ...(judge ? [`  ${'start'.padEnd(18)} judged ${interval(judge.start)}`] : []),
    ...Object.entries(arms).map(([name, { heldOutInterval: right, judged, numbers }]) =>
      [
        `  ${name.padEnd(18)}`,
        ...(right ? [`held-out pairs right ${percent(right.mean)} [${percent(right.low)}, ${percent(right.high)}]`] : []),
        ...(judged ? [`  judged ${interval(judged)}`] : []),
        Object.entries(numbers)
          .slice(0, 3)
          .map(([what, value]) => `${what} ${value.toFixed(3)}`)
          .join(', '),
      ].join(' '),
    ),
    ...(Object.entries(differences) as [ApplyMeasure, Estimate][]).map(
      ([name, estimate]) => `  ${'difference'.padEnd(18)} ${interval(estimate)} over ${estimate.n}: ${applyMeasures[name]}`,
    ),
    '',
    `${duration(seconds)}. In ${pc.cyan(resolve(dir))}:`,
    ...plan.leaves.map(({ path, what }) => `  ${path}: ${what}`),
    '  report.html, result.json: these numbers and the answers side by side',
  ].join('\n');
}
