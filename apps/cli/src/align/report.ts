/** What `plumb align` shows: accuracy and margins on held-out pairs before and after, and answers side by side. */
import { type Estimate, pairedDifference, type ReportPage, tInterval, wilsonInterval } from '@plumbline/bench';
import type { BackendInfo } from '@plumbline/core';
import { duration } from '../progress.js';
import { flatten } from '../quickstart/report.js';
import { table } from '../table.js';
import type { AlignConfig } from './config.js';
import type { AlignOutcome } from './job.js';

type Interval = { mean: number; ci95: [number, number] };
type Measures = {
  accuracy: { before: Interval; after: Interval; change: Interval };
  margin: { before: Interval; after: Interval; change: Interval };
};
export type AlignSummary = {
  seed: number;
  backend: string;
  seconds: number;
  model: AlignOutcome['model'];
  dataset: string;
  data: AlignOutcome['data'];
  config: AlignConfig;
  /** On held-out pairs: the reward model's scores. */
  reward: Measures;
  /** On held-out pairs: the policy's log-probabilities, in nats; `change` of the margin times beta is the implicit reward's margin. */
  dpo: Measures & { implicitAccuracy: Interval };
};
export type AlignFacts = { outcome: AlignOutcome; config: AlignConfig; dataset: string; seed: number; backend: BackendInfo };

export function summariseAlign({ outcome, config, dataset, seed, backend }: AlignFacts): AlignSummary {
  const { seconds, model, data, reward, dpo } = outcome;
  const moved = dpo.after.map((margin, i) => margin - dpo.before[i]);
  return {
    seed,
    backend: backend.name,
    seconds,
    model,
    dataset,
    data,
    config,
    reward: measures(reward),
    dpo: { ...measures(dpo), implicitAccuracy: accuracy(moved) },
  };
}

function measures({ before, after }: { before: number[]; after: number[] }): Measures {
  const right = (margins: number[]) => margins.map((margin) => (margin > 0 ? 1 : 0));
  return {
    accuracy: { before: accuracy(before), after: accuracy(after), change: interval(pairedDifference(right(after), right(before))) },
    margin: { before: interval(tInterval(before)), after: interval(tInterval(after)), change: interval(pairedDifference(after, before)) },
  };
}

const accuracy = (margins: number[]): Interval => interval(wilsonInterval(margins.filter((margin) => margin > 0).length, margins.length));
const interval = ({ mean, low, high }: Estimate): Interval => ({ mean, ci95: [low, high] });
const measured = (x: Interval) => ({ mean: x.mean, low: x.ci95[0], high: x.ci95[1] });
const percent = (x: number) => `${Math.round(100 * x)}%`;
const signed = (x: number) => (x >= 0 ? '+' : '−') + Math.abs(x).toFixed(2);

export function alignTable({ reward, dpo }: AlignSummary): string {
  const share = ({ mean, ci95 }: Interval) => `${percent(mean)} [${ci95.map(percent).join(', ')}]`;
  const points = ({ mean, ci95 }: Interval) => `${signed(mean)} [${ci95.map(signed).join(', ')}]`;
  const rows = [
    ['held-out pairs', 'before', 'after', 'change'],
    ['reward model: accuracy', share(reward.accuracy.before), share(reward.accuracy.after), points(reward.accuracy.change)],
    ['reward model: margin', points(reward.margin.before), points(reward.margin.after), points(reward.margin.change)],
    ['DPO: prefers chosen', share(dpo.accuracy.before), share(dpo.accuracy.after), points(dpo.accuracy.change)],
    ['DPO: log-probability margin', points(dpo.margin.before), points(dpo.margin.after), points(dpo.margin.change)],
    ['DPO: implicit reward, accuracy', '', share(dpo.implicitAccuracy), ''],
  ];
  return table(rows);
}

