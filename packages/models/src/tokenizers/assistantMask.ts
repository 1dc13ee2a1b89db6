/** Which tokens of a conversation the assistant wrote: what supervised training on chats learns from. */
import { ConfigError } from '@plumbline/core';
import type { Message } from '@plumbline/data';
import type { ChatOptions } from './chatTemplate.js';
import type { Rendering } from './pythonJinja.js';

type Render = (messages: readonly Message[], options?: ChatOptions) => Rendering;

/**
 * The text of a conversation and the parts of it that the assistant wrote, in UTF-16 units from and to.
 *
 * Where the template marks them (`{% generation %}`), the marks decide, as in transformers. Other templates are rendered once more for every
 * answer: what stands behind the conversation up to the answer with its generation prompt, up to and with the end token that follows the answer,
 * is the assistant's. So a template's own end-of-turn token is learned, and the newline behind it is not. Such a template may not rewrite what
 * comes before an answer once there is one.
 *
 * @throws ConfigError where the answers cannot be found, naming the first that is not
 */
export function assistantSpans(
  render: Render,
  messages: readonly Message[],
  { eosToken, name, ...options }: ChatOptions & { eosToken?: string; name: string },
): { text: string; spans: [number, number][] } {
  const { text, generated } = render(messages, options);
  if (generated.length > 0) return { text, spans: generated };
  const answers = messages.flatMap(({ role }, i) => (role === 'assistant' ? [i] : []));
  const spans = answers.map((i): [number, number] => {
    const before = render(messages.slice(0, i), { ...options, addGenerationPrompt: true }).text;
    const upTo = render(messages.slice(0, i + 1), { ...options, addGenerationPrompt: false }).text;
    const from = before.length;
    const refuse = () =>
      new ConfigError(
        `${name}: its chat template has no {% generation %} marks, and writes the conversation before answer ${i + 1} of ${messages.length} messages differently ` +
          `once the answer is there (${JSON.stringify(text.slice(Math.max(0, commonLength(before, text) - 20), commonLength(before, text) + 20))}), so that the assistant's tokens cannot be told; ` +
          'add the marks around what the assistant writes',
      );
    if (!text.startsWith(before)) throw refuse();
    // An answer that later messages shorten (thoughts are often dropped) ends with its end token.
    const end = text.startsWith(upTo) ? upTo.length : -1;
    const closing = eosToken ? text.indexOf(eosToken, from) : -1;
    if (end >= 0) {
      const last = eosToken ? text.lastIndexOf(eosToken, end) : -1;
      const closed = last >= from && text.slice(last + eosToken!.length, end).trim() === '';
      return [from, closed ? last + eosToken!.length : end];
    }
    if (closing < 0) throw refuse();
    return [from, closing + eosToken!.length];
  });
  return { text, spans };
}

/** 1 for every token that touches one of the spans; both are in UTF-16 units. */
export function assistantMask(tokens: readonly [number, number][], spans: readonly [number, number][]): Uint8Array {
  return Uint8Array.from(tokens, ([from, to]) => (spans.some(([begin, end]) => from < end && to > begin) ? 1 : 0));
}

function commonLength(a: string, b: string): number {
  let i = 0;
  while (i < a.length && a[i] === b[i]) i++;
  return i;
}
