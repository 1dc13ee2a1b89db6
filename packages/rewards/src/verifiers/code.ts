/** JavaScript in a sandbox: QuickJS in WebAssembly, without file system, network or timers, with limits of time and memory. */
import { ConfigError } from '@plumbline/core/light';
import type { QuickJSContext, QuickJSHandle, QuickJSRuntime, QuickJSWASMModule } from 'quickjs-emscripten';
import { knownOf, lastFence, type Verifier, verifier } from './verifier.js';

export type CodeLimits = {
  /** For the code and each test. */
  timeoutMs?: number;
  memoryBytes?: number;
  /** Characters of output that are kept. */
  maxOutput?: number;
};
export type CodeRun = {
  /** The value of the last expression, as JSON holds it; of a promise, what it came to. */
  value?: unknown;
  /** What `print` and `console.log` wrote. */
  stdout: string;
  error?: { kind: 'error' | 'timeout' | 'memory' | 'stack'; message: string };
};
/**
 * A call whose value is compared, or statements that throw where they fail (`assert(condition)` and `assertEqual(a, b)` are there). Of a promise, what it comes to counts: statements
 * that test one `return` it.
 */
export type CodeTest = string | { call: string; expected: unknown };

/**
 * Modules by their memory. QuickJS's own limit counts only part of what a WebAssembly build allocates, so that each limit has a module whose memory cannot grow beyond it.
 */
const modules = new Map<number, Promise<QuickJSWASMModule>>();
function sandboxOf(memoryBytes: number): { pages: number; quickjs: Promise<QuickJSWASMModule> } {
  const pages = initialPages + Math.ceil(memoryBytes / 65_536);
  let quickjs = modules.get(pages);
  if (!quickjs) {
    quickjs = load(pages);
    modules.set(pages, quickjs);
  }
  return { pages, quickjs };
}
/** What the module itself begins with, 16 MiB. */
const initialPages = 256;

async function load(pages: number): Promise<QuickJSWASMModule> {
  const { newQuickJSWASMModule, newVariant, RELEASE_SYNC } = await import('quickjs-emscripten');
  const wasmMemory = new WebAssembly.Memory({ initial: initialPages, maximum: pages });
  return newQuickJSWASMModule(newVariant(RELEASE_SYNC, { wasmMemory }));
}

/** Runs `code` by itself. Whatever it does is an `error` of the answer, never an exception. */
export async function runCode(code: string, limits: CodeLimits = {}): Promise<CodeRun> {
  const [run] = await runInSandbox(code, [], limits);
  return run;
}

/** Runs `code`, then each test after it, in one context. `passed` [tests]; none where the code itself fails. */
export async function runTests(
  code: string,
  tests: readonly CodeTest[],
  limits: CodeLimits = {},
): Promise<{ passed: boolean[]; runs: CodeRun[] }> {
  const [own, ...runs] = await runInSandbox(code, tests, limits);
  if (own.error) return { passed: tests.map(() => false), runs: [own] };
  const passed = runs.map((run, i) => {
    const test = tests[i];
    return run.error === undefined && (typeof test === 'string' || sameValue(run.value, test.expected));
  });
  return { passed, runs: [own, ...runs] };
}

/**
 * Share of the tests that the completion's code passes (`all: true`: 1 only where it passes all). The code is the last fenced block of JavaScript, else the last fenced block
 * without a language, else nothing, which scores 0. Tests stand under `column` of each candidate's `meta`: one or several `CodeTest`s. Abstains where there are none.
 */
