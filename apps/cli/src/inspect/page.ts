/** The page of any run folder: what it was, what it logged, what it came to. */
import type { ReportPage, Section } from '@plumbline/bench';
import { type LoggedStep, metrics, symptomsOf } from '@plumbline/core';
import { flat, lastOf, metricNames, type RunFolder } from './folders.js';
import { samplesSection } from './samples.js';

export function runPage(run: RunFolder): ReportPage {
  const { environment, histories } = run;
  const symptoms = histories.flatMap(({ steps }) => symptomsOf(steps));
  const loss = histories.length > 0 ? lastOf(histories[0].steps, 'loss') : undefined;
  return {
    title: run.name,
    subtitle: [run.command && `plumb ${run.command}`, run.started.slice(0, 16).replace('T', ' '), run.state].filter(Boolean).join(', '),
    paragraphs: [
      ...(run.failure ? [`Warning: the run failed at step ${String(run.failure.step)}: ${JSON.stringify(run.failure.values)}.`] : []),
      ...(run.state === 'unfinished'
        ? [
            `This run is not finished${run.checkpoints.length > 0 ? `; its newest checkpoint is that after ${run.checkpoints.at(-1)} steps` : ''}.`,
          ]
        : []),
      ...symptoms.map(({ step, hint }) => `Warning: up to step ${step}, ${hint}.`),
      ...(histories.length === 0 ? ['Nothing was logged.'] : []),
    ],
    highlights: loss === undefined ? [] : [{ label: 'Last loss', value: loss.toPrecision(4) }],
    sections: [
      ...histories.flatMap(({ name, steps }) => charts(name, steps)),
      ...samplesSection(run),
      ...(run.summary ? [entries('Result', run.summary)] : []),
      entries('Settings', run.config),
      entries('Environment', environment),
    ],
    footer: `Made by \`plumb report\` from ${run.name}. Each metric is explained in docs/metrics.md.`,
  };
}

function charts(part: string, steps: readonly LoggedStep[]): Section[] {
  const blocks = metricNames(steps).flatMap((name) => {
    const points = steps.flatMap((step) => {
      const y = step[name];
      return y !== undefined && Number.isFinite(y) ? [{ x: step.step + 1, y }] : [];
    });
    if (points.length === 0) return [];
    const { unit, healthy } = metrics[name] ?? { unit: '', healthy: '' };
    return [
      {
        kind: 'lineChart' as const,
        title: name,
        x: { label: 'step' },
        y: { label: unit },
        series: [{ name, points: thinned(points) }],
        ...(healthy && { note: `Healthy: ${healthy}.` }),
      },
    ];
  });
  return blocks.length === 0 ? [] : [{ title: part === '' ? 'What was logged' : `What ${part} logged`, kind: 'group', blocks }];
}

const mostPoints = 400;
function thinned<T>(points: readonly T[]): readonly T[] {
  const every = Math.ceil(points.length / mostPoints);
  return every === 1 ? points : points.filter((_, i) => i % every === 0 || i === points.length - 1);
}

const entries = (title: string, of: Record<string, unknown>): Section => ({ title, kind: 'keyValues', entries: Object.entries(flat(of)) });
