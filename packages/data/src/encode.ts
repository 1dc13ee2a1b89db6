/** From records to token ids. */
import { ConfigError } from '@plumbline/core';
import type { Completion, Message, Prompt, Tokenizer } from './interfaces.js';
import type { Sequence } from './pack.js';
import { renderTranscript } from './read/transcript.js';
import { isMessages, type PreferenceRecord, type ScoredGroup } from './records.js';

export type EncodeOptions = {
  /** The longest sequence, prompt and completion together. */
  maxTokens?: number;
  /**
   * What becomes of longer ones. `drop` (the default): dropped whole, since a cut would remove the tokens that a reward head or a verdict is about.
   * `keepEnd`: the prompt loses its beginning (but not the bos token), for both sides of a pair alike; dropped where not even one of its tokens would stay.
   * `keepStart`: the completion loses its end, and with it the end token; dropped where the prompt alone fills it. `error`: refused by name.
   */
  truncation?: Truncation;
  /** Whether the end token closes a completion. Default: for conversations yes, for plain text no, since a continuation may go on. */
  appendEos?: boolean;
};

export type Truncation = 'drop' | 'keepEnd' | 'keepStart' | 'error';

export type EncodedPair = {
  id: string;
  prompt: Int32Array;
  chosen: Int32Array;
  rejected: Int32Array;
  weight?: number;
  margin?: number;
  scores?: { chosen: number; rejected: number };
};
/** One prompt, each completion once, and the pairs among them, by index. */
export type EncodedGroup = {
  id: string;
  prompt: Int32Array;
  completions: Int32Array[];
  pairs: { chosen: number; rejected: number; margin?: number; weight?: number }[];
};
export type Dropped = { id: string; reason: 'too long' | 'empty completion' | 'no pairs' };

/**
 * Ids of a prompt as a policy sees it: with what the tokenizer's post-processor puts in front, conversations through the chat template up to
 * where the answer begins. Without a template, conversations are written as "\n\nHuman: …\n\nAssistant:".
 */
export function encodePrompt(tokenizer: Tokenizer, prompt: Prompt): Int32Array {
  return encodeText(tokenizer, isMessages(prompt) ? renderMessages(tokenizer, prompt, true) : prompt, isMessages(prompt));
}

/**
 * Ids of a completion after this prompt, tokenized apart from it, as a policy would write it. The end token closes it where `appendEos` says so;
 * what a chat template writes after its end token is left out, since a policy that stops there never writes it.
 */
export function encodeCompletion(
  tokenizer: Tokenizer,
  prompt: Prompt,
  completion: Completion,
  { appendEos }: EncodeOptions = {},
): Int32Array {
  const conversational = isMessages(prompt) || isMessages(completion);
  const text = conversational
    ? completionOf(tokenizer, asMessages(prompt, 'user'), asMessages(completion, 'assistant'))
    : (completion as string);
  const { eosId } = tokenizer;
  const close = appendEos ?? conversational;
  if (appendEos && eosId === undefined) throw new ConfigError(`appendEos: the tokenizer ${tokenizer.name} has no end token`);
  const ids = tokenizer.encode(text);
  if (!conversational || eosId === undefined) return close && eosId !== undefined ? Int32Array.of(...ids, eosId) : ids;
  const end = ids.lastIndexOf(eosId);
  const closed = end >= 0 && tokenizer.decode(ids.subarray(end + 1)).trim() === '';
  if (!closed) return close ? Int32Array.of(...ids, eosId) : ids;
  return ids.slice(0, close ? end + 1 : end);
}

/** Prompt and completion as one sequence; `null` where it is dropped as too long (`truncation`) or the completion is empty. */
export function encodeSequence(tokenizer: Tokenizer, prompt: Prompt, completion: Completion, options: EncodeOptions = {}): Sequence | null {
  const before = encodePrompt(tokenizer, prompt);
  const after = encodeCompletion(tokenizer, prompt, completion, options);
  if (after.length === 0) return null;
  const fitted = truncate(tokenizer, before, [after], options, 'this sequence');
  return fitted && joinSequence(fitted.prompt, fitted.completions[0]);
}

