/** The report page of an experiment: claims with their verdicts, arms, curves, texts, settings. */
import { type MetricName, metrics as metricRecord } from '@plumbline/core';
import { mean, tInterval, type Verdict } from '../metrics/index.js';
import type { Cell, Column, ReportPage, Section, Series, Tone } from '../report/index.js';
import type { ArmSummary, Experiment, ExperimentResult, LoggedRow, StoredSeed } from './types.js';

const usualCurves: readonly MetricName[] = [
  'reward/gold',
  'reward/mean',
  'policy/klSequence',
  'policy/entropy',
  'rewards/margin',
  'rewards/accuracy',
  'loss',
];
const tones: Record<Verdict, Tone> = {
  holds: 'good',
  'does not hold': 'bad',
  'undecided at this scale': 'neutral',
  'not testable at this scale': 'neutral',
};
const claimColors = {
  holds: 'green',
  'does not hold': 'red',
  'undecided at this scale': 'grey',
  'not testable at this scale': 'grey',
} as const;
const armColors = ['grey', 'blue', 'orange', 'magenta', 'green', 'teal', 'olive', 'red'] as const;
/** What is known of a paper comes from these: words to put behind "from". */
export const sourceWords = { code: "the authors' code", paper: "the paper's text", abstract: 'its abstract: our reconstruction' } as const;

/** @param logsOf what an arm logged in a seed, in order */
export function experimentReport(
  experiment: Experiment,
  result: ExperimentResult,
  seeds: readonly StoredSeed[],
  logsOf: (seed: number, arm: string) => readonly LoggedRow[],
): ReportPage {
  const arms = experiment.arms as readonly string[];
  return {
    title: result.title,
    subtitle: `${result.id} · ${result.paper}${result.source ? ` · from ${sourceWords[result.source]}` : ''} · ${plural(result.seeds.length, 'seed')}, ${duration(result.seconds / result.seeds.length)}${result.seeds.length > 1 ? ' each' : ''} · ${result.backend}`,
    paragraphs: summary(experiment, result),
    // the baseline in grey; claims by their verdict
    colors: {
      ...Object.fromEntries(result.claims.map((c) => [c.id, claimColors[c.verdict]])),
      ...Object.fromEntries(arms.map((arm, i) => [arm, armColors[i % armColors.length]])),
    },
    sections: [
      claimsTable(result),
      ...differences(result),
      armsTable(experiment, result),
      ...statisticsTable(result),
      ...curves(experiment, seeds, arms, logsOf),
      ...texts(seeds, arms),
      {
        kind: 'keyValues',
        title: 'Settings',
        entries: [
          ...Object.entries(result.config).map(
            ([key, value]) => [key, typeof value === 'object' ? JSON.stringify(value) : String(value)] as const,
          ),
          ['seeds', result.seeds.join(', ')],
          ...(result.pilotSeeds.length > 0 ? [['pilot seeds', result.pilotSeeds.join(', ')] as const] : []),
          ['backend', result.backend],
          ['code', result.codeHash],
          ...Object.entries(result.versions),
        ],
      },
    ],
    footer: `Made by \`${result.command}\` on ${result.date}. The same seed on the same backend gives the same numbers.`,
  };
}

const plural = (n: number, noun: string) => `${n} ${noun}${n === 1 ? '' : 's'}`;

function summary(experiment: Experiment, result: ExperimentResult): string[] {
  const sentences = result.claims.map(
    (c) => `${upper(c.verdict)}: ${lowerFirst(c.claim)} (${c.why}${c.n > 0 ? `; ${plural(c.n, c.unit.slice(0, -1))}` : ''}).`,
  );
  const few =
    !result.quick && result.seeds.length < 5 && result.claims.some((c) => c.unit === 'seeds' || c.verdict === 'undecided at this scale');
  return [
    `${plural(experiment.arms.length, 'arm')} (${(experiment.arms as readonly string[]).join(', ')}) on ${result.seeds.length === 1 ? 'one seed' : `the same ${result.seeds.length} seeds`}.`,
    ...sentences,
    ...(result.pilotSeeds.length > 0 ? [protocol(result)] : []),
    ...(result.quick ? ['Warning: this is a two-step run for testing; its numbers say nothing about the paper.'] : []),
    ...(few
      ? [`Warning: a verdict needs at least 5 seeds; ${plural(result.seeds.length, 'seed')} can only show which way it points.`]
      : []),
  ];
}

