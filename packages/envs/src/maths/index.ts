/** The maths bed: multi-step arithmetic and countdown, with exact step labels. */
export type { AnyProblem, MathsBed, MathsEvaluateOptions, MathsEvaluation, MathsGroup, MathsMix } from './bed.js';
export {
  mathsBed,
  mathsExample,
  mathsPrompt,
  mathsReward,
  mathsStepReward,
  pretrainingMix,
  solutionTokens,
  stepsOnPath,
  verifyMaths,
} from './bed.js';
export type { CountdownKnobs, CountdownProblem, CountdownVerdict, Move } from './countdown.js';
export {
  countdownOf,
  countdownProblem,
  countdownStep,
  labelCountdown,
  legalMoves,
  makeCountdown,
  solvable,
  solveCountdown,
  verifyCountdown,
} from './countdown.js';
export type { SocraticClass, SocraticRecord } from './errors.js';
export { injectError, patternOf, socraticClasses } from './errors.js';
export type { StepVerdict, Verdict } from './oracle.js';
export { firstError, labelSteps } from './oracle.js';
export { readThought } from './phrases.js';
export type { Level, MathsKnobs, MathsNode, MathsProblem, Op, Operand, Split } from './problem.js';
export { levels as mathsLevels, makeProblem, problemOf, splitOf, valuesOf } from './problem.js';
export { socraticRecords, soundSteps, wrongSteps } from './socratic.js';
export type { Pattern, SolutionMode, SolutionOptions } from './solution.js';
export {
  expressionMark,
  joinSteps,
  parseEquation,
  patternOfStep,
  renderSolution,
  splitSolution,
  splitStep,
  stepSeparator,
} from './solution.js';
export type { ErrorClass, NoisySolver } from './solver.js';
export { noisySolver } from './solver.js';