/** One sequence of the two parts. */
export function joinSequence(prompt: Int32Array, completion: Int32Array): Sequence {
  const tokens = new Int32Array(prompt.length + completion.length);
  tokens.set(prompt);
  tokens.set(completion, prompt.length);
  return { tokens, completionStart: prompt.length };
}

/** A pair in ids; `null` where either side is too long (`truncation`) or empty. `encodePairs` says which and why. */
export function encodePair(tokenizer: Tokenizer, record: PreferenceRecord, options: EncodeOptions = {}): EncodedPair | null {
  const pair = pairOf(tokenizer, record, record.id ?? '', options);
  return 'reason' in pair ? null : pair.pair;
}

/** All pairs that fit, those that were dropped, and how many lost tokens (`truncation`). Records without an id are named by their index. */
export function encodePairs(
  tokenizer: Tokenizer,
  records: readonly PreferenceRecord[],
  options: EncodeOptions = {},
): { pairs: EncodedPair[]; dropped: Dropped[]; truncated: number } {
  const pairs: EncodedPair[] = [];
  const dropped: Dropped[] = [];
  let truncated = 0;
  records.forEach((record, i) => {
    const pair = pairOf(tokenizer, record, record.id ?? String(i), options);
    if ('reason' in pair) dropped.push(pair);
    else {
      pairs.push(pair.pair);
      if (pair.cut) truncated++;
    }
  });
  return { pairs, dropped, truncated };
}

function pairOf(
  tokenizer: Tokenizer,
  record: PreferenceRecord,
  id: string,
  options: EncodeOptions,
): { pair: EncodedPair; cut: boolean } | Dropped {
  const prompt = encodePrompt(tokenizer, record.prompt);
  const sides = [record.chosen, record.rejected].map((side) => encodeCompletion(tokenizer, record.prompt, side, options));
  if (sides.some((side) => side.length === 0)) return { id, reason: 'empty completion' };
  const fitted = truncate(tokenizer, prompt, sides, options, `pair ${id}`);
  if (!fitted) return { id, reason: 'too long' };
  const [chosen, rejected] = fitted.completions;
  const { weight, margin, chosen_score, rejected_score } = record;
  const pair = {
    id,
    prompt: fitted.prompt,
    chosen,
    rejected,
    ...(weight !== undefined && { weight }),
    ...(margin !== undefined && { margin }),
    ...(chosen_score !== undefined && rejected_score !== undefined && { scores: { chosen: chosen_score, rejected: rejected_score } }),
  };
  return { pair, cut: fitted.cut };
}

/**
 * A prompt and its completions under a truncation policy; `null` where they are dropped.
 * @throws RangeError naming the sequence, where the policy is `error`
 */
function truncate(
  { bosId }: Tokenizer,
  prompt: Int32Array,
  completions: readonly Int32Array[],
  { maxTokens = Infinity, truncation = 'drop' }: EncodeOptions,
  who: string,
): { prompt: Int32Array; completions: Int32Array[]; cut: boolean } | null {
  const longest = completions.reduce((most, { length }) => Math.max(most, length), 0);
  const over = prompt.length + longest - maxTokens;
  if (!(over > 0)) return { prompt, completions: [...completions], cut: false };
  switch (truncation) {
    case 'drop':
      return null;
    case 'error':
      throw new RangeError(`${who} has ${prompt.length + longest} tokens (prompt ${prompt.length}), and maxTokens is ${maxTokens}`);
    case 'keepEnd': {
      const head = bosId !== undefined && prompt[0] === bosId ? 1 : 0;
      if (prompt.length - head - over < 1) return null;
      return {
        prompt: Int32Array.of(...prompt.subarray(0, head), ...prompt.subarray(head + over)),
        completions: [...completions],
        cut: true,
      };
    }
    case 'keepStart':
      if (prompt.length >= maxTokens) return null;
      return { prompt, completions: completions.map((completion) => completion.slice(0, maxTokens - prompt.length)), cut: true };
    default:
      throw new RangeError(`truncation must be drop, keepEnd, keepStart or error, got ${JSON.stringify(truncation satisfies never)}`);
  }
}