/** What the pilot fixed before the counted seeds ran. */
export function protocol({ pilotSeeds, plannedSeeds, seeds }: Pick<ExperimentResult, 'pilotSeeds' | 'plannedSeeds' | 'seeds'>): string {
  const asked = plannedSeeds === null ? 'no number of seeds is enough for' : `${plural(plannedSeeds, 'seed')} would give`;
  return `Before the counted seeds ran, a pilot on seeds ${pilotSeeds.join(', ')} fixed the power: ${asked} power 0.8 on every claim, and ${seeds.length} were run.`;
}

const duration = (seconds: number) => (seconds < 90 ? plural(Math.round(seconds), 'second') : `${(seconds / 60).toFixed(1)} minutes`);
const upper = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
/** Leaves names that are written in capitals as they are. */
const lowerFirst = (text: string) => (/^[A-Z](?![A-Z])/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text);
const measured = (mean: number, [low, high]: readonly [number | null, number | null]) => ({
  mean,
  low: low ?? -Infinity,
  high: high ?? Infinity,
});

function claimsTable(result: ExperimentResult): Section {
  return {
    kind: 'table',
    title: 'Claims',
    columns: [
      { key: 'claim', label: 'Claim' },
      { key: 'verdict', label: 'Verdict' },
      { key: 'difference', label: 'Difference', signed: true, help: 'Positive speaks for the claim; with its 95% interval.' },
      { key: 'n', label: 'n', digits: 0, help: 'Units of the interval: seeds, or prompts where said.' },
      { key: 'p', label: 'p', digits: 3, help: "Two-sided, after Holm's correction within this paper." },
      {
        key: 'smallest',
        label: 'Smallest effect',
        help: 'The smallest difference worth having, or the margin of "not worse", fixed before the counted seeds ran.',
      },
      {
        key: 'power',
        label: 'Power',
        percent: true,
        help: "Probability of finding the smallest effect with these seeds, from the pilot's deviation.",
      },
      { key: 'needed', label: 'Seeds for 0.8', digits: 0, help: 'Seeds that would give power 0.8, from the pilot; at least 5.' },
    ],
    rows: result.claims.map(
      (c): Record<string, Cell> => ({
        claim: c.claim,
        verdict: { text: c.verdict, tone: tones[c.verdict] },
        difference: c.difference === null ? null : measured(c.difference, c.ci95!),
        n: c.n > 0 ? c.n : null,
        p: c.adjustedP === null ? null : c.adjustedP < 0.001 ? '<\u00a00.001' : c.adjustedP,
        smallest: c.smallestEffect ?? c.margin,
        power: c.power,
        needed: c.seedsForPower,
      }),
    ),
  };
}

function differences(result: ExperimentResult): Section[] {
  const shown = result.claims.filter((c) => c.difference !== null && c.ci95?.[0] != null && c.ci95[1] !== null);
  if (shown.length === 0) return [];
  return [
    {
      kind: 'intervals',
      title: 'Differences',
      x: { label: 'difference; right of the line speaks for the claim', mark: 0 },
      rows: shown.map((c) => ({ label: c.id, ...measured(c.difference!, c.ci95!) })),
    },
  ];
}

function armsTable(experiment: Experiment, result: ExperimentResult): Section {
  const names = Object.entries(experiment.metrics);
  const digits = (name: string) => {
    const sizes = Object.values(result.arms).map((arm) => Math.abs(arm[name].mean));
    const largest = Math.max(...sizes);
    return largest >= 100 ? 0 : largest >= 10 ? 1 : largest >= 0.1 ? 2 : 3;
  };
  const columns: Column[] = [
    { key: 'arm', label: 'Arm' },
    ...names.map(
      ([name, spec]): Column => ({
        key: name,
        label: upper(spaced(name)),
        unit: spec.unit,
        digits: digits(name),
        help: `In ${spec.unit}; ${spec.better} is better.`,
      }),
    ),
  ];
  const cell = (s: ArmSummary): Cell => (s.ci95[0] === null ? s.mean : measured(s.mean, s.ci95));
  return {
    kind: 'table',
    title: 'Arms',
    columns,
    rows: (experiment.arms as readonly string[]).map((arm) => ({
      arm,
      ...Object.fromEntries(names.map(([name]) => [name, cell(result.arms[arm][name])])),
    })),
    note:
      result.seeds.length > 1
        ? `Mean over ${plural(result.seeds.length, 'seed')}, with 95% t intervals.`
        : 'One seed; intervals are over the units of that seed.',
  };
}

