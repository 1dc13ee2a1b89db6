import { rng } from '@plumbline/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  countdownProblem,
  type ErrorClass,
  firstError,
  injectError,
  joinSteps,
  type Level,
  labelCountdown,
  labelSteps,
  legalMoves,
  type MathsProblem,
  makeCountdown,
  makeProblem,
  mathsExample,
  mathsLevels,
  mathsPrompt,
  mathsReward,
  mathsStepReward,
  noisySolver,
  parseEquation,
  patternOf,
  pretrainingMix,
  problemOf,
  readThought,
  renderSolution,
  type SocraticClass,
  socraticClasses,
  solvable,
  solveCountdown,
  splitOf,
  splitSolution,
  splitStep,
  stepsOnPath,
  type Verdict,
  verifyCountdown,
  verifyMaths,
} from './index.js';
import { fnv1a32 } from './problem.js';

const levels: Level[] = [1, 2, 3, 4, 5, 6];

/** An evaluator of its own: reads the numbers and the telling words of the story, and knows nothing of nodes. */
function answerOfStory(text: string): number {
  let value = Number.NaN;
  for (const sentence of text.split(/(?<=[.?])\s+/)) {
    const n = Number(/\d+/.exec(sentence)?.[0]);
    if (/has \d+ (pencils|hats|chairs|birds|shoes|maps|bottles|candles)/.test(sentence) || sentence.startsWith('How many')) continue;
    if (/buys|finds|friend gives|gets \d|wins|picks up/.test(sentence)) value += n;
    else if (/gives away|loses|sells|drops|thief|lends/.test(sentence)) value -= n;
    else if (/times/.test(sentence) || /multiplied/.test(sentence)) value *= n;
    else if (/equal|evenly|divided/.test(sentence)) value /= n;
    else value = n;
  }
  return value;
}

/** The same of a tree: a second opening begins the other's count, and the last sentence before the question joins the two. */
function answerOfTree(text: string): number {
  const counts: number[] = [];
  for (const sentence of text.split(/(?<=[.?])\s+/)) {
    if (/has \d+ (pencils|hats|chairs|birds|shoes|maps|bottles|candles)/.test(sentence) || sentence.startsWith('How many')) continue;
    if (/gives all those|takes over all/.test(sentence)) return counts[0] + counts[1];
    if (/as many \w+ as/.test(sentence)) return counts[0] - counts[1];
    const opens = /^(In the morning \w+ has|There are|\w+ (has|starts with|owns|keeps)) \d/.test(sentence);
    if (opens) counts.push(answerOfStory(sentence));
    else counts.push(answerOfStory(`Anna has ${counts.pop()} toys. ${sentence}`));
  }
  return Number.NaN;
}

const chain = (rendered: Partial<MathsProblem> & Pick<MathsProblem, 'nodes' | 'values' | 'answer'>): MathsProblem => ({
  kind: 'chain',
  id: 'p',
  key: 'k',
  level: 2,
  text: '',
  names: { who: 'Tom', item: 'coins' },
  distractors: [],
  ...rendered,
});
/** 7 + 5 = 12, 12 * 3 = 36, 36 - 6 = 30, 30 / 5 = 6. */
const example = chain({
  nodes: [
    { id: 0, op: '+', left: 7, right: 5, phrase: '' },
    { id: 1, op: '*', left: { node: 0 }, right: 3, phrase: '' },
    { id: 2, op: '-', left: { node: 1 }, right: 6, phrase: '' },
    { id: 3, op: '/', left: { node: 2 }, right: 5, phrase: '' },
  ],
  values: [12, 36, 30, 6],
  answer: '6',
});
/** (3 * 4) + (9 - 2) = 19. */
const tree = chain({
  kind: 'tree',
  level: 5,
  nodes: [
    { id: 0, op: '*', left: 3, right: 4, phrase: '' },
    { id: 1, op: '-', left: 9, right: 2, phrase: '' },
    { id: 2, op: '+', left: { node: 0 }, right: { node: 1 }, phrase: '' },
  ],
  values: [12, 7, 19],
  answer: '19',
});
const verdicts = (problem: MathsProblem, steps: string[]): Verdict[] => labelSteps(problem, steps).map(({ verdict }) => verdict);

