import { readFileSync } from 'node:fs';
import { dataPath } from '@plumbline/tools/fixtures';
import { describe, expect, it } from 'vitest';
import { editSimilarity, extractAnswer, mathEqual, normalizeAnswer, numberOf, verifyAnswer } from './answers.js';
import { cohenKappa, cohenKappaInterval, seededDraws } from './statistics/index.js';

describe('extractAnswer', () => {
  it.each([
    ['so \\boxed{1} and then \\boxed{\\frac{1}{2}}', '\\frac{1}{2}', 'boxed'],
    ['\\boxed{f\\{x\\}}', 'f\\{x\\}', 'boxed'],
    ['\\boxed{unclosed <answer>7</answer>', '7', 'tag'],
    ['<answer>\n 12 \n</answer>', '12', 'tag'],
    ['steps\n#### 1,234', '1,234', 'hash'],
    ['The answer is **42**.', '42', 'answer-is'],
    ['Answer: x = 3', 'x = 3', 'answer-is'],
    ['<think>the answer is 9</think> The answer is 8', '8', 'answer-is'],
  ] as const)('finds the last answer of the first rule that has one: %s', (text, value, rule) => {
    expect(extractAnswer(text)).toEqual({ value, rule });
  });
  it('takes no number that was not offered, unless asked', () => {
    expect(extractAnswer('We add 3 and 4 to get 7.')).toBeNull();
    expect(extractAnswer('We add 3 and 4 to get 1,007.', ['last-number'])).toEqual({ value: '1,007', rule: 'last-number' });
    expect(extractAnswer('')).toBeNull();
  });
});

describe('mathEqual', () => {
  it.each([
    ['1{,}024', '1024', true],
    ['0.5', '1/2', true],
    ['1 1/2', '3/2', true],
    ['2.0', '2', true],
    ['50%', '0.5', false],
    ['1,2', '12', false],
    ['12.', '12', true],
    ['-0', '0', true],
    ['1/0', '1/0', false],
    ['$\\dfrac{3}{4}$', '0.75', true],
    ['\\(-\\tfrac12\\)', '-0.5', true],
    ['1\\frac{1}{2}', '1.5', true],
    ['−3', '-3', true],
    ['\\text{Paris}', 'paris', true],
    ['$1,000,000', '1000000', true],
    ['x + 1', 'x  +  1', true],
    ['x+1', 'x+2', false],
    ['', '', false],
    ['1e3', '1000', true],
    ['0.1', '0.10000000000000000001', false],
    ['(1,2)', '(1, 2)', false],
  ])('%s against %s: %s', (a, b, equal) => {
    expect(mathEqual(a, b)).toBe(equal);
    expect(mathEqual(b, a)).toBe(equal);
  });
  it('takes percentages and tolerances where asked', () => {
    expect(mathEqual('50%', '0.5', { percent: true })).toBe(true);
    expect(mathEqual('3.1416', '3.14159', { relTol: 1e-4 })).toBe(true);
    expect(mathEqual('3.15', '3.14159', { relTol: 1e-4 })).toBe(false);
  });
  it('is not confused by numbers beyond doubles', () => {
    expect(mathEqual('9007199254740993', '9007199254740992')).toBe(false);
    expect(numberOf(`1${'0'.repeat(400)}/1${'0'.repeat(399)}`)).toBe(10);
  });
  it('keeps its normal form', () => {
    for (const text of ['$\\frac{1}{2}$', ' A  B. ', '1,234,567', '\\boxed{ 3 }']) {
      expect(normalizeAnswer(normalizeAnswer(text))).toBe(normalizeAnswer(text));
    }
    expect(normalizeAnswer('1,234,567')).toBe('1234567');
  });
});

const gsm8k = dataPath('gsm8k/example_model_solutions.jsonl');
describe.skipIf(!gsm8k)('verifyAnswer on real solutions (skipped where the shared data is missing)', () => {
  it('agrees with the labels of GSM8K solutions', () => {
    const marked = (solution: string) => solution.replace(/\nA: (?=[^\n]*$)/, '\n#### '); // this file's own marker
    let [asked, agreed] = [0, 0];
    for (const line of readFileSync(gsm8k!, 'utf8').trim().split('\n')) {
      const row = JSON.parse(line) as Record<string, string | { is_correct: boolean; solution: string }>;
      const gold = extractAnswer(marked(row.ground_truth as string))!.value;
      for (const value of Object.values(row)) {
        if (typeof value === 'string' || value === null || typeof value.is_correct !== 'boolean') continue;
        asked++;
        const answer = verifyAnswer(marked(value.solution), gold);
        if (answer.correct === value.is_correct) agreed++;
      }
    }
    console.log(`GSM8K: ${agreed} of ${asked} labels agree`);
    expect(asked).toBeGreaterThan(1000);
    expect(agreed / asked).toBeGreaterThan(0.99);
  });
});

describe('cohenKappaInterval', () => {
  it('is the kappa of the table, with the standard error of Fleiss, Cohen and Everitt', () => {
    const a = [1, 1, 0, 1, 0, 1, 1, 0];
    const b = [1, 0, 0, 1, 0, 1, 1, 1];
    const { kappa, agreement, low, high } = cohenKappaInterval(a, b);
    expect(kappa).toBeCloseTo(0.466667, 6);
    expect(agreement).toBe(0.75);
    expect(low).toBeLessThan(kappa);
    expect(high).toBe(1); // eight labels say little
    expect(cohenKappa(a, b)).toBeCloseTo(kappa, 12);
  });
  it('covers the true kappa about as often as it says', () => {
    const draws = seededDraws(3);
    let covered = 0;
    for (let t = 0; t < 400; t++) {
      const a: number[] = [];
      const b: number[] = [];
      for (let i = 0; i < 200; i++) {
        a.push(draws.below(2));
        b.push(draws.below(10) < 8 ? a[i] : 1 - a[i]); // agreement 0.8 with even marginals: kappa 0.6
      }
      const { low, high } = cohenKappaInterval(a, b);
      if (low <= 0.6 && 0.6 <= high) covered++;
    }
    expect(covered / 400).toBeGreaterThan(0.92);
    expect(covered / 400).toBeLessThan(0.98);
  });
  it('says that one class tells nothing, and names what is wrong', () => {
    expect(cohenKappaInterval([1, 1], [1, 1])).toMatchObject({ kappa: 0, low: -1, high: 1, agreement: 1 });
    expect(() => cohenKappaInterval([], [])).toThrow('there are no labels');
    expect(() => cohenKappaInterval([1], [1, 2])).toThrow('1 labels against 2');
  });
});

describe('editSimilarity', () => {
  it('is one minus the edits over the longer length, by code points', () => {
    expect(editSimilarity('kitten', 'sitting')).toBeCloseTo(0.571429, 6);
    expect(editSimilarity('rouge', 'rot')).toBeCloseTo(0.4, 12);
    expect([editSimilarity('', ''), editSimilarity('a', ''), editSimilarity('abc', 'abc')]).toEqual([1, 0, 1]);
    expect(editSimilarity('😀b', '😀c')).toBe(0.5); // an emoji is one
  });
  it('does not depend on the order', () => expect(editSimilarity('sunday', 'saturday')).toBe(editSimilarity('saturday', 'sunday')));
});