function statisticsTable({ statistics }: ExperimentResult): Section[] {
  const entries = Object.entries(statistics);
  if (entries.length === 0) return [];
  return [
    {
      kind: 'table',
      title: 'Other measures',
      columns: [
        { key: 'name', label: 'Measure' },
        { key: 'value', label: 'Value' },
      ],
      rows: entries.map(([name, s]) => ({ name: upper(spaced(name)), value: s.ci95[0] === null ? s.mean : measured(s.mean, s.ci95) })),
    },
  ];
}

/** goldReward as "gold reward". */
const spaced = (name: string) =>
  name === 'kl' ? 'KL' : name.replaceAll(/([a-z])([A-Z])/g, (_, a: string, b: string) => `${a} ${b.toLowerCase()}`);

function curves(
  experiment: Experiment,
  seeds: readonly StoredSeed[],
  arms: readonly string[],
  logsOf: (seed: number, arm: string) => readonly LoggedRow[],
): Section[] {
  const logs = new Map(arms.map((arm) => [arm, seeds.map(({ seed }) => logsOf(seed, arm))]));
  const blocks = (experiment.curves ?? usualCurves).flatMap((metric) => {
    const series: Series[] = arms
      .map((name) => ({ name, points: averaged(logs.get(name)!, metric) }))
      .filter(({ points }) => points.length > 1);
    if (series.length === 0) return [];
    const { unit, formula } = metricRecord[metric];
    return [
      {
        kind: 'lineChart' as const,
        title: metric,
        x: { label: 'step' },
        y: { label: unit.length <= 24 ? unit : metric },
        series,
        note: `${upper(formula)}.`,
      },
    ];
  });
  if (blocks.length === 0) return [];
  return [
    {
      kind: 'group',
      title: 'Over the steps',
      paragraphs: [
        seeds.length > 1 ? `Means over ${plural(seeds.length, 'seed')}; bands are 95% t intervals over the seeds.` : 'One seed.',
      ],
      blocks,
    },
  ];
}

/** Mean over the seeds, smoothed over the width of a fortieth of the run, so that noise does not hide the direction. */
function averaged(runs: readonly (readonly LoggedRow[])[], metric: MetricName) {
  const measured = runs.map((run) => run.filter((row) => Number.isFinite(row[metric])));
  const steps = [...new Set(measured.flatMap((run) => run.map((row) => row.step)))].sort((a, b) => a - b);
  const wide = Math.max(1, Math.ceil(steps.length / 40));
  const points = [];
  for (let i = 0; i < steps.length; i += wide) {
    const window = new Set(steps.slice(i, i + wide));
    const perSeed = measured.flatMap((run) => {
      const values = run.filter((row) => window.has(row.step)).map((row) => row[metric]!);
      return values.length > 0 ? [mean(values)] : [];
    });
    if (perSeed.length === 0) continue;
    const estimate = tInterval(perSeed);
    const x = steps[Math.min(i + Math.floor(wide / 2), steps.length - 1)];
    points.push(perSeed.length > 2 ? { x, y: estimate.mean, low: estimate.low, high: estimate.high } : { x, y: estimate.mean });
  }
  return points;
}

function texts(seeds: readonly StoredSeed[], arms: readonly string[]): Section[] {
  const samples = seeds[0].samples.slice(0, 4);
  if (samples.length === 0) return [];
  return [
    {
      kind: 'sideBySide',
      title: 'Texts',
      paragraphs: [
        `Of seed ${seeds[0].seed}: the first sample of each arm for prompts that it was not trained on, not chosen. Words that differ from the first text are marked.`,
      ],
      markDifferences: true,
      groups: samples.map(({ prompt, texts: own }) => ({
        prompt,
        texts: [...Object.keys(own).filter((name) => !arms.includes(name)), ...arms.filter((arm) => arm in own)].map((name) => ({
          label: name,
          text: own[name],
        })),
      })),
    },
  ];
}