describe('makeProblem', () => {
  it('tells a story whose answer another reader finds too', () => {
    for (const level of [1, 2, 3, 4, 6] as const)
      for (let seed = 0; seed < 200; seed++) {
        const problem = makeProblem(rng(seed), level);
        expect(answerOfStory(problem.text), problem.text).toBe(Number(problem.answer));
      }
    for (let seed = 0; seed < 200; seed++) {
      const problem = makeProblem(rng(seed), 5);
      expect(answerOfTree(problem.text), problem.text).toBe(Number(problem.answer));
    }
  });

  it('keeps to the rules of its level', () => {
    for (const level of levels)
      for (let seed = 0; seed < 300; seed++) {
        const { nodes, values, distractors, kind } = makeProblem(rng(seed), level);
        const rules = mathsLevels[level];
        const [fewest, most] = typeof rules.steps === 'number' ? [rules.steps, rules.steps] : rules.steps;
        expect(nodes.length >= fewest && nodes.length <= most).toBe(true);
        expect(kind).toBe(rules.kind);
        expect(values.every((v) => Number.isInteger(v) && v >= 0 && v <= rules.resultMax)).toBe(true);
        for (const { op, left, right } of nodes) {
          expect(rules.ops).toContain(op);
          for (const operand of [left, right]) {
            const value = typeof operand === 'number' ? operand : values[operand.node];
            expect(value).toBeGreaterThanOrEqual(2); // 0 and 1 would do nothing
            if (typeof operand === 'number') expect(operand).toBeLessThanOrEqual(rules.operandMax);
          }
        }
        const [least, top] = typeof rules.distractors === 'number' ? [rules.distractors, rules.distractors] : rules.distractors;
        expect(distractors.length >= least && distractors.length <= top).toBe(true);
      }
  });

  it('is the same for the same seed and another for another', () => {
    for (const level of levels) {
      expect(makeProblem(rng(3), level)).toEqual(makeProblem(rng(3), level));
      expect(makeProblem(rng(3), level).text).not.toBe(makeProblem(rng(4), level).text);
    }
  });

  it('needs in a tree a result that is not the one before', () => {
    for (let seed = 0; seed < 50; seed++) {
      const { nodes } = makeProblem(rng(seed), 5);
      const { left, right, id } = nodes.at(-1)!;
      expect([left, right].some((operand) => typeof operand !== 'number' && operand.node !== id - 1)).toBe(true);
    }
  });

  it('names the knobs that leave no problem', () => {
    expect(() => makeProblem(rng(0), 2, { ops: ['*'], operandMax: 9, resultMax: 3 })).toThrow(/operandMax 9, resultMax 3/);
    expect(() => makeProblem(rng(0), 7 as Level)).toThrow('levels are 1 to 6');
  });
});

describe('the splits', () => {
  it('go by a hash of the structure', () => {
    expect(fnv1a32('7+5;12-4')).toBe(2896775481);
    expect(fnv1a32('3*4;12+6')).toBe(1184035607);
    expect(fnv1a32('cd:2,3,5=13')).toBe(907376247);
    expect([2896775481 % 10, 1184035607 % 10, 907376247 % 10]).toEqual([1, 7, 7]);
    for (const key of ['7+5;12-4', '3*4;12+6', 'cd:2,3,5=13']) expect(splitOf({ key })).toBe('train');
    expect(countdownProblem([5, 3, 2], 13).key).toBe('cd:2,3,5=13');
  });

  it('are eight to one to one', () => {
    const shares = { train: 0, validation: 0, test: 0 };
    for (let seed = 0; seed < 3000; seed++) shares[splitOf(makeProblem(rng(seed), 3))]++;
    expect(Math.abs(shares.train / 3000 - 0.8)).toBeLessThan(0.03); // four standard errors
    expect(Math.abs(shares.validation / 3000 - 0.1)).toBeLessThan(0.022);
    expect(Math.abs(shares.test / 3000 - 0.1)).toBeLessThan(0.022);
  });

  it('share no structure, whatever the seed', () => {
    const keys = (split: 'train' | 'validation' | 'test') =>
      new Set(Array.from({ length: 200 }, (_, i) => problemOf(split, rng(i), 2).key));
    const [training, validation, test] = [keys('train'), keys('validation'), keys('test')];
    expect(new Set([...training, ...validation, ...test]).size).toBe(training.size + validation.size + test.size);
  });
});

