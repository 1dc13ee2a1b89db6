/** Exact labels of the steps of a solution: what each one does to what is known, by arithmetic alone. */
import { extractAnswer, mathEqual } from '@plumbline/data';
import { readThought } from './phrases.js';
import { compute, type MathsNode, type MathsProblem, numberOf, type Op } from './problem.js';
import { literals, type Pattern, parseEquation, patternOfStep, splitStep, startsOf } from './solution.js';

/**
 * `correct`: it computes a part that was still to do (or states the plan, the facts, the conclusion as they are). `redundant`: true and of no use.
 * `arithmetic`: the equation, or the conclusion, is false. `wrong-operation`: something else is done to a number that was to be worked on.
 * `wrong-operand`: it works on a number that is not there. `malformed`: no equation. `after-error`: right, were what it builds on right.
 */
export type Verdict = 'correct' | 'redundant' | 'arithmetic' | 'wrong-operand' | 'wrong-operation' | 'malformed' | 'after-error';
export type StepVerdict = {
  verdict: Verdict;
  /** No step up to this one was an error: "prefix correct", as PRM800K, Math-Shepherd and ProcessBench label. */
  onPath: boolean;
  /** The step itself is not an error. */
  locallyValid: boolean;
  /** It brings the solution forward. */
  progress: boolean;
  /** The chance of a right answer from here under a solver that takes each part still to do rightly with probability q, and never recovers. */
  value: number;
};

/**
 * The verdict of each step of a compact, `math` or socratic solution.
 *
 * @param q            of `value`
 * @param allowReorder whether any part whose operands are known may come next (trees, by default), or the next one alone (chains)
 */
export function labelSteps(
  problem: MathsProblem,
  steps: readonly string[],
  { q = 0.9, allowReorder = problem.kind === 'tree' }: { q?: number; allowReorder?: boolean } = {},
): StepVerdict[] {
  const { nodes, values } = problem;
  const todo = new Set(nodes.map(({ id }) => id));
  const done: string[] = [];
  let dead = false;
  let lastStated: number | null = null;
  const ready = () => {
    const open = nodes.filter(
      ({ id, left, right }) => todo.has(id) && [left, right].every((o) => typeof o === 'number' || !todo.has(o.node)),
    );
    return allowReorder ? open : open.slice(0, 1);
  };

  const judge = (step: string): Verdict => {
    const pattern = patternOfStep(step);
    if (pattern === 'Answer') return !dead && mathEqual(extractAnswer(step)?.value ?? '', problem.answer) ? 'correct' : 'arithmetic';
    if (pattern !== 'Deduction') {
      const verdict = judgeSentence(problem, pattern, step);
      return dead && (verdict === 'correct' || verdict === 'redundant') ? 'after-error' : verdict;
    }
    const { thought, expression } = splitStep(step);
    const parsed = expression === null ? null : parseEquation(expression);
    if (!parsed) return 'malformed';
    const { a, op, b, c } = parsed;
    const before = lastStated;
    lastStated = c;
    if (compute[op](a, b) !== c) return 'arithmetic';
    if (b === (op === '+' || op === '-' ? 0 : 1)) return 'redundant';
    const said = readThought(thought);
    const node = dead ? undefined : ready().find((n) => matches(n, values, a, op, b));
    if (node && said && said.op !== op) return 'wrong-operation'; // it says one thing and does another
    if (node) {
      todo.delete(node.id);
      done.push(`${a}${op}${b}`);
      return 'correct';
    }
    if (done.includes(`${a}${op}${b}`)) {
      lastStated = before;
      return 'redundant';
    }
    if (dead) return a === before ? 'after-error' : 'wrong-operand';
    return ready().some((n) => numberOf(n.left, values) === a || numberOf(n.right, values) === a) ? 'wrong-operation' : 'wrong-operand';
  };

  return steps.map((step) => {
    const verdict = judge(step);
    const locallyValid = verdict === 'correct' || verdict === 'redundant' || verdict === 'after-error';
    if (!locallyValid) dead = true;
    return { verdict, onPath: !dead, locallyValid, progress: verdict === 'correct', value: dead ? 0 : q ** todo.size };
  });
}

/** The index of the first step that is an error, or -1 (ProcessBench's label). */
export const firstError = (verdicts: readonly StepVerdict[]): number => verdicts.findIndex(({ onPath }) => !onPath);

function matches(node: MathsNode, values: readonly number[], a: number, op: Op, b: number): boolean {
  if (node.op !== op) return false;
  const [left, right] = [numberOf(node.left, values), numberOf(node.right, values)];
  return (left === a && right === b) || ((op === '+' || op === '*') && left === b && right === a);
}

/** The sentences of a socratic solution around its deductions. */
function judgeSentence(problem: MathsProblem, pattern: Exclude<Pattern, 'Answer' | 'Deduction'>, step: string): Verdict {
  const { nodes, values, answer } = problem;
  const numbers = (step.match(/\d+/g) ?? []).map(Number);
  switch (pattern) {
    case 'Transformation':
      return same(numbers, startsOf(nodes)) ? 'correct' : 'wrong-operand';
    case 'Decomposition': {
      const planned = step.slice('Plan:'.length).split(', then ').map(readThought);
      if (planned.some((part) => part === null)) return 'malformed';
      const given = planned.map((part) => `${part!.op}${part!.n}`);
      const true_ = nodes.map((node) => `${node.op}${numberOf(node.right, values)}`);
      if (same(given, true_)) return 'correct';
      if (isSubsequence(true_, given)) return 'redundant';
      return given.length === true_.length &&
        same(
          planned.map((part) => part!.op),
          nodes.map(({ op }) => op),
        )
        ? 'wrong-operand'
        : 'wrong-operation';
    }
    case 'Regather': {
      const needed = literals(nodes);
      if (same(numbers, needed)) return 'correct';
      return isSubsequence([...needed].sort(byValue), [...numbers].sort(byValue)) ? 'redundant' : 'wrong-operand';
    }
    case 'Verification': {
      const equations = step.match(/-?\d+ [-+*/] -?\d+ = -?\d+/g)?.map((text) => parseEquation(text)!) ?? [];
      if (equations.length === 0) return 'malformed';
      return equations.every(({ a, op, b, c }) => compute[op](a, b) === c) ? 'correct' : 'arithmetic';
    }
    case 'Integration':
      return numbers.length > 0 && mathEqual(String(numbers[0]), answer) ? 'correct' : 'arithmetic';
  }
}

const byValue = (a: number, b: number) => a - b;
const same = <T>(a: readonly T[], b: readonly T[]) => a.length === b.length && a.every((x, i) => x === b[i]);

function isSubsequence<T>(short: readonly T[], long: readonly T[]): boolean {
  let at = 0;
  for (const x of long) if (at < short.length && x === short[at]) at++;
  return at === short.length;
}
