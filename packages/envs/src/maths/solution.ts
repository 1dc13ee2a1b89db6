/** Solutions as text, one string a step, and how a step is taken apart. */
import type { Rng } from '@plumbline/core';
import { thoughts } from './phrases.js';
import { compute, type MathsNode, type MathsProblem, numberOf, type Op } from './problem.js';

/** Between a step's thought and its equation. */
export const expressionMark = '<m>';
/** Between steps, and between a prompt and its solution. */
export const stepSeparator = '\n';

/**
 * `compact`: for each node "{thought} <m> {a} {op} {b} = {c}", then "Answer: {x}". `math`: the same without thoughts. `socratic`: what is given and asked,
 * a plan, the facts, the deductions, a check, the conclusion, and the answer.
 */
export type SolutionMode = 'compact' | 'math' | 'socratic';
export type Pattern = 'Transformation' | 'Decomposition' | 'Regather' | 'Deduction' | 'Verification' | 'Integration' | 'Answer';

export type SolutionOptions = {
  /** Draws the wording of thoughts; without it the first wording is used. */
  rng?: Rng;
  /** In the socratic mode: the node whose equation is checked by the inverse operation; none by default. */
  check?: number;
};

/** The true solution. */
export function renderSolution(problem: MathsProblem, mode: SolutionMode, { rng, check }: SolutionOptions = {}): string[] {
  const { nodes, values, answer } = problem;
  const deductions = nodes.map((node) => {
    const { a, b, c } = equationOf(node, values);
    return mode === 'math' ? equation(a, node.op, b, c) : deduction(node.op, a, b, c, rng);
  });
  if (mode !== 'socratic') return [...deductions, answerLine(answer)];
  return [
    restatement(problem),
    planLine(nodes.map((node) => ({ op: node.op, n: numberOf(node.right, values) }))),
    factsLine(literals(nodes)),
    ...deductions,
    ...(check === undefined ? [] : [checkLine(nodes[check].op, equationOf(nodes[check], values))]),
    conclusion(problem, answer),
    answerLine(answer),
  ];
}

/** The pattern of each step of a socratic solution. */
export function patternOfStep(step: string): Pattern {
  if (step.startsWith('Restate:')) return 'Transformation';
  if (step.startsWith('Plan:')) return 'Decomposition';
  if (step.startsWith('Facts:')) return 'Regather';
  if (step.startsWith('Check:')) return 'Verification';
  if (step.startsWith('So after all steps')) return 'Integration';
  return step.startsWith('Answer:') ? 'Answer' : 'Deduction';
}

// The sentences of a solution. The oracle reads what these write.
export const equation = (a: number, op: Op, b: number, c: number): string => `${a} ${op} ${b} = ${c}`;
export function deduction(op: Op, a: number, b: number, c: number, rng?: Rng): string {
  const forms = thoughts[op];
  return joinStep(forms[rng ? rng.below(forms.length) : 0](b), equation(a, op, b, c));
}
export const answerLine = (value: string | number): string => `Answer: ${value}`;
export function restatement(
  { names: { who, other, item }, nodes }: MathsProblem,
  starts = startsOf(nodes),
  asked = `the ${item} of ${who}`,
): string {
  const given = starts.map((n, i) => `${i === 0 ? who : other} starts with ${n} ${item}`).join(' and ');
  return `Restate: ${given}; we want ${asked}.`;
}
export const planLine = (parts: readonly { op: Op; n: number }[]): string =>
  `Plan: ${parts.map(({ op, n }) => thoughts[op][0](n)).join(', then ')}.`;
export const factsLine = (numbers: readonly number[]): string => `Facts: ${numbers.join(', ')}.`;
export const conclusion = ({ names: { who, item } }: MathsProblem, value: string | number): string =>
  `So after all steps ${who} has ${value} ${item}.`;
export function checkLine(op: Op, { a, b, c }: { a: number; b: number; c: number }): string {
  const inverse = { '+': '-', '-': '+', '*': '/', '/': '*' }[op] as Op;
  return `Check: ${equation(c, inverse, b, a)}, OK.`;
}

/** The numbers of the story that a solution needs, in the order of the nodes. */
export function literals(nodes: readonly MathsNode[]): number[] {
  return nodes.flatMap(({ left, right }) => [left, right].filter((operand) => typeof operand === 'number'));
}
export const startsOf = (nodes: readonly MathsNode[]): number[] => nodes.flatMap(({ left }) => (typeof left === 'number' ? [left] : []));

export function equationOf({ op, left, right }: MathsNode, values: readonly number[]): { a: number; b: number; c: number } {
  const [a, b] = [numberOf(left, values), numberOf(right, values)];
  return { a, b, c: compute[op](a, b) };
}

const joinStep = (thought: string, expression: string) => `${thought} ${expressionMark} ${expression}`;

/** The two halves of a step; a step without a mark that is an equation has no thought. */
export function splitStep(step: string): { thought: string; expression: string | null } {
  const at = step.indexOf(expressionMark);
  if (at >= 0) return { thought: step.slice(0, at).trim(), expression: step.slice(at + expressionMark.length).trim() };
  return parseEquation(step) ? { thought: '', expression: step.trim() } : { thought: step.trim(), expression: null };
}

/** `full`: as they are. `math`: equations and the steps that have none. `thought`: without equations. */
export function joinSteps(steps: readonly string[], mode: 'full' | 'math' | 'thought' = 'full'): string {
  if (mode === 'full') return steps.join(stepSeparator);
  return steps
    .map(splitStep)
    .map(({ thought, expression }) => (mode === 'math' ? (expression ?? thought) : thought))
    .filter((text) => text !== '')
    .join(stepSeparator);
}

/** Lines of a solution without empty ones, and without a leading "Step k:". */
export function splitSolution(text: string): string[] {
  return text
    .split(stepSeparator)
    .map((line) => line.replace(/^\s*Step \d+:\s*/, '').trim())
    .filter((line) => line !== '');
}

/** `int ws op ws int ws '=' ws int`, and nothing else. */
export function parseEquation(text: string): { a: number; op: Op; b: number; c: number } | null {
  const match = /^\s*(-?\d+)\s+([-+*/])\s+(-?\d+)\s+=\s+(-?\d+)\s*$/.exec(text);
  return match && { a: Number(match[1]), op: match[2] as Op, b: Number(match[3]), c: Number(match[4]) };
}
