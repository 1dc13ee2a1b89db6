/**
 * Problems of the maths bed: chains and trees of arithmetic, told as a story. All values are whole numbers from 0; a division is exact; no
 * operand is 0 or 1, which would make a step that does nothing.
 */
import type { Rng } from '@plumbline/core';
import { distractor, items, meetings, openings, otherThings, people, question, tellings } from './phrases.js';

export type Op = '+' | '-' | '*' | '/';
/** A number of the story, or the result of an earlier node. */
export type Operand = number | { node: number };
export type MathsNode = { id: number; op: Op; left: Operand; right: Operand /** The sentence that tells it. */; phrase: string };
export type Level = 1 | 2 | 3 | 4 | 5 | 6;

export type MathsProblem = {
  kind: 'chain' | 'tree';
  id: string;
  /** The structure with its numbers, such as "7+5;12-4": the same for every telling. Splits go by it. */
  key: string;
  level: Level;
  text: string;
  nodes: MathsNode[];
  /** The result of each node. */
  values: number[];
  answer: string;
  names: { who: string; other?: string; item: string };
  distractors: string[];
};

export type MathsKnobs = {
  /** Steps; in a tree those of both chains and the one that joins them. */
  steps: number | readonly [number, number];
  ops: readonly Op[];
  /** The largest number of the story. */
  operandMax: number;
  /** The largest result of any step. */
  resultMax: number;
  /** Sentences that state a number about somebody else. */
  distractors: number | readonly [number, number];
  /** Of the six ways to tell each sentence, how many are used. */
  paraphrases: number;
};

const all: readonly Op[] = ['+', '-', '*', '/'];
/** What a level means. Levels 1 to 4 are what `zoo:maths-1m` was trained on; in 5 some step needs a result that is not the one before it. */
export const levels: Readonly<Record<Level, Omit<MathsKnobs, 'paraphrases'> & { kind: 'chain' | 'tree' }>> = {
  1: { kind: 'chain', steps: 2, ops: ['+', '-'], operandMax: 9, resultMax: 18, distractors: 0 },
  2: { kind: 'chain', steps: 3, ops: ['+', '-', '*'], operandMax: 9, resultMax: 99, distractors: 0 },
  3: { kind: 'chain', steps: 4, ops: all, operandMax: 12, resultMax: 199, distractors: [0, 1] },
  4: { kind: 'chain', steps: 5, ops: all, operandMax: 20, resultMax: 499, distractors: 1 },
  5: { kind: 'tree', steps: [5, 6], ops: all, operandMax: 20, resultMax: 499, distractors: [1, 2] },
  6: { kind: 'chain', steps: 8, ops: all, operandMax: 20, resultMax: 999, distractors: 2 },
};

export const compute: Readonly<Record<Op, (a: number, b: number) => number>> = {
  '+': (a, b) => a + b,
  '-': (a, b) => a - b,
  '*': (a, b) => a * b,
  '/': (a, b) => a / b,
};

/**
 * A problem of a level, all of it drawn from `rng`; `knobs` replace what the level says.
 *
 * @throws RangeError naming the knobs where a thousand tries find no problem inside `resultMax`
 */
export function makeProblem(rng: Rng, level: Level, knobs: Partial<MathsKnobs> = {}): MathsProblem {
  const own = levels[level];
  if (!own) throw new RangeError(`makeProblem: levels are 1 to 6, got ${level}`);
  const rules = { ...own, paraphrases: 6, ...knobs };
  if (!(rules.paraphrases >= 1 && rules.paraphrases <= 6))
    throw new RangeError(`makeProblem: paraphrases must be 1 to 6, got ${rules.paraphrases}`);
  for (let tries = 0; tries < 1000; tries++) {
    const steps = between(rng, rules.steps);
    const drawn = own.kind === 'chain' ? drawChain(rng, rules, steps, 0) : drawTree(rng, rules, steps);
    if (drawn) return tell(rng, level, own.kind, drawn, rules);
  }
  throw new RangeError(
    `makeProblem: no problem of level ${level} in 1,000 tries with steps ${rules.steps}, ops ${rules.ops.join(' ')}, operandMax ${rules.operandMax}, resultMax ${rules.resultMax}`,
  );
}

type Bare = { op: Op; left: Operand; right: Operand }[];

function drawChain(
  rng: Rng,
  { ops, operandMax, resultMax }: MathsKnobs,
  steps: number,
  firstId: number,
): { nodes: Bare; last: number } | null {
  const start = 2 + rng.below(operandMax - 1);
  let value = start;
  const nodes: Bare = [];
  for (let k = 0; k < steps; k++) {
    const op = ops[rng.below(ops.length)];
    const fits = Array.from({ length: operandMax - 1 }, (_, i) => i + 2).filter((b) => {
      const result = compute[op](value, b);
      return Number.isInteger(result) && result <= resultMax && result >= (k + 1 < steps ? 2 : 0);
    });
    if (fits.length === 0) return null;
    const right = fits[rng.below(fits.length)];
    nodes.push({ op, left: k === 0 ? start : { node: firstId + k - 1 }, right });
    value = compute[op](value, right);
  }
  return { nodes, last: value };
}

