/** What needs no tensors: texts of records, and answers. Neither tfjs nor native code behind this door. */

export type { AnswerRule, MathEqualOptions } from './answers.js';
export { answerRules, editSimilarity, extractAnswer, mathEqual, normalizeAnswer, numberOf, verifyAnswer } from './answers.js';
export type {
  Candidate,
  Completion,
  Context,
  Criterion,
  Generation,
  GroupRewardFunction,
  LanguageModel,
  Message,
  PairVerdict,
  PairwiseJudge,
  Prompt,
  RewardFunction,
  Rubric,
  Sampling,
  Scores,
  StepRewardFunction,
} from './interfaces.js';
export { isMessages, sameCompletion, textOf } from './records.js';
