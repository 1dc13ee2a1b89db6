/** A scripted solver that errs at a known rate: for tests of search, aggregation and benchmarks, and as a teacher. Thousands of solutions a second. */
import type { Rng } from '@plumbline/core';
import { labelSteps } from './oracle.js';
import { compute, type MathsProblem, numberOf, type Op } from './problem.js';
import { answerLine, deduction, parseEquation, patternOfStep, splitStep } from './solution.js';

export type ErrorClass = 'arithmetic' | 'wrong-operand' | 'wrong-operation';
export type NoisySolver = {
  /** The step after `steps`, or null after the answer. */
  next(problem: MathsProblem, steps: readonly string[], rng: Rng): string | null;
  /** From the beginning, or from `steps` on, to the answer. */
  solve(problem: MathsProblem, rng: Rng, steps?: readonly string[]): string[];
};

/**
 * Takes each step rightly with probability `q`, else makes an error of a class drawn by `errors` (weights); what follows an error builds on it, and
 * the answer is then wrong. Before a step, with probability `redundant`, one that is true and of no use. Compact solutions.
 */
export function noisySolver({
  q,
  errors = { arithmetic: 1, 'wrong-operand': 1, 'wrong-operation': 1 },
  redundant = 0,
}: {
  q: number;
  errors?: Partial<Record<ErrorClass, number>>;
  redundant?: number;
}): NoisySolver {
  if (!(q >= 0 && q <= 1)) throw new RangeError(`noisySolver: q must be in [0, 1], got ${q}`);
  if (!(redundant >= 0 && redundant < 1)) throw new RangeError(`noisySolver: redundant must be in [0, 1), got ${redundant}`);
  const classes = Object.keys(errors) as ErrorClass[];
  const weights = classes.map((name) => errors[name]!);

  const next: NoisySolver['next'] = (problem, steps, rng) => {
    if (steps.some((step) => patternOfStep(step) === 'Answer')) return null;
    const verdicts = labelSteps(problem, steps, { allowReorder: false });
    const dead = verdicts.some(({ onPath }) => !onPath);
    const taken = verdicts.filter(({ verdict }) => verdict !== 'redundant').length; // an error stands for the node it was to compute
    const stated = steps.flatMap((step) => parseEquation(splitStep(step).expression ?? '') ?? []);
    const last = stated.at(-1)?.c;
    if (taken >= problem.nodes.length) {
      const wrong = last === undefined || String(last) === problem.answer ? Number(problem.answer) + 1 : last;
      return answerLine(dead ? wrong : problem.answer);
    }
    const node = problem.nodes[taken];
    const b = numberOf(node.right, problem.values);
    const a = dead && last !== undefined ? last : numberOf(node.left, problem.values);
    if (last !== undefined && chance(rng, redundant)) return deduction('+', last, 0, last, rng);
    if (dead) return follow(problem, taken, node.op, a, b, rng);
    if (chance(rng, q)) return deduction(node.op, a, b, compute[node.op](a, b), rng);
    return wrongStep(classes[rng.categorical(weights)], node.op, a, b, compute[node.op](a, b), rng);
  };
  return {
    next,
    solve(problem, rng, steps = []) {
      const all = [...steps];
      for (let step = next(problem, all, rng); step !== null; step = next(problem, all, rng)) all.push(step);
      return all;
    },
  };
}

/** After an error: the operation that was to come, on what was stated last; a plain sum where it would not be exact. */
function follow(problem: MathsProblem, at: number, op: Op, a: number, b: number, rng: Rng): string {
  const fits = (c: number) => Number.isInteger(c) && c >= 0;
  const used: Op = fits(compute[op](a, b)) ? op : '+';
  const c = compute[used](a, b);
  const lucky = at === problem.nodes.length - 1 && String(c) === problem.answer;
  return deduction(used, a, b, lucky ? c + 1 : c, rng);
}

function wrongStep(how: ErrorClass, op: Op, a: number, b: number, c: number, rng: Rng): string {
  if (how === 'wrong-operation') {
    const others = (['+', '-', '*'] as const).filter((other) => other !== op && compute[other](a, b) >= 0 && compute[other](a, b) !== c);
    if (others.length > 0) {
      const other = others[rng.below(others.length)];
      return deduction(other, a, b, compute[other](a, b), rng);
    }
  }
  if (how === 'wrong-operand') {
    const wrong = a + 1 + rng.below(9);
    const used: Op = Number.isInteger(compute[op](wrong, b)) && compute[op](wrong, b) >= 0 ? op : '+';
    const result = compute[used](wrong, b);
    if (wrong !== b && result !== c) return deduction(used, wrong, b, result, rng);
  }
  const off = 1 + rng.below(c > 9 ? 9 : 1);
  return deduction(op, a, b, rng.below(2) === 0 && c >= off ? c - off : c + off, rng);
}

const chance = (rng: Rng, p: number): boolean => p > 0 && rng.uniform(1)[0] < p;
