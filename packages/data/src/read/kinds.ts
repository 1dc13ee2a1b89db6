/** Which kind of record a row holds, by its columns, and the records themselves, whatever the columns are called. */
import { FormatError } from '@plumbline/core';
import type { Completion, Message, Prompt } from '../interfaces.js';
import {
  type CompletionRecord,
  isMessages,
  type MessagesRecord,
  type MultiScoreRecord,
  type PromptRecord,
  type RecordKind,
  type Records,
  type ScoredGroup,
  type StepwiseRecord,
  type TextRecord,
  type TrajectoryRecord,
  textOf,
  type UnpairedRecord,
} from '../records.js';
import {
  booleanOf,
  completionColumns,
  completionIn,
  find,
  hasToolCalls,
  isRow,
  isTextList,
  messagesIn,
  metaOf,
  missing,
  numberIn,
  promptColumns,
  promptIn,
  type Row,
  type RowOptions,
  RowSkipped,
  show,
} from './cells.js';
import { looksLikePreference, preferencesOfRow, promptOfRow } from './rows.js';

export const recordKinds: readonly RecordKind[] = [
  'preference',
  'stepwise',
  'ranked',
  'trajectory',
  'unpaired',
  'multiscore',
  'messages',
  'completion',
  'prompt',
  'text',
];

/**
 * The kind of record in a row, by its columns; `undefined` where they fit none. Of several rows' columns together, give the first value of each.
 *
 * In this order: two answers and which is better (preference); steps with labels or an error's place (stepwise); several completions with scores or ranks
 * (ranked); messages with step labels or a reward (trajectory); a completion with a true-or-false `label` (unpaired), with numbers for attributes (multiscore);
 * messages with an answer (messages); a prompt with a completion, without one, text alone.
 */
export function detectKind(row: Row): RecordKind | undefined {
  if (looksLikePreference(row)) return 'preference';
  if (stepFormats.some(({ fits }) => fits(row))) return 'stepwise';
  if (rankedColumns(row)) return 'ranked';
  const messages = messagesColumn(row);
  const answered = messages !== undefined && hasAnswer(row[messages] as unknown[]);
  if (answered && find(row, [...stepLabelColumns, ...rewardColumns])) return 'trajectory';
  const completion = find(row, completionColumns);
  const asked = find(row, promptColumns);
  if ((answered || (completion && asked)) && booleanOf(row.label) !== undefined) return 'unpaired';
  const scored = isRow(row.scores) && Object.values(row.scores).some((score) => typeof score === 'number' || typeof score === 'string');
  if (completion && asked && (scored || attributesOf(row).length > 0)) return 'multiscore';
  if (answered) return 'messages';
  if (completion && asked) return 'completion';
  if (asked) return 'prompt';
  return typeof row.text === 'string' ? 'text' : undefined;
}

/** Every record of a row that is of this kind. @throws FormatError naming the column and what it held; RowSkipped where it holds none to use, such as a tie */
export function recordsOfRow<K extends RecordKind>(row: Row, kind: K, options: RowOptions = {}): Records[K][] {
  return parsers[kind](row, options);
}

const parsers: { [K in RecordKind]: (row: Row, options: RowOptions) => Records[K][] } = {
  preference: (row, options) => preferencesOfRow(row, { ...options, keepColumns: true }),
  prompt: (row, options): PromptRecord[] => [promptOfRow(row, options)],
  completion: completionsOfRow,
  unpaired: unpairedOfRow,
  stepwise: (row, options) => [stepwiseOfRow(row, options)],
  multiscore: multiScoreOfRow,
  ranked: (row, options) => [rankedOfRow(row, options)],
  messages: (row) => [messagesOfRow(row)],
  trajectory: (row) => [trajectoryOfRow(row)],
  text: (row): TextRecord[] => {
    if (typeof row.text !== 'string') throw new FormatError(`"text" must be text, got ${show(row.text)}`);
    if (row.text.trim() === '') throw new RowSkipped('the text is empty');
    return [{ text: row.text, ...metaOf(row, ['text']) }];
  },
};

// A prompt and one completion.

/** The record of each completion in the row (a column may hold several), with the columns used. */
function completionsOfRow(row: Row, options: RowOptions): CompletionRecord[] {
  const { parts, used } = promptAndCompletions(row, options);
  return parts.map((part) => ({ ...part, ...metaOf(row, used) }));
}