export function codeTests({ column = 'tests', all = false, ...limits }: { column?: string; all?: boolean } & CodeLimits = {}): Verifier {
  checkLimits('codeTests', limits);
  return verifier('code tests', all ? 'binary' : 'score', async (text, candidate) => {
    const known = knownOf(candidate, column);
    const tests = (Array.isArray(known) ? known : [known]) as CodeTest[];
    const bad = tests.findIndex(
      (test) => typeof test !== 'string' && !(typeof test === 'object' && test !== null && typeof test.call === 'string'),
    );
    if (bad >= 0 || tests.length === 0)
      throw new ConfigError(`"${column}" must hold tests, text or { call, expected }; number ${bad} is ${JSON.stringify(tests[bad])}`);
    const code = lastFence(`${text}\n`, ['js', 'javascript', 'mjs', 'ecmascript']) ?? lastFence(`${text}\n`, ['']);
    if (code === undefined) return 0;
    const { passed } = await runTests(code, tests, limits);
    const share = passed.filter(Boolean).length / tests.length;
    return all ? share === 1 : share;
  });
}

function checkLimits(who: string, { timeoutMs, memoryBytes, maxOutput }: CodeLimits): void {
  for (const [name, value] of Object.entries({ timeoutMs, memoryBytes, maxOutput }))
    if (value !== undefined && !(value > 0)) throw new ConfigError(`${who}: ${name} must be > 0, got ${value}`);
}

/** One run for the code and one for each test; a run that broke the sandbox is the last one, and the others fail with it. */
async function runInSandbox(code: string, tests: readonly CodeTest[], limits: CodeLimits): Promise<CodeRun[]> {
  checkLimits('runCode', limits);
  const { timeoutMs = 1000, memoryBytes = 64 << 20, maxOutput = 10_000 } = limits;
  const sandbox = sandboxOf(memoryBytes);
  const quickjs = await sandbox.quickjs;
  const runtime = quickjs.newRuntime();
  const runs: CodeRun[] = [];
  let context: QuickJSContext | undefined;
  try {
    runtime.setMemoryLimit(memoryBytes); // refuses one large block before it is tried
    runtime.setMaxStackSize(128 << 10); // below what the host's own stack holds
    context = runtime.newContext();
    const output = { text: '' };
    const assertions = prepare(context, output, maxOutput);
    const evaluate = (source: string, file: string, test = false): CodeRun => {
      const deadline = Date.now() + timeoutMs; // a handler of its own for each run
      let late = false;
      runtime.setInterruptHandler(() => (late ||= Date.now() > deadline));
      output.text = '';
      let result = context!.evalCode(source, file);
      if (test && !result.error) {
        const f = result.value; // a function of the assertions: it gets the host's, whatever the code put into their place
        result = context!.callFunction(f, context!.undefined, ...assertions);
        f.dispose();
      }
      const run: CodeRun = result.error
        ? { stdout: '', error: errorOf(sandboxValue(context!, result.error), late) }
        : { stdout: '', ...sandboxResult(runtime, context!, result.value, () => late) };
      result.dispose();
      if (!run.error && late) run.error = { kind: 'timeout', message: `it ran for more than ${timeoutMs} ms` };
      return { ...run, stdout: output.text };
    };
    runs.push(evaluate(code, 'completion.js'));
    if (!runs[0].error)
      for (const [i, test] of tests.entries()) {
        const body = typeof test === 'string' ? `${test}\n` : `return (${test.call}\n)`;
        runs.push(evaluate(`(function (assert, assertEqual) {${body}})`, `test${i + 1}.js`, true));
      }
    for (const handle of assertions) handle.dispose();
  } catch (error) {
    modules.delete(sandbox.pages); // the module itself may be broken: the next run gets a new one
    const kind = /call stack/.test((error as Error).message) ? 'stack' : 'memory';
    const failed: CodeRun = { stdout: '', error: { kind, message: `the sandbox gave up: ${(error as Error).message}` } };
    while (runs.length < 1 + tests.length) runs.push(failed);
    return runs;
  }
  const full = runs.some(({ error }) => error?.kind === 'memory');
  if (full) modules.delete(sandbox.pages); // a memory that has grown stays so
  try {
    context.dispose();
    runtime.dispose();
  } catch {
    modules.delete(sandbox.pages);
  }
  return runs;
}

