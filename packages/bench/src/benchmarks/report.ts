/** The report page of an evaluation: the official table, where it stands by subset, and items that went wrong. */
import { type Completion, textOf } from '@plumbline/data';
import type { Cell, ReportPage, Section } from '../report/index.js';
import type { EvalResult, Item } from './evaluate.js';
import type {
  AnswerItem,
  AnswerOutcome,
  Benchmark,
  BenchmarkNumber,
  PreferenceItem,
  PreferenceOutcome,
  StepItem,
  StepOutcome,
} from './types.js';

/** Texts longer than this are cut on the page. */
const longest = 1200;

/** @param options.threshold a step counts as sound above it */
export function benchmarkReport(
  benchmark: Benchmark,
  result: EvalResult,
  items: readonly Item[],
  outcomes: readonly object[],
  { threshold = 0.5 }: { threshold?: number } = {},
): ReportPage {
  const [headline] = result.numbers;
  const parts = result.numbers.filter(({ level, ci95 }) => level !== 'detail' && ci95);
  return {
    title: `${result.title}: ${result.subject}`,
    subtitle: `${result.metric} · ${result.items} items${result.paper ? ` · arXiv:${result.paper}` : ''} · ${result.date.replaceAll('-', '\u2011')}`,
    paragraphs: [
      ...(result.missing > 0
        ? [
            `Warning: ${result.missing} of ${result.items + result.missing} items have no outcome and are left out. The first: ${result.firstError ?? 'unknown'}`,
          ]
        : []),
      ...(result.spent.unparsed
        ? [
            `Warning: ${thousands(result.spent.unparsed)} of ${thousands(result.spent.verdicts ?? 0)} answers of the judge could not be read; such a pair is undecided, such a step stands at 0.5.`,
          ]
        : []),
      ...(items.some((item) => 'media' in item && item.media && item.media.length > 0)
        ? ['Warning: these items come with images or videos, which were not shown: this is a text-only control.']
        : []),
    ],
    highlights: [
      { label: headline.name, value: percent(headline), note: `${headline.n} ${benchmark.kind === 'steps' ? 'steps' : 'items'}` },
      ...(result.orders
        ? [
            { label: 'both orders agree', value: `${(100 * result.orders.agreement).toFixed(0)}%`, note: `${result.orders.pairs} pairs` },
            {
              label: 'the first shown is taken',
              value: `${(100 * result.orders.firstShown).toFixed(0)}%`,
              note: '50% without a bias of position',
            },
          ]
        : []),
      ...spentHighlights(result.spent),
    ],
    sections: [
      {
        kind: 'table',
        title: 'Numbers',
        columns: [
          { key: 'name', label: 'What' },
          { key: 'value', label: 'Value', digits: 4 },
          { key: 'n', label: benchmark.kind === 'steps' ? 'Steps' : 'Items', digits: 0 },
        ],
        rows: result.numbers.map(
          ({ name, level, value, n, ci95 }): Record<string, Cell> => ({
            name: shownName(level, name),
            value: ci95 ? { mean: value, low: ci95[0], high: ci95[1] } : value,
            n,
          }),
        ),
      },
      ...(parts.length > 1
        ? [
            {
              kind: 'intervals',
              title: 'By subset, 95% intervals',
              x: { label: 'value' },
              rows: parts.map(({ name, level, value, ci95 }) => ({
                label: shownName(level, name),
                mean: value,
                low: ci95![0],
                high: ci95![1],
              })),
            } satisfies Section,
          ]
        : []),
      ...wrongOnes(benchmark, items, outcomes, threshold),
    ],
    // the whole stands out; its parts are one kind of thing
    colors: {
      right: 'green',
      wrong: 'red',
      ...Object.fromEntries(parts.map(({ name, level }) => [shownName(level, name), level === 'overall' ? 'blue' : 'grey'])),
    },
    footer: `plumb eval ${result.benchmark}`,
  };
}

/** Subsets stand in under their group. */
const shownName = (level: BenchmarkNumber['level'], name: string): string => (level === 'subset' ? `\u2003${name}` : name);