function unpairedOfRow(row: Row, options: RowOptions): UnpairedRecord[] {
  const label = booleanOf(row.label);
  if (label === undefined) throw new FormatError(`"label" must be true or false, got ${show(row.label)}`);
  const { parts, used } = promptAndCompletions(row, options);
  return parts.map((part) => ({ ...part, label, ...metaOf(row, [...used, 'label']) }));
}

function multiScoreOfRow(row: Row, options: RowOptions): MultiScoreRecord[] {
  const columns = attributesOf(row);
  const inside = isRow(row.scores) ? row.scores : undefined;
  const scores = Object.fromEntries([
    ...columns.map((column) => [column, numberIn(row, column)] as const),
    ...Object.keys(inside ?? {}).map((name) => [name, numberIn(inside!, name)] as const),
  ]);
  if (Object.keys(scores).length === 0) throw new FormatError(`no number for an attribute (scores, ${attributeColumns.join(', ')})`);
  const { parts, used } = promptAndCompletions(row, options);
  return parts.map((part) => ({ ...part, scores, ...metaOf(row, [...used, ...columns, ...(inside ? ['scores'] : [])]) }));
}

function promptAndCompletions(row: Row, options: RowOptions): { parts: { prompt: Prompt; completion: Completion }[]; used: string[] } {
  const completionColumn = find(row, completionColumns);
  const promptColumn = find(row, promptColumns);
  const messages = messagesColumn(row);
  if (messages && (completionColumn === undefined || promptColumn === messages) && hasAnswer(row[messages] as unknown[])) {
    const all = withSystem(row, messagesIn(row[messages] as unknown[], messages));
    let end = all.length;
    while (end > 0 && all[end - 1].role !== 'assistant') end--;
    const start = all.slice(0, end).findLastIndex(({ role }) => role === 'user') + 1;
    if (start === 0) throw new FormatError(`"${messages}" has no user's message before the answer`);
    refuseEmpty(all.slice(start, end), messages);
    return { parts: [{ prompt: all.slice(0, start), completion: all.slice(start, end) }], used: [messages, 'system'] };
  }
  if (promptColumn === undefined) throw missing(row, 'a prompt', promptColumns);
  const nothing = completionColumns.find((column) => row[column] === null);
  if (completionColumn === undefined && nothing) throw new RowSkipped(`"${nothing}" is empty`);
  if (completionColumn === undefined) throw missing(row, 'a completion', completionColumns);
  const used = [promptColumn, completionColumn, ...(promptColumn === 'instruction' ? ['input'] : [])];
  const prompt = promptIn(row, promptColumn, options);
  if (textOf(prompt).trim() === '') throw new FormatError(`"${promptColumn}" is empty`);
  const value = row[completionColumn];
  const completions: Completion[] = isTextList(value) ? value : [completionIn(row, completionColumn, options)];
  const parts = completions.map((completion) => {
    refuseEmpty(completion, completionColumn);
    if (isMessages(prompt) === isMessages(completion)) return { prompt, completion };
    return {
      prompt: isMessages(prompt) ? prompt : [{ role: 'user', content: prompt }],
      completion: isMessages(completion) ? completion : [{ role: 'assistant', content: completion }],
    };
  });
  return { parts, used };
}

function refuseEmpty(completion: Completion, column: string): void {
  if (textOf(completion).trim() === '' && !hasToolCalls(completion)) throw new RowSkipped(`"${column}" is empty`);
}

const attributeColumns = [
  'helpfulness',
  'harmlessness',
  'honesty',
  'truthfulness',
  'correctness',
  'coherence',
  'complexity',
  'verbosity',
  'instruction_following',
  'toxicity',
  'quality',
  'score',
  'reward',
  'rating',
  'pm_score',
] as const;

function attributesOf(row: Row): string[] {
  const own = attributeColumns.filter((column) => {
    const value = row[column];
    return (
      typeof value === 'number' || (typeof value === 'string' && value.trim() !== '' && Number.isFinite(Number(value.replaceAll(',', ''))))
    );
  });
  return own.length > 0 || !isRow(row.scores) || Object.keys(row.scores).length === 0 ? own : [];
}

// Several completions of one prompt, with scores.

const listColumns = ['completions', 'responses', 'generations', 'outputs', 'candidates', 'samples'] as const;
const scoreColumns = ['scores', 'rewards', 'ratings'] as const;
const rankColumns = ['ranking', 'ranks', 'rank'] as const;
const ownScores = ['score', 'overall_score', 'rating', 'reward'] as const;
const ownTexts = ['completion', 'response', 'text', 'content', 'answer'] as const;

