/** Benchmarks of process rewards: solutions in steps, some of them wrong. */
import { FormatError } from '@plumbline/core';
import { at, integers, label, media, text, texts, wrong } from './fields.js';
import { plain } from './numbers.js';
import type { BenchmarkNumber, Row, RowPlace, StepBenchmark, StepItem, StepOutcome } from './types.js';
import { vlrmOtherTasks } from './vlrm.js';

/** Counts over steps: a true positive is a sound step that was called sound. */
export type StepCounts = { tp: number; fp: number; tn: number; fn: number };

/** Verdicts on the steps of one item, true for sound. @throws RangeError naming the item whose number of verdicts differs from its steps */
export function countSteps(
  items: readonly Pick<StepItem, 'id' | 'steps' | 'errors'>[],
  sound: readonly (readonly boolean[])[],
): StepCounts {
  const counts = { tp: 0, fp: 0, tn: 0, fn: 0 };
  for (const [i, { id, steps, errors }] of items.entries()) {
    if (sound[i].length !== steps.length) throw new RangeError(`item "${id}" has ${steps.length} steps and ${sound[i].length} verdicts`);
    for (const [t, called] of sound[i].entries()) {
      const isError = errors.includes(t);
      counts[called ? (isError ? 'fp' : 'tp') : isError ? 'tn' : 'fn']++;
    }
  }
  return counts;
}

/**
 * F1 of sound steps and of wrong steps, and their mean, the PRM-Score. Socratic-PRMBench, Li et al. 2025, arXiv:2505.23474, with PRMBench's conventions: a ratio without a
 * denominator is −1, and F1 is computed from it; where both ratios are 0 it is 0 (the reference's evaluator has −1 there too, which a class of many items never meets).
 *
 * @param undefinedAs what a ratio without a denominator is: −1 as in the reference evaluator, or another number
 */
export function prmScore({ tp, fp, tn, fn }: StepCounts, { undefinedAs = -1 }: { undefinedAs?: number } = {}) {
  const ratio = (part: number, whole: number) => (whole === 0 ? undefinedAs : part / whole);
  const f1Of = (precision: number, recall: number) => {
    const sum = precision + recall;
    return precision === undefinedAs && recall === undefinedAs ? undefinedAs : sum === 0 ? 0 : (2 * precision * recall) / sum;
  };
  const precision = ratio(tp, tp + fp);
  const recall = ratio(tp, tp + fn);
  const negPrecision = ratio(tn, tn + fn);
  const negRecall = ratio(tn, tn + fp);
  const clip = (value: number, a: number, b: number) => (a * b < 0 ? 0 : value);
  const f1 = clip(f1Of(precision, recall), precision, recall);
  const negF1 = clip(f1Of(negPrecision, negRecall), negPrecision, negRecall);
  return { precision, recall, f1, negF1, prmScore: 0.5 * f1 + 0.5 * negF1, correctStepAccuracy: recall, wrongStepAccuracy: negRecall };
}

/** How early errors are found. @returns shares of the items whose first error is called wrong; steps from the first error to the first call at or after it */
export function firstErrors(
  items: readonly StepItem[],
  sound: readonly (readonly boolean[])[],
): { accuracy: number; delay: number; n: number } {
  let found = 0;
  let flagged = 0;
  let delay = 0;
  let n = 0;
  for (const [i, { errors }] of items.entries()) {
    if (errors.length === 0) continue;
    n++;
    const first = Math.min(...errors);
    if (!sound[i][first]) found++;
    const call = sound[i].findIndex((ok, t) => !ok && t >= first);
    if (call < 0) continue;
    flagged++;
    delay += call - first;
  }
  return { accuracy: found / n, delay: delay / flagged, n };
}

const verdicts = (outcomes: readonly StepOutcome[], threshold: number) =>
  outcomes.map(({ scores }) => scores.map((score) => score > threshold));