/** Time and tokens. */
function spentHighlights({
  seconds,
  promptTokens,
  completionTokens,
  requests,
  retries,
  cached,
}: EvalResult['spent']): { label: string; value: string; note?: string }[] {
  const time = seconds < 90 ? `${seconds.toFixed(seconds < 10 ? 1 : 0)} s` : `${(seconds / 60).toFixed(seconds < 600 ? 1 : 0)} min`;
  const asked =
    requests === undefined
      ? undefined
      : [`${thousands(requests)} requests`, retries && `${retries} again`, cached && `${cached} kept`].filter(Boolean).join(', ');
  const tokens = (promptTokens ?? 0) + (completionTokens ?? 0);
  return [
    { label: 'time', value: time, ...(asked && { note: asked }) },
    ...(tokens > 0
      ? [{ label: 'tokens', value: thousands(tokens), note: promptTokens ? `${thousands(completionTokens ?? 0)} written` : 'written' }]
      : []),
  ];
}
const thousands = (n: number) => n.toLocaleString('en-US');

const percent = ({ value }: BenchmarkNumber) => `${(100 * value).toFixed(1)}%`;

/** A few items that were judged wrongly, to read. */
function wrongOnes(benchmark: Benchmark, items: readonly Item[], outcomes: readonly object[], threshold: number): Section[] {
  const groups =
    benchmark.kind === 'preference'
      ? (items as readonly PreferenceItem[]).flatMap((item, i) => preferenceWrong(item, outcomes[i] as PreferenceOutcome))
      : benchmark.kind === 'steps'
        ? (items as readonly StepItem[]).flatMap((item, i) => stepsWrong(item, outcomes[i] as StepOutcome, threshold))
        : (items as readonly AnswerItem[]).flatMap((item, i) => answerWrong(item, outcomes[i] as AnswerOutcome));
  if (groups.length === 0) return [];
  // spread over the benchmark, not its first subset alone
  const every = Math.max(1, Math.floor(groups.length / 6));
  return [
    {
      kind: 'sideBySide',
      title: 'Judged wrongly',
      paragraphs: [`${groups.length} items in all; a few of them:`],
      groups: groups.filter((_, i) => i % every === 0).slice(0, 6),
    },
  ];
}

type Group = { prompt: string; texts: { label: string; text: string; note?: string }[] };
const cut = (text: string) => (text.length > longest ? `${text.slice(0, longest)} …` : text);
const shown = (value: Completion) => cut(textOf(value));

function preferenceWrong(item: PreferenceItem, outcome: PreferenceOutcome): Group[] {
  if ('wins' in outcome) {
    const wrong = outcome.wins.findIndex((win) => win < 1);
    if (wrong < 0) return [];
    const others = item.candidates.length - item.correct;
    return [
      group(item, Math.floor(wrong / others), item.correct + (wrong % others), outcome.wins[wrong] === 0.5 ? 'undecided' : 'preferred'),
    ];
  }
  const { scores } = outcome;
  const right = scores.slice(0, item.correct);
  const wrong = scores.slice(item.correct);
  const [low, high] = [right.indexOf(Math.min(...right)), item.correct + wrong.indexOf(Math.max(...wrong))];
  return scores[low] > scores[high] ? [] : [group(item, low, high, `score ${scores[high].toFixed(3)}`, `score ${scores[low].toFixed(3)}`)];
}
const group = (item: PreferenceItem, right: number, wrong: number, note: string, rightNote?: string): Group => ({
  prompt: shown(item.prompt),
  texts: [
    { label: 'right', text: shown(item.candidates[right]), ...(rightNote && { note: rightNote }) },
    { label: 'wrong', text: shown(item.candidates[wrong]), note },
  ],
});

function stepsWrong(item: StepItem, { scores }: StepOutcome, threshold: number): Group[] {
  const first = Math.min(...item.errors);
  if (item.errors.length === 0 || !(scores[first] > threshold)) return [];
  return [
    {
      prompt: shown(item.prompt),
      texts: [
        { label: `step ${first + 1}, an error that was passed`, text: cut(item.steps[first]), note: `score ${scores[first].toFixed(3)}` },
      ],
    },
  ];
}

function answerWrong(item: AnswerItem, { response, passed }: AnswerOutcome): Group[] {
  const failed = Object.entries(passed).filter(([, value]) => value < 1);
  if (failed.length === 0) return [];
  return [
    {
      prompt: shown(item.prompt),
      texts: [{ label: 'answer', text: cut(response), note: `not passed: ${failed.map(([name]) => name).join(', ')}` }],
    },
  ];
}
