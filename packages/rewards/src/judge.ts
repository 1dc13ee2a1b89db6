/** `@plumbline/rewards/judge`: judges, rubrics, verifiers and selection, for those who judge and never train. Neither tfjs nor native code nor environments behind this door. */

export { rng } from '@plumbline/core/light';
export type {
  Candidate,
  Completion,
  Context,
  Criterion,
  GroupRewardFunction,
  LanguageModel,
  Message,
  PairVerdict,
  PairwiseJudge,
  Prompt,
  RewardFunction,
  Rubric,
  Scores,
  StepRewardFunction,
} from '@plumbline/data/light';
export { extractAnswer, mathEqual, normalizeAnswer, verifyAnswer } from '@plumbline/data/light';
// Rewards and judges made of others
export {
  batched,
  cached,
  checkScores,
  debiased,
  forgiving,
  pairwiseFromPointwise,
  pointwiseFromPairwise,
  rewardFromText,
  stepwiseToOutcome,
  timeLimited,
  weightedSum,
} from './adapters.js';
export type { EnsembleRule } from './aggregate.js';
export { aggregateEnsemble, disagreement, ensembleReward } from './aggregate.js';
// Diagnostics
export { chooseRidge, gatedScore, gateWeights, ridgeProbe, verbosityPenalties, withoutVerbosity } from './diagnostics/attributes.js';
export { calibrationError, isotonic, presentPairs, temperatureScale } from './diagnostics/calibration.js';
export { hackingGap, lengthBalancedAccuracy, lengthBias } from './diagnostics/length.js';
export { partitionByStrength, preferenceStrength } from './diagnostics/strength.js';
// Where people already are
export type { AiSdkModel } from './external/aiSdk.js';
export { fromAiSdk } from './external/aiSdk.js';
export type { PromptfooContext, PromptfooResult } from './external/promptfoo.js';
export { promptfooAssertion } from './external/promptfoo.js';
export type { RewardMatchers } from './external/vitest.js';
export { rewardMatchers } from './external/vitest.js';
export type { HttpRewardOptions } from './http.js';
export { httpReward, RewardServerError } from './http.js';
// Judges
export type { AskOptions, JudgeReport } from './judges/ask.js';
export { JudgeError, modelFromFunction } from './judges/ask.js';
export type { CalibrateOptions, PairCalibration, PairLabel, PointCalibration, PointLabel, Share } from './judges/calibrate.js';
export { calibrateJudge } from './judges/calibrate.js';
export type { GenerativeJudgeOptions, ReportingJudge } from './judges/pairwise.js';
export { generativeJudge, logitJudge, voted } from './judges/pairwise.js';
export { parseChecklist, parseRanking, parseRating, parseVerdict, parseYesNo } from './judges/parse.js';
export { groupFromPairwise, rankingJudge, ratingJudge, rubricJudge, stepJudge, yesNoJudge } from './judges/pointwise.js';
export { checkRubric, formatRubric, parseRubric, rubricFrom, rubricScore } from './judges/rubric.js';
export type { PairQuestion, PointQuestion, Template } from './judges/templates.js';
export {
  checklistTemplate,
  pairLetterTemplate,
  pairTemplate,
  pointTemplate,
  promptText,
  rankingTemplate,
  stepTemplate,
  yesNoTemplate,
} from './judges/templates.js';
// Choosing
export type { Aggregation, BestOfNSample } from './select.js';
export {
  aggregateSteps,
  bestOfN,
  bestOfNCurve,
  bestOfNKl,
  exactBestOfNKl,
  knockout,
  majorityVote,
  meanBestOfNCurve,
  passAtK,
  regularisedBestOfN,
  sampleBestOfN,
  softBestOfN,
  weightedVote,
} from './select.js';
// Verifiers
export { exactMatch, numericAnswer } from './verifiers/answers.js';
export type { CodeLimits, CodeRun, CodeTest } from './verifiers/code.js';
export { codeTests, runCode, runTests } from './verifiers/code.js';
export type { Stage } from './verifiers/gated.js';
export { gatedReward } from './verifiers/gated.js';
export { jsonSchema } from './verifiers/jsonSchema.js';
export { detectLanguage, dominantScript, languageIs, languageShare } from './verifiers/language.js';
export type { LengthUnit } from './verifiers/patterns.js';
export { keywords, lengthOf, lengthWithin, regexMatch, tagFormat } from './verifiers/patterns.js';
export { repetitionPenalty } from './verifiers/repetition.js';
export type { Verifier } from './verifiers/verifier.js';
export { Abstain, verifier } from './verifiers/verifier.js';
