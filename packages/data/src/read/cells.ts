/** What stands in one cell of a row: text, messages, numbers, media, whatever form a data set has them in. */
import { FormatError } from '@plumbline/core';
import type { Completion, MediaRef, Message, Prompt } from '../interfaces.js';
import { isMessages } from '../records.js';
import { isTranscript, parseTranscript } from './transcript.js';

export type Row = Record<string, unknown>;
/** A row that is left out although it is well-formed, such as a tie. */
export class RowSkipped extends Error {}

export type RowOptions = {
  /** Whether "\n\nHuman: … \n\nAssistant: …" becomes messages (the default) or stays text. */
  transcripts?: 'messages' | 'text';
};

export const promptColumns = [
  'prompt',
  'instruction',
  'question',
  'query',
  'conversations',
  'context_messages',
  'input',
  'messages',
  'problem',
  'original_question',
  'context',
  'goal',
  'caption',
  'description',
  'turns',
] as const;
export const completionColumns = ['completion', 'response', 'output', 'solution', 'answer', 'canonical_solution', 'sample'] as const;

/** The prompt in a column: with an instruction its `input`, with messages the row's `system`, of `turns` the first. */
export function promptIn(row: Row, column: string, options: RowOptions): Prompt {
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

export function completionIn(row: Row, column: string, options: RowOptions): Completion {
  const value = cell(row, column, options);
  return typeof value === 'string' && options.transcripts !== 'text' && isTranscript(value) ? parseTranscript(value) : value;
}

function cell(row: Row, column: string, _options: RowOptions): string | Message[] {
  const value = row[column];
  if (column === 'turns' && isTextList(value)) return value[0];
  if (typeof value === 'string') return value;
  if (isRow(value) && Array.isArray(value.messages)) return messagesIn(value.messages, `${column}.messages`);
  if (Array.isArray(value) && value.length > 0) return messagesIn(value, column);
  if (isRow(value)) return [message(value, column)];
  throw new FormatError(`"${column}" must be text, a message or a list of messages, got ${show(value)}`);
}

/** Messages, or rounds `{ prompt, response }` of a dialogue. */
export function messagesIn(list: readonly unknown[], where: string): Message[] {
  return list.flatMap((m, i): Message[] => {
    if (isRow(m) && m.role === undefined && m.from === undefined && typeof m.prompt === 'string') {
      const media = mediaOf({ images: m.prompt_images });
      const asked: Message = { role: 'user', content: m.prompt, ...(media.length > 0 && { media }) };
      return typeof m.response === 'string' ? [asked, { role: 'assistant', content: m.response }] : [asked];
    }
    return [message(m, `${where}[${i}]`)];
  });
}

const roleNames: Record<string, string> = {
  human: 'user',
  gpt: 'assistant',
  chatgpt: 'assistant',
  bot: 'assistant',
  agent: 'assistant',
  model: 'assistant',
  observation: 'tool',
  tool_response: 'tool',
  function_response: 'tool',
};

function message(value: unknown, where: string): Message {
  if (!isRow(value)) throw new FormatError(`"${where}" must be a message { role, content }, got ${show(value)}`);
  const { role, from, content, value: said, loss_weight: _, ...rest } = value;
  const who = role ?? from;
  if (typeof who !== 'string') throw new FormatError(`"${where}" has no role: it holds ${Object.keys(value).join(', ') || 'nothing'}`);
  const kept = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== null)); // Parquet gives every message every field
  if (typeof kept.tool_calls === 'string') kept.tool_calls = parsed(kept.tool_calls);
  return { role: roleNames[who] ?? who, content: contentOf(content ?? said, where), ...kept };
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
        if (isRow(part) && part.type === 'reasoning' && typeof text === 'string') return `<think>\n${text}\n</think>\n\n`;
        if (isRow(part) && part.type === 'tool_call' && typeof text === 'string') return `<tool_call>\n${text}\n</tool_call>`;
        if (isRow(part) && mediaKinds.some((kind) => kind === part.type)) return '';
        throw new FormatError(`"${where}" has a part that is not text: ${show(part)}`);
      })
      .join('');
  }
  if (isRow(value)) for (const text of [value.text, value.answer]) if (typeof text === 'string') return text;
  throw new FormatError(`the content of "${where}" must be text, got ${show(value)}`);
}

export const hasToolCalls = (x: Completion): boolean => isMessages(x) && x.some((m) => m.tool_calls !== undefined);
export const isRow = (x: unknown): x is Row => typeof x === 'object' && x !== null && !Array.isArray(x);
export const isTextList = (x: unknown): x is string[] => Array.isArray(x) && x.length > 0 && x.every((item) => typeof item === 'string');
export const find = (row: Row, columns: readonly string[]): string | undefined =>
  columns.find((column) => row[column] !== undefined && row[column] !== null);

