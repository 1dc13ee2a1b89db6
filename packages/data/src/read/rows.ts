/** From a row of a data set, whatever its columns are called, to records. */
import { FormatError } from '@plumbline/core';
import type { Completion, Message, Prompt } from '../interfaces.js';
import { isMessages, type PreferenceRecord, type PromptRecord, sameCompletion, sameMessage, textOf } from '../records.js';
import { isTranscript, parseTranscript } from './transcript.js';

export type Row = Record<string, unknown>;
/** A row that is left out although it is well-formed, such as a tie. */
export class RowSkipped extends Error {}

export type RowOptions = {
  /** Whether "\n\nHuman: … \n\nAssistant: …" becomes messages (the default) or stays text. */
  transcripts?: 'messages' | 'text';
};

const promptColumns = ['prompt', 'instruction', 'question', 'query', 'conversations', 'context_messages', 'input', 'messages'] as const;
const chosenColumns = ['chosen', 'chosen_messages', 'chosen_response'] as const;
const rejectedColumns = ['rejected', 'rejected_messages', 'rejected_response', 'reject'] as const;

/**
 * The preference pairs of one row. Understood, with the data sets that have them:
 * - `prompt` (or instruction and input, question, query, conversations, context_messages), `chosen`, `rejected` (or reject): text, one
 *   message or messages, also `{ from, value }` and contents in parts; where the answers repeat the prompt it is taken off
 * - `chosen`, `rejected` alone: the prompt is the shared beginning of the two conversations or texts
 * - lists of answers on both sides: every chosen with every rejected (RM-Bench)
 * - two answers and a verdict: `response_0/1` with `better_response_id`, `output_1/2` with `label` or `preference` in [1, 2], `response 1/2`
 *   with `label` 0 or 1, `response_A/B` with `label` "A>B", `completion_a/b` with `preference`, `response1/2` with `annotator1…3`
 *
 * @throws FormatError saying what is missing or what it held; RowSkipped for ties, equal and empty answers
 */
export function preferencesOfRow(row: Row, options: RowOptions = {}): PreferenceRecord[] {
  const judged = verdicts.find(({ a, b, verdict }) => a in row && b in row && verdict.some((column) => column in row));
  const records = judged ? judgedPair(row, judged, options) : chosenAndRejected(row, options);
  const kept = records.filter(({ chosen, rejected }) => !sameCompletion(chosen, rejected));
  if (kept.length === 0) throw new RowSkipped('chosen and rejected are the same');
  for (const { chosen, rejected } of kept) {
    if (textOf(chosen).trim() === '' && !hasToolCalls(chosen)) throw new RowSkipped('the chosen answer is empty');
    if (textOf(rejected).trim() === '' && !hasToolCalls(rejected)) throw new RowSkipped('the rejected answer is empty');
  }
  const extra = { ...numbers(row, options), ...metaOf(row) };
  return kept.map((record) => ({ ...record, ...extra }));
}

/** The prompt of one row; its other columns go to `meta`. Of conversations that end with an answer, the part before that answer. */
export function promptOfRow(row: Row, options: RowOptions = {}): PromptRecord {
  const column = find(row, promptColumns) ?? find(row, chosenColumns);
  if (column === undefined) throw missing(row, 'a prompt', promptColumns);
  if ((chosenColumns as readonly string[]).includes(column)) return { prompt: chosenAndRejected(row, options)[0].prompt, ...metaOf(row) };
  let prompt = promptIn(row, column, options);
  if (isMessages(prompt)) while (prompt.length > 1 && prompt.at(-1)!.role === 'assistant') prompt = prompt.slice(0, -1);
  if (textOf(prompt).trim() === '') throw new FormatError(`"${column}" is empty`);
  const { [column]: _, ...meta } = row;
  return { prompt, ...(typeof row.id === 'string' && { id: row.id }), ...(Object.keys(meta).length > 0 && { meta }) };
}

// Two answers and a verdict.