/** Rows of PRMBench and Socratic-PRMBench: 1-based error steps, of which those beyond the last step are dropped as in the official counts. */
function readErrorRow(r: Row, place: RowPlace): StepItem {
  const steps = texts(r, 'modified_process', place);
  if (steps.length === 0) throw wrong(r, 'modified_process', 'at least one step', place);
  const errors = integers(r, 'error_steps', place);
  if (errors.some((step) => step < 1)) throw wrong(r, 'error_steps', 'steps counted from 1', place);
  const subset = text(r, 'classification', place);
  return {
    id: `${subset}_${label(r, 'idx', place)}`,
    subset,
    prompt: text(r, 'modified_question', place),
    steps,
    errors: [...new Set(errors.map((step) => step - 1).filter((step) => step < steps.length))],
  };
}

type Pooling = 'mean of the categories' | 'mean of the classes' | 'all steps together';

/**
 * @param groups     classes of error by category
 * @param headline   over what the first PRM-Score is; the other two stand beside it
 * @param soundClass a class whose steps are all sound: its score is the F1 of sound steps
 */
function errorReport(
  groups: Record<string, readonly string[]>,
  { headline = 'mean of the categories', soundClass }: { headline?: Pooling; soundClass?: string } = {},
) {
  return (
    items: readonly StepItem[],
    outcomes: readonly StepOutcome[],
    { threshold = 0.5 }: { threshold?: number } = {},
  ): BenchmarkNumber[] => {
    const sound = verdicts(outcomes, threshold);
    const of = (subsets?: readonly string[]) => {
      const chosen = items.flatMap((item, i) => (!subsets || subsets.includes(item.subset) ? [i] : []));
      const some = chosen.map((i) => items[i]);
      return { items: some, sound: chosen.map((i) => sound[i]), steps: some.reduce((n, { steps }) => n + steps.length, 0) };
    };
    const scoreOf = (subset?: string) => {
      const part = of(subset === undefined ? undefined : [subset]);
      const scores = prmScore(countSteps(part.items, part.sound));
      return { ...scores, ...(subset !== undefined && subset === soundClass && { prmScore: scores.f1 }), steps: part.steps };
    };
    const present = Object.entries(groups)
      .map(([group, subsets]) => [group, subsets.filter((subset) => items.some((item) => item.subset === subset))] as const)
      .filter(([, subsets]) => subsets.length > 0);
    const unknown = items.find(({ subset }) => !Object.values(groups).flat().includes(subset));
    if (unknown)
      throw new FormatError(`item "${unknown.id}": "${unknown.subset}" is none of the classes ${Object.values(groups).flat().join(', ')}`);
    const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const parts = present.map(([group, subsets]) => ({ group, subsets, scores: subsets.map((subset) => scoreOf(subset)) }));
    const classes = parts.flatMap(({ scores }) => scores.map((score) => score.prmScore));
    const whole = scoreOf();
    const all = of();
    const first = firstErrors(all.items, all.sound);
    const pooled: Record<Pooling, number> = {
      'mean of the categories': meanOf(parts.map(({ scores }) => meanOf(scores.map((score) => score.prmScore)))),
      'mean of the classes': meanOf(classes),
      'all steps together': whole.prmScore,
    };
    const { [headline]: score, ...others } = pooled;
    return [
      plain('PRM-Score', 'overall', score, whole.steps),
      ...Object.entries<number>(others).map(([over, value]) => plain(`PRM-Score, ${over}`, 'detail', value, whole.steps)),
      plain('F1 of sound steps', 'detail', whole.f1, whole.steps),
      plain('F1 of wrong steps', 'detail', whole.negF1, whole.steps),
      plain('sound steps called sound', 'detail', whole.correctStepAccuracy, whole.steps),
      plain('wrong steps called wrong', 'detail', whole.wrongStepAccuracy, whole.steps),
      plain('reward bias (the first minus the second)', 'detail', whole.correctStepAccuracy - whole.wrongStepAccuracy, whole.steps),
      plain('first error called wrong', 'detail', first.accuracy, first.n),
      plain('steps until an error is noticed', 'detail', first.delay, first.n),
      ...parts.flatMap(({ group, subsets, scores }) => {
        const mean = plain(
          group,
          'group',
          meanOf(scores.map((score) => score.prmScore)),
          scores.reduce((n, { steps }) => n + steps, 0),
        );
        return [mean, ...subsets.map((subset, i) => plain(subset, 'subset', scores[i].prmScore, scores[i].steps))];
      }),
    ];
  };
}