function rankedColumns(row: Row): { list: string; numbers?: string; ranks: boolean } | undefined {
  const list = find(row, listColumns);
  if (list === undefined || find(row, promptColumns) === undefined) return undefined;
  const values = row[list];
  if (!Array.isArray(values) || values.length === 0) return undefined;
  for (const column of [...scoreColumns, ...rankColumns])
    if (Array.isArray(row[column])) return { list, numbers: column, ranks: (rankColumns as readonly string[]).includes(column) };
  if (values.every((one) => isRow(one) && find(one, ownScores) && find(one, ownTexts))) return { list, ranks: false };
  return undefined;
}

function rankedOfRow(row: Row, options: RowOptions): ScoredGroup {
  const promptColumn = find(row, promptColumns);
  if (promptColumn === undefined) throw missing(row, 'a prompt', promptColumns);
  const columns = rankedColumns(row);
  if (!columns)
    throw new FormatError(
      `no list of completions with scores (${listColumns.join(', ')}, beside ${[...scoreColumns, ...rankColumns].join(', ')}); the row has ${Object.keys(row).join(', ')}`,
    );
  const values = row[columns.list] as unknown[];
  const completions = values.map((one, i): Completion => {
    const text = isRow(one) ? one[find(one, ownTexts) ?? ''] : one;
    if (typeof text === 'string') return text;
    if (Array.isArray(text)) return messagesIn(text, `${columns.list}[${i}]`);
    throw new FormatError(`"${columns.list}[${i}]" must be text or messages, got ${show(text)}`);
  });
  const given = columns.numbers ? (row[columns.numbers] as unknown[]) : values.map((one) => (one as Row)[find(one as Row, ownScores)!]);
  if (given.length !== completions.length)
    throw new FormatError(`"${columns.numbers}" has ${given.length} numbers for ${completions.length} completions`);
  const numbers = given.map((value, i) =>
    numberIn({ [`${columns.numbers ?? 'score'}[${i}]`]: value }, `${columns.numbers ?? 'score'}[${i}]`),
  );
  const used = [promptColumn, columns.list, ...(columns.numbers ? [columns.numbers] : [])];
  return {
    prompt: promptIn(row, promptColumn, options),
    completions,
    scores: columns.ranks ? numbers.map((rank) => -rank) : numbers,
    ...metaOf(row, used),
  };
}

// Steps.

type Steps = { prompt: Prompt; steps: string[]; labels: boolean[]; used: string[] };
type StepFormat = { fits(row: Row): boolean; read(row: Row, options: RowOptions): Steps };

/** As the data sets have them: TRL; PRMBench and its kin; BIG-Bench Mistake; MR-GSM8K; ReasonEval; VLRMBench; Math-Shepherd; PRM800K. */
const stepFormats: readonly StepFormat[] = [
  {
    fits: (row) => Array.isArray(row.completions) && Array.isArray(row.labels),
    read: (row, options) => ({
      ...asked(row, options),
      steps: texts(row, 'completions'),
      labels: flags(row, 'labels'),
      used: ['completions', 'labels'],
    }),
  },
  {
    fits: (row) => Array.isArray(row.modified_process) && Array.isArray(row.error_steps),
    read(row, options) {
      const steps = texts(row, 'modified_process');
      const wrong = (row.error_steps as unknown[]).map((at) => place(at, steps.length, 1, 'error_steps'));
      const question = find(row, ['modified_question', 'original_question', 'question']);
      const prompt = question ? promptIn(row, question, options) : asked(row, options).prompt;
      return {
        prompt,
        steps,
        labels: steps.map((_, i) => !wrong.includes(i)),
        used: [question ?? '', 'modified_process', 'error_steps'],
      };
    },
  },
  {
    fits: (row) => Array.isArray(row.steps) && 'mistake_index' in row,
    read: (row, options) => upToFirst(row, options, 'steps', 'mistake_index', 0),
  },
  {
    fits: (row) => Array.isArray(row.model_output_steps) && 'model_output_solution_first_error_step' in row,
    read: (row, options) => upToFirst(row, options, 'model_output_steps', 'model_output_solution_first_error_step', 1),
  },
  {
    fits: (row) => Array.isArray(row.model_output_step_format) && 'model_output_solution_first_error_step' in row,
    read: (row, options) => upToFirst(row, options, 'model_output_step_format', 'model_output_solution_first_error_step', 1),
  },
  {
    fits: (row) => Array.isArray(row.model_output_step_format) && Array.isArray(row.rating),
    read: (row, options) => ({
      ...asked(row, options),
      steps: texts(row, 'model_output_step_format'),
      labels: (row.rating as unknown[]).map((_, i, all) => numberIn({ rating: all[i] }, 'rating') >= 0),
      used: ['model_output_step_format'],
    }),
  },
  {
    fits: (row) => typeof row.reasoning_error === 'string' && Array.isArray(row.task_gt),
    read: (row, options) => ({
      ...asked(row, options),
      steps: (row.reasoning_error as string).split(/(?=STEP\s*\d+:)/).filter((step) => step.trim() !== ''),
      labels: flags(row, 'task_gt').map((wrong) => !wrong),
      used: ['reasoning_error', 'task_gt'],
    }),
  },
  {
    fits: (row) => typeof row.input === 'string' && typeof row.label === 'string' && row.input.includes(shepherdTag),
    read: readShepherd,
  },
  {
    fits: (row) => isRow(row.label) && Array.isArray(row.label.steps) && isRow(row.question),
    read: readPrm800k,
  },
];

