/** ViLBench: which of many solutions of a question about an image a scorer takes. */
import { extractAnswer, mathEqual } from '@plumbline/data';
import { label, media, text, texts, wrong } from './fields.js';
import { moments, plain, row, tabulate } from './numbers.js';
import type { BenchmarkNumber, PreferenceBenchmark, PreferenceItem, PreferenceOutcome, Row } from './types.js';

/** Names that the fields go by; those of the official files were not at hand. */
const names = {
  id: ['id', 'index', 'question_id'],
  question: ['question', 'problem', 'query', 'prompt'],
  answer: ['answer', 'gt_answer', 'ground_truth', 'gt'],
  candidates: ['candidates', 'responses', 'generations', 'solutions'],
  source: ['source', 'dataset', 'category'],
  image: ['image', 'images', 'image_path'],
} as const;
const named = (r: Row, what: keyof typeof names): string => names[what].find((name) => name in r) ?? names[what][0];

/** The final answer of a solution, a letter where there are options. */
export function finalAnswer(solution: string, options: number): string | undefined {
  if (options === 0) return extractAnswer(solution, ['boxed', 'tag', 'hash', 'answer-is', 'last-number'])?.value;
  const letter = `[A-${String.fromCharCode(64 + options)}]`;
  const said = [
    ...solution.matchAll(
      new RegExp(`(?:answer|option|choice)[^.\\n]{0,20}?\\b(${letter})\\b|\\\\boxed\\{\\(?(${letter})\\)?\\}|\\((${letter})\\)`, 'gi'),
    ),
  ].at(-1);
  const last = said ?? new RegExp(`\\b(${letter})\\b(?![\\s\\S]*\\b${letter}\\b)`).exec(solution) ?? undefined;
  return last?.slice(1).find(Boolean)?.toUpperCase();
}

/**
 * ViLBench. Tu et al. 2025, arXiv:2503.20271: accuracy of the best of the given solutions by the scorer's choice, the first where several score the same. A step scorer's score of a
 * solution is the mean over its steps. Shown beside it: any right (no scorer can do more), the share of right ones (a random choice), and the majority's answer.
 */
export const vilBench: PreferenceBenchmark = {
  kind: 'preference',
  id: 'vilbench',
  title: 'ViLBench',
  paper: '2503.20271',
  files: 'JSON or JSON lines with id, question, options (where there are some), answer, source, candidates (texts) and image paths',
  metric: 'accuracy of the solution that is chosen',
  scoresOnly: true,
  read(r, place) {
    const candidates = texts(r, named(r, 'candidates'), place);
    if (candidates.length === 0) throw wrong(r, named(r, 'candidates'), 'at least one solution', place);
    const options = Array.isArray(r.options) ? r.options.map(String) : [];
    const key = label(r, named(r, 'answer'), place).trim();
    const answers = candidates.map((one) => finalAnswer(one, options.length) ?? '');
    // the key may be the option's text
    const letter = options.includes(key) ? String.fromCharCode(65 + options.indexOf(key)) : key.replace(/^\(?([A-Z])[).].*$/s, '$1');
    const isRight = (answer: string) => answer !== '' && (options.length > 0 ? answer === letter.toUpperCase() : mathEqual(answer, key));
    const order = [...candidates.keys()].sort((a, b) => Number(isRight(answers[b])) - Number(isRight(answers[a])) || a - b);
    const listed = options.map((option, i) => `${String.fromCharCode(65 + i)}. ${option}`);
    return {
      id: label(r, named(r, 'id'), place),
      subset: named(r, 'source') in r ? label(r, named(r, 'source'), place) : 'all',
      prompt: [text(r, named(r, 'question'), place), ...listed].join('\n'),
      candidates: order.map((at) => candidates[at]),
      correct: answers.filter(isRight).length,
      media: media(r, named(r, 'image'), 'image'),
      info: { order: JSON.stringify(order), answers: JSON.stringify(answers) },
    };
  },
  report(items, outcomes) {
    const most = Math.max(...items.map(({ candidates }) => candidates.length));
    const best = (n: number) => items.map((item, i) => ({ subset: item.subset, value: chosen(item, outcomes[i], n).value }));
    const [whole, ...subsets] = tabulate(best(most), { overall: 'items', name: 'accuracy' });
    const detail = (name: string, values: readonly number[]): BenchmarkNumber => row(name, 'detail', moments(values));
    const over = [2, 4, 8, 16, 24].filter((n) => n < most);
    return [
      whole,
      ...over.map((n) =>
        detail(
          `best of the first ${n}`,
          best(n).map(({ value }) => value),
        ),
      ),
      detail(
        'any right',
        items.map(({ correct }) => (correct > 0 ? 1 : 0)),
      ),
      detail(
        'a random choice',
        items.map(({ correct, candidates }) => correct / candidates.length),
      ),
      detail('the majority', items.map(majorityRight)),
      plain(
        'first place shared',
        'detail',
        items.filter((item, i) => chosen(item, outcomes[i], most).shared).length / items.length,
        items.length,
      ),
      ...subsets,
    ];
  },
};

/** Whether the solution with the highest score is right, of the first `n` in the file's order, and whether others score the same. */
function chosen(item: PreferenceItem, outcome: PreferenceOutcome, n: number): { value: number; shared: boolean } {
  const order = JSON.parse(item.info!.order) as number[];
  const scores = 'scores' in outcome ? outcome.scores : [];
  const here = order.flatMap((at, i) => (at < n ? [{ at, score: scores[i], right: i < item.correct }] : []));
  const highest = Math.max(...here.map(({ score }) => score));
  const first = here.filter(({ score }) => score === highest).sort((a, b) => a.at - b.at);
  return { value: first[0].right ? 1 : 0, shared: first.length > 1 };
}

/** The answer that most solutions give; the one given first where two are given as often. */
function majorityRight({ info, correct }: PreferenceItem): number {
  const [order, answers] = [JSON.parse(info!.order) as number[], JSON.parse(info!.answers) as string[]];
  const votes = new Map<string, number>();
  for (const answer of answers) if (answer !== '') votes.set(answer, (votes.get(answer) ?? 0) + 1);
  const most = [...votes].reduce((best, one) => (one[1] > best[1] ? one : best), ['', 0])[0];
  const at = answers.indexOf(most);
  return most !== '' && order.indexOf(at) < correct ? 1 : 0;
}
