/** `plumb apply`: a paper's method on a user's own model and preference pairs. */
import { join, resolve } from 'node:path';
import { type ApplyPlan, type ApplyResult, applyExperiment, type Estimate, planApply, type ReportPage, reportPage } from '@plumbline/bench';
import { ConfigError, onInterrupt, writeFileAtomic } from '@plumbline/core';
import { readPreferences } from '@plumbline/data';
import { resolveModel } from '@plumbline/models';
import { httpReward } from '@plumbline/rewards';
import pc from 'picocolors';
import { type BackendFlags, startBackend } from '../backend.js';
import { duration } from '../progress.js';
import { parseSettings, wholeNumber } from '../settings.js';
import { ggufIn } from './align.js';
import { findExperiment } from './reproduce.js';

type ApplyFlags = BackendFlags & {
  model: string;
  dataset: string;
  judge?: string;
  dryRun?: boolean;
  seed: string;
  out: string;
  set?: string[];
  json?: boolean;
};

export async function apply(id: string, options: ApplyFlags): Promise<void> {
  const seed = wholeNumber('--seed', options.seed);
  const { experiment } = await findExperiment(id);
  if (!experiment.apply)
    throw new ConfigError(
      `"${experiment.id}" has no form for a model and data of your own; \`plumb reproduce ${experiment.id}\` runs it on its test bed`,
    );
  const judge = options.judge === undefined ? undefined : httpReward(options.judge);
  const model = await resolveModel(ggufIn(options.model));
  const { records, skipped } = await readPreferences(options.dataset, { badRows: 'skip' });
  for (const { line, reason } of skipped.slice(0, 3)) console.error(pc.dim(`  ${options.dataset}, line ${line} is left out: ${reason}`));
  if (skipped.length > 3) console.error(pc.dim(`  and ${skipped.length - 3} more`));
  const backend = await startBackend(options);
  const signal = onInterrupt();
  const started = Date.now();
  const common = {
    model,
    records,
    unreadable: skipped.length,
    config: parseSettings(options.set ?? []),
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
  const time = new Date().toISOString().slice(0, 19).replaceAll(':', '').replace('T', '-');
  const dir = join(options.out, `apply-${experiment.id}-seed${seed}-${time}`);
  const result = await applyExperiment(experiment, { ...common, dir });
  await writeFileAtomic(join(dir, 'report.html'), reportPage(applyPage(result)));
  console.log(options.json ? JSON.stringify(result, null, 2) : resultText(result, dir));
}

function planText(
  { model, parameters, trained, rows, tokens, memoryGigabytes, hours, leaves, refusal }: ApplyPlan,
  backend: string,
): string {
  const bad = [
    ...(rows.unreadable > 0 ? [`${rows.unreadable}: no preference pairs`] : []),
    ...rows.unusable.map(({ reason, rows: count }) => `${count}: ${reason}`),
    ...(rows.tooLong > 0 ? [`${rows.tooLong}: too long`] : []),
  ];
  return [
    `model    ${model}, ${(parameters / 1e6).toFixed(1)} million parameters; ${trained} trained on ${backend}`,
    `rows     ${rows.read + rows.unreadable}, of which ${rows.train} are trained on and ${rows.heldOut} held out`,
    ...bad.map((line) => `         ${line}`),
    `tokens   ${tokens.trained.toLocaleString('en')} trained on, up to ${tokens.written.toLocaleString('en')} written`,
    `memory   about ${memoryGigabytes.toFixed(1)} GB`,
    `time     about ${duration(3600 * hours)} on this machine`,
    ...leaves.map(({ path, what }, i) => `${i === 0 ? 'leaves   ' : '         '}${path}: ${what}`),
    ...(refusal ? [`\n${pc.bold('It would be refused:')} ${refusal}`] : []),
  ].join('\n');
}

const percent = (x: number) => `${(100 * x).toFixed(1)}%`;
const interval = ({ mean, low, high }: Estimate) => `${mean.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;

function resultText({ arms, judgedDifference, plan, seconds }: ApplyResult, dir: string): string {
  return [
    '',
    ...Object.entries(arms).map(
      ([name, { heldOutAccuracy, heldOutInterval, judged }]) =>
        `  ${name.padEnd(18)} held-out pairs right ${percent(heldOutAccuracy)} [${percent(heldOutInterval.low)}, ${percent(heldOutInterval.high)}]${judged ? `   judged ${interval(judged)}` : ''}`,
    ),
    ...(judgedDifference
      ? [`  ${'difference'.padEnd(18)} ${interval(judgedDifference)} by the judge, over ${judgedDifference.n} prompts`]
      : []),
    '',
    `${duration(seconds)}. In ${pc.cyan(resolve(dir))}:`,
    ...plan.leaves.map(({ path, what }) => `  ${path}: ${what}`),
    '  report.html, result.json: these numbers and the answers side by side',
  ].join('\n');
}

function applyPage({ id, arms, prompts, plan, config, judgedDifference, seconds }: ApplyResult): ReportPage {
  const names = Object.keys(arms);
  return {
    title: `${id} on ${plan.model}`,
    paragraphs: [
      `${plan.rows.train} pairs to learn from, ${plan.rows.heldOut} held out; ${plan.trained} of ${(plan.parameters / 1e6).toFixed(0)} million parameters, ${duration(seconds)}.`,
      ...(judgedDifference
        ? [`By the judge, ${names[1]} minus ${names[0]}: ${interval(judgedDifference)} over ${judgedDifference.n} prompts.`]
        : []),
    ],
    sections: [
      {
        title: 'Held-out pairs',
        kind: 'table',
        columns: [
          { key: 'policy', label: 'Policy' },
          { key: 'right', label: 'Right', percent: true, help: 'The chosen answer gained more log-probability than the rejected one' },
          { key: 'judged', label: 'Judged', help: 'Mean score of its answers' },
        ],
        rows: names.map((name) => ({ policy: name, right: arms[name].heldOutInterval, judged: arms[name].judged ?? null })),
      },
      ...(prompts.length > 0
        ? [
            {
              title: 'Answers to held-out prompts',
              kind: 'sideBySide' as const,
              groups: prompts.map((prompt, i) => ({ prompt, texts: names.map((name) => ({ label: name, text: arms[name].answers[i] })) })),
            },
          ]
        : []),
      {
        title: 'Settings',
        kind: 'keyValues',
        entries: Object.entries(config).map(
          ([key, value]) => [key, typeof value === 'object' ? JSON.stringify(value) : String(value)] as const,
        ),
      },
    ],
  };
}
