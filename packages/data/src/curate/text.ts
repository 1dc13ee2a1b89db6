/** The texts of a record, of whatever kind, and its key: what makes two records the same. */
import type { Completion, Prompt } from '../interfaces.js';
import { isMessages } from '../records.js';

const partNames = ['prompt', 'chosen', 'rejected', 'completion', 'completions', 'messages', 'text'] as const;
type Part = (typeof partNames)[number];
type Parts = Partial<Record<Part, unknown>>;

/** Texts by part, in the order prompt, chosen, rejected, completion(s), messages, text. */
export function textsOf(record: object): { part: Part; text: string }[] {
  return partNames.flatMap((part) => {
    const value = (record as Parts)[part];
    if (value === undefined) return [];
    const list = part === 'completions' ? (value as (Completion | string)[]) : [value as Prompt];
    return list.map((one) => ({ part, text: isMessages(one) ? one.map(({ content }) => content).join('\n\n') : one }));
  });
}

/** All its words in one text. */
export const wholeText = (record: object): string =>
  textsOf(record)
    .map(({ text }) => text)
    .join('\n\n');

/** Equal for records that say the same, whatever their ids, scores and labels; roles and tool calls count. */
export function recordKey(record: object, parts: readonly Part[] = partNames): string {
  return JSON.stringify(parts.map((part) => (record as Parts)[part] ?? null));
}
