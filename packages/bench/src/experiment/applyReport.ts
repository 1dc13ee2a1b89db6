/** The report page of a method on a user's own model and data. */
import type { Estimate } from '../metrics/index.js';
import type { Cell, Column, ReportPage, Section } from '../report/index.js';
import { formatNumber } from '../report/index.js';
import { type ApplyMeasure, type ApplyResult, applyMeasures } from './apply.js';

export function applyReport({ id, arms, prompts, plan, config, differences, judge, sections, seconds }: ApplyResult): ReportPage {
  const names = Object.keys(arms);
  const [baseline, method] = names;
  const minutes = seconds < 90 ? `${Math.round(seconds)} seconds` : `${(seconds / 60).toFixed(1)} minutes`;
  const answered = names.filter((name) => arms[name].answers.length > 0);
  const few = 1 / Math.sqrt(plan.rows.heldOut);
  return {
    title: `${id} on ${plan.model}`,
    subtitle: `${plan.rows.train} ${plan.unit} to learn from, ${plan.rows.heldOut} held out · ${plan.trained} of ${(plan.parameters / 1e6).toFixed(0)} million parameters · ${minutes}`,
    paragraphs: [
      `The baseline is ${baseline}${method ? `, the method ${method}` : ''}.`,
      ...(Object.keys(differences).length > 0 && plan.rows.train + plan.rows.heldOut < 100
        ? [
            `Warning: ${plan.rows.heldOut} held-out ${plan.unit} tell little; a difference of less than ${formatNumber(few, { percent: true })} in the share that comes out right is chance.`,
          ]
        : []),
    ],
    sections: [
      ...differencesTable(differences),
      ...heldOutTable(arms, judge),
      ...numbersTable(arms),
      ...sections,
      ...(prompts.length > 0 && answered.length > 0
        ? [
            {
              title: 'Answers to held-out prompts',
              kind: 'sideBySide' as const,
              groups: prompts.map((prompt, i) => ({
                prompt,
                texts: [
                  ...(judge ? [{ label: 'start', text: judge.answers[i] }] : []),
                  ...answered.map((name) => ({ label: name, text: arms[name].answers[i] })),
                ],
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

function differencesTable(differences: ApplyResult['differences']): Section[] {
  const rows = (Object.keys(applyMeasures) as ApplyMeasure[]).flatMap((name) => {
    const estimate = differences[name];
    return estimate ? [{ measure: sentence(applyMeasures[name]), difference: estimate, n: estimate.n, answer: spoken(estimate) }] : [];
  });
  if (rows.length === 0) return [];
  return [
    {
      title: 'Method minus baseline',
      kind: 'table',
      columns: [
        { key: 'measure', label: 'Measured' },
        { key: 'difference', label: 'Difference', signed: true, digits: 3 },
        { key: 'n', label: 'Pairs or prompts', digits: 0 },
        { key: 'answer', label: 'The interval' },
      ],
      rows,
      note: '95% intervals over what was held out, after one training run of each: another seed would train others.',
    },
  ];
}

const sentence = (text: string) => text[0].toUpperCase() + text.slice(1);
const spoken = ({ low, high }: Estimate) => (low > 0 ? 'lies above 0' : high < 0 ? 'lies below 0' : 'contains 0');

function heldOutTable(arms: ApplyResult['arms'], judge: ApplyResult['judge']): Section[] {
  const rows = Object.entries(arms).filter(([, { heldOutInterval }]) => heldOutInterval);
  if (rows.length === 0) return [];
  const changed = rows.some(([, arm]) => arm.changes);
  const columns: Column[] = [
    { key: 'arm', label: 'Arm' },
    {
      key: 'right',
      label: 'Right',
      percent: true,
      digits: 0,
      help: 'Held-out pairs whose chosen answer it prefers: a policy by the log-probability gained, a reward by its score',
    },
    ...(changed
      ? [
          {
            key: 'chosen',
            label: 'Chosen',
            unit: 'nats',
            signed: true,
            help: 'Log-probability that the chosen answers gained in training',
          },
          { key: 'rejected', label: 'Rejected', unit: 'nats', signed: true, help: 'The same of the rejected answers' },
        ]
      : []),
    ...(judge ? [{ key: 'judged', label: `Judged by ${judge.name}`, help: 'Mean score of its answers to held-out prompts' }] : []),
  ];
  return [
    {
      title: 'Held-out pairs',
      kind: 'table',
      columns,
      rows: [
        ...(judge ? [{ arm: 'start', right: null, chosen: null, rejected: null, judged: judge.start }] : []),
        ...rows.map(([arm, { heldOutInterval, changes, judged }]) => ({
          arm,
          right: heldOutInterval!,
          chosen: changes?.chosen ?? null,
          rejected: changes?.rejected ?? null,
          judged: judged ?? null,
        })),
      ],
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