/** The six reasoning patterns of Socratic-PRMBench with their classes of error. */
export const socraticPatterns: Record<string, readonly string[]> = {
  Transformation: ['repeat_inconsistency', 'repeat_counterfactual'],
  Decomposition: ['decomposition_unsoundness', 'decomposition_redundancy', 'decomposition_incompleteness'],
  Regather: ['regather_imprecision', 'regather_redundancy', 'regather_incompleteness'],
  Deduction: [
    'premise_unsoundness',
    'premise_incompleteness',
    'premise_redundancy',
    'conclusion_invalidity',
    'conclusion_inconsistency',
    'conclusion_counterfactual',
  ],
  Verification: ['detection_error', 'correction_error'],
  Integration: ['integration_unsoundness', 'integration_inconsistency', 'integration_redundancy', 'integration_incompleteness'],
};

/** Socratic-PRMBench. Li et al. 2025, arXiv:2505.23474. */
export const socraticPrmBench: StepBenchmark = {
  kind: 'steps',
  id: 'socratic-prmbench',
  title: 'Socratic-PRMBench',
  paper: '2505.23474',
  files: 'the twenty test_CLASS.jsonl files, or any of them joined',
  metric: 'PRM-Score, mean of the six reasoning patterns',
  read: readErrorRow,
  report: errorReport(socraticPatterns),
};

/**
 * PRMBench. Song et al. 2025, arXiv:2501.03124. The headline is the PRM-Score of all steps together; a category's is the mean of its classes'. Redundant steps count as wrong
 * ones, and `multi_solutions`, whose steps are all sound, has the F1 of sound steps.
 */
export const prmBench: StepBenchmark = {
  kind: 'steps',
  id: 'prmbench',
  title: 'PRMBench',
  paper: '2501.03124',
  files: 'JSON lines with modified_question, modified_process, error_steps, classification, idx',
  metric: 'PRM-Score of all steps together',
  read: readErrorRow,
  report: errorReport(
    {
      Simplicity: ['redundency', 'circular'],
      Soundness: ['counterfactual', 'step_contradiction', 'domain_inconsistency', 'confidence'],
      Sensitivity: ['missing_condition', 'deception', 'multi_solutions'],
    },
    { headline: 'all steps together', soundClass: 'multi_solutions' },
  ),
};

/**
 * ProcessBench. Zheng et al. 2024, arXiv:2412.06559: find the first wrong step, or say that there is none. The F1 of a subset is the harmonic mean of the accuracies on
 * wrong and on right solutions; the headline is the mean of the subsets.
 */
export const processBench: StepBenchmark = {
  kind: 'steps',
  id: 'processbench',
  title: 'ProcessBench',
  paper: '2412.06559',
  files: 'gsm8k, math, olympiadbench, omnimath, JSON, JSON lines or Parquet, with id, problem, steps, label',
  metric: 'mean F1 of the subsets',
  read(r, place) {
    const steps = texts(r, 'steps', place);
    const first = Number(r.label);
    if (!Number.isInteger(first) || first < -1 || first >= steps.length)
      throw wrong(r, 'label', `a step from 0 to ${steps.length - 1}, or -1`, place);
    const id = label(r, 'id', place);
    const subset = /^(gsm8k|math|olympiadbench|omnimath)/.exec(id)?.[1] ?? place.file;
    return { id, subset, prompt: text(r, 'problem', place), steps, errors: first < 0 ? [] : [first] };
  },
  report(items, outcomes, { threshold = 0.5 } = {}) {
    const right = items.map(({ errors }, i) => {
      const call = outcomes[i].scores.findIndex((score) => !(score > threshold));
      return call === (errors[0] ?? -1);
    });
    const subsets = [...new Set(items.map(({ subset }) => subset))];
    const rows = subsets.flatMap((subset) => {
      const accuracy = (wrongOnes: boolean) => {
        const some = items.flatMap((item, i) => (item.subset === subset && item.errors.length > 0 === wrongOnes ? [right[i]] : []));
        return { value: some.length > 0 ? some.filter(Boolean).length / some.length : 0, n: some.length };
      };
      const [error, correct] = [accuracy(true), accuracy(false)];
      return [
        plain(subset, 'group', harmonic(error.value, correct.value), error.n + correct.n),
        plain(`${subset}: first error found`, 'subset', error.value, error.n),
        plain(`${subset}: right solutions passed`, 'subset', correct.value, correct.n),
      ];
    });
    const groups = rows.filter(({ level }) => level === 'group');
    return [plain('F1', 'overall', groups.reduce((sum, { value }) => sum + value, 0) / groups.length, items.length), ...rows];
  },
};
export const harmonic = (a: number, b: number) => (a + b === 0 ? 0 : (2 * a * b) / (a + b));

