import { FormatError } from '@plumbline/core';
import type { Message } from '@plumbline/data';
import { compileTemplate, type Rendering } from './pythonJinja.js';

export type ChatOptions = { addGenerationPrompt?: boolean; tools?: readonly unknown[]; variables?: Record<string, unknown> };

/**
 * A Jinja chat template as transformers runs it: trim_blocks and lstrip_blocks, no escaping, values printed as Python prints them, message
 * keys whose value is null are absent.
 * @throws FormatError where the template does not parse, or refuses the messages (its own words are in the message)
 */
export function chatTemplate(
  template: string,
  specialTokens: { bosToken?: string; eosToken?: string } = {},
): (messages: readonly Message[], options?: ChatOptions) => string {
  const render = chatRenderer(template, specialTokens);
  return (messages, options) => render(messages, options).text;
}

/** The same, with where the template's `{% generation %}` blocks lie in the text. */
export function chatRenderer(
  template: string,
  { bosToken = '', eosToken = '' }: { bosToken?: string; eosToken?: string } = {},
): (messages: readonly Message[], options?: ChatOptions) => Rendering {
  let render: ReturnType<typeof compileTemplate>;
  try {
    render = compileTemplate(template);
  } catch (error) {
    throw new FormatError(`the chat template does not parse: ${(error as Error).message}`);
  }
  return (messages, { addGenerationPrompt = false, tools, variables } = {}) => {
    try {
      return render({
        messages: messages.map(withoutNulls),
        add_generation_prompt: addGenerationPrompt,
        bos_token: bosToken,
        eos_token: eosToken,
        ...(tools && { tools }),
        ...variables,
      });
    } catch (error) {
      throw new FormatError(`the chat template refuses these messages: ${(error as Error).message}`);
    }
  };
}

function withoutNulls(message: Message): Record<string, unknown> {
  return Object.fromEntries(Object.entries(message).filter(([, value]) => value !== null && value !== undefined));
}
