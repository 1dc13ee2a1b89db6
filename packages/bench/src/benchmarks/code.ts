/** HumanEval: what a model wrote is run against tests, JavaScript in the sandbox, anything else by a program that the user names. */
import { ConfigError } from '@plumbline/core';
import { runCode } from '@plumbline/rewards/judge';
import { text } from './fields.js';
import { tabulate } from './numbers.js';
import { runPrograms, splitCommand } from './programs.js';
import type { AnswerBenchmark } from './types.js';

type Program = { language: 'javascript' | 'python'; prompt: string; entry: string; test: string };

/** The last fenced block of a response, else all of it. */
export const codeOf = (response: string): string =>
  [...response.matchAll(/```[^\n]*\n([\s\S]*?)```/g)].at(-1)?.[1] ?? response.replace(/^```[^\n]*\n/, '');

const definition = (name: string) => new RegExp(`(def|function)\\s+${name}\\b|(const|let|var)\\s+${name}\\s*=`);

/**
 * The whole program. A response that does not define the function anew is taken as the rest of the prompt; before one that does stands what the prompt has there (imports and
 * helpers, which the tests may call), unless the response defines these anew too.
 */
export function completed({ prompt, entry }: Pick<Program, 'prompt' | 'entry'>, response: string): string {
  const code = codeOf(response);
  if (!definition(entry).test(code)) return prompt + code;
  const before = prompt.slice(0, Math.max(0, prompt.search(definition(entry))));
  const helpers = [...before.matchAll(/^(?:def|function|const|let|var)\s+(\w+)/gm)].map(([, name]) => name);
  const repeated = helpers.filter((name) => definition(name).test(code));
  // in JavaScript a name must not be declared twice, in Python it may
  return repeated.length > 0 && !/^def /m.test(before) ? code : before + code;
}

/**
 * HumanEval. Chen et al. 2021, arXiv:2107.03374: functions from their descriptions, right where all tests pass. JavaScript tasks (HumanEval-X, `JavaScript/0`) run in the
 * sandbox; Python tasks need `command`, because they are run as this user.
 */
export const humanEval: AnswerBenchmark<Program> = {
  kind: 'answers',
  id: 'humaneval',
  title: 'HumanEval',
  paper: '2107.03374',
  files: 'HumanEval.jsonl(.gz) or the JavaScript part of HumanEval-X, with task_id, prompt, test and (Python) entry_point',
  metric: 'pass@1',
  maxTokens: 512,
  read(r, place) {
    const id = text(r, 'task_id', place);
    const javascript = /^javascript\//i.test(id);
    const prompt = text(r, 'prompt', place);
    const entry = javascript
      ? (/(?:const|let|var|function)\s+(\w+)/.exec(prompt.split('*/').at(-1)!)?.[1] ?? '')
      : text(r, 'entry_point', place);
    const program: Program = { language: javascript ? 'javascript' : 'python', prompt, entry, test: text(r, 'test', place) };
    return {
      id,
      subset: program.language,
      prompt: `Complete this function. Answer with the whole function in one fenced block.\n\n${prompt}`,
      target: program,
    };
  },
  prepare(items, { command }) {
    if (!command && items.some(({ target }) => target.language === 'python'))
      throw new ConfigError(
        "HumanEval's Python tasks run code that a model wrote: name the program with --command 'python3 {file}', in a container if you can",
      );
  },
  async check({ target }, response, { signal, command }) {
    const code = completed(target, response);
    if (target.language === 'javascript') {
      const assertions = 'console.assert = (ok) => { if (!ok) throw new Error("assertion failed"); };';
      const { error } = await runCode(`${assertions}\n${code}\n${target.test}`, { timeoutMs: 5000 });
      return { passed: error ? 0 : 1 };
    }
    const words = splitCommand(command ?? '');
    const step = words.some((word) => word.includes('{file}')) ? words : [...words, '{file}'];
    const [ran] = await runPrograms(
      { 'task.py': `${code}\n\n${target.test}\n\ncheck(${target.entry})\n` },
      [step.map((word) => word.replaceAll('{file}', 'task.py'))],
      { timeoutSeconds: 20, signal },
    );
    return { passed: ran.code === 0 ? 1 : 0 };
  },
  report: (items, outcomes) =>
    tabulate(
      items.map(({ subset }, i) => ({ subset, value: outcomes[i].passed.passed })),
      { overall: 'items', name: 'pass@1' },
    ),
};
