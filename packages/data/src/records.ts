/** Records as the field names their columns, and the few things done to any of them. */
import type { Rng } from '@plumbline/core';
import type { Completion, MediaRef, Message, Prompt } from './interfaces.js';

/** Where a record came from and what the caller wants to keep with it. */
type Origin = {
  /** Named in errors and logs; a reader sets `file:line`. */
  id?: string;
  meta?: Record<string, unknown>;
  /** Images, videos and sounds that belong to the prompt, by path or url. */
  media?: readonly MediaRef[];
  /** Tools that the assistant may call, as function schemas. */
  tools?: readonly unknown[];
};

/** `chosen` is preferred to `rejected`. Either all three are plain text or all three are messages. */
export type PreferenceRecord = Origin & {
  prompt: Prompt;
  chosen: Completion;
  rejected: Completion;
  chosen_score?: number;
  rejected_score?: number;
  /** How much better, in the units of a reward; subtracted inside the sigmoid by a loss that takes margins. */
  margin?: number;
  /** P(chosen is better), where it is known to be less than certain. */
  preference?: number;
  /** Factor of this pair's loss; 1 where absent. */
  weight?: number;
};
/** A prompt; what a check needs to know of it is in `meta`. */
export type PromptRecord = Origin & { prompt: Prompt };
/** A completion with a thumb up or down. */
export type UnpairedRecord = Origin & { prompt: Prompt; completion: Completion; label: boolean };
/** A solution in steps, `labels[i]` true where step i is right. */
export type StepwiseRecord = Origin & { prompt: Prompt; completions: string[]; labels: boolean[] };
/** Several completions of one prompt with their scores, [completions] each. */
export type ScoredGroup = Origin & { prompt: Prompt; completions: readonly Completion[]; scores: ArrayLike<number> };

/** A prompt and the answer to learn or to look at. */
export type CompletionRecord = Origin & { prompt: Prompt; completion: Completion };
/** A completion with a number for each attribute. */
export type MultiScoreRecord = CompletionRecord & { scores: Readonly<Record<string, number>> };
/** A whole conversation. */
export type MessagesRecord = Origin & { messages: readonly Message[] };
/** What an agent did, tool calls and observations included; `step_labels` by message index (1 good, 0 neutral, -1 wrong). */
export type TrajectoryRecord = MessagesRecord & { step_labels?: Readonly<Record<string, number>>; reward?: number };
/** Text to model, without a task. */
export type TextRecord = Origin & { text: string };

/** The kinds of record, by the name that `readRecords` and the command line give them. */
export type Records = {
  preference: PreferenceRecord;
  unpaired: UnpairedRecord;
  prompt: PromptRecord;
  completion: CompletionRecord;
  stepwise: StepwiseRecord;
  multiscore: MultiScoreRecord;
  ranked: ScoredGroup;
  messages: MessagesRecord;
  trajectory: TrajectoryRecord;
  text: TextRecord;
};
export type RecordKind = keyof Records;

export const isMessages = (x: Prompt | Completion): x is readonly Message[] => typeof x !== 'string';

/** The words of a prompt or completion: the text itself, or the contents of its messages with a blank line between them. */
export function textOf(x: Prompt | Completion): string {
  return isMessages(x) ? x.map((message) => message.content).join('\n\n') : x;
}

/** Equal as text, or message by message in role and content. */
export function sameCompletion(a: Completion, b: Completion): boolean {
  if (!isMessages(a) || !isMessages(b)) return a === b;
  return a.length === b.length && a.every((message, i) => sameMessage(message, b[i]));
}

export function sameMessage(a: Message, b: Message): boolean {
  return a.role === b.role && a.content === b.content && JSON.stringify(a.tool_calls) === JSON.stringify(b.tool_calls);
}

/**
 * Splits records at random into `[share, 1 - share]`. Records with the same prompt stay on the same side, so that a held-out
 * prompt was never trained on; the share is therefore that of prompts, rounded to a whole prompt.
 *
 * @throws RangeError if the share is not in [0, 1]
 */
export function splitRecords<R extends { prompt: Prompt }>(records: readonly R[], share: number, rng: Rng): [R[], R[]] {
  if (!(share >= 0 && share <= 1)) throw new RangeError(`splitRecords: share must be in [0, 1], got ${share}`);
  const rowsOf = new Map<string, number[]>();
  records.forEach((record, row) => {
    const key = typeof record.prompt === 'string' ? record.prompt : JSON.stringify(record.prompt);
    const rows = rowsOf.get(key);
    if (rows) rows.push(row);
    else rowsOf.set(key, [row]);
  });
  const prompts = [...rowsOf.values()];
  const order = rng.permutation(prompts.length);
  const taken = new Set<number>();
  for (const i of order.subarray(0, Math.round(share * prompts.length))) for (const row of prompts[i]) taken.add(row);
  return [records.filter((_, row) => taken.has(row)), records.filter((_, row) => !taken.has(row))];
}
