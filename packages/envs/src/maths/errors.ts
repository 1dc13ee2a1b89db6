/**
 * The twenty error classes of Socratic-PRMBench (Li et al. 2025, arXiv:2505.23474) put into true solutions of chains, in the official record format, so that
 * one loader reads generated and official files.
 *
 * Which steps are wrong follows from one rule: the step that was changed, and every later one that because of it states a value, an operation or a
 * conclusion that is false for the problem.
 */
import type { Rng } from '@plumbline/core';
import { thoughts } from './phrases.js';
import { compute, type MathsProblem, numberOf, type Op } from './problem.js';
import {
  answerLine,
  checkLine,
  conclusion,
  deduction,
  equation,
  equationOf,
  expressionMark,
  factsLine,
  literals,
  type Pattern,
  patternOfStep,
  planLine,
  restatement,
} from './solution.js';

const classes = {
  repeat_inconsistency: 'Transformation',
  repeat_counterfactual: 'Transformation',
  decomposition_unsoundness: 'Decomposition',
  decomposition_redundancy: 'Decomposition',
  decomposition_incompleteness: 'Decomposition',
  regather_imprecision: 'Regather',
  regather_redundancy: 'Regather',
  regather_incompleteness: 'Regather',
  premise_unsoundness: 'Deduction',
  premise_incompleteness: 'Deduction',
  premise_redundancy: 'Deduction',
  conclusion_invalidity: 'Deduction',
  conclusion_inconsistency: 'Deduction',
  conclusion_counterfactual: 'Deduction',
  detection_error: 'Verification',
  correction_error: 'Verification',
  integration_unsoundness: 'Integration',
  integration_inconsistency: 'Integration',
  integration_redundancy: 'Integration',
  integration_incompleteness: 'Integration',
} as const satisfies Record<string, Pattern>;

export type SocraticClass = keyof typeof classes;
export const socraticClasses = Object.keys(classes) as SocraticClass[];
/** The reasoning pattern that an official `classification` belongs to. */
export const patternOf = (classification: SocraticClass): Exclude<Pattern, 'Answer'> => classes[classification];

/** A row as the official files have it; steps are counted from 1. */
export type SocraticRecord = {
  original_question: string;
  modified_question: string;
  original_process: string[];
  modified_process: string[];
  modified_steps: number[];
  error_steps: number[];
  reason: string;
  question: string;
  idx: string;
  classification: SocraticClass;
};

/**
 * Puts one error of a class into the true solution of a chain of at least two steps.
 *
 * @param steps of `renderSolution(problem, 'socratic')`; a check is added where the class needs one
 * @throws RangeError for a tree, for a solution of another mode, or where 500 draws find no error that shows in every later value
 */
export function injectError(problem: MathsProblem, steps: readonly string[], classification: SocraticClass, rng: Rng): SocraticRecord {
  if (problem.kind !== 'chain') throw new RangeError('injectError: the problem must be a chain');
  if (patternOfStep(steps[0]) !== 'Transformation') throw new RangeError('injectError: the steps must be those of a socratic solution');
  const needsCheck = patternOf(classification) === 'Verification';
  const original = needsCheck ? withCheck(problem, steps, rng) : [...steps];
  for (let tries = 0; tries < 500; tries++) {
    const changed = injectors[classification](solutionParts(problem, original), rng.fork('try', tries));
    if (!changed) continue;
    const { process, wrong, reason } = changed;
    const differs = process.flatMap((step, i) => (step === original[i] ? [] : [i + 1]));
    return {
      original_question: problem.text,
      modified_question: problem.text,
      original_process: original,
      modified_process: process,
      modified_steps: differs,
      error_steps: wrong,
      reason,
      question: problem.text,
      idx: `${problem.id}_${classification}`,
      classification,
    };
  }
  throw new RangeError(`injectError: no ${classification} of ${problem.key} in 500 tries`);
}

type Parts = {
  problem: MathsProblem;
  head: string[];
  deductions: string[];
  check: string[];
  /** Number of the first deduction's step, from 1. */
  first: number;
  start: number;
  parts: { op: Op; n: number }[];
  values: number[];
};
type Changed = { process: string[]; wrong: number[]; reason: string } | null;

function solutionParts(problem: MathsProblem, steps: readonly string[]): Parts {
  const of = (pattern: Pattern) => steps.filter((step) => patternOfStep(step) === pattern);
  return {
    problem,
    head: steps.slice(0, 3),
    deductions: of('Deduction'),
    check: of('Verification'),
    first: 4,
    start: numberOf(problem.nodes[0].left, problem.values),
    parts: problem.nodes.map(({ op, right }) => ({ op, n: numberOf(right, problem.values) })),
    values: problem.values,
  };
}

