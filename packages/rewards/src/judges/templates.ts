/** What judges are asked. Each is a function of texts, so that any may be replaced. */
import { isMessages, type Message, type Prompt, type Rubric } from '@plumbline/data/light';

export type PairQuestion = { prompt: string; a: string; b: string; rubric?: Rubric };
export type PointQuestion = { prompt: string; completion: string; rubric?: Rubric };
export type Template<Q> = (question: Q) => Message[];

/** A prompt as a judge reads it: the text, or the turns of a conversation with who speaks. */
export const promptText = (prompt: Prompt): string =>
  isMessages(prompt) ? prompt.map(({ role, content }) => `${role}: ${content}`).join('\n\n') : prompt;

const criteriaText = (rubric?: Rubric): string =>
  rubric
    ? `\n\nJudge by these criteria and nothing else:\n${rubric.criteria
        .map(({ name, description, weight = 1 }, i) => `${i + 1}. ${name}: ${description}${weight === 1 ? '' : ` (weight ${weight})`}`)
        .join('\n')}`
    : '';
const block = (title: string, text: string) => `<${title}>\n${text}\n</${title}>`;

/** Which of two answers is better: a short comparison, then `[[A]]`, `[[B]]` or `[[C]]`. */
export const pairTemplate: Template<PairQuestion> = ({ prompt, a, b, rubric }) => [
  {
    role: 'system',
    content: `You compare two answers to one request. Look at whether each is correct, does what was asked, is clear and is safe. Neither the order in which they stand nor their length says anything about their quality.${criteriaText(rubric)}\n\nWrite a short comparison, then end with your verdict alone on the last line: [[A]] if answer A is better, [[B]] if answer B is better, [[C]] if they are equally good.`,
  },
  { role: 'user', content: [block('request', prompt), block('answer A', a), block('answer B', b)].join('\n\n') },
];

/** The same, to be answered by one letter: for verdicts from the letters' probabilities. */
export const pairLetterTemplate: Template<PairQuestion> = ({ prompt, a, b, rubric }) => [
  {
    role: 'user',
    content: `Here are a request and two answers to it.${criteriaText(rubric)}\n\n${[block('request', prompt), block('answer A', a), block('answer B', b)].join('\n\n')}\n\nWhich answer is better? Reply with one letter, A or B.`,
  },
];

/** How good one answer is, on a scale: a short assessment, then `[[n]]`. */
export const pointTemplate =
  ({ min, max }: { min: number; max: number }): Template<PointQuestion> =>
  ({ prompt, completion, rubric }) => [
    {
      role: 'system',
      content: `You rate an answer to a request from ${min} (useless or wrong) to ${max} (could not be better). Its length says nothing about its quality.${criteriaText(rubric)}\n\nWrite a short assessment, then end with the rating alone on the last line, in double brackets, for instance [[${Math.round((min + max) / 2)}]].`,
    },
    { role: 'user', content: [block('request', prompt), block('answer', completion)].join('\n\n') },
  ];

/** Which criteria an answer meets: one line `k: yes` or `k: no` for each. */
export const checklistTemplate: Template<PointQuestion & { rubric: Rubric }> = ({ prompt, completion, rubric }) => [
  {
    role: 'system',
    content: `You check an answer against a list of criteria, each by itself. For every criterion write one line: its number, a colon, and yes if the answer meets it or no if it does not. Write nothing else.`,
  },
  {
    role: 'user',
    content: [
      block('request', prompt),
      block('answer', completion),
      block('criteria', rubric.criteria.map(({ name, description }, i) => `${i + 1}. ${name}: ${description}`).join('\n')),
    ].join('\n\n'),
  },
];

/** Whether an answer is right: yes or no. */
export const yesNoTemplate: Template<PointQuestion> = ({ prompt, completion, rubric }) => [
  {
    role: 'user',
    content: `Here are a request and an answer to it.${criteriaText(rubric)}\n\n${[block('request', prompt), block('answer', completion)].join('\n\n')}\n\nIs the answer ${rubric ? 'good by these criteria' : 'correct'}? Reply with one word, yes or no.`,
  },
];

/** The best to the worst of several answers: `[[2, 1, 3]]`. */
export const rankingTemplate: Template<{ prompt: string; completions: string[]; rubric?: Rubric }> = ({ prompt, completions, rubric }) => [
  {
    role: 'system',
    content: `You rank answers to one request from the best to the worst. Neither their order nor their length says anything about their quality.${criteriaText(rubric)}\n\nWrite a short comparison, then end with the ranking alone on the last line: the answers' numbers, best first, in double brackets, for instance [[${completions.map((_, i) => completions.length - i).join(', ')}]].`,
  },
  { role: 'user', content: [block('request', prompt), ...completions.map((text, i) => block(`answer ${i + 1}`, text))].join('\n\n') },
];

/** Whether the last of some steps is right: yes or no. */
export const stepTemplate: Template<{ prompt: string; steps: string[] }> = ({ prompt, steps }) => [
  {
    role: 'user',
    content: `Here are a problem and the first steps of a solution.\n\n${[block('problem', prompt), block('steps', steps.map((step, i) => `${i + 1}. ${step}`).join('\n'))].join('\n\n')}\n\nIs step ${steps.length} correct, given the problem and the steps before it? Reply with one word, yes or no.`,
  },
];
