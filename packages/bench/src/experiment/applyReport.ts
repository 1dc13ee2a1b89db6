/** The report page of a method on a user's own model and data. */
import type { Cell, Column, ReportPage, Section } from '../report/index.js';
import { formatNumber } from '../report/index.js';
import type { ApplyResult } from './apply.js';

const interval = ({ mean, low, high }: { mean: number; low: number; high: number }) =>
  `${formatNumber(mean, { signed: true })} [${formatNumber(low, { signed: true })}, ${formatNumber(high, { signed: true })}]`;

export function applyReport({
  id,
  arms,
  prompts,
  plan,
  config,
  judgedDifference,
  heldOutDifference,
  sections,
  seconds,
}: ApplyResult): ReportPage {
  const names = Object.keys(arms);
  const [baseline, method] = names;
  const minutes = seconds < 90 ? `${Math.round(seconds)} seconds` : `${(seconds / 60).toFixed(1)} minutes`;
  const answered = names.filter((name) => arms[name].answers.length > 0);
  return {
    title: `${id} on ${plan.model}`,
    subtitle: `${plan.rows.train} ${plan.unit} to learn from, ${plan.rows.heldOut} held out · ${plan.trained} of ${(plan.parameters / 1e6).toFixed(0)} million parameters · ${minutes}`,
    paragraphs: [
      `The baseline is ${baseline}${method ? `, the method ${method}` : ''}.`,
      ...(heldOutDifference
        ? [`On held-out pairs, ${method} minus ${baseline} in the share that comes out right: ${interval(heldOutDifference)}.`]
        : []),
      ...(judgedDifference
        ? [`By the judge, ${method} minus ${baseline}: ${interval(judgedDifference)} over ${judgedDifference.n} prompts.`]
        : []),
      ...((heldOutDifference || plan.unit === 'solutions') && plan.rows.train + plan.rows.heldOut < 100
        ? [
            `Warning: ${plan.rows.heldOut} held-out ${plan.unit} tell little; a difference of less than ${formatNumber(1 / Math.sqrt(plan.rows.heldOut))} is chance.`,
          ]
        : []),
    ],
    sections: [
      ...heldOutTable(arms),
      ...numbersTable(arms),
      ...sections,
      ...(prompts.length > 0 && answered.length > 0
        ? [
            {
              title: 'Answers to held-out prompts',
              kind: 'sideBySide' as const,
              groups: prompts.map((prompt, i) => ({
                prompt,
                texts: answered.map((name) => ({ label: name, text: arms[name].answers[i] })),
              })),
            },
          ]
        : []),
      {
        title: 'What is left',
        kind: 'table',
        columns: [
          { key: 'path', label: 'In the run folder' },
          { key: 'what', label: 'What it is' },
        ],
        rows: plan.leaves.map(({ path, what }) => ({ path, what })),
      },
      {
        title: 'Settings',
        kind: 'keyValues',
        entries: Object.entries(config).map(
          ([key, value]) => [key, typeof value === 'object' ? JSON.stringify(value) : String(value)] as const,
        ),
      },
    ],
    footer: `Made by \`plumb apply ${id}\`.`,
  };
}

function heldOutTable(arms: ApplyResult['arms']): Section[] {
  const rows = Object.entries(arms).filter(([, { heldOutInterval }]) => heldOutInterval);
  if (rows.length === 0) return [];
  const judged = rows.some(([, arm]) => arm.judged);
  const columns: Column[] = [
    { key: 'arm', label: 'Arm' },
    {
      key: 'right',
      label: 'Right',
      percent: true,
      digits: 0,
      help: 'Held-out pairs whose chosen answer it prefers: a policy by the log-probability gained, a reward by its score',
    },
    ...(judged ? [{ key: 'judged', label: 'Judged', help: 'Mean score of its answers' }] : []),
  ];
  return [
    {
      title: 'Held-out pairs',
      kind: 'table',
      columns,
      rows: rows.map(([arm, { heldOutInterval, judged: score }]) => ({
        arm,
        right: heldOutInterval!,
        ...(judged && { judged: score ?? null }),
      })),
    },
  ];
}

/** One row a number, one column an arm. */
function numbersTable(arms: ApplyResult['arms']): Section[] {
  const measured = Object.entries(arms).filter(([, { numbers }]) => Object.keys(numbers).length > 0);
  const names = [...new Set(measured.flatMap(([, { numbers }]) => Object.keys(numbers)))];
  if (names.length === 0) return [];
  return [
    {
      title: 'Measured',
      kind: 'table',
      columns: [{ key: 'name', label: 'Measure' }, ...measured.map(([arm]) => ({ key: arm, label: arm, digits: 3 }))],
      rows: names.map(
        (name): Record<string, Cell> => ({
          name,
          ...Object.fromEntries(measured.map(([arm, { numbers }]) => [arm, numbers[name] ?? null])),
        }),
      ),
    },
  ];
}
