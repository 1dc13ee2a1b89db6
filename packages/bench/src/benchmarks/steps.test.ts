import { describe, expect, it } from 'vitest';
import {
  countSteps,
  firstErrors,
  harmonic,
  prmBench,
  prmScore,
  processBench,
  socraticPrmBench,
  splitSteps,
  vlrmBench,
  weightedF1,
} from './steps.js';

const place = { path: 'x/location_error.jsonl', file: 'location_error', line: 1 };
const item = (errors: number[], n: number) => ({
  id: 'a',
  subset: 's',
  prompt: 'q',
  steps: Array.from({ length: n }, (_, i) => `step ${i}`),
  errors,
});
const row = {
  modified_question: 'q',
  modified_process: ['a', 'b', 'c'],
  error_steps: [2, 9],
  classification: 'detection_error',
  idx: 'p7',
};

describe('the PRM-Score', () => {
  it('has the values of the card', () => {
    const sound = [[true, true, false, true, true, true]];
    const counts = countSteps([item([2, 4], 6)], sound);
    expect(counts).toEqual({ tp: 4, fp: 1, tn: 1, fn: 0 });
    const { f1, negF1, prmScore: score } = prmScore(counts);
    expect(f1).toBeCloseTo(0.888889, 6);
    expect(negF1).toBeCloseTo(0.666667, 6);
    expect(score).toBeCloseTo(0.777778, 6);
    expect(firstErrors([item([2, 4], 6)], sound)).toEqual({ accuracy: 1, delay: 0, n: 1 });
  });
  it('has the scores of constant predictors that follow from the counts of all 2,995 official rows', () => {
    const right = prmScore({ tp: 17127, fp: 8928, tn: 0, fn: 0 });
    expect(right.f1).toBeCloseTo(0.793247, 6);
    expect(right.prmScore).toBeCloseTo(0.396624, 6);
    expect(prmScore({ tp: 0, fp: 0, tn: 8928, fn: 17127 }).prmScore).toBeCloseTo(0.25521, 6);
  });
  it('takes −1 for what has no denominator, as the reference does', () => {
    expect(prmScore({ tp: 0, fp: 0, fn: 3, tn: 1 })).toMatchObject({ precision: -1, recall: 0, f1: 0 });
    expect(prmScore({ tp: 0, fp: 0, fn: 0, tn: 2 }).f1).toBe(-1);
    expect(prmScore({ tp: 5, fp: 0, fn: 0, tn: 0 }).negF1).toBe(-1);
    expect(prmScore({ tp: 0, fp: 0, fn: 0, tn: 2 }, { undefinedAs: 0 }).f1).toBe(0);
  });
  it('is 1 for an oracle and does not depend on the order of the rows', () => {
    const items = [socraticPrmBench.read(row, place)!, socraticPrmBench.read({ ...row, idx: 'p8', error_steps: [1, 3] }, place)!];
    const oracle = items.map(({ steps, errors }) => ({ scores: steps.map((_, t) => (errors.includes(t) ? 0 : 1)) }));
    expect(socraticPrmBench.report(items, oracle)[0]).toMatchObject({ name: 'PRM-Score', value: 1, n: 6 });
    const noisy = [{ scores: [0.9, 0.8, 0.2] }, { scores: [0.1, 0.6, 0.7] }];
    const turned = socraticPrmBench.report([...items].reverse(), [...noisy].reverse());
    expect(turned).toEqual(socraticPrmBench.report(items, noisy));
  });
  it('drops error steps beyond the last one and names rows that do not fit', () => {
    expect(socraticPrmBench.read(row, place)!.errors).toEqual([1]);
    expect(() => socraticPrmBench.read({ ...row, error_steps: [0] }, place)).toThrow(
      'line 1: "error_steps" must be steps counted from 1, it holds [0]',
    );
    expect(() => prmBench.read({ ...row, modified_process: [] }, place)).toThrow('at least one step');
    const { modified_question: _, ...missing } = row;
    expect(() => prmBench.read(missing, place)).toThrow('"modified_question" must be a text, it holds nothing (there are modified_process');
    const items = [socraticPrmBench.read({ ...row, classification: 'other' }, place)!];
    expect(() => socraticPrmBench.report(items, [{ scores: [1, 1, 1] }])).toThrow('"other" is none of the classes');
    expect(() => socraticPrmBench.report([socraticPrmBench.read(row, place)!], [{ scores: [1] }])).toThrow('has 3 steps and 1 verdicts');
  });
});