function withCheck(problem: MathsProblem, steps: readonly string[], rng: Rng): string[] {
  if (steps.some((step) => patternOfStep(step) === 'Verification')) return [...steps];
  const node = problem.nodes[rng.below(problem.nodes.length)];
  const at = steps.findIndex((step) => patternOfStep(step) === 'Integration');
  return [...steps.slice(0, at), checkLine(node.op, equationOf(node, problem.values)), ...steps.slice(at)];
}

/** What a solver on a wrong path writes: a division that does not come out even loses its rest. */
const result = (op: Op, a: number, b: number): number => Math.floor(compute[op](a, b));

/** Values from `start` on, or null where one is below 0. */
function run(start: number, parts: readonly { op: Op; n: number }[]): number[] | null {
  const values: number[] = [];
  let value = start;
  for (const { op, n } of parts) {
    value = result(op, value, n);
    if (value < 0) return null;
    values.push(value);
  }
  return values;
}

const lines = (start: number, parts: readonly { op: Op; n: number }[], values: readonly number[]): string[] =>
  parts.map(({ op, n }, k) => deduction(op, k === 0 ? start : values[k - 1], n, values[k]));

const range = (from: number, to: number): number[] => Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i);

/** Another number near `n`, at least 2. */
function other(n: number, rng: Rng): number {
  const by = 1 + rng.below(9);
  return rng.below(2) === 0 && n - by >= 2 ? n - by : n + by;
}

/**
 * A solution whose deduction `k` is replaced by `line`, which states `value`: what follows builds on that. Null where it cannot, or where a later value
 * comes out right all the same.
 */
function derail(
  p: Parts,
  k: number,
  line: string,
  value: number,
  reason: string,
  { head = p.head, from = p.first + k, also = [] as number[] } = {},
): Changed {
  const rest = p.parts.slice(k + 1);
  const after = run(value, rest);
  if (!after || value === p.values[k] || after.some((v, i) => v === p.values[k + 1 + i])) return null;
  const deductions = [...p.deductions.slice(0, k), line, ...lines(value, rest, after)];
  const final = after.at(-1) ?? value;
  const process = [...head, ...deductions, ...p.check, conclusion(p.problem, final), answerLine(final)];
  const check = p.check.map((_, i) => p.first + deductions.length + i); // it is still true
  return { process, wrong: [...also, ...range(from, process.length)].filter((number) => !check.includes(number)), reason };
}

const step = (thought: string, expression: string) => `${thought} ${expressionMark} ${expression}`;
const leftOf = (p: Parts, k: number): number => (k === 0 ? p.start : p.values[k - 1]);

/** The last two steps say another number. */
function misreport(p: Parts, value: number, reason: string): Changed {
  if (value === p.values.at(-1)) return null;
  const before = [...p.head, ...p.deductions, ...p.check];
  return { process: [...before, conclusion(p.problem, value), answerLine(value)], wrong: [before.length + 1, before.length + 2], reason };
}