describe('renderSolution', () => {
  it('is a line a node and the answer', () => {
    expect(renderSolution(example, 'compact')).toEqual([
      'add 5 <m> 7 + 5 = 12',
      'times 3 <m> 12 * 3 = 36',
      'take away 6 <m> 36 - 6 = 30',
      'divide by 5 <m> 30 / 5 = 6',
      'Answer: 6',
    ]);
    expect(renderSolution(example, 'math')[0]).toBe('7 + 5 = 12');
    expect(renderSolution(example, 'socratic', { check: 0 })).toEqual([
      'Restate: Tom starts with 7 coins; we want the coins of Tom.',
      'Plan: add 5, then times 3, then take away 6, then divide by 5.',
      'Facts: 7, 5, 3, 6, 5.',
      ...renderSolution(example, 'compact').slice(0, 4),
      'Check: 12 - 5 = 7, OK.',
      'So after all steps Tom has 6 coins.',
      'Answer: 6',
    ]);
  });

  it('is all correct in every mode, wording and level', () => {
    for (const level of levels)
      for (let seed = 0; seed < 400; seed++) {
        const problem = makeProblem(rng(seed), level);
        for (const mode of ['compact', 'math', 'socratic'] as const) {
          const steps = renderSolution(problem, mode, { rng: rng(seed), check: seed % problem.nodes.length });
          expect(
            verdicts(problem, steps).every((verdict) => verdict === 'correct'),
            `${problem.key}\n${steps.join('\n')}`,
          ).toBe(true);
          expect(verifyMaths(problem, steps.join('\n'))).toBe(true);
        }
      }
  });

  it('is all correct for 10,000 problems a level', () => {
    for (const level of levels)
      for (let seed = 0; seed < 10_000; seed++) {
        const problem = makeProblem(rng(seed), level);
        const steps = renderSolution(problem, 'math');
        if (firstError(labelSteps(problem, steps)) !== -1) expect.fail(`${problem.key}\n${steps.join('\n')}`);
      }
  });

  it('is taken apart again', () => {
    expect(splitStep('add 5 <m> 7 + 5 = 12')).toEqual({ thought: 'add 5', expression: '7 + 5 = 12' });
    expect(splitStep('7 + 5 = 12')).toEqual({ thought: '', expression: '7 + 5 = 12' });
    expect(splitStep('so what')).toEqual({ thought: 'so what', expression: null });
    expect(joinSteps(['add 5 <m> 7 + 5 = 12', 'Answer: 12'], 'math')).toBe('7 + 5 = 12\nAnswer: 12');
    expect(joinSteps(['add 5 <m> 7 + 5 = 12', 'Answer: 12'], 'thought')).toBe('add 5\nAnswer: 12');
    expect(splitSolution('Step 1: a\n\n  b \nStep 2: c\n')).toEqual(['a', 'b', 'c']);
    expect(parseEquation('7 + 5 = 12')).toEqual({ a: 7, op: '+', b: 5, c: 12 });
    expect(parseEquation('7+5=12')).toBeNull();
    expect(readThought('one of 4 shares')).toEqual({ op: '/', n: 4 });
    expect(readThought('three times')).toBeNull();
  });
});

