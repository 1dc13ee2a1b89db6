/** Benchmarks of programs: what a model wrote is run against tests, JavaScript in the sandbox, anything else by a program that the user names. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError } from '@plumbline/core';
import { runCode } from '@plumbline/rewards/judge';
import { label, text } from './fields.js';
import { tabulate } from './numbers.js';
import type { AnswerBenchmark, AnswerItem, AnswerOutcome } from './types.js';

type Program = { language: 'javascript' | 'python'; prompt: string; entry: string; test: string };

const passRate = (items: readonly AnswerItem[], outcomes: readonly AnswerOutcome[]) =>
  tabulate(
    items.map(({ subset }, i) => ({ subset, value: outcomes[i].passed.passed })),
    { overall: 'items', name: 'pass@1' },
  );

/** The last fenced block of a response, else all of it. */
export const codeOf = (response: string): string =>
  [...response.matchAll(/```[^\n]*\n([\s\S]*?)```/g)].at(-1)?.[1] ?? response.replace(/^```[^\n]*\n/, '');

/** The whole program: a response that does not define the function anew is taken as the rest of the prompt. */
export function completed({ prompt, entry }: Pick<Program, 'prompt' | 'entry'>, response: string): string {
  const code = codeOf(response);
  const defines = new RegExp(`(def|function)\\s+${entry}\\b|(const|let|var)\\s+${entry}\\s*=`).test(code);
  return defines ? code : prompt + code;
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
  async check({ target }, response, { signal, command }) {
    const code = completed(target, response);
    if (target.language === 'javascript') {
      const assertions = 'console.assert = (ok) => { if (!ok) throw new Error("assertion failed"); };';
      const { error } = await runCode(`${assertions}\n${code}\n${target.test}`, { timeoutMs: 5000 });
      return { passed: error ? 0 : 1 };
    }
    if (!command)
      throw new ConfigError(
        "HumanEval's Python tasks run code that a model wrote: name the program with --command 'python3 {file}', in a container if you can",
      );
    const program = `${code}\n\n${target.test}\n\ncheck(${target.entry})\n`;
    return { passed: (await runProgram(command, program, 'task.py', { signal })).code === 0 ? 1 : 0 };
  },
  report: passRate,
};

/** VerilogEval (version 1). Liu et al. 2023, arXiv:2309.07544: modules from their descriptions, simulated against a reference by Icarus Verilog, which must be installed. */
export const verilogEval: AnswerBenchmark<{ prompt: string; test: string }> = {
  kind: 'answers',
  id: 'verilogeval',
  title: 'VerilogEval',
  paper: '2309.07544',
  files: 'VerilogEval_Human.jsonl or VerilogEval_Machine.jsonl joined with their descriptions: task_id, detail_description, prompt, test',
  metric: 'pass@1',
  maxTokens: 1024,
  read(r, place) {
    const [prompt, description] = [text(r, 'prompt', place), text(r, 'detail_description', place)];
    const asked = `Write the Verilog module described here. Answer with the whole module in one fenced block.\n\n${description}\n\n${prompt}`;
    return { id: label(r, 'task_id', place), subset: place.file, prompt: asked, target: { prompt, test: text(r, 'test', place) } };
  },
  async check({ target }, response, { signal }) {
    const code = codeOf(response);
    const module = /\bmodule\s+top_module\b/.test(code) ? code : `${target.prompt}\n${code}`;
    const source = `${target.test}\n${module}\n`;
    const ran = await runProgram("sh -c 'iverilog -g2012 -Wall -o {file}.out {file} && vvp -n {file}.out'", source, 'task.sv', {
      signal,
      needs: 'iverilog',
    });
    return { passed: /^Mismatches: 0 in \d+ samples/m.test(ran.output) ? 1 : 0 };
  },
  report: passRate,
};

/** Longest that a program may run. */
const seconds = 20;

/**
 * Runs a command on a file with `source`, in a folder of its own that is removed afterwards. `{file}` stands for the file.
 *
 * @throws ConfigError where the program is not installed
 */
async function runProgram(
  command: string,
  source: string,
  name: string,
  { signal, needs }: { signal?: AbortSignal; needs?: string },
): Promise<{ code: number | null; output: string }> {
  const dir = await mkdtemp(join(tmpdir(), 'plumbline-code-'));
  try {
    const file = join(dir, name);
    await writeFile(file, source);
    const [program, ...args] = splitCommand(command).map((word) => word.replaceAll('{file}', file));
    if (needs) await runs(needs, ['-V'], { cwd: dir, signal });
    return await runs(program, command.includes('{file}') ? args : [...args, file], { cwd: dir, signal });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

const splitCommand = (command: string): string[] => [...command.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(([, a, b, c]) => a ?? b ?? c);

function runs(
  program: string,
  args: readonly string[],
  { cwd, signal }: { cwd: string; signal?: AbortSignal },
): Promise<{ code: number | null; output: string }> {
  return new Promise((done, fail) => {
    // a group of its own, so that what the program starts stops with it
    const child = spawn(program, args, {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: process.platform !== 'win32',
      env: { PATH: process.env.PATH, HOME: cwd, LANG: 'C.UTF-8' },
    });
    let output = '';
    const keep = (chunk: Buffer) => {
      if (output.length < 100_000) output += chunk.toString('utf8');
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    const stop = () => {
      try {
        if (child.pid) process.kill(process.platform === 'win32' ? child.pid : -child.pid, 'SIGKILL');
      } catch {
        // it has ended already
      }
    };
    const timer = setTimeout(stop, seconds * 1000);
    signal?.addEventListener('abort', stop, { once: true });
    const settle = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    };
    child.once('error', (error: NodeJS.ErrnoException) => {
      settle();
      fail(error.code === 'ENOENT' ? new ConfigError(`"${program}" is not installed here; this benchmark needs it`) : error);
    });
    child.once('close', (code) => {
      settle();
      stop();
      done({ code, output });
    });
  });
}