const injectors: Record<SocraticClass, (p: Parts, rng: Rng) => Changed> = {
  repeat_inconsistency(p) {
    const value = p.values.at(-2);
    if (value === undefined) return null;
    const { who, item } = p.problem.names;
    const head = [restatement(p.problem, undefined, `the ${item} of ${who} before the last change`), ...p.head.slice(1)];
    const before = [...head, ...p.deductions, ...p.check];
    return {
      process: [...before, conclusion(p.problem, value), answerLine(value)],
      wrong: [1, before.length + 1, before.length + 2],
      reason: 'The restated goal is not what was asked.',
    };
  },
  repeat_counterfactual(p, rng) {
    const start = other(p.start, rng);
    const values = run(start, p.parts);
    if (!values || values.some((v, k) => v === p.values[k])) return null;
    const facts = [start, ...literals(p.problem.nodes).slice(1)];
    const process = [
      restatement(p.problem, [start]),
      p.head[1],
      factsLine(facts),
      ...lines(start, p.parts, values),
      conclusion(p.problem, values.at(-1)!),
      answerLine(values.at(-1)!),
    ];
    return { process, wrong: [1, ...range(3, process.length)], reason: `The story says ${p.start}, not ${start}.` };
  },
  decomposition_unsoundness(p, rng) {
    const k = rng.below(p.parts.length);
    const { op, n } = p.parts[k];
    const ops = (['+', '-', '*', '/'] as const).filter((o) => o !== op);
    const changed = ops[rng.below(3)];
    const value = result(changed, leftOf(p, k), n);
    if (value < 0) return null;
    const plan = planLine(p.parts.map((part, i) => (i === k ? { op: changed, n } : part)));
    return derail(p, k, deduction(changed, leftOf(p, k), n, value), value, `Part ${k + 1} of the plan is "${thoughts[op][0](n)}".`, {
      head: [p.head[0], plan, p.head[2]],
      also: [2],
    });
  },
  decomposition_redundancy(p, rng) {
    const k = rng.below(p.parts.length);
    const [a, b] = [2 + rng.below(8), 2 + rng.below(8)];
    const extra = { op: '+' as const, n: b };
    const plan = planLine([...p.parts.slice(0, k), extra, ...p.parts.slice(k)]);
    if (b === p.parts[k].n && p.parts[k].op === '+') return null;
    const deductions = [...p.deductions.slice(0, k), deduction('+', a, b, a + b), ...p.deductions.slice(k)];
    const final = p.values.at(-1)!;
    return {
      process: [p.head[0], plan, p.head[2], ...deductions, ...p.check, conclusion(p.problem, final), answerLine(final)],
      wrong: [2, p.first + k],
      reason: `Part ${k + 1} of the plan is not needed.`,
    };
  },
  decomposition_incompleteness(p, rng) {
    if (p.parts.length < 2) return null;
    const k = rng.below(p.parts.length);
    const parts = p.parts.filter((_, i) => i !== k);
    const values = run(p.start, parts);
    if (!values || values.slice(k).some((v, i) => v === p.values[k + 1 + i]) || values.at(-1) === p.values.at(-1)) return null;
    const plan = planLine(parts);
    if (plan === p.head[1]) return null;
    const process = [
      p.head[0],
      plan,
      p.head[2],
      ...lines(p.start, parts, values),
      ...p.check,
      conclusion(p.problem, values.at(-1)!),
      answerLine(values.at(-1)!),
    ];
    return {
      process,
      wrong: [2, ...range(p.first + k, process.length)],
      reason: `The plan leaves out "${thoughts[p.parts[k].op][0](p.parts[k].n)}".`,
    };
  },
  regather_imprecision: (p, rng) =>
    guessed(p, rng, (numbers, at, guess) => numbers.map((x, i) => (i === at ? guess : x)), 'A fact has another number'),
  regather_redundancy(p, rng) {
    const numbers = literals(p.problem.nodes);
    const unrelated = Number(p.problem.distractors[0]?.match(/\d+/)?.[0] ?? 2 + rng.below(18));
    const at = 1 + rng.below(numbers.length);
    return {
      process: [
        p.head[0],
        p.head[1],
        factsLine([...numbers.slice(0, at), unrelated, ...numbers.slice(at)]),
        ...p.deductions,
        ...p.check,
        conclusion(p.problem, p.values.at(-1)!),
        answerLine(p.values.at(-1)!),
      ],
      wrong: [3],
      reason: `${unrelated} is not needed.`,
    };
  },
  regather_incompleteness: (p, rng) =>
    guessed(p, rng, (numbers, at) => numbers.filter((_, i) => i !== at), 'A fact is missing, and its step uses a guess'),
  premise_unsoundness(p, rng) {
    const k = rng.below(p.parts.length);
    const { op, n } = p.parts[k];
    const a = other(leftOf(p, k), rng);
    const value = result(op, a, n);
    if (value < 0) return null;
    return derail(p, k, deduction(op, a, n, value), value, `There are ${leftOf(p, k)}, not ${a}.`);
  },
  premise_incompleteness(p, rng) {
    const k = rng.below(p.parts.length);
    const a = leftOf(p, k);
    return derail(p, k, step('nothing changes', `${a} = ${a}`), a, `The step leaves out "${thoughts[p.parts[k].op][0](p.parts[k].n)}".`);
  },
  premise_redundancy(p, rng) {
    const k = rng.below(p.parts.length);
    const { op, n } = p.parts[k];
    const extra = 1 + rng.below(4);
    const value = result(op, leftOf(p, k), n + extra);
    if (value < 0) return null;
    return derail(
      p,
      k,
      step(`${thoughts[op][0](n)}, and ${extra} that must belong to it`, equation(leftOf(p, k), op, n + extra, value)),
      value,
      `The story says nothing of another ${extra}.`,
    );
  },
  conclusion_invalidity(p, rng) {
    const k = rng.below(p.parts.length);
    const { op, n } = p.parts[k];
    const value = other(p.values[k], rng);
    return derail(p, k, deduction(op, leftOf(p, k), n, value), value, `${equation(leftOf(p, k), op, n, p.values[k])}.`);
  },
  conclusion_inconsistency(p, rng) {
    const k = rng.below(p.parts.length);
    const { op, n } = p.parts[k];
    const ops = (['+', '-', '*', '/'] as const).filter((o) => o !== op);
    const done = ops[rng.below(3)];
    const value = result(done, leftOf(p, k), n);
    if (value < 0) return null;
    return derail(
      p,
      k,
      step(thoughts[op][0](n), equation(leftOf(p, k), done, n, value)),
      value,
      'The equation does not do what the words say.',
    );
  },
  conclusion_counterfactual(p, rng) {
    const k = rng.below(p.parts.length);
    const { op, n } = p.parts[k];
    const wrong = other(n, rng);
    const value = result(op, leftOf(p, k), wrong);
    if (value < 0) return null;
    return derail(
      p,
      k,
      step(`everybody knows that ${n} is the same as ${wrong}`, equation(leftOf(p, k), op, wrong, value)),
      value,
      `${n} is not ${wrong}.`,
    );
  },
  detection_error(p, rng) {
    const k = rng.below(p.parts.length);
    const { op, n } = p.parts[k];
    const line = checkLine(op, { a: leftOf(p, k), b: n, c: p.values[k] }).replace(', OK.', `, so step ${p.first + k} is wrong.`);
    const final = p.values.at(-1)!;
    return {
      process: [...p.head, ...p.deductions, line, conclusion(p.problem, final), answerLine(final)],
      wrong: [p.first + p.deductions.length],
      reason: `Step ${p.first + k} is right.`,
    };
  },
  correction_error(p, rng) {
    const k = rng.below(p.parts.length);
    const { op, n } = p.parts[k];
    const value = other(p.values[k], rng);
    const rest = p.parts.slice(k + 1);
    const after = run(value, rest);
    if (!after || after.some((v, i) => v === p.values[k + 1 + i])) return null;
    const line = `Check: step ${p.first + k} is wrong, for ${equation(leftOf(p, k), op, n, value)}.`;
    const final = after.at(-1) ?? value;
    const process = [...p.head, ...p.deductions, line, ...lines(value, rest, after), conclusion(p.problem, final), answerLine(final)];
    return { process, wrong: range(p.first + p.deductions.length, process.length), reason: `Step ${p.first + k} was right.` };
  },
  integration_unsoundness(p, rng) {
    const stranger = 2 + rng.below(18);
    return misreport(p, p.values.at(-1)! + stranger, `${stranger} has nothing to do with it.`);
  },
  integration_inconsistency: (p, rng) => misreport(p, other(p.values.at(-1)!, rng), `The last step gives ${p.values.at(-1)}.`),
  integration_redundancy(p, rng) {
    const [a, b] = [2 + rng.below(8), 2 + rng.below(8)];
    const final = p.values.at(-1)!;
    const before = [...p.head, ...p.deductions, ...p.check];
    return {
      process: [...before, `${conclusion(p.problem, final)} And ${equation(a, '+', b, a + b)}.`, answerLine(final)],
      wrong: [before.length + 1],
      reason: 'The last equation has nothing to do with the question.',
    };
  },
  integration_incompleteness: (p, rng) =>
    p.values.length < 2 ? null : misreport(p, p.values[rng.below(p.values.length - 1)], 'It is not the last result.'),
};

/** The third step has a wrong list of facts, and the step that needs the fact uses `guess`. */
function guessed(p: Parts, rng: Rng, facts: (numbers: number[], at: number, guess: number) => number[], reason: string): Changed {
  const k = rng.below(p.parts.length);
  const { op, n } = p.parts[k];
  const guess = other(n, rng);
  const value = result(op, leftOf(p, k), guess);
  if (value < 0) return null;
  const numbers = literals(p.problem.nodes); // the start, then each right operand
  return derail(p, k, deduction(op, leftOf(p, k), guess, value), value, `${reason}: ${n}.`, {
    head: [p.head[0], p.head[1], factsLine(facts(numbers, k + 1, guess))],
    also: [3],
  });
}