describe('labelSteps', () => {
  it('gives each error its name', () => {
    const first = 'add 5 <m> 7 + 5 = 12';
    expect(verdicts(example, [first, 'times 3 <m> 12 * 3 = 35'])).toEqual(['correct', 'arithmetic']);
    expect(verdicts(example, [first, 'times 4 <m> 12 * 4 = 48'])).toEqual(['correct', 'wrong-operation']);
    expect(verdicts(example, [first, 'add 3 <m> 12 + 3 = 15'])).toEqual(['correct', 'wrong-operation']);
    expect(verdicts(example, [first, 'times 3 <m> 13 * 3 = 39'])).toEqual(['correct', 'wrong-operand']);
    expect(verdicts(example, [first, 'times 3'])).toEqual(['correct', 'malformed']);
    expect(verdicts(example, [first, 'add 3 <m> 12 * 3 = 36'])).toEqual(['correct', 'wrong-operation']); // says one thing, does another
    expect(verdicts(example, ['times 3 <m> 12 * 3 = 36'])).toEqual(['wrong-operand']); // 12 is not there yet
    expect(verdicts(example, ['Answer: 7'])).toEqual(['arithmetic']);
  });

  it('takes sums and products either way round, differences not', () => {
    expect(verdicts(example, ['5 + 7 = 12', '3 * 12 = 36', '6 - 36 = -30'])).toEqual(['correct', 'correct', 'wrong-operation']);
  });

  it('sees a step that does nothing, and one that was done before', () => {
    expect(verdicts(example, ['7 + 5 = 12', '12 + 0 = 12', '12 * 1 = 12', '7 + 5 = 12', '12 * 3 = 36'])).toEqual([
      'correct',
      'redundant',
      'redundant',
      'redundant',
      'correct',
    ]);
  });

  it('does not forgive: what builds on an error is after it, and the answer is wrong', () => {
    const steps = ['7 + 5 = 13', '13 * 3 = 39', '39 - 6 = 33', '20 / 5 = 4', 'Answer: 6'];
    const labels = labelSteps(example, steps);
    expect(labels.map(({ verdict }) => verdict)).toEqual(['arithmetic', 'after-error', 'after-error', 'wrong-operand', 'arithmetic']);
    expect(labels.map(({ onPath }) => onPath)).toEqual([false, false, false, false, false]);
    expect(labels.map(({ locallyValid }) => locallyValid)).toEqual([false, true, true, false, false]);
    expect(firstError(labels)).toBe(0);
  });

  it('values a state by what is still to do', () => {
    const labels = labelSteps(example, ['7 + 5 = 12', '12 + 0 = 12', '12 * 3 = 36', '36 - 7 = 29']);
    expect(labels[0].value).toBeCloseTo(0.729, 12); // three to go at 0.9 each
    expect(labels[1].value / labels[0].value).toBe(1);
    expect(labels[2].value / labels[1].value).toBeCloseTo(1.111111, 6);
    expect(labels[3].value).toBe(0);
    expect(firstError(labels)).toBe(3);
    expect(firstError(labelSteps(example, renderSolution(example, 'math')))).toBe(-1);
  });

  it('lets the parts of a tree come in any order, those of a chain not', () => {
    const backwards = ['9 - 2 = 7', '3 * 4 = 12', '12 + 7 = 19', 'Answer: 19'];
    expect(verdicts(tree, backwards)).toEqual(['correct', 'correct', 'correct', 'correct']);
    expect(labelSteps(tree, backwards, { allowReorder: false })[0].verdict).toBe('wrong-operand');
    expect(verdicts(tree, ['9 - 2 = 7', '12 + 7 = 19'])).toEqual(['correct', 'wrong-operand']);
  });
});