/**
 * The step tasks of VLRMBench. Ruan et al. 2025, arXiv:2503.07478: which steps of a solution about an image have the defect. Steps of all rows of a task are pooled; the
 * score weighs the F1 of each class by the share of the other. A scorer that does not see the image is its text-only control.
 */
export const vlrmBench: StepBenchmark = {
  kind: 'steps',
  id: 'vlrmbench',
  title: 'VLRMBench, step tasks',
  paper: '2503.07478',
  files: 'one JSON lines file a task, with id, image, question, step_list, reasoning_error, task_gt',
  metric: 'mean weighted F1 of the tasks',
  read(r, place) {
    if ('error_info' in r || !('image' in r) || (vlrmOtherTasks as readonly string[]).includes(place.file)) return undefined;
    const defects = integers(r, 'task_gt', place);
    if (defects.some((one) => one !== 0 && one !== 1)) throw wrong(r, 'task_gt', 'a list of 0 and 1', place);
    const steps = splitSteps(text(r, 'reasoning_error', place));
    if (steps.length !== defects.length) {
      if (steps.length < defects.length)
        throw new FormatError(`${at(place)}: ${defects.length} labels for the ${steps.length} steps of "reasoning_error"`);
      steps.length = defects.length;
    }
    const subset = place.file;
    return {
      id: `${subset}/${label(r, 'id', place)}`,
      subset,
      prompt: text(r, 'question', place),
      steps,
      errors: defects.flatMap((one, t) => (one === 1 ? [t] : [])),
      media: media(r, 'image', 'image'),
    };
  },
  report(items, outcomes, { threshold = 0.5 } = {}) {
    const sound = verdicts(outcomes, threshold);
    const tasks = [...new Set(items.map(({ subset }) => subset))];
    const rows = tasks.map((task) => {
      const chosen = items.flatMap((item, i) => (item.subset === task ? [i] : []));
      const { tp, fp, tn, fn } = countSteps(
        chosen.map((i) => items[i]),
        chosen.map((i) => sound[i]),
      );
      // here a positive is a step with the defect
      const { weighted } = weightedF1({ tp: tn, fp: fn, tn: tp, fn: fp });
      return plain(task, 'subset', weighted, tp + fp + tn + fn);
    });
    return [
      plain(
        'weighted F1',
        'overall',
        rows.reduce((sum, { value }) => sum + value, 0) / rows.length,
        rows.reduce((n, one) => n + one.n, 0),
      ),
      ...rows,
    ];
  },
};

/** "STEP1: ... STEP2: ..." as its steps. */
export const splitSteps = (solution: string): string[] =>
  solution
    .split(/(?=STEP\s?\d+\s?:)/)
    .map((step) => step.trim())
    .filter((step) => step !== '');

/** F1 of both classes, and their mean weighted by the share of the other class. @throws RangeError where a class has no example */
export function weightedF1({ tp, fp, tn, fn }: StepCounts): { positive: number; negative: number; weighted: number } {
  const [positives, negatives] = [tp + fn, tn + fp];
  if (positives === 0 || negatives === 0) throw new RangeError('weighted F1 needs at least one example of each class');
  const positive = tp === 0 ? 0 : (2 * tp) / (2 * tp + fp + fn);
  const negative = tn === 0 ? 0 : (2 * tn) / (2 * tn + fp + fn);
  const all = positives + negatives;
  return { positive, negative, weighted: (negatives / all) * positive + (positives / all) * negative };
}