function drawTree(rng: Rng, rules: MathsKnobs, steps: number): { nodes: Bare; last: number } | null {
  const first = 2 + rng.below(Math.max(1, steps - 4)); // 2 and 2, or 2 and 3 either way round
  const a = drawChain(rng, rules, first, 0);
  const b = drawChain(rng, rules, steps - 1 - first, first);
  if (!a || !b || a.last < 2 || b.last < 2) return null;
  const op = rng.below(2) === 0 ? '+' : '-';
  const last = compute[op](a.last, b.last);
  if (last < 0 || last > rules.resultMax) return null;
  return { nodes: [...a.nodes, ...b.nodes, { op, left: { node: first - 1 }, right: { node: steps - 2 } }], last };
}

function tell(
  rng: Rng,
  level: Level,
  kind: 'chain' | 'tree',
  { nodes: bare, last }: { nodes: Bare; last: number },
  rules: MathsKnobs,
): MathsProblem {
  const pick = <T>(from: readonly T[]) => from[rng.below(from.length)];
  const phrased = <T>(from: readonly T[]) => pick(from.slice(0, rules.paraphrases));
  const [who, other, third] = Array.from(rng.permutation(people.length).subarray(0, 3), (i) => people[i]);
  const item = pick(items);
  const sentences: string[] = [];
  const secondStart = kind === 'tree' ? bare.findIndex(({ left }, k) => k > 0 && typeof left === 'number') : -1;
  const nodes = bare.map((node, id): MathsNode => {
    const owner = secondStart >= 0 && id >= secondStart ? other : who;
    if (typeof node.left === 'number') sentences.push(phrased(openings)({ who: owner, item, n: node.left }));
    const phrase =
      typeof node.right === 'number'
        ? phrased(tellings[node.op])({ who: owner, item, n: node.right })
        : pick(meetings[node.op as '+' | '-'])({ who, other, item });
    sentences.push(phrase);
    return { id, ...node, phrase };
  });
  const things = rng.permutation(otherThings.length);
  const distractors = Array.from({ length: between(rng, rules.distractors) }, (_, i) =>
    distractor({
      who: i === 0 ? third : pick(people.filter((name) => name !== who && name !== other)),
      item: otherThings[things[i]],
      n: 2 + rng.below(rules.operandMax - 1),
    }),
  );
  for (const sentence of distractors) sentences.splice(1 + rng.below(sentences.length), 0, sentence);
  const values = valuesOf(nodes);
  const key = keyOf(nodes, values);
  return {
    kind,
    id: `maths-${level}-${fnv1a32(key).toString(16).padStart(8, '0')}`,
    key,
    level,
    text: [...sentences, question({ who, item })].join(' '),
    nodes,
    values,
    answer: String(last),
    names: { who, ...(kind === 'tree' && { other }), item },
    distractors,
  };
}

/** The result of each node, by its own evaluation of the operations. */
export function valuesOf(nodes: readonly Omit<MathsNode, 'phrase'>[]): number[] {
  const values: number[] = [];
  const of = (operand: Operand) => (typeof operand === 'number' ? operand : values[operand.node]);
  for (const { op, left, right } of nodes) values.push(compute[op](of(left), of(right)));
  return values;
}

/** An operand's number, once the results are known. */
export const numberOf = (operand: Operand, values: readonly number[]): number =>
  typeof operand === 'number' ? operand : values[operand.node];

function keyOf(nodes: readonly MathsNode[], values: readonly number[]): string {
  return nodes.map(({ op, left, right }) => `${numberOf(left, values)}${op}${numberOf(right, values)}`).join(';');
}

/** FNV-1a over the UTF-8 bytes of a text, 32 bits, unsigned. */
export function fnv1a32(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

export type Split = 'train' | 'validation' | 'test';

/** The split that a problem belongs to, by its key alone: eight in ten train. No seed can put a problem on both sides. */
export function splitOf({ key }: { key: string }): Split {
  const bucket = fnv1a32(key) % 10;
  return bucket < 8 ? 'train' : bucket === 8 ? 'validation' : 'test';
}

/** The first problem drawn that belongs to the split. */
export function problemOf(split: Split, rng: Rng, level: Level, knobs?: Partial<MathsKnobs>): MathsProblem {
  for (let tries = 0; tries < 1000; tries++) {
    const problem = makeProblem(rng.fork('try', tries), level, knobs);
    if (splitOf(problem) === split) return problem;
  }
  throw new RangeError(`problemOf: no problem of level ${level} in split ${split} in 1,000 tries`);
}

function between(rng: Rng, range: number | readonly [number, number]): number {
  return typeof range === 'number' ? range : range[0] + rng.below(range[1] - range[0] + 1);
}