/**
 * Scored groups in ids, with every pair inside a group whose scores differ by more than `minGap`: each completion is scored once and is in up to
 * n - 1 pairs. Completions that are too long (`truncation`; a prompt that `keepEnd` cuts is cut for the longest) or empty leave their group; a group without a
 * pair is dropped.
 */
export function encodeGroups(
  tokenizer: Tokenizer,
  groups: readonly ScoredGroup[],
  { minGap = 0, ...options }: EncodeOptions & { minGap?: number } = {},
): { groups: EncodedGroup[]; dropped: Dropped[] } {
  const encoded: EncodedGroup[] = [];
  const dropped: Dropped[] = [];
  groups.forEach((group, g) => {
    const id = group.id ?? String(g);
    let prompt = encodePrompt(tokenizer, group.prompt);
    let completions: Int32Array[] = [];
    const scores: number[] = [];
    group.completions.forEach((completion, i) => {
      if (!Number.isFinite(group.scores[i])) throw new RangeError(`encodeGroups: group ${id} has the score ${group.scores[i]} at ${i}`);
      const ids = encodeCompletion(tokenizer, group.prompt, completion, options);
      const reason =
        ids.length === 0 ? 'empty completion' : truncate(tokenizer, prompt, [ids], options, `completion ${id}.${i}`) ? null : 'too long';
      if (reason) dropped.push({ id: `${id}.${i}`, reason });
      else {
        completions.push(ids);
        scores.push(group.scores[i]);
      }
    });
    const fitted = truncate(tokenizer, prompt, completions, options, `group ${id}`);
    if (fitted) ({ prompt, completions } = fitted);
    const pairs = scores.flatMap((a, i) => scores.flatMap((b, j) => (a - b > minGap ? [{ chosen: i, rejected: j }] : [])));
    if (pairs.length === 0) dropped.push({ id, reason: 'no pairs' });
    else encoded.push({ id, prompt, completions, pairs });
  });
  return { groups: encoded, dropped };
}

function renderMessages(tokenizer: Tokenizer, messages: readonly Message[], addGenerationPrompt: boolean): string {
  if (tokenizer.hasChatTemplate) return tokenizer.renderChat(messages, { addGenerationPrompt });
  return renderTranscript(messages, { addGenerationPrompt });
}

/** What the template writes after the prompt. */
function completionOf(tokenizer: Tokenizer, prompt: readonly Message[], completion: readonly Message[]): string {
  const whole = renderMessages(tokenizer, [...prompt, ...completion], false);
  const before = renderMessages(tokenizer, prompt, true);
  if (whole.startsWith(before)) return whole.slice(before.length);
  throw new ConfigError(
    `the chat template of ${tokenizer.name} writes a prompt differently when an answer follows, so that the answer's beginning cannot be found; the conversation begins ${JSON.stringify(whole.slice(0, 60))}`,
  );
}

function asMessages(x: Prompt | Completion, role: string): readonly Message[] {
  return isMessages(x) ? x : [{ role, content: x }];
}

/** A template writes its own special tokens; for plain text the post-processor's leading ones are added, and a trailing end token is not. */
function encodeText(tokenizer: Tokenizer, text: string, templated: boolean): Int32Array {
  if (templated && tokenizer.hasChatTemplate) return tokenizer.encode(text);
  const ids = tokenizer.encode(text, { special: true });
  return tokenizer.eosId !== undefined && ids.length > 0 && ids.at(-1) === tokenizer.eosId ? ids.slice(0, -1) : ids;
}
