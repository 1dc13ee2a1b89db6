/** Countdown: reach a target from given numbers, each used once. What may follow can be searched to the end, so a step's label looks ahead. */
import type { Rng } from '@plumbline/core';
import { compute, fnv1a32, type Op, type Split, splitOf } from './problem.js';
import { stepSeparator } from './solution.js';

export type CountdownProblem = {
  kind: 'countdown';
  id: string;
  /** Such as "cd:2,3,5=13", the numbers in rising order. */
  key: string;
  text: string;
  numbers: number[];
  target: number;
  answer: string;
};
export type CountdownKnobs = { numbers: number | readonly [number, number]; largest: number; target: readonly [number, number] };
export type Move = { a: number; op: Op; b: number; c: number /** In rising order. */; left: number[] };

const ops: readonly Op[] = ['+', '-', '*', '/'];

/**
 * A solvable problem, its target reached by moves drawn at random.
 *
 * @throws RangeError naming the knobs where a thousand tries give no target inside its range
 */
export function makeCountdown(rng: Rng, knobs: Partial<CountdownKnobs> = {}): CountdownProblem {
  const {
    numbers: counts,
    largest,
    target: [low, high],
  } = { numbers: [3, 6] as const, largest: 25, target: [10, 999] as const, ...knobs };
  for (let tries = 0; tries < 1000; tries++) {
    const count = typeof counts === 'number' ? counts : counts[0] + rng.below(counts[1] - counts[0] + 1);
    const numbers = Array.from({ length: count }, () => 1 + rng.below(largest));
    let left = sorted(numbers);
    while (left.length > 1) {
      const moves = legalMoves(left);
      left = moves[rng.below(moves.length)].left;
    }
    const [target] = left;
    if (target < low || target > high) continue;
    return countdownProblem(numbers, target);
  }
  throw new RangeError(`makeCountdown: no target from ${low} to ${high} in 1,000 tries with ${counts} numbers up to ${largest}`);
}

export function countdownProblem(numbers: readonly number[], target: number): CountdownProblem {
  const key = `cd:${sorted(numbers).join(',')}=${target}`;
  return {
    kind: 'countdown',
    id: `countdown-${fnv1a32(key).toString(16).padStart(8, '0')}`,
    key,
    text: `Make ${target} from the numbers ${numbers.join(', ')}.`,
    numbers: [...numbers],
    target,
    answer: String(target),
  };
}

/** The first problem drawn that belongs to the split. */
export function countdownOf(split: Split, rng: Rng, knobs?: Partial<CountdownKnobs>): CountdownProblem {
  for (let tries = 0; tries < 1000; tries++) {
    const problem = makeCountdown(rng.fork('try', tries), knobs);
    if (splitOf(problem) === split) return problem;
  }
  throw new RangeError(`countdownOf: no problem in split ${split} in 1,000 tries`);
}

/** The different moves on these numbers: two of them, the larger first; a difference above 0; a division that is exact. */
export function legalMoves(numbers: readonly number[]): Move[] {
  const moves = new Map<string, Move>();
  numbers.forEach((x, i) => {
    numbers.forEach((y, j) => {
      if (j <= i) return;
      const [a, b] = x >= y ? [x, y] : [y, x];
      for (const op of ops) {
        const c = compute[op](a, b);
        if (!Number.isInteger(c) || c <= 0 || moves.has(`${a}${op}${b}`)) continue;
        moves.set(`${a}${op}${b}`, { a, op, b, c, left: sorted([...numbers.filter((_, k) => k !== i && k !== j), c]) });
      }
    });
  });
  return [...moves.values()];
}

const known = new Map<string, boolean>();

/** Whether the target can be reached with all of the numbers. Exact; remembered by the sorted numbers. */
export function solvable(numbers: readonly number[], target: number): boolean {
  if (numbers.length === 1) return numbers[0] === target;
  const key = `${sorted(numbers).join(',')}=${target}`;
  let answer = known.get(key);
  if (answer === undefined) {
    answer = legalMoves(numbers).some(({ left }) => solvable(left, target));
    if (known.size > 200_000) known.clear();
    known.set(key, answer);
  }
  return answer;
}

/** A solution, its moves drawn from `rng` among those that keep the target in reach; the first of them without it. */
export function solveCountdown({ numbers, target }: CountdownProblem, rng?: Rng): string[] {
  const steps: string[] = [];
  for (let left = sorted(numbers); left.length > 1; ) {
    const good = legalMoves(left).filter((move) => solvable(move.left, target));
    if (good.length === 0) throw new RangeError(`solveCountdown: ${target} cannot be reached from ${numbers.join(', ')}`);
    const move = good[rng ? rng.below(good.length) : 0];
    steps.push(countdownStep(move));
    left = move.left;
  }
  return steps;
}

export const countdownStep = ({ a, op, b, c, left }: Move): string => `${a} ${op} ${b} = ${c} (left: ${left.join(' ')})`;

export type CountdownVerdict = {
  /** The move is one of `legalMoves`, and what is left is as stated. */
  legal: boolean;
  /** Legal, as all before it, and the target is still in reach. */
  correct: boolean;
  /** The share of the legal moves from here that keep the target in reach; 1 where it is reached, 0 where it cannot be any more. */
  value: number;
};

export function labelCountdown({ numbers, target }: CountdownProblem, steps: readonly string[]): CountdownVerdict[] {
  let left: number[] | null = sorted(numbers);
  return steps.map((step) => {
    const move = left && readMove(left, step);
    left = move ? move.left : null;
    const correct = left !== null && solvable(left, target);
    if (!left || !correct) return { legal: move !== null, correct: false, value: 0 };
    const moves = legalMoves(left);
    const good = moves.filter((next) => solvable(next.left, target));
    return { legal: true, correct, value: left.length === 1 ? 1 : good.length / moves.length };
  });
}

/** Whether the lines are legal moves, one after another, that use every number and end at the target. */
export function verifyCountdown(problem: CountdownProblem, solution: string | readonly string[]): boolean {
  const steps = typeof solution === 'string' ? solution.split(stepSeparator).filter((line) => line.trim() !== '') : solution;
  let left: number[] = sorted(problem.numbers);
  for (const step of steps) {
    const move = readMove(left, step);
    if (!move) return false;
    left = move.left;
  }
  return left.length === 1 && left[0] === problem.target;
}

function readMove(numbers: readonly number[], step: string): Move | null {
  const match = /^\s*(\d+) ([-+*/]) (\d+) = (\d+) \(left: ([\d ]*)\)\s*$/.exec(step);
  if (!match) return null;
  const [a, b, c] = [match[1], match[3], match[4]].map(Number);
  const [high, low] = a >= b || match[2] === '-' || match[2] === '/' ? [a, b] : [b, a]; // sums and products either way round
  const move = legalMoves(numbers).find((m) => m.a === high && m.op === match[2] && m.b === low);
  const stated = sorted(
    match[5]
      .split(' ')
      .filter((x) => x !== '')
      .map(Number),
  );
  return move && move.c === c && stated.join() === move.left.join() ? move : null;
}

const sorted = (numbers: readonly number[]): number[] => [...numbers].sort((x, y) => x - y);