describe('what a model may write', () => {
  /** Lines that look like steps, and lines that do not. */
  const line = fc.oneof(
    fc.string(),
    fc.constantFrom(
      '',
      '<m>',
      '12 <m>',
      'Answer:',
      'Answer: ',
      'Plan:',
      'Facts:',
      'Check:',
      'Restate:',
      'So after all steps',
      '(left:',
      'Step 1:',
    ),
    fc
      .tuple(fc.integer(), fc.constantFrom('+', '-', '*', '/', '='), fc.integer(), fc.integer())
      .map(([a, op, b, c]) => `${a} ${op} ${b} = ${c}`),
    fc
      .tuple(fc.nat(20), fc.constantFrom('+', '-', '*', '/'), fc.nat(20), fc.nat(99))
      .map(([a, op, b, c]) => `${a} ${op} ${b} = ${c} (left: ${c})`),
  );
  it('is labelled and scored whatever it is: one verdict a step, and nothing is forgiven', () => {
    const countdown = countdownProblem([2, 3, 5], 13);
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), (steps) => {
        const labels = labelSteps(example, steps);
        expect(labels).toHaveLength(steps.length);
        labels.forEach(({ onPath, locallyValid, value }, i) => {
          expect(onPath).toBe(locallyValid && (i === 0 || labels[i - 1].onPath));
          expect(value >= 0 && value <= 1 && (onPath || value === 0)).toBe(true);
        });
        expect(labelCountdown(countdown, steps)).toHaveLength(steps.length);
        for (const problem of [example, countdown]) expect(typeof verifyMaths(problem, steps.join('\n'))).toBe('boolean');
      }),
      { seed: 0, numRuns: 500 },
    );
  });
  it('is an error where it is no sum: a division that is not exact or by 0, numbers beyond all bounds', () => {
    expect(verdicts(example, ['30 / 4 = 7'])).toEqual(['arithmetic']);
    expect(verdicts(example, ['30 / 0 = 0'])).toEqual(['arithmetic']);
    expect(verdicts(example, [`${'9'.repeat(400)} + 1 = ${'9'.repeat(400)}`])).not.toContain('correct');
    expect(verdicts(example, ['7 + 5 = 12 = 12'])).toEqual(['malformed']);
    expect(verdicts(example, ['7 ＋ 5 ＝ 12'])).toEqual(['malformed']);
    for (const text of ['Answer: 1/0', 'Answer: 0/0', `Answer: ${'9'.repeat(5000)}`, 'Answer: NaN', 'Answer: 6e999', '\\boxed{6'])
      expect(verifyMaths(example, text), text.slice(0, 20)).toBe(false);
  });
  it('is not made right by offering every answer: the last one counts', () => {
    const all = Array.from({ length: 100 }, (_, i) => `Answer: ${i}`).join('\n');
    expect(verifyMaths(example, all)).toBe(false);
    expect(verifyMaths(example, 'Answer: 5, 6 or 7')).toBe(false);
  });
});

describe('verifyMaths', () => {
  it('takes an answer in any form of the same number, and no other number', () => {
    for (const text of [
      'Answer: 6',
      'Answer: 6.0',
      'Answer: 12/2',
      'so the answer is 6.',
      'add 1 <m> 5 + 1 = 6\nAnswer:  6',
      '\\boxed{6}',
      'Answer: 7\nAnswer: 6',
    ])
      expect(verifyMaths(example, text), text).toBe(true);
    for (const text of ['Answer: 7', 'Answer: 60', 'Answer: -6', 'Answer: 6 coins', '6', 'Answer:', '', 'Answer: 6\nAnswer: 7'])
      expect(verifyMaths(example, text), text).toBe(false);
  });
});

describe('mathsReward', () => {
  const problems = [makeProblem(rng(0), 2), makeProblem(rng(1), 3), countdownProblem([2, 3, 5], 13)];
  it('scores answers, and tells a sound solution from a lucky one', async () => {
    const [first, second, third] = problems;
    const prompt = mathsPrompt;
    const { scores, components } = await mathsReward(problems).score(
      [
        { prompt: prompt(first), completion: renderSolution(first as MathsProblem, 'compact').join('\n') },
        { prompt: prompt(first), completion: `2 + 2 = 5\nAnswer: ${first.answer}` },
        { prompt: prompt(second), completion: 'no idea' },
        { prompt: prompt(third), completion: '5 * 2 = 10 (left: 3 10)\n10 + 3 = 13 (left: 13)' },
      ],
      { rng: rng(0) },
    );
    expect([...scores]).toEqual([1, 1, 0, 1]);
    expect([...components!.sound]).toEqual([1, 0, 0, 1]);
    expect([...components!.answered]).toEqual([1, 1, 0, 1]);
  });

  it('gives steps 1 up to the first error', async () => {
    const problem = problems[1] as MathsProblem;
    const steps = renderSolution(problem, 'compact');
    const broken = [steps[0], steps[1].replace(/= \d+/, '= 1000'), ...steps.slice(2)];
    const [right, wrong] = await mathsStepReward(problems).scoreSteps(
      [
        { prompt: mathsPrompt(problem), steps },
        { prompt: mathsPrompt(problem), steps: broken },
      ],
      { rng: rng(0) },
    );
    expect([...right]).toEqual([1, 1, 1, 1, 1]);
    expect([...wrong]).toEqual([1, 0, 0, 0, 0]);
  });

  it('names a prompt that it does not know', async () => {
    await expect(mathsReward(problems).score([{ prompt: 'What is love?', completion: '' }], { rng: rng(0) })).rejects.toThrow(
      'What is love?',
    );
  });
});