function stepwiseOfRow(row: Row, options: RowOptions): StepwiseRecord {
  const format = stepFormats.find(({ fits }) => fits(row));
  if (!format)
    throw new FormatError(`no steps with labels (completions and labels, for one); the row has ${Object.keys(row).join(', ') || 'none'}`);
  const { prompt, steps, labels, used } = format.read(row, options);
  if (steps.length === 0) throw new RowSkipped('there are no steps');
  if (steps.length !== labels.length) throw new FormatError(`there are ${steps.length} steps and ${labels.length} labels`);
  return {
    prompt,
    completions: steps,
    labels,
    ...metaOf(row, [...(find(row, promptColumns) ? [find(row, promptColumns)!] : []), ...used]),
  };
}

function asked(row: Row, options: RowOptions): { prompt: Prompt } {
  const column = find(row, promptColumns);
  if (column === undefined) throw missing(row, 'a prompt', promptColumns);
  return { prompt: promptIn(row, column, options) };
}

/** Only the first wrong step is known: those after it have no label, and are left out. */
function upToFirst(row: Row, options: RowOptions, stepColumn: string, errorColumn: string, base: 0 | 1): Steps {
  const steps = texts(row, stepColumn);
  const value = row[errorColumn];
  const none = value === null || value === undefined || value === 'N/A' || value === '' || value === -1;
  const at = none ? steps.length : place(value, steps.length, base, errorColumn);
  return {
    ...asked(row, options),
    steps: steps.slice(0, at + 1),
    labels: steps.slice(0, at + 1).map((_, i) => i < at),
    used: [stepColumn],
  };
}

/** A step's index. @throws RowSkipped where there is no such step, as in a few rows of PRMBench */
function place(value: unknown, steps: number, base: 0 | 1, column: string): number {
  const index = numberIn({ [column]: value }, column) - base;
  if (!(Number.isInteger(index) && index >= 0 && index < steps))
    throw new RowSkipped(`"${column}" names step ${show(value)} (counted from ${base}), and there are ${steps} steps`);
  return index;
}

function texts(row: Row, column: string): string[] {
  return (row[column] as unknown[]).map((step, i) => {
    if (typeof step === 'string') return step;
    if (isTextList(step)) return step.join('\n');
    throw new FormatError(`"${column}[${i}]" must be text, got ${show(step)}`);
  });
}

function flags(row: Row, column: string): boolean[] {
  return (row[column] as unknown[]).map((value, i) => {
    const flag = booleanOf(value);
    if (flag === undefined) throw new FormatError(`"${column}[${i}]" must be true or false, got ${show(value)}`);
    return flag;
  });
}

const shepherdTag = 'ки';

