/** Benchmarks of maths: a final answer that is found in the response and compared exactly. */
import { type AnswerRule, extractAnswer, mathEqual } from '@plumbline/data';
import { text, wrong } from './fields.js';
import { tabulate } from './numbers.js';
import type { AnswerBenchmark, AnswerItem, AnswerOutcome } from './types.js';

/** Any of the marks of a final answer, else the last number of the response, as is usual for models that were told no form. */
const rules: readonly AnswerRule[] = ['boxed', 'hash', 'tag', 'answer-is', 'last-number'];

/** Whether a response's final answer is the known one. */
export function answersRight(response: string, answer: string): boolean {
  const found = extractAnswer(response, rules);
  return found !== null && mathEqual(found.value, answer);
}

const accuracy = (items: readonly AnswerItem[], outcomes: readonly AnswerOutcome[]) =>
  tabulate(
    items.map(({ subset }, i) => ({ subset, value: outcomes[i].passed.right })),
    { overall: 'items', name: 'accuracy' },
  );
const check: AnswerBenchmark<string>['check'] = async ({ target }, response) => ({ right: answersRight(response, target) ? 1 : 0 });
const asked = (question: string) => `${question}\n\nReason step by step, and put the final answer in \\boxed{}.`;

/** GSM8K. Cobbe et al. 2021, arXiv:2110.14168: grade-school word problems; the known answer stands behind `####`. */
export const gsm8k: AnswerBenchmark<string> = {
  kind: 'answers',
  id: 'gsm8k',
  title: 'GSM8K',
  paper: '2110.14168',
  files: 'test.jsonl with question and answer',
  metric: 'share of right final answers',
  maxTokens: 512,
  read(r, place) {
    const answer = /####\s*(.+)\s*$/.exec(text(r, 'answer', place))?.[1];
    if (!answer) throw wrong(r, 'answer', 'a solution that ends in "#### ANSWER"', place);
    return { id: String(place.line), subset: 'all', prompt: asked(text(r, 'question', place)), target: answer.trim() };
  },
  check,
  report: accuracy,
};

/** MATH and MATH-500. Hendrycks et al. 2021, arXiv:2103.03874: competition problems by subject; the answer is the `answer` column, or what the solution has in a box. */
export const math: AnswerBenchmark<string> = {
  kind: 'answers',
  id: 'math',
  title: 'MATH',
  paper: '2103.03874',
  files: 'JSON lines, one file or many, with problem, solution or answer, subject (or type) and level',
  metric: 'share of right final answers',
  maxTokens: 1024,
  read(r, place) {
    const answer = typeof r.answer === 'string' ? r.answer : extractAnswer(text(r, 'solution', place), ['boxed'])?.value;
    if (answer === undefined) throw wrong(r, 'solution', 'a solution with its answer in \\boxed{}', place);
    const subset = String(r.subject ?? r.type ?? 'all');
    const id = typeof r.unique_id === 'string' ? r.unique_id : `${place.file}/${place.line}`;
    return { id, subset, prompt: asked(text(r, 'problem', place)), target: answer };
  },
  check,
  report: (items, outcomes) => accuracy(items, outcomes),
};

/** MGSM. Shi et al. 2022, arXiv:2210.03057: 250 problems of GSM8K in eleven languages; the headline is the mean of the languages. */
export const mgsm: AnswerBenchmark<string> = {
  kind: 'answers',
  id: 'mgsm',
  title: 'MGSM',
  paper: '2210.03057',
  files: 'mgsm_LANGUAGE.tsv, a question and its answer, without a row of names',
  metric: 'mean accuracy of the languages',
  header: ['question', 'answer'],
  maxTokens: 512,
  read(r, place) {
    const [question, answer] = [text(r, 'question', place), String(r.answer)];
    if (!/^[\d.,-]+$/.test(answer)) throw wrong(r, 'answer', 'a number', place);
    const language = /mgsm_(\w+)/.exec(place.file)?.[1] ?? place.file;
    return { id: `${language}/${place.line}`, subset: language, prompt: asked(question), target: answer };
  },
  check,
  report: (items, outcomes) =>
    tabulate(
      items.map(({ subset }, i) => ({ subset, value: outcomes[i].passed.right })),
      { overall: 'subsets', name: 'accuracy' },
    ),
};