describe('noisySolver', () => {
  const problem = makeProblem(rng(0), 3);
  it('is always right at q 1 and never at q 0, whatever its errors and the level', () => {
    const classes: (ErrorClass | undefined)[] = [undefined, 'arithmetic', 'wrong-operand', 'wrong-operation'];
    for (const only of classes)
      for (const level of levels)
        for (let seed = 0; seed < 60; seed++) {
          const own = makeProblem(rng(seed), level);
          const errors = only ? { [only]: 1 } : undefined;
          expect(verifyMaths(own, noisySolver({ q: 1, errors, redundant: 0.2 }).solve(own, rng(seed)).join('\n'))).toBe(true);
          const wrong = noisySolver({ q: 0, errors }).solve(own, rng(seed));
          expect(verifyMaths(own, wrong.join('\n')), wrong.join('\n')).toBe(false);
          expect(firstError(labelSteps(own, wrong))).toBe(0);
        }
  });

  it('is right from a prefix as often as its value says', () => {
    const solver = noisySolver({ q: 0.8 });
    const prefix = renderSolution(problem, 'compact').slice(0, 2);
    const n = 2000;
    const right = Array.from({ length: n }, (_, i) => solver.solve(problem, rng(9).fork(i), prefix)).filter((steps) =>
      verifyMaths(problem, steps.join('\n')),
    ).length;
    const value = labelSteps(problem, prefix, { q: 0.8 })[1].value;
    expect(value).toBeCloseTo(0.64, 12);
    expect(Math.abs(right / n - value)).toBeLessThan(3 * Math.sqrt((value * (1 - value)) / n));
  });

  it('makes errors of the class it was asked for', () => {
    for (let seed = 0; seed < 100; seed++) {
      const own = makeProblem(rng(seed), 2);
      const labels = labelSteps(own, noisySolver({ q: 0, errors: { arithmetic: 1 } }).solve(own, rng(seed)));
      expect(labels[0].verdict).toBe('arithmetic');
    }
  });
});

describe('countdown', () => {
  it('knows what can be reached', () => {
    const moves = legalMoves([2, 3, 5]);
    expect(moves).toHaveLength(9);
    expect(
      moves
        .filter(({ left }) => solvable(left, 13))
        .map(({ a, op, b }) => `${a} ${op} ${b}`)
        .sort(),
    ).toEqual(['5 * 2', '5 * 3']);
    const four = legalMoves([2, 3, 5, 7]);
    expect(four).toHaveLength(18);
    expect(
      four
        .filter(({ left }) => solvable(left, 24))
        .map(({ a, op, b }) => `${a} ${op} ${b}`)
        .sort(),
    ).toEqual(['5 * 3', '5 - 2', '7 * 3', '7 + 2']);
  });

  it('makes problems that its own solutions solve, step by step in reach', () => {
    for (let seed = 0; seed < 100; seed++) {
      const problem = makeCountdown(rng(seed), { numbers: [3, 4], target: [10, 99] });
      expect(problem).toEqual(makeCountdown(rng(seed), { numbers: [3, 4], target: [10, 99] }));
      const steps = solveCountdown(problem, rng(seed));
      expect(verifyCountdown(problem, steps)).toBe(true);
      const labels = labelCountdown(problem, steps);
      expect(labels.every(({ correct, legal, value }) => correct && legal && value > 0)).toBe(true);
      expect(labels.at(-1)!.value).toBe(1);
    }
  });

  it('labels a legal step that loses the target as wrong, and everything after it', () => {
    const problem = countdownProblem([2, 3, 5], 13);
    const [lost, after] = labelCountdown(problem, ['2 + 3 = 5 (left: 5 5)', '5 + 5 = 10 (left: 10)']);
    expect([lost.legal, lost.correct, lost.value]).toEqual([true, false, 0]);
    expect(after.correct).toBe(false);
    expect(labelCountdown(problem, ['5 * 2 = 10 (left: 3 10)'])[0].value).toBeCloseTo(1 / 3, 12); // of 13, 7 and 30 the first alone; 10 / 3 is not exact
  });

  it('refuses what is not a move: a number used twice, a false result, a wrong rest, an end elsewhere', () => {
    const problem = countdownProblem([2, 3, 5], 13);
    expect(verifyCountdown(problem, '2 * 5 = 10 (left: 10 3)\n3 + 10 = 13 (left: 13)')).toBe(true);
    for (const text of [
      '5 * 5 = 25 (left: 2 3 25)',
      '5 * 2 = 11 (left: 3 11)',
      '5 * 2 = 10 (left: 10)',
      '5 * 2 = 10 (left: 3 10)',
      '5 * 2 = 10 (left: 3 10)\n10 - 3 = 7 (left: 7)',
      '5 * 2 = 10 (left: 3 10)\n10 + 3 = 13 (left: 13)\n13 + 0 = 13 (left: 13)',
      '5 * 2 = 10 (left: 3 10)\nso\n10 + 3 = 13 (left: 13)',
      '5 / 2 = 2 (left: 2 3)',
      '2 - 5 = -3 (left: -3 3)',
      '13',
      '',
    ])
      expect(verifyCountdown(problem, text), text).toBe(false);
  });
});

