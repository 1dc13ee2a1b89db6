/** Conversations to learn from, whatever kind of record a source holds. */
import { ConfigError } from '@plumbline/core';
import { conversionPath, convertRecord, encodeSequence, openRecords, type Records, type Sequence } from '@plumbline/data';
import { chatSequences, type LocalDecoder } from '@plumbline/models';

export type Chat = Records['messages'] | Records['completion'] | Records['text'];
export type TrainingSequence = Sequence & { id: string };

/**
 * What can be learned from a source: whole conversations, prompts with a completion (of preference pairs, the chosen one), or plain text.
 *
 * @returns `skipped`: rows that hold nothing to learn, or could not be understood, with the reason of the first
 * @throws FormatError where nothing can be read; ConfigError where the records hold no answers
 */
export async function readChats(source: string): Promise<{ chats: Chat[]; skipped: number; why?: string }> {
  const { kind, rows } = await openRecords(source);
  const into = kind === 'messages' || kind === 'text' ? kind : 'completion';
  if (kind !== into && !conversionPath(kind, into))
    throw new ConfigError(
      `${source} holds ${kind} records, which have no answers to learn; messages, completion, preference or text are needed`,
    );
  const chats: Chat[] = [];
  let [skipped, why]: [number, string | undefined] = [0, undefined];
  for await (const row of rows) {
    if (row.records) chats.push(...row.records.flatMap((record) => convertRecord(record, kind, into) as Chat[]));
    else {
      skipped++;
      why ??= `line ${row.line}: ${row.problem}`;
    }
  }
  if (chats.length === 0) throw new ConfigError(`${source}: nothing to learn from${why ? ` (${why})` : ''}`);
  return { chats, skipped, why };
}

/**
 * Ids of all that fits. Where the tokenizer has a chat template, plain prompts become conversations, and what the assistant says counts, in every turn; else the
 * completion counts, with an end token behind it. Of plain text all counts.
 */
export function encodeChats(
  { tokenizer, contextLength }: LocalDecoder,
  chats: readonly Chat[],
  maxTokens: number,
): { sequences: TrainingSequence[]; dropped: number } {
  const most = Math.min(maxTokens, contextLength);
  const appendEos = tokenizer.eosId !== undefined;
  const sequences = chats.flatMap((chat, i): TrainingSequence[] => {
    const id = chat.id ?? String(i);
    const whole = (prompt: string, completion: string): TrainingSequence[] => {
      const sequence = encodeSequence(tokenizer, prompt, completion, { maxTokens: most, appendEos });
      return sequence ? [{ ...sequence, id }] : [];
    };
    if ('text' in chat) return whole('', chat.text);
    const plain = 'prompt' in chat && typeof chat.prompt === 'string' && typeof chat.completion === 'string';
    if (plain && !tokenizer.hasChatTemplate) return whole(chat.prompt as string, chat.completion as string);
    const [conversation] = 'messages' in chat ? [chat] : convertRecord(chat, 'completion', 'messages');
    if (tokenizer.hasChatTemplate) return chatSequences(tokenizer, [{ ...conversation, id }], { maxTokens: most }).sequences;
    const answer = conversation.messages.findLastIndex(({ role }) => role === 'assistant');
    if (answer < 1) return [];
    const [prompt, completion] = [conversation.messages.slice(0, answer), conversation.messages.slice(answer, answer + 1)];
    const sequence = encodeSequence(tokenizer, prompt, completion, { maxTokens: most, appendEos });
    return sequence ? [{ ...sequence, id }] : [];
  });
  return { sequences, dropped: chats.length - sequences.length };
}
