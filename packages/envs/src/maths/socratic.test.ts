import { rng } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import { patternOf, type SocraticClass, socraticClasses } from './errors.js';
import { splitOf } from './problem.js';
import { socraticRecords, soundSteps, wrongSteps } from './socratic.js';
import { patternOfStep } from './solution.js';

const draw = (options: Partial<Parameters<typeof socraticRecords>[1]> = {}, seed = 1) =>
  socraticRecords(rng(seed), { split: 'test', count: 100, ...options });

describe('socraticRecords', () => {
  const records = draw();

  it('has the classes in turn, each with a name of its own', () => {
    for (const classification of socraticClasses)
      expect(records.filter((record) => record.classification === classification)).toHaveLength(5);
    expect(new Set(records.map((record) => wrongSteps(record).id)).size).toBe(100);
  });
  it('is the same for the same draw, and differs for another', () => {
    expect(draw()).toEqual(records);
    expect(draw({}, 2)).not.toEqual(records);
  });
  it('puts other classes of error into the same problems', () => {
    const others = draw({ classes: ['conclusion_invalidity'] });
    const same = others.filter((other, i) => other.original_question === records[i].original_question);
    expect(same.length).toBeGreaterThan(90); // but for the few problems that have no error of the class
  });
  it('has problems of its split alone', () => {
    const questions = new Set(draw({ split: 'train', count: 200 }).map(({ modified_question }) => modified_question));
    expect(records.some(({ modified_question }) => questions.has(modified_question))).toBe(false);
    expect(splitOf({ key: '7+5;12-4' })).toBe('train');
  });
  it('labels the wrong steps of the solution and none of the sound one', () => {
    for (const record of records) {
      const [wrong, sound] = [wrongSteps(record), soundSteps(record)];
      expect(wrong.labels.flatMap((label, i) => (label ? [] : [i + 1]))).toEqual(record.error_steps);
      expect(wrong.completions).toHaveLength(wrong.labels.length);
      expect(sound.labels.every(Boolean)).toBe(true);
      expect(sound.completions).not.toEqual(wrong.completions);
      expect(wrong.prompt).toBe(`${record.modified_question}\n`);
    }
  });
  it('has a check in about half of the solutions whatever the error, so that it tells nothing', () => {
    const many = draw({ count: 400 });
    const checked = (of: (classification: SocraticClass) => boolean) => {
      const some = many.filter(({ classification }) => of(classification));
      return (
        some.filter(({ original_process }) => original_process.some((step) => patternOfStep(step) === 'Verification')).length / some.length
      );
    };
    expect(checked((classification) => patternOf(classification) === 'Verification')).toBe(1);
    expect(checked((classification) => patternOf(classification) === 'Deduction')).toBeGreaterThan(0.35);
    expect(checked((classification) => patternOf(classification) === 'Deduction')).toBeLessThan(0.65);
  });
});