describe('mathsExample', () => {
  it('has true solutions, some with a step of no use, all of the training split', () => {
    let redundant = 0;
    const seen = new Set<string>();
    for (let i = 0; i < 600; i++) {
      const { problem, record } = mathsExample(rng(5).fork(i), { ...pretrainingMix, redundant: 0.2 });
      seen.add(problem.kind === 'countdown' ? 'countdown' : `level ${problem.level}`);
      expect(splitOf(problem)).toBe('train');
      expect(verifyMaths(problem, record.completion as string)).toBe(true);
      const steps = splitSolution(record.completion as string);
      expect(stepsOnPath(problem, steps).every(Boolean)).toBe(true);
      if (problem.kind !== 'countdown' && steps.length > problem.nodes.length + 1) redundant++;
    }
    expect([...seen].sort()).toEqual(['countdown', 'level 1', 'level 2', 'level 3', 'level 4']);
    expect(redundant / 600).toBeGreaterThan(0.1);
    expect(redundant / 600).toBeLessThan(0.24);
  });
});

describe('injectError', () => {
  const notArithmetic: SocraticClass[] = [
    'repeat_inconsistency',
    'decomposition_redundancy',
    'regather_redundancy',
    'detection_error',
    'integration_redundancy',
  ];

  it.each(socraticClasses)('%s: the wrong steps are inside the solution, and the oracle finds the first', (classification) => {
    for (let seed = 0; seed < 40; seed++) {
      const problem = makeProblem(rng(seed), seed % 2 ? 3 : 2);
      const row = injectError(problem, renderSolution(problem, 'socratic'), classification, rng(seed));
      expect(row.classification).toBe(classification);
      expect(row.modified_process).not.toEqual(row.original_process);
      expect(verdicts(problem, row.original_process).every((verdict) => verdict === 'correct')).toBe(true);
      expect(Math.min(...row.error_steps)).toBeGreaterThanOrEqual(1);
      expect(Math.max(...row.error_steps)).toBeLessThanOrEqual(row.modified_process.length);
      const first = row.modified_process.findIndex((step, i) => step !== row.original_process[i]) + 1;
      expect(Math.min(...row.error_steps)).toBe(first);
      if (!notArithmetic.includes(classification))
        expect(firstError(labelSteps(problem, row.modified_process)), row.modified_process.join('\n')).toBe(first - 1);
      expect(row).toEqual(injectError(problem, renderSolution(problem, 'socratic'), classification, rng(seed)));
    }
  });

  it('has the six patterns, and refuses what it is not made for', () => {
    expect([...new Set(socraticClasses.map(patternOf))]).toEqual([
      'Transformation',
      'Decomposition',
      'Regather',
      'Deduction',
      'Verification',
      'Integration',
    ]);
    const chainProblem = makeProblem(rng(0), 2);
    expect(() => injectError(makeProblem(rng(0), 5), [], 'detection_error', rng(0))).toThrow('chain');
    expect(() => injectError(chainProblem, renderSolution(chainProblem, 'compact'), 'detection_error', rng(0))).toThrow('socratic');
  });
});
