/**
 * VerilogEval: modules from their descriptions. Icarus Verilog simulates them beside a reference, as both official harnesses do; where it is not installed, Yosys
 * compares them with the reference (`verilogEquivalence`), which is another question and has another name in the table.
 */
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ConfigError, FormatError } from '@plumbline/core';
import { verilogEquivalence, yosysInstalled } from '@plumbline/envs/verilog';
import { codeOf } from './code.js';
import { label, text } from './fields.js';
import { moments, row, tabulate } from './numbers.js';
import { isInstalled, type Ran, type RunOptions, runPrograms } from './programs.js';
import { benchmarkRows } from './rows.js';
import type { AnswerBenchmark, CheckOptions, Row, RowPlace } from './types.js';

type Circuit = {
  /** The module's first lines, for an answer that goes on from them; nothing where the task gives none. */
  header: string;
  test: string;
  /** The reference module's own file, where it does not stand in the test. */
  reference?: string;
};
/** What the two versions call things, and when their harnesses say that a module is right. */
type Version = {
  top: string;
  reference: string;
  /** Files in the order in which they are compiled. */
  files(circuit: Circuit, answer: string): Record<string, string>;
  passes(compiled: Ran, simulated: Ran | undefined): boolean;
};

/** Of each program, as in version 2's harness. */
const timeoutSeconds = 30;

const noMismatch = /^Mismatches: 0 in \d+ samples\s*$/m;
const version1: Version = {
  top: 'top_module',
  reference: 'reference_module',
  files: ({ test }, answer) => ({ 'test.sv': test, 'answer.sv': answer }),
  // a warning is a failure as well
  passes: (compiled, simulated) => compiled.errors === '' && simulated?.errors === '' && noMismatch.test(simulated.output),
};
/** What version 2 looks for in the log before it believes the last line. */
const failures =
  /error|warning: always_comb process has no sensitivities|found no sensitivities so it will never trigger|is declared here as wire|Unknown module type|Unable to bind wire\/reg|TIMEOUT/;
const version2: Version = {
  top: 'TopModule',
  reference: 'RefModule',
  files: ({ test, reference = '' }, answer) => ({ 'answer.sv': answer, 'test.sv': test, 'reference.sv': reference }),
  passes: (compiled, simulated) =>
    simulated !== undefined &&
    !simulated.timedOut &&
    !failures.test(compiled.output + compiled.errors + simulated.output + simulated.errors) &&
    noMismatch.test(simulated.output),
};

/** VerilogEval, version 1. Liu et al. 2023, arXiv:2309.07544: tasks of HDLBits in people's words (Human) or a model's (Machine). */
export const verilogEval: AnswerBenchmark<Circuit> = {
  kind: 'answers',
  id: 'verilogeval',
  title: 'VerilogEval',
  paper: '2309.07544',
  files: 'VerilogEval_Human.jsonl with VerilogDescription_Human.jsonl, or the same of Machine: task_id, detail_description, prompt, test',
  metric: 'pass@1',
  maxTokens: 1024,
  rows: joinedRows,
  read(r, place) {
    const [prompt, description] = [text(r, 'prompt', place), text(r, 'detail_description', place)];
    return {
      // tasks have the same names in both files
      id: `${place.file}/${label(r, 'task_id', place)}`,
      subset: place.file,
      prompt: `Write the Verilog module described here. Answer with the whole module in one fenced block.\n\n${description}\n\n${prompt}`,
      target: { header: prompt, test: text(r, 'test', place) },
    };
  },
  prepare: (_items, options) => void chooseTool(options),
  check: ({ target }, response, options) => checkCircuit(version1, target, response, options),
  report,
};

/** VerilogEval, version 2. Pinckney et al. 2024, arXiv:2408.11053: the tasks in people's words again, from a specification or with the module's first lines. */
export const verilogEval2: AnswerBenchmark<Circuit> = {
  kind: 'answers',
  id: 'verilogeval-v2',
  title: 'VerilogEval 2',
  paper: '2408.11053',
  files: 'the folders dataset_spec-to-rtl and dataset_code-complete-iccad2023, with ProbNNN_NAME_prompt.txt, _ref.sv and _test.sv',
  metric: 'pass@1',
  maxTokens: 1024,
  rows: folderRows,
  read(r, place) {
    const prompt = text(r, 'prompt', place);
    return {
      id: `${place.file}/${text(r, 'problem', place)}`,
      subset: place.file,
      prompt: `Write this Verilog module. Answer with the whole module in one fenced block.\n\n${prompt.trim()}`,
      target: {
        header: /^module\s+TopModule\b[\s\S]*/m.exec(prompt)?.[0] ?? '',
        test: text(r, 'test', place),
        reference: text(r, 'reference', place),
      },
    };
  },
  prepare: (_items, options) => void chooseTool(options),
  check: ({ target }, response, options) => checkCircuit(version2, target, response, options),
  report,
};

/** Rows with the descriptions that official files keep in files of their own: those of VerilogEval_Human in VerilogDescription_Human. */
async function* joinedRows(paths: readonly string[]): AsyncGenerator<{ row: Row; place: RowPlace }> {
  const tasks: { row: Row; place: RowPlace }[] = [];
  const descriptions = new Map<string, Row>();
  const key = ({ task_id }: Row, { file }: RowPlace) => `${file.split('_').at(-1)}/${task_id}`;
  for await (const { row: one, place } of benchmarkRows(paths)) {
    if ('test' in one) tasks.push({ row: one, place });
    else descriptions.set(key(one, place), one);
  }
  for (const { row: task, place } of tasks) yield { row: { ...descriptions.get(key(task, place)), ...task }, place };
}