/** Runs the jobs that are left, and reads the value: of a promise, what it came to. */
function sandboxResult(
  runtime: QuickJSRuntime,
  context: QuickJSContext,
  value: QuickJSHandle,
  late: () => boolean,
): Omit<CodeRun, 'stdout'> {
  const jobs = runtime.executePendingJobs();
  if (jobs.error) {
    const error = errorOf(sandboxValue(context, jobs.error), late());
    jobs.error.dispose();
    return { error };
  }
  const state = context.getPromiseState(value);
  if (state.type === 'pending') return { error: { kind: 'error', message: 'its promise comes to no end' } };
  if (state.type === 'rejected') {
    const error = errorOf(sandboxValue(context, state.error), late());
    state.error.dispose();
    return { error };
  }
  if (state.notAPromise) return { value: sandboxValue(context, value) };
  const settled = sandboxValue(context, state.value);
  state.value.dispose();
  return { value: settled };
}

/** The value behind a handle that stays the caller's; a promise has none yet (`dump` would dispose its handle). */
function sandboxValue(context: QuickJSContext, handle: QuickJSHandle): unknown {
  const state = context.getPromiseState(handle);
  if (state.type === 'fulfilled' && state.notAPromise) return context.dump(handle) as unknown;
  if (state.type !== 'pending') (state.type === 'fulfilled' ? state.value : state.error).dispose();
  return {};
}

/** `print` and `console.log` for the code; `assert` and `assertEqual` for the tests alone, as handles that the caller disposes. */
function prepare(context: QuickJSContext, output: { text: string }, maxOutput: number): QuickJSHandle[] {
  const show = (value: unknown) => (typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value)));
  const print = context.newFunction('print', (...args) => {
    const line = `${args.map((arg) => show(sandboxValue(context, arg))).join(' ')}\n`;
    if (output.text.length < maxOutput) output.text = (output.text + line).slice(0, maxOutput);
  });
  const console = context.newObject();
  context.setProp(context.global, 'print', print);
  for (const name of ['log', 'info', 'warn', 'error', 'debug']) context.setProp(console, name, print);
  context.setProp(context.global, 'console', console);
  console.dispose();
  print.dispose();
  return [
    context.newFunction('assert', (condition, message) => {
      if (!condition || !sandboxValue(context, condition))
        throw new Error(message ? `assertion failed: ${show(sandboxValue(context, message))}` : 'assertion failed');
    }),
    context.newFunction('assertEqual', (a, b) => {
      const [left, right] = [a && sandboxValue(context, a), b && sandboxValue(context, b)];
      if (!sameValue(left, right)) throw new Error(`assertion failed: ${show(left)} is not ${show(right)}`);
    }),
  ];
}

function errorOf(dumped: unknown, late: boolean): NonNullable<CodeRun['error']> {
  const { name = 'Error', message = String(dumped) } =
    typeof dumped === 'object' && dumped !== null ? (dumped as { name?: string; message?: string }) : {};
  const kind =
    late || message === 'interrupted'
      ? 'timeout'
      : /out of memory/.test(message)
        ? 'memory'
        : /stack overflow|call stack/i.test(message)
          ? 'stack'
          : 'error';
  return { kind, message: `${name}: ${message}`.slice(0, 500) };
}

/** Equal as JSON values; numbers to a relative 1e-9, so that another order of sums does not fail. */
export function sameValue(a: unknown, b: unknown): boolean {
  if (typeof a === 'number' && typeof b === 'number')
    return Object.is(a, b) || a === b || Math.abs(a - b) <= 1e-9 * Math.max(Math.abs(a), Math.abs(b));
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [left, right] = [Object.keys(a), Object.keys(b)];
  return (
    left.length === right.length &&
    left.every((key) => Object.hasOwn(b, key) && sameValue((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]))
  );
}