type Verdict = { a: string; b: string; verdict: readonly string[]; winner(row: Row): 'a' | 'b' | 'tie' | { pA: number } };

const verdicts: readonly Verdict[] = [
  {
    a: 'response_0',
    b: 'response_1',
    verdict: ['better_response_id'],
    winner: (row) => among(row, 'better_response_id', { 0: 'a', 1: 'b' }),
  },
  { a: 'output_1', b: 'output_2', verdict: ['label'], winner: (row) => among(row, 'label', { 1: 'a', 2: 'b' }) },
  {
    a: 'output_1',
    b: 'output_2',
    verdict: ['preference'],
    winner: ({ preference }) => {
      if (typeof preference === 'number' && preference >= 1 && preference <= 2) return { pA: 2 - preference };
      throw new FormatError(`"preference" must be a number in [1, 2], got ${show(preference)}`);
    },
  },
  { a: 'response 1', b: 'response 2', verdict: ['label'], winner: (row) => among(row, 'label', { 0: 'a', 1: 'b', 2: 'tie' }) },
  {
    a: 'response_A',
    b: 'response_B',
    verdict: ['label'],
    winner: (row) => among(row, 'label', { 'A>B': 'a', 'B>A': 'b', 'A=B': 'tie' }),
  },
  {
    a: 'completion_a',
    b: 'completion_b',
    verdict: ['preference'],
    winner: (row) =>
      among(row, 'preference', {
        'a-is-better': 'a',
        'a-is-slightly-better': 'a',
        'b-is-better': 'b',
        'b-is-slightly-better': 'b',
        tie: 'tie',
      }),
  },
  {
    a: 'response1',
    b: 'response2',
    verdict: ['annotator1'],
    winner: (row) => {
      const votes = ['annotator1', 'annotator2', 'annotator3'].filter((who) => who in row).map((who) => row[who]);
      const [forA, forB] = [1, 2].map((answer) => votes.filter((vote) => vote === answer).length);
      return forA > forB ? 'a' : forB > forA ? 'b' : 'tie';
    },
  },
];

function judgedPair(row: Row, { a, b, winner }: Verdict, options: RowOptions): PreferenceRecord[] {
  const column = find(row, promptColumns);
  if (column === undefined) throw missing(row, 'a prompt', promptColumns);
  const won = winner(row);
  if (won === 'tie') throw new RowSkipped('the verdict is a tie');
  const pA = typeof won === 'object' ? won.pA : undefined;
  if (pA === 0.5) throw new RowSkipped('the verdict is a tie');
  const aWins = pA === undefined ? won === 'a' : pA > 0.5;
  const record = join(promptIn(row, column, options), completionIn(row, aWins ? a : b, options), completionIn(row, aWins ? b : a, options));
  return [{ ...record, ...(pA !== undefined && { preference: aWins ? pA : 1 - pA }) }];
}

function among<W extends 'a' | 'b' | 'tie'>(row: Row, column: string, values: Record<string, W>): W {
  const value = row[column];
  if ((typeof value === 'string' || typeof value === 'number') && String(value) in values) return values[String(value)];
  throw new FormatError(`"${column}" must be one of ${Object.keys(values).join(', ')}, got ${show(value)}`);
}

// Chosen and rejected.

function chosenAndRejected(row: Row, options: RowOptions): PreferenceRecord[] {
  const chosenColumn = find(row, chosenColumns);
  const rejectedColumn = find(row, rejectedColumns);
  if (chosenColumn === undefined) throw missing(row, 'a chosen answer', chosenColumns);
  if (rejectedColumn === undefined) throw missing(row, 'a rejected answer', rejectedColumns);
  const promptColumn = find(row, promptColumns);
  const [chosen, rejected] = [row[chosenColumn], row[rejectedColumn]];
  if (isTextList(chosen) && isTextList(rejected)) {
    if (promptColumn === undefined) throw missing(row, 'a prompt', promptColumns);
    const prompt = promptIn(row, promptColumn, options);
    return chosen.flatMap((c) => rejected.map((r) => join(prompt, c, r)));
  }
  const [good, bad] = [completionIn(row, chosenColumn, options), completionIn(row, rejectedColumn, options)];
  if (promptColumn === undefined || repeatsThePrompt(good, bad)) return [sharedBeginning(good, bad)];
  return [join(promptIn(row, promptColumn, options), good, bad)];
}

