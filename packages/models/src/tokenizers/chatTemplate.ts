import { Template } from '@huggingface/jinja';
import { FormatError } from '@plumbline/core';
import type { Message } from '@plumbline/data';

export type ChatOptions = { addGenerationPrompt?: boolean; tools?: readonly unknown[]; variables?: Record<string, unknown> };

/**
 * A Jinja chat template as transformers runs it: trim_blocks and lstrip_blocks, no escaping, message keys whose value is null are absent.
 * @throws FormatError where the template does not parse, or refuses the messages (its own words are in the message)
 */
export function chatTemplate(
  template: string,
  { bosToken = '', eosToken = '' }: { bosToken?: string; eosToken?: string } = {},
): (messages: readonly Message[], options?: ChatOptions) => string {
  let parsed: Template;
  try {
    parsed = new Template(template.replace(/\n$/, ''));
  } catch (error) {
    throw new FormatError(`the chat template does not parse: ${(error as Error).message}`);
  }
  return (messages, { addGenerationPrompt = false, tools, variables } = {}) => {
    try {
      return parsed.render({
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
