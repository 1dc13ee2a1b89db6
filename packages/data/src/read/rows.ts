/** From a row of a data set, whatever its columns are called, to preference pairs and prompts; `kinds.ts` has the other kinds. */
import { FormatError } from '@plumbline/core';
import type { Completion, Message, Prompt } from '../interfaces.js';
import { isMessages, type PreferenceRecord, type PromptRecord, sameCompletion, sameMessage, textOf } from '../records.js';
import {
  completionIn,
  find,
  hasToolCalls,
  isTextList,
  metaOf,
  missing,
  numberColumns,
  numbers,
  promptColumns,
  promptIn,
  type Row,
  type RowOptions,
  RowSkipped,
  show,
} from './cells.js';
import { isTranscript } from './transcript.js';

export { type Row, type RowOptions, RowSkipped, show } from './cells.js';

const chosenColumns = ['chosen', 'chosen_messages', 'chosen_response'] as const;
const rejectedColumns = ['rejected', 'rejected_messages', 'rejected_response', 'reject'] as const;

export type PreferenceRowOptions = RowOptions & {
  /** Whether columns that were not understood travel along in `meta`. */
  keepColumns?: boolean;
};

/** Whether the columns of this row are those of a preference. */
export function looksLikePreference(row: Row): boolean {
  return !!(verdictOf(row) ?? listedAnswers(row) ?? (find(row, chosenColumns) && find(row, rejectedColumns)));
}

/**
 * The preference pairs of one row. Understood, with the data sets that have them:
 * - `prompt` (or instruction and input, question, query, conversations, context_messages), `chosen`, `rejected` (or reject): text, one
 *   message or messages, also `{ from, value }` and contents in parts; where the answers repeat the prompt it is taken off
 * - `chosen`, `rejected` alone: the prompt is the shared beginning of the two conversations or texts
 * - lists of answers on both sides: every chosen with every rejected (RM-Bench)
 * - two answers and a verdict: `response_0/1` with `better_response_id`, `output_1/2` with `label` or `preference` in [1, 2], `response 1/2`
 *   with `label` 0 or 1, `response_A/B` with `label` "A>B", `completion_a/b` with `preference`, `response1/2` with `annotator1…3`,
 *   `paragraph1/2` with `reference_preference` 1 or 2
 * - several answers, `prediction 1` and so on, with a list of verdicts `preference` on every two: (1, 2), (1, 3), … (FineGrainedRLHF)
 *
 * @throws FormatError saying what is missing or what it held; RowSkipped for ties, equal and empty answers
 */
export function preferencesOfRow(row: Row, { keepColumns = false, ...options }: PreferenceRowOptions = {}): PreferenceRecord[] {
  const judged = verdictOf(row);
  const listed = judged ? undefined : listedAnswers(row);
  const records = judged ? judgedPair(row, judged, options) : listed ? listedPairs(row, listed, options) : chosenAndRejected(row, options);
  const kept = records.filter(({ chosen, rejected }) => !sameCompletion(chosen, rejected));
  if (kept.length === 0) throw new RowSkipped('chosen and rejected are the same');
  for (const { chosen, rejected } of kept) {
    if (textOf(chosen).trim() === '' && !hasToolCalls(chosen)) throw new RowSkipped('the chosen answer is empty');
    if (textOf(rejected).trim() === '' && !hasToolCalls(rejected)) throw new RowSkipped('the rejected answer is empty');
  }
  const used = keepColumns ? usedColumns(row, judged, listed) : undefined;
  const extra = { ...numbers(row, options), ...metaOf(row, used) };
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
  const { [column]: asked, ...others } = row;
  const meta: Row = column === 'turns' ? { turns: asked, ...others } : others;
  const { media, tools } = metaOf(row);
  return {
    prompt,
    ...(typeof row.id === 'string' && { id: row.id }),
    ...(Object.keys(meta).length > 0 && { meta }),
    ...(media && { media }),
    ...(tools && { tools }),
  };
}

function usedColumns(row: Row, judged: Verdict | undefined, listed: readonly string[] | undefined): string[] {
  const answers = judged ? [judged.a, judged.b, ...judged.verdict] : (listed ?? []);
  const prompt = find(row, promptColumns) ?? '';
  return [
    ...answers,
    ...(listed ? ['preference'] : []),
    prompt,
    ...(prompt === 'instruction' ? ['input'] : []),
    ...(typeof row.system === 'string' ? ['system'] : []),
    ...chosenColumns,
    ...rejectedColumns,
    ...Object.values(numberColumns).flat(),
  ];
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
  {
    a: 'paragraph1',
    b: 'paragraph2',
    verdict: ['reference_preference'],
    winner: (row) => among(row, 'reference_preference', { 1: 'a', 2: 'b' }),
  },
];

const verdictOf = (row: Row): Verdict | undefined =>
  verdicts.find(({ a, b, verdict }) => a in row && b in row && verdict.some((column) => column in row));

// Several answers and a list of verdicts.

/** Columns "prediction 1", "prediction 2", …, where there is a list of verdicts beside them. */
function listedAnswers(row: Row): string[] | undefined {
  if (!Array.isArray(row.preference)) return undefined;
  const columns = Object.keys(row).filter((column) => /^(prediction|response|output|completion|answer)[ _]?\d+$/.test(column));
  return columns.length >= 2 ? columns : undefined;
}

function listedPairs(row: Row, columns: readonly string[], options: RowOptions): PreferenceRecord[] {
  const column = find(row, promptColumns);
  if (column === undefined) throw missing(row, 'a prompt', promptColumns);
  const verdicts = row.preference as unknown[];
  const two = columns.flatMap((a, i) => columns.slice(i + 1).map((b) => [a, b] as const));
  if (verdicts.length !== two.length)
    throw new FormatError(
      `"preference" must have a verdict on each of the ${two.length} pairs of ${columns.length} answers, got ${show(verdicts)}`,
    );
  const prompt = promptIn(row, column, options);
  const records = two.flatMap(([a, b], i) => {
    const won = among({ preference: verdicts[i] }, 'preference', { 0: 'tie', 1: 'a', 2: 'b' });
    if (won === 'tie') return [];
    return [join(prompt, completionIn(row, won === 'a' ? a : b, options), completionIn(row, won === 'a' ? b : a, options))];
  });
  if (records.length === 0) throw new RowSkipped('the verdict is a tie');
  return records;
}

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

/** Roles that a policy speaks in. */
const answers = new Set(['assistant', 'tool_call', 'function_call']);

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
    while (shared > 0 && [chosen, rejected].some((side) => !side[shared] || !answers.has(side[shared].role))) shared--;
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
