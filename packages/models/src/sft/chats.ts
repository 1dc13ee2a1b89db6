import { ConfigError } from '@plumbline/core';
import type { Message, Sequence, Tokenizer } from '@plumbline/data';
import type { LocalTokenizer } from '../tokenizers/tokenizer.js';

export type ChatRecord = { id?: string; messages: readonly Message[]; tools?: readonly unknown[] };
export type ChatSequence = Sequence & { id: string };

/**
 * Whole conversations for `sftBatches`, in which only what the assistant wrote counts: all answers of a conversation are learned in one pass.
 * The tokenizer's chat template says which tokens those are (see `assistantSpans`).
 *
 * Conversations of more than `maxTokens` tokens, and those without an answer, are left out and named in `dropped`.
 *
 * @throws ConfigError where there is no chat template, or its answers cannot be told; FormatError where it refuses a conversation, naming it
 */
export function chatSequences(
  tokenizer: Tokenizer,
  records: readonly ChatRecord[],
  { maxTokens = Infinity }: { maxTokens?: number } = {},
): { sequences: ChatSequence[]; dropped: { id: string; reason: 'too long' | 'no answer' }[] } {
  if (!('encodeWithOffsets' in tokenizer))
    throw new ConfigError(
      `${tokenizer.name}: a tokenizer that can say where its tokens lie is needed; load one from tokenizer.json or GGUF`,
    );
  const sequences: ChatSequence[] = [];
  const dropped: { id: string; reason: 'too long' | 'no answer' }[] = [];
  records.forEach(({ id = '', messages, tools }, i) => {
    const name = id || String(i);
    const { tokens, assistantMask } = masked(tokenizer as LocalTokenizer, messages, tools, name);
    const first = assistantMask.indexOf(1);
    if (first < 0) dropped.push({ id: name, reason: 'no answer' });
    else if (tokens.length > maxTokens) dropped.push({ id: name, reason: 'too long' });
    else sequences.push({ id: name, tokens, completionStart: first, completionMask: assistantMask });
  });
  return { sequences, dropped };
}

function masked(tokenizer: LocalTokenizer, messages: readonly Message[], tools: readonly unknown[] | undefined, id: string) {
  try {
    return tokenizer.renderChat(messages, { ...(tools && { tools }), returnAssistantMask: true });
  } catch (error) {
    if (error instanceof Error) error.message = `conversation ${id}: ${error.message}`;
    throw error;
  }
}