describe('PRMBench', () => {
  it('has the score of all steps together first, and the F1 of sound steps where no step is wrong', () => {
    const read = (classification: string, idx: string, error_steps: number[]) =>
      prmBench.read({ ...row, classification, idx, error_steps }, place)!;
    const items = [read('circular', 'a', [2]), read('deception', 'a', [3]), read('multi_solutions', 'a', [])];
    const outcomes = [{ scores: [1, 0, 1] }, { scores: [1, 1, 1] }, { scores: [1, 1, 0] }];
    const numbers = Object.fromEntries(prmBench.report(items, outcomes).map(({ name, value }) => [name, value]));
    // tp 2 + 2 + 2, fp 0 + 1 + 0, tn 1, fn 0 + 0 + 1: F1 of sound steps 12 / 14, of wrong ones 2 / 4
    expect(numbers['PRM-Score']).toBeCloseTo((12 / 14 + 2 / 4) / 2, 12);
    expect(numbers.multi_solutions).toBeCloseTo(4 / 5, 12);
    expect(numbers.deception).toBeCloseTo(0.5 * (4 / 5), 12);
    expect(numbers.Sensitivity).toBeCloseTo((0.4 + 0.8) / 2, 12);
    expect(numbers['PRM-Score, mean of the categories']).toBeCloseTo((1 + 0.6) / 2, 12);
  });
});

describe('ProcessBench', () => {
  it('has the harmonic means of the reference', () => {
    expect(harmonic(60, 90)).toBeCloseTo(72, 9);
    expect(harmonic(67.7, 94)).toBeCloseTo(78.711, 3);
    expect(harmonic(0, 0)).toBe(0);
  });
  it('counts the first step under the threshold', () => {
    const read = (id: string, label: number) => processBench.read({ id, problem: 'q', steps: ['a', 'b', 'c'], label }, place)!;
    const items = [read('gsm8k-1', 1), read('gsm8k-2', -1), read('math-1', 2)];
    const numbers = processBench.report(items, [{ scores: [1, 0.5, 0] }, { scores: [1, 1, 1] }, { scores: [1, 0, 0] }]);
    expect(numbers.find(({ name }) => name === 'gsm8k')!.value).toBe(1);
    expect(numbers.find(({ name }) => name === 'math')!.value).toBe(0);
    expect(numbers[0].value).toBe(0.5);
    expect(() => read('gsm8k-1', 3)).toThrow('"label" must be a step from 0 to 2, or -1, it holds 3');
  });
});

describe('VLRMBench', () => {
  const gold = [1, 1, 0, 1, 0, 1, 1, 1, 0, 0];
  const counts = (called: readonly number[]) => {
    const n = (g: number, c: number) => gold.filter((one, i) => one === g && called[i] === c).length;
    return { tp: n(1, 1), fp: n(0, 1), tn: n(0, 0), fn: n(1, 0) };
  };
  it('weighs the F1 of each class by the share of the other, as in the card', () => {
    const { positive, negative, weighted } = weightedF1(counts([1, 1, 1, 1, 0, 0, 1, 1, 0, 1]));
    expect(positive).toBeCloseTo(0.7692307692, 9);
    expect(negative).toBeCloseTo(0.5714285714, 9);
    expect(weighted).toBeCloseTo(0.6505494505, 9);
    expect(weightedF1(counts(gold.map(() => 1)))).toMatchObject({ positive: 0.75, negative: 0 });
    expect(weightedF1(counts(gold.map(() => 1))).weighted).toBeCloseTo(0.3, 12);
    expect(weightedF1(counts(gold.map(() => 0))).weighted).toBeCloseTo(0.3428571429, 9);
    expect(() => weightedF1({ tp: 1, fp: 0, tn: 0, fn: 0 })).toThrow('each class');
  });
  it('reads the solution under judgement in steps, and leaves out rows without an image', () => {
    expect(splitSteps('STEP1: a STEP 1\nSTEP2: b')).toEqual(['STEP1: a STEP 1', 'STEP2: b']);
    const vl = { id: 'i', image: ['a.jpg'], question: 'q', reasoning_error: 'STEP1: a\nSTEP2: b', task_gt: [0, 1] };
    expect(vlrmBench.read(vl, place)).toMatchObject({ subset: 'location_error', errors: [1], media: [{ kind: 'image', uri: 'a.jpg' }] });
    const { image: _, ...blind } = vl;
    expect(vlrmBench.read(blind, place)).toBeUndefined();
    expect(() => vlrmBench.read({ ...vl, task_gt: [0, 1, 1] }, place)).toThrow('3 labels for the 2 steps');
    expect(() => vlrmBench.read({ ...vl, task_gt: [0, 2] }, place)).toThrow('a list of 0 and 1');
  });
});
