/** Solutions with one error each, and sound ones, drawn by the number: what a process reward model learns from and is judged on. */
import type { Rng } from '@plumbline/core';
import type { StepwiseRecord } from '@plumbline/data';
import { injectError, type SocraticClass, type SocraticRecord, socraticClasses } from './errors.js';
import { type Level, problemOf, type Split } from './problem.js';
import { renderSolution, stepSeparator } from './solution.js';

/**
 * `count` records in the official format, the classes in turn. Problem `i` depends on `rng`, the split and `i` alone, so that two calls with other classes
 * put other errors into the same problems. Half of the solutions have a check (all of those whose error is one of verification), so that a check tells
 * nothing.
 *
 * @param levels of chains, drawn evenly; 2 and 3 unless said
 * @throws RangeError for a level whose problems are no chains
 */
export function socraticRecords(
  rng: Rng,
  {
    split,
    count,
    classes = socraticClasses,
    levels = [2, 3],
  }: { split: Split; count: number; classes?: readonly SocraticClass[]; levels?: readonly Level[] },
): SocraticRecord[] {
  return Array.from({ length: count }, (_, i) => {
    const own = rng.fork(split, i);
    const classification = classes[i % classes.length];
    const level = levels[own.fork('level').below(levels.length)];
    for (let tries = 0; tries < 20; tries++) {
      const problem = problemOf(split, own.fork('problem', tries), level);
      const draw = own.fork('solution', tries);
      const check = draw.below(2) === 0 ? draw.below(problem.nodes.length) : undefined;
      const steps = renderSolution(problem, 'socratic', { check });
      const record = tryInject(() => injectError(problem, steps, classification, draw));
      if (record) return { ...record, idx: `${split}_${i}` };
    }
    throw new RangeError(`socraticRecords: no ${classification} in 20 problems of level ${level}`);
  });
}

/** Some problems have no error of a class, such as one that shows in every later value; another problem is drawn then. */
function tryInject(inject: () => SocraticRecord): SocraticRecord | undefined {
  try {
    return inject();
  } catch (error) {
    if (error instanceof RangeError && error.message.includes('tries')) return undefined;
    throw error;
  }
}

/** The solution with the error as a process reward model learns it: false for each wrong step. */
export const wrongSteps = ({ idx, classification, modified_question, modified_process, error_steps }: SocraticRecord): StepwiseRecord => ({
  id: `${classification}_${idx}`,
  prompt: `${modified_question}${stepSeparator}`,
  completions: modified_process,
  labels: modified_process.map((_, i) => !error_steps.includes(i + 1)),
});

/** The solution before the error: every step is right. */
export const soundSteps = ({ idx, original_question, original_process }: SocraticRecord): StepwiseRecord => ({
  id: `sound_${idx}`,
  prompt: `${original_question}${stepSeparator}`,
  completions: original_process,
  labels: original_process.map(() => true),
});
