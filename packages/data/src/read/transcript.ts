/** Dialogues written as one text, "\n\nHuman: …\n\nAssistant: …", as in Anthropic's HH-RLHF. */
import type { Message } from '../interfaces.js';

const turn = /(?:^|\n\n)(Human|Assistant):/g;
const roles = { Human: 'user', Assistant: 'assistant' } as const;

/** Whether `text` begins with a turn of such a dialogue. */
export function isTranscript(text: string): boolean {
  return /^\s*Human:/.test(text) && /\n\n(Human|Assistant):/.test(text);
}

/** The turns of a dialogue, contents trimmed. Blank lines inside a turn are kept. */
export function parseTranscript(text: string): Message[] {
  const marks = [...text.trimStart().matchAll(turn)];
  const body = text.trimStart();
  return marks.map((mark, i) => ({
    role: roles[mark[1] as keyof typeof roles],
    content: body.slice(mark.index + mark[0].length, marks[i + 1]?.index ?? body.length).trim(),
  }));
}

/**
 * Messages as such a dialogue, for tokenizers without a chat template. A system message is a paragraph of its own at the
 * start; `addGenerationPrompt` ends with "\n\nAssistant:", after which an answer begins with a space.
 */
export function renderTranscript(messages: readonly Message[], { addGenerationPrompt = false } = {}): string {
  const turns = messages.map(({ role, content }) => {
    if (role === 'system') return content;
    return `\n\n${role === 'user' ? 'Human' : role === 'assistant' ? 'Assistant' : role}: ${content}`;
  });
  return turns.join('') + (addGenerationPrompt ? '\n\nAssistant:' : '');
}
