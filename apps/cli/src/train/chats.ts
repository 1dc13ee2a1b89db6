/** Conversations to learn from, whatever the columns of a file are called. */
import { FormatError } from '@plumbline/core';
import { encodeSequence, type Message, readJsonl, type Sequence } from '@plumbline/data';
import { chatSequences, type LocalDecoder } from '@plumbline/models';

type Chat = { id: string; messages: Message[] } | { id: string; prompt: string; completion: string };
type Row = Record<string, unknown>;
export type TrainingSequence = Sequence & { id: string };

/**
 * Rows with `messages` (or `conversations`), with `prompt` and `completion`, with `instruction`, `input` and `output`, or the chosen side of preference pairs.
 * @throws FormatError naming the first line that is none of these, with its columns
 */
export async function readChats(path: string): Promise<Chat[]> {
  const rows = await readJsonl(path);
  return rows.map((row, i) => {
    const chat = chatOf(row as Row, `${i + 1}`);
    if (chat) return chat;
    throw new FormatError(
      `${path}: row ${i + 1} has the columns ${Object.keys(row).join(', ')}; a chat has messages, prompt and completion, or instruction and output`,
    );
  });
}

/**
 * Ids of all that fits. With a chat template what the assistant says counts, in every turn; plain text counts from where the completion begins, with an end
 * token behind it.
 */
export function encodeChats(
  { tokenizer, contextLength }: LocalDecoder,
  chats: readonly Chat[],
  maxTokens: number,
): { sequences: TrainingSequence[]; dropped: number } {
  const most = Math.min(maxTokens, contextLength);
  const sequences: TrainingSequence[] = [];
  for (const chat of chats) {
    if ('messages' in chat && tokenizer.hasChatTemplate) {
      sequences.push(...chatSequences(tokenizer, [chat], { maxTokens: most }).sequences);
      continue;
    }
    const at = 'messages' in chat ? chat.messages.findLastIndex(({ role }) => role === 'assistant') : -1;
    const [prompt, completion] = 'messages' in chat ? [chat.messages.slice(0, at), [chat.messages[at]]] : [chat.prompt, chat.completion];
    const sequence = encodeSequence(tokenizer, prompt, completion, { maxTokens: most, appendEos: tokenizer.eosId !== undefined });
    if (sequence) sequences.push({ ...sequence, id: chat.id });
  }
  return { sequences, dropped: chats.length - sequences.length };
}

function chatOf(row: Row, id: string): Chat | undefined {
  const list = row.messages ?? row.conversations ?? row.conversation;
  if (Array.isArray(list)) {
    const messages = list.map(messageOf);
    const chosen = row.chosen === undefined ? [] : Array.isArray(row.chosen) ? row.chosen.map(messageOf) : [answer(row.chosen)];
    const all = [...messages, ...chosen].filter((message) => message !== undefined);
    return all.some(({ role }) => role === 'assistant') ? { id, messages: all } : undefined;
  }
  if (typeof row.instruction === 'string' && typeof row.output === 'string') {
    const input = typeof row.input === 'string' && row.input !== '' ? `\n\n${row.input}` : '';
    return {
      id,
      messages: [
        { role: 'user', content: row.instruction + input },
        { role: 'assistant', content: row.output },
      ],
    };
  }
  const [prompt, completion] = [row.prompt ?? row.question, row.completion ?? row.response ?? row.chosen];
  if (typeof prompt === 'string' && typeof completion === 'string') return { id, prompt, completion };
  if (Array.isArray(completion)) {
    const before = Array.isArray(prompt) ? prompt.map(messageOf) : typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : [];
    const messages = [...before, ...completion.map(messageOf)].filter((message) => message !== undefined);
    return messages.some(({ role }) => role === 'assistant') ? { id, messages } : undefined;
  }
  return undefined;
}

const roles: Record<string, string> = { human: 'user', gpt: 'assistant', bot: 'assistant' };
function messageOf(one: unknown): Message | undefined {
  const { role, from, content, value } = (one ?? {}) as Record<string, unknown>;
  const who = role ?? from;
  const said = content ?? value;
  if (typeof who !== 'string' || (typeof said !== 'string' && !Array.isArray(said))) return undefined;
  const parts = Array.isArray(said)
    ? (said as { text?: string; value?: string }[]).map((part) => part.text ?? part.value ?? '').join('')
    : said;
  return { role: roles[who] ?? who, content: parts };
}
const answer = (chosen: unknown): Message | undefined =>
  typeof chosen === 'string' ? { role: 'assistant', content: chosen } : messageOf(chosen);