/** `input` has a mark after each step, `label` the same text with + or - in the marks' place. */
function readShepherd(row: Row): Steps {
  const parts = (row.input as string).split(shepherdTag);
  const last = parts.pop()!;
  if (last.trim() !== '') throw new FormatError(`"input" goes on after its last step: ${show(last)}`);
  const begin = parts[0].search(/\s*Step 1:/);
  if (begin < 0) throw new FormatError('"input" has no "Step 1:"');
  const prompt = parts[0].slice(0, begin).trim();
  const steps = [parts[0].slice(begin).trim(), ...parts.slice(1).map((step) => step.trim())];
  let at = 0;
  const labels = parts.map((part, i) => {
    at += part.length;
    const mark = (row.label as string)[at];
    if (mark !== '+' && mark !== '-') throw new FormatError(`"label" must have + or - after step ${i + 1}, got ${show(mark)}`);
    at += 1;
    return mark === '+';
  });
  return { prompt, steps, labels, used: ['input', 'label'] };
}

/** The path that the labellers took: of each step the chosen completion, else the human one, else, and this ends it, the first. Neutral counts as right. */
function readPrm800k(row: Row): Steps {
  const question = (row.question as Row).problem;
  if (typeof question !== 'string') throw new FormatError(`"question.problem" must be text, got ${show(question)}`);
  const steps: string[] = [];
  const labels: boolean[] = [];
  for (const [i, step] of ((row.label as Row).steps as unknown[]).entries()) {
    const { completions, human_completion: human, chosen_completion: chosen } = isRow(step) ? step : {};
    const list = Array.isArray(completions) ? completions : [];
    const one = typeof chosen === 'number' ? list[chosen] : isRow(human) ? human : list[0];
    if (one === undefined && i > 0) break; // given up
    if (!isRow(one) || typeof one.text !== 'string') throw new FormatError(`"label.steps[${i}]" has no completion`);
    steps.push(one.text);
    labels.push(one === human || one.rating === null || Number(one.rating) >= 0);
    if (typeof chosen !== 'number' && !isRow(human)) break;
  }
  return { prompt: question, steps, labels, used: ['question', 'label'] };
}

// Conversations.

const stepLabelColumns = ['step_labels'] as const;
const rewardColumns = ['reward', 'final_label', 'success'] as const;

function messagesColumn(row: Row): string | undefined {
  return ['messages', 'conversations', 'conversation', 'trajectory'].find(
    (column) => Array.isArray(row[column]) && isRow((row[column] as unknown[])[0]),
  );
}

function hasAnswer(list: readonly unknown[]): boolean {
  return list.some(
    (m) =>
      isRow(m) &&
      (['assistant', 'gpt', 'chatgpt', 'bot', 'agent', 'model'].includes(String(m.role ?? m.from)) || typeof m.response === 'string'),
  );
}

function withSystem(row: Row, messages: Message[]): Message[] {
  if (typeof row.system !== 'string' || row.system.trim() === '' || messages[0]?.role === 'system') return messages;
  return [{ role: 'system', content: row.system }, ...messages];
}

function messagesOfRow(row: Row): MessagesRecord {
  const column = messagesColumn(row);
  if (column === undefined) throw missing(row, 'messages', ['messages', 'conversations', 'conversation', 'trajectory']);
  const messages = withSystem(row, messagesIn(row[column] as unknown[], column));
  if (!messages.some(({ role }) => role === 'assistant')) throw new RowSkipped(`"${column}" has no answer`);
  return { messages, ...metaOf(row, [column, 'system']) };
}

function trajectoryOfRow(row: Row): TrajectoryRecord {
  const { messages, meta, ...origin } = messagesOfRow(row);
  const rewardColumn = find(row, rewardColumns);
  const reward =
    rewardColumn && typeof row[rewardColumn] === 'boolean' ? Number(row[rewardColumn]) : rewardColumn && numberIn(row, rewardColumn);
  const { step_labels: labels, ...others } = meta ?? {};
  if (rewardColumn) delete others[rewardColumn];
  const found: Record<string, number> = {};
  if (isRow(labels) || Array.isArray(labels)) {
    for (const [at, label] of Object.entries(labels)) {
      if (label === null) continue;
      if (!(Number(at) < messages.length)) throw new FormatError(`"step_labels" names message ${at}, and there are ${messages.length}`);
      found[at] = numberIn({ [`step_labels.${at}`]: label }, `step_labels.${at}`);
    }
  } else if (labels !== undefined && labels !== null) throw new FormatError(`"step_labels" must be labels by message, got ${show(labels)}`);
  return {
    messages,
    ...(Object.keys(found).length > 0 && { step_labels: found }),
    ...(typeof reward === 'number' && { reward }),
    ...(Object.keys(others).length > 0 && { meta: others }),
    ...origin,
  };
}