/** Plain words that follow from the numbers alone. */
export function alignStory({ outcome: { data, model } }: AlignFacts, { reward, dpo }: AlignSummary): string[] {
  const against = ({ ci95: [low, high] }: Interval, middle: number) =>
    low > middle ? 'better than chance' : high < middle ? 'worse than chance' : 'not to be told from chance';
  const moved =
    dpo.margin.change.ci95[0] > 0
      ? 'towards the chosen answers'
      : dpo.margin.change.ci95[1] < 0
        ? 'towards the rejected answers'
        : 'in no direction that these pairs could tell';
  return [
    `${model.name} (${(model.parameters / 1e6).toFixed(0)} million parameters; ${model.full ? 'all of them trained' : `adapters of ${(model.trained / 1e6).toFixed(1)} million trained`}) learned from ${data.train} preference pairs and was measured on ${data.heldOut} pairs with other prompts.${data.tooLong ? ` ${data.tooLong} pairs were too long and left out.` : ''}${data.skipped ? ` ${data.skipped} rows held no preference.` : ''}`,
    `The reward model orders ${percent(reward.accuracy.after.mean)} of the held-out pairs as people did, which is ${against(reward.accuracy.after, 0.5)} (95% interval ${reward.accuracy.after.ci95.map(percent).join(' to ')}). DPO moved the policy ${moved}: the margin between chosen and rejected changed by ${signed(dpo.margin.change.mean)} nats (${dpo.margin.change.ci95.map(signed).join(' to ')}), and its implicit reward orders ${percent(dpo.implicitAccuracy.mean)} of the pairs as people did, ${against(dpo.implicitAccuracy, 0.5)}.`,
  ];
}

export function alignPage(facts: AlignFacts, summary: AlignSummary): ReportPage {
  const { outcome, config, dataset, seed, backend } = facts;
  const { reward, dpo } = summary;
  const row = (what: string, { before, after, change }: Measures['margin']) => ({
    what,
    before: measured(before),
    after: measured(after),
    change: measured(change),
  });
  const columns = (percent: boolean) => [
    { key: 'what', label: 'On held-out pairs' },
    { key: 'before', label: 'Before', percent, signed: !percent, digits: percent ? 0 : 2 },
    { key: 'after', label: 'After', percent, signed: !percent, digits: percent ? 0 : 2 },
    { key: 'change', label: 'Change', percent, signed: true, digits: percent ? 0 : 2 },
  ];
  return {
    title: `${outcome.model.name}, aligned to ${dataset}`,
    subtitle: `seed ${seed}, ${backend.name} backend, ${duration(summary.seconds)}`,
    paragraphs: alignStory(facts, summary),
    highlights: [
      {
        label: 'Reward model, held-out accuracy',
        value: percent(reward.accuracy.after.mean),
        note: reward.accuracy.after.ci95.map(percent).join(' to '),
        tone: reward.accuracy.after.ci95[0] > 0.5 ? 'good' : 'neutral',
      },
      {
        label: 'DPO, implicit reward accuracy',
        value: percent(dpo.implicitAccuracy.mean),
        note: dpo.implicitAccuracy.ci95.map(percent).join(' to '),
        tone: dpo.implicitAccuracy.ci95[0] > 0.5 ? 'good' : 'neutral',
      },
    ],
    sections: [
      {
        title: 'Preference accuracy',
        kind: 'table',
        columns: columns(true),
        rows: [row('Reward model', reward.accuracy), row('Policy prefers the chosen answer', dpo.accuracy)],
      },
      {
        title: 'Margins',
        kind: 'table',
        columns: columns(false),
        rows: [row('Reward model, points', reward.margin), row('Policy, nats', dpo.margin)],
        note: 'With 95% intervals over pairs. Before training, the reward head is random.',
      },
      ...(outcome.samples.length > 0
        ? [
            {
              title: 'Answers before and after',
              kind: 'sideBySide' as const,
              groups: outcome.samples.map(({ prompt, before, after, rewardBefore, rewardAfter }) => ({
                prompt,
                texts: [
                  { label: 'before', text: before, note: `learned reward ${signed(rewardBefore)}` },
                  { label: 'after DPO', text: after, note: `learned reward ${signed(rewardAfter)}` },
                ],
              })),
            },
          ]
        : []),
      {
        title: 'Settings',
        kind: 'keyValues',
        entries: flatten({ model: outcome.model.name, dataset, seed, backend: backend.name, ...config }),
      },
    ],
    footer: 'Made by `plumb align`. Beside this page: `summary.json`, and the trained models under `reward/model` and `dpo/model`.',
  };
}
