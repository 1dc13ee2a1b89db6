/** VLRMBench's tasks that are no step tasks: which of two solutions, whether a beginning will end well, and critiques. Ruan et al. 2025, arXiv:2503.07478. */
import { ConfigError, rng } from '@plumbline/core';
import type { PairwiseJudge } from '@plumbline/data';
import { label, media, text, texts, wrong } from './fields.js';
import { moments, row, tabulate } from './numbers.js';
import { outcomeOf } from './preference.js';
import type { AnswerBenchmark, PreferenceBenchmark, Row, RowPlace } from './types.js';

/** Tasks by their files. */
export const vlrmOtherTasks = ['multi_solution', 'foresight', 'error_reason_analysis', 'error_correction'] as const;
/** Rows without an image, and those that say how they were made, are no part of the benchmark. */
const isOf = (tasks: readonly string[], r: Row, place: RowPlace) => tasks.includes(place.file) && !('error_info' in r) && 'image' in r;

/** A tie is a loss, as in the official count. */
export const vlrmSolutions: PreferenceBenchmark = {
  kind: 'preference',
  id: 'vlrmbench-solutions',
  title: 'VLRMBench, multiple solutions',
  paper: '2503.07478',
  files: 'multi_solution.jsonl, with id, image, question, step_list, reasoning_error',
  metric: 'accuracy over all pairs, in both orders',
  read(r, place) {
    if (!isOf(['multi_solution'], r, place)) return undefined;
    return {
      id: label(r, 'id', place),
      subset: 'multi_solution',
      prompt: text(r, 'question', place),
      candidates: [texts(r, 'step_list', place).join('\n'), text(r, 'reasoning_error', place)],
      correct: 1,
      media: media(r, 'image', 'image'),
    };
  },
  report: (items, outcomes) => [
    row('accuracy', 'overall', moments(items.map((item, i) => (outcomeOf(item, outcomes[i], 0, 1) === 1 ? 1 : 0)))),
  ],
};

const hasWord = (answer: string, words: string) => new RegExp(`\\b(?:${words})\\b`, 'i').test(answer);

/** The official rule takes any answer that holds the right word, one that holds both words included; `strict` takes the last such word. */
export const vlrmForesight: AnswerBenchmark<boolean> = {
  kind: 'answers',
  id: 'vlrmbench-foresight',
  title: 'VLRMBench, forecasting the future',
  paper: '2503.07478',
  files: 'foresight.jsonl, with id, image, question, reasoning_error or step_list, task_gt (true or false)',
  metric: 'accuracy of yes and no',
  maxTokens: 256,
  read(r, place) {
    if (!isOf(['foresight'], r, place)) return undefined;
    if (typeof r.task_gt !== 'boolean') throw wrong(r, 'task_gt', 'true or false', place);
    const begun = 'reasoning_error' in r ? text(r, 'reasoning_error', place) : texts(r, 'step_list', place).join('\n');
    const asked = 'Will this beginning of a solution lead to the right answer? Answer yes or no.';
    return {
      id: label(r, 'id', place),
      subset: 'foresight',
      prompt: `${text(r, 'question', place)}\n\nThe solution begins:\n${begun}\n\n${asked}`,
      target: r.task_gt,
    };
  },
  async check({ target }, answer) {
    const last = [...answer.matchAll(/\b(yes|true|no|false)\b/gi)].at(-1)?.[1].toLowerCase();
    const isYes = last === undefined ? undefined : last === 'yes' || last === 'true';
    return { right: hasWord(answer, target ? 'yes|true' : 'no|false') ? 1 : 0, strict: isYes === target ? 1 : 0 };
  },
  report: (_items, outcomes) => [
    row('accuracy', 'overall', moments(outcomes.map(({ passed }) => passed.right))),
    row('accuracy by the last word', 'detail', moments(outcomes.map(({ passed }) => passed.strict))),
  ],
};

/** A win is a critique that the judge, asked in both orders, likes better than the reference; one that says the same is a loss. */
export const vlrmCritique: AnswerBenchmark<string> = {
  kind: 'answers',
  id: 'vlrmbench-critique',
  title: 'VLRMBench, critiques',
  paper: '2503.07478',
  files: 'error_reason_analysis.jsonl and error_correction.jsonl, with id, image, question, reasoning_error, task_gt (a text)',
  metric: 'mean share of wins over the reference',
  maxTokens: 1024,
  read(r, place) {
    if (!isOf(['error_reason_analysis', 'error_correction'], r, place)) return undefined;
    const asked =
      place.file === 'error_correction'
        ? 'This solution has an error. Write it again, corrected, in steps.'
        : 'This solution has an error. Say which step is wrong, and why.';
    return {
      id: `${place.file}/${label(r, 'id', place)}`,
      subset: place.file,
      prompt: `${text(r, 'question', place)}\n\nA solution:\n${text(r, 'reasoning_error', place)}\n\n${asked}`,
      target: text(r, 'task_gt', place),
    };
  },
  prepare(_items, { judge }) {
    if (!judge) throw new ConfigError('critiques are judged beside a reference: name a judge (--judge MODEL, --judge-url URL)');
  },
  async check({ id, prompt, target }, response, { signal, judge }) {
    return { wins: (await preferred(judge!, prompt as string, response, target, id, signal)) ? 1 : 0 };
  },
  report: (items, outcomes) =>
    tabulate(
      items.map(({ subset }, i) => ({ subset, value: outcomes[i].passed.wins })),
      { overall: 'subsets', name: 'win rate' },
    ),
};

/** Whether the verdicts on both orders together favour `a`. */
async function preferred(judge: PairwiseJudge, prompt: string, a: string, b: string, id: string, signal?: AbortSignal): Promise<boolean> {
  if (a.trim() === b.trim()) return false;
  const [forward, backward] = await judge.compare(
    [
      { prompt, a, b },
      { prompt, a: b, b: a },
    ],
    { rng: rng(0).fork('critique', id), ...(signal && { signal }) },
  );
  const votes = { a: 1, b: -1, tie: 0 };
  return votes[forward.winner] - votes[backward.winner] > 0;
}