/** Answers that begin with a user's or a system's message are whole conversations. */
function repeatsThePrompt(chosen: Completion, rejected: Completion): boolean {
  return [chosen, rejected].every((x) => isMessages(x) && x.length > 1 && (x[0].role === 'user' || x[0].role === 'system'));
}

/** The prompt is what both begin with: up to the first answer that differs, or, in text, up to the last whitespace they share. */
function sharedBeginning(chosen: Completion, rejected: Completion): PreferenceRecord {
  if (isMessages(chosen) && isMessages(rejected)) {
    let shared = 0;
    while (shared < Math.min(chosen.length, rejected.length) && sameMessage(chosen[shared], rejected[shared])) shared++;
    if (shared === chosen.length && shared === rejected.length) throw new RowSkipped('chosen and rejected are the same');
    // A conversation that parts at a user's turn parted at the answer before it, since an answer is what a policy writes.
    while (shared > 0 && [chosen, rejected].some((side) => side[shared]?.role !== 'assistant')) shared--;
    if (shared === 0) throw new FormatError('chosen and rejected share no messages that could be the prompt');
    return { prompt: chosen.slice(0, shared), chosen: chosen.slice(shared), rejected: rejected.slice(shared) };
  }
  if (isMessages(chosen) || isMessages(rejected)) throw new FormatError('one of chosen and rejected is text, the other messages');
  if (chosen === rejected) throw new RowSkipped('chosen and rejected are the same');
  let shared = 0;
  while (shared < Math.min(chosen.length, rejected.length) && chosen[shared] === rejected[shared]) shared++;
  const answer = isTranscript(chosen) ? chosen.slice(0, shared).lastIndexOf('\n\nAssistant:') + '\n\nAssistant:'.length : undefined;
  const cut = answer ?? chosen.slice(0, shared).search(/\s\S*$/);
  if (cut <= 0) throw new FormatError('there is no prompt column, and chosen and rejected do not begin with the same words');
  return { prompt: chosen.slice(0, cut), chosen: chosen.slice(cut), rejected: rejected.slice(cut) };
}

/** All text or all messages. */
function join(prompt: Prompt, chosen: Completion, rejected: Completion): PreferenceRecord {
  if (textOf(prompt).trim() === '') throw new FormatError('the prompt is empty');
  if (!isMessages(prompt) && !isMessages(chosen) && !isMessages(rejected)) return { prompt, chosen, rejected };
  const asked: readonly Message[] = isMessages(prompt) ? prompt : [{ role: 'user', content: prompt }];
  const answer = (x: Completion): readonly Message[] => {
    if (!isMessages(x)) return [{ role: 'assistant', content: x }];
    return x.length > asked.length && asked.every((message, i) => sameMessage(message, x[i])) ? x.slice(asked.length) : x;
  };
  return { prompt: asked, chosen: answer(chosen), rejected: answer(rejected) };
}

// Cells.

function promptIn(row: Row, column: string, options: RowOptions): Prompt {
  const prompt = cell(row, column, options);
  const input = column === 'instruction' && typeof row.input === 'string' && row.input.trim() !== '' ? `\n\n${row.input}` : '';
  if (typeof prompt === 'string') {
    if (options.transcripts !== 'text' && isTranscript(prompt)) {
      const messages = parseTranscript(prompt);
      return messages.at(-1)!.role === 'assistant' && messages.at(-1)!.content === '' ? messages.slice(0, -1) : messages;
    }
    return prompt + input;
  }
  if (typeof row.system === 'string' && row.system.trim() !== '' && prompt[0]?.role !== 'system') {
    return [{ role: 'system', content: row.system }, ...prompt];
  }
  return prompt;
}