async function* folderRows(paths: readonly string[]): AsyncGenerator<{ row: Row; place: RowPlace }> {
  const ending = '_prompt.txt';
  for (const folder of paths)
    for (const name of (await readdir(folder)).filter((one) => one.endsWith(ending)).sort()) {
      const problem = name.slice(0, -ending.length);
      const place = { path: join(folder, name), file: basename(folder).replace(/^dataset_/, ''), line: 1 };
      const file = (which: string) =>
        readFile(join(folder, problem + which), 'utf8').catch(() => {
          throw new FormatError(`${place.path}: ${problem}${which} must lie beside it`);
        });
      yield { row: { problem, prompt: await file(ending), reference: await file('_ref.sv'), test: await file('_test.sv') }, place };
    }
}

type Tool = 'iverilog' | 'yosys';
function chooseTool({ command }: CheckOptions): Tool {
  const there = { iverilog: isInstalled('iverilog') && isInstalled('vvp'), yosys: yosysInstalled() };
  if (command !== undefined && command !== 'iverilog' && command !== 'yosys')
    throw new ConfigError(`--command ${command}: Verilog is checked by iverilog or yosys`);
  const tool = command ?? (there.iverilog ? 'iverilog' : 'yosys');
  if (there[tool]) return tool;
  throw new ConfigError(
    `Verilog is checked by Icarus Verilog (iverilog and vvp on the PATH) or Yosys (npm install @yowasp/yosys@0.55.944): ${command ?? 'neither'} is ${command ? 'not ' : ''}installed here`,
  );
}

/** @throws Error for a problem that this tool cannot judge, whatever the answer */
async function checkCircuit(version: Version, circuit: Circuit, response: string, options: CheckOptions): Promise<Record<string, number>> {
  const code = codeOf(response);
  const answer = new RegExp(`\\bmodule\\s+${version.top}\\b`).test(code) ? code : `${circuit.header}\n${code}`;
  const run: RunOptions = { timeoutSeconds, ...(options.signal && { signal: options.signal }) };
  return chooseTool(options) === 'yosys' ? compare(version, circuit, answer, run) : simulate(version, circuit, answer, run);
}

async function simulate(version: Version, circuit: Circuit, answer: string, run: RunOptions): Promise<Record<string, number>> {
  const files = version.files(circuit, answer);
  const warnings = ['-Wall', '-Winfloop', '-Wno-timescale'];
  const [compiled, simulated] = await runPrograms(
    files,
    [
      ['iverilog', ...warnings, '-g2012', '-s', 'tb', '-o', 'test.vvp', ...Object.keys(files)],
      ['vvp', '-n', 'test.vvp'],
    ],
    run,
  );
  // what version 11 lacks and version 12 has, or files of the problem that do not fit each other
  const own = /^(?:test|reference)\.sv:\d+: (?:sorry: .*|error: port .* is not a port of good1.*)$/m.exec(compiled.errors)?.[0];
  if (own) throw new Error(`Icarus Verilog cannot compile the problem's own files: ${own}`);
  return { passed: version.passes(compiled, simulated) ? 1 : 0, compiles: compiled.code === 0 ? 1 : 0 };
}

async function compare(version: Version, circuit: Circuit, answer: string, run: RunOptions): Promise<Record<string, number>> {
  const given = modulesOf(circuit.reference ?? circuit.test);
  const reference = given.get(version.reference);
  if (reference === undefined) throw new Error(`the problem's files have no module "${version.reference}"`);
  // modules that the task provides
  const provided = [...given].filter(([name]) => ![version.reference, 'stimulus_gen', 'tb'].includes(name));
  const own = modulesOf(answer);
  const source = (first: string, has: ReadonlyMap<string, string>) =>
    [first, ...provided.filter(([name]) => !has.has(name)).map(([, module]) => module)].join('\n');
  const found = await verilogEquivalence(
    { top: version.reference, source: source(reference, new Map()) },
    { top: version.top, source: source(answer, own) },
    run,
  );
  if (found.verdict === 'undecided') throw new Error(`Yosys decides nothing: ${found.why}`);
  return { equivalent: found.verdict === 'equal' ? 1 : 0, compiles: found.verdict === 'broken' ? 0 : 1 };
}

const modulesOf = (source: string): Map<string, string> =>
  new Map([...source.matchAll(/^\s*module\s+(\w+)[\s\S]*?^\s*endmodule\b/gm)].map(([module, name]) => [name, module]));

function report(...[items, outcomes]: Parameters<AnswerBenchmark['report']>) {
  const byYosys = outcomes.some(({ passed }) => 'equivalent' in passed);
  return [
    ...tabulate(
      items.map(({ subset }, i) => ({ subset, value: byYosys ? outcomes[i].passed.equivalent : outcomes[i].passed.passed })),
      { overall: 'items', name: byYosys ? 'equivalent to the reference, by Yosys' : 'pass@1' },
    ),
    row('compiles', 'detail', moments(outcomes.map(({ passed }) => passed.compiles))),
  ];
}