export function missing(row: Row, what: string, columns: readonly string[]): FormatError {
  return new FormatError(`no column for ${what} (${columns.join(', ')}); the row has ${Object.keys(row).join(', ') || 'none'}`);
}

export const numberColumns = {
  chosen_score: ['chosen_score', 'score_chosen', 'chosen_rating'],
  rejected_score: ['rejected_score', 'score_rejected', 'rejected_rating'],
  margin: ['margin'],
  weight: ['weight'],
} as const;

export function numbers(row: Row, _options: RowOptions): Partial<Record<keyof typeof numberColumns, number>> {
  const found: Partial<Record<keyof typeof numberColumns, number>> = {};
  for (const [name, columns] of Object.entries(numberColumns) as [keyof typeof numberColumns, readonly string[]][]) {
    const column = find(row, columns);
    if (column === undefined) continue;
    found[name] = numberIn(row, column);
  }
  return found;
}

/** A number; in text also with separators between thousands. */
export function numberIn(row: Row, column: string): number {
  const value = row[column];
  const number =
    typeof value === 'string' && /^\s*[+-]?(\d{1,3}(,\d{3})+|\d*)(\.\d*)?(e[+-]?\d+)?\s*$/i.test(value) && /\d/.test(value)
      ? Number(value.replaceAll(',', ''))
      : value;
  if (typeof number !== 'number' || !Number.isFinite(number))
    throw new FormatError(`"${column}" must be a finite number, got ${show(value)}`);
  return number;
}

/** True or false, in any of the ways that files have them; `undefined` for anything else. */
export function booleanOf(value: unknown): boolean | undefined {
  if (typeof value === 'boolean') return value;
  const word =
    typeof value === 'number' || typeof value === 'string'
      ? String(value)
          .trim()
          .toLowerCase()
          .replace(/(?<=\p{L})\.$/u, '')
      : '';
  if (['true', 'yes', '1', '1.0', '+', '+1'].includes(word)) return true;
  if (['false', 'no', '0', '0.0', '-', '-1', '-1.0'].includes(word)) return false;
  return undefined;
}

const mediaKinds = ['image', 'video', 'audio'] as const;
const mediaColumns: Record<string, MediaRef['kind']> = Object.fromEntries(
  mediaKinds.flatMap((kind) => [kind, `${kind}s`, `${kind}_path`, `${kind}_paths`, `${kind}_url`].map((column) => [column, kind])),
);

/** What a row refers to in its media columns: paths, urls, or Hugging Face's `{ path, bytes }` where there is a path. */
export function mediaOf(row: Row): MediaRef[] {
  return Object.entries(mediaColumns).flatMap(([column, kind]) => {
    const value = row[column];
    return (Array.isArray(value) ? value : [value]).flatMap((one): MediaRef[] => {
      const uri = isRow(one) ? (one.path ?? one.url ?? one.uri) : one;
      return typeof uri === 'string' && uri !== '' ? [{ kind, uri }] : [];
    });
  });
}

/** The tools that a row declares, also where they are JSON in a text. */
export function toolsOf(row: Row): unknown[] | undefined {
  const tools = typeof row.tools === 'string' ? parsed(row.tools) : row.tools;
  return Array.isArray(tools) && tools.length > 0 ? tools : undefined;
}

/** An id, a `meta` object, media and tools of the row's own travel along; `rest` says which columns were used, and puts the others into `meta`. */
export function metaOf(row: Row, used?: readonly string[]): { id?: string; meta?: Row; media?: MediaRef[]; tools?: unknown[] } {
  const [media, tools] = [mediaOf(row), toolsOf(row)];
  const own = typeof row.meta === 'string' ? parsed(row.meta) : row.meta;
  const known = new Set([
    ...(used ?? Object.keys(row)),
    'id',
    'meta',
    ...(media.length > 0 ? Object.keys(mediaColumns) : []),
    ...(tools ? ['tools'] : []),
  ]);
  const others = Object.entries(row).filter(([column, value]) => !known.has(column) && value !== undefined);
  const meta = { ...Object.fromEntries(others), ...(isRow(own) && own) };
  return {
    ...((typeof row.id === 'string' || typeof row.id === 'number') && { id: String(row.id) }),
    ...((isRow(own) || others.length > 0) && { meta }),
    ...(media.length > 0 && { media }),
    ...(tools && { tools }),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** A value as an error may quote it. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