function completionIn(row: Row, column: string, options: RowOptions): Completion {
  const value = cell(row, column, options);
  return typeof value === 'string' && options.transcripts !== 'text' && isTranscript(value) ? parseTranscript(value) : value;
}

function cell(row: Row, column: string, _options: RowOptions): string | Message[] {
  const value = row[column];
  if (typeof value === 'string') return value;
  if (isRow(value) && Array.isArray(value.messages)) return value.messages.map((m, i) => message(m, `${column}.messages[${i}]`));
  if (Array.isArray(value) && value.length > 0) return value.map((m, i) => message(m, `${column}[${i}]`));
  if (isRow(value)) return [message(value, column)];
  throw new FormatError(`"${column}" must be text, a message or a list of messages, got ${show(value)}`);
}

const roleNames: Record<string, string> = { human: 'user', gpt: 'assistant', chatgpt: 'assistant', bot: 'assistant', observation: 'tool' };

function message(value: unknown, where: string): Message {
  if (!isRow(value)) throw new FormatError(`"${where}" must be a message { role, content }, got ${show(value)}`);
  const { role, from, content, value: said, loss_weight: _, ...rest } = value;
  const who = role ?? from;
  if (typeof who !== 'string') throw new FormatError(`"${where}" has no role: it holds ${Object.keys(value).join(', ') || 'nothing'}`);
  return { role: roleNames[who] ?? who, content: contentOf(content ?? said, where), ...rest };
}

function contentOf(value: unknown, where: string): string {
  if (typeof value === 'string') return value;
  if (value === null || value === undefined) return ''; // an answer that only calls tools
  if (Array.isArray(value)) {
    return value
      .map((part) => {
        if (typeof part === 'string') return part;
        const text = isRow(part) ? (part.text ?? part.value) : undefined;
        if (isRow(part) && part.type === 'text' && typeof text === 'string') return text;
        throw new FormatError(`"${where}" has a part that is not text: ${show(part)}`);
      })
      .join('');
  }
  throw new FormatError(`the content of "${where}" must be text, got ${show(value)}`);
}

const hasToolCalls = (x: Completion): boolean => isMessages(x) && x.some((m) => m.tool_calls !== undefined);
const isRow = (x: unknown): x is Row => typeof x === 'object' && x !== null && !Array.isArray(x);
const isTextList = (x: unknown): x is string[] => Array.isArray(x) && x.length > 0 && x.every((item) => typeof item === 'string');
const find = (row: Row, columns: readonly string[]): string | undefined =>
  columns.find((column) => row[column] !== undefined && row[column] !== null);

function missing(row: Row, what: string, columns: readonly string[]): FormatError {
  return new FormatError(`no column for ${what} (${columns.join(', ')}); the row has ${Object.keys(row).join(', ') || 'none'}`);
}

const numberColumns = {
  chosen_score: ['chosen_score', 'score_chosen', 'chosen_rating'],
  rejected_score: ['rejected_score', 'score_rejected', 'rejected_rating'],
  margin: ['margin'],
  weight: ['weight'],
} as const;

function numbers(row: Row, _options: RowOptions): Partial<Record<keyof typeof numberColumns, number>> {
  const found: Partial<Record<keyof typeof numberColumns, number>> = {};
  for (const [name, columns] of Object.entries(numberColumns) as [keyof typeof numberColumns, readonly string[]][]) {
    const column = find(row, columns);
    if (column === undefined) continue;
    const value = row[column];
    if (typeof value !== 'number' || !Number.isFinite(value))
      throw new FormatError(`"${column}" must be a finite number, got ${show(value)}`);
    found[name] = value;
  }
  return found;
}

/** An id and a `meta` object of the row's own travel along. */
function metaOf(row: Row): { id?: string; meta?: Record<string, unknown> } {
  return {
    ...((typeof row.id === 'string' || typeof row.id === 'number') && { id: String(row.id) }),
    ...(isRow(row.meta) && { meta: row.meta }),
  };
}

/** A value as an error may quote it. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
