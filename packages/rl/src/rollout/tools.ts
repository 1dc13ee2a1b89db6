/** A world of tools: the policy calls them in its text, and reads what they answer. */
import { ConfigError } from '@plumbline/core';
import type { PromptRecord, TextEnv, ToolSpec } from '@plumbline/data';

export type Tool = ToolSpec & {
  /** What the policy reads. An error that it throws is read as well. */
  run: (input: Record<string, unknown>) => string | Promise<string>;
};

export type ToolEnvOptions = {
  tools: readonly Tool[];
  /** Calls of an episode at most; one more ends it without an answer. */
  maxCalls?: number;
  /** Points of the last text, the one without a call. */
  reward: (answer: string, record: PromptRecord) => number | Promise<number>;
  /** Whether that many points are a success; above 0 unless said otherwise. */
  success?: (reward: number) => boolean;
};

/** `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, as Hermes and Qwen write it: the first in a text. */
export function toolCall(text: string): { name: string; arguments: Record<string, unknown> } | { problem: string } | undefined {
  const found = /<tool_call>([\s\S]*?)(?:<\/tool_call>|$)/.exec(text);
  if (!found) return undefined;
  try {
    const call = JSON.parse(found[1]) as { name?: unknown; arguments?: unknown };
    if (typeof call.name !== 'string') return { problem: 'a call needs a "name"' };
    const given = call.arguments ?? {};
    if (typeof given !== 'object' || given === null || Array.isArray(given)) return { problem: '"arguments" must be an object' };
    return { name: call.name, arguments: given as Record<string, unknown> };
  } catch (error) {
    return { problem: `the call is not JSON: ${(error as Error).message}` };
  }
}

/** A system message that tells a policy of its tools: what there is, with what each does and takes, and how to call one. `toolEnv` itself shows nothing of them. */
export const toolPrompt = (tools: readonly ToolSpec[]): string =>
  [
    'You can use tools. A reply that holds a call is answered by the tool; a reply without one is your answer. A call looks like this:',
    '<tool_call>{"name": "NAME", "arguments": {}}</tool_call>',
    'The tools are:',
    ...tools.map(({ name, description, parameters }) => JSON.stringify({ name, description, parameters })),
  ].join('\n');

/** A text with a call is answered by its tool; one without is the answer, which is rewarded and ends the episode. A call that cannot be understood is told why. */
export function toolEnv({ tools, maxCalls = 8, reward, success = (points) => points > 0 }: ToolEnvOptions): TextEnv {
  const byName = new Map(tools.map((tool) => [tool.name, tool]));
  if (byName.size !== tools.length) throw new ConfigError('toolEnv: two tools have the same name');
  let [record, calls]: [PromptRecord | undefined, number] = [undefined, 0];
  return {
    async reset(_seed, task) {
      record = task as PromptRecord;
      calls = 0;
      return { observation: '' };
    },
    async step(text) {
      const call = toolCall(text);
      if (call === undefined) {
        const points = await reward(text, record!);
        return { observation: '', reward: points, done: true, success: success(points), valid: true };
      }
      if (++calls > maxCalls) return { observation: '', reward: 0, done: true, success: false, valid: true };
      const answer = (observation: string, valid: boolean) => ({ observation, role: 'tool' as const, reward: 0, done: false, valid });
      if ('problem' in call) return answer(`error: ${call.problem}`, false);
      const tool = byName.get(call.name);
      if (!tool) return answer(`error: there is no tool "${call.name}"; there are ${[...byName.keys()].join(', ')}`, false);
      try {
        return answer(await tool.run(call.arguments), true);
      } catch (error) {
        return answer(`error: ${(error as Error).message}`, true);
      }
    },
    close: () => {},
  };
}
