/** Preference, prompt and stepwise records, packing and batching, and the interfaces between packages. */

// Answers
export type { AnswerRule, MathEqualOptions } from './answers.js';
export { answerRules, editSimilarity, extractAnswer, mathEqual, normalizeAnswer, numberOf, verifyAnswer } from './answers.js';
export type { Duration, Layout, MicroBatchSize, PairBatch, PromptBatch, RewardBatch } from './batches.js';
export { affordableTokens, microBatches, pairBatch, pairBatches, promptBatches, rewardBatch, rewardBatches } from './batches.js';
export type { BudgetOptions } from './budget.js';
export { budgetBatches } from './budget.js';
// Acting with numbers
export type { ControlPolicy, Env, EnvStep, Space, Trajectory, Transitions } from './control.js';
export { checkTrajectories, normalisedScore, recordEpisode, transitionsOf } from './control.js';
// Conversions and checks
export type { ConvertOptions } from './convert.js';
export {
  conversionPath,
  convertRecord,
  groupByPrompt,
  overallScore,
  preferenceToUnpaired,
  rankedToPreference,
  splitMessages,
  stepwiseToUnpaired,
  trajectoryToUnpaired,
} from './convert.js';
// Curation
export type { Deduplicator, NearOptions } from './curate/dedup.js';
export { exactDeduplicator, jaccard, nearDeduplicator, withoutDuplicates } from './curate/dedup.js';
export type { LengthLimits, TextFeatures } from './curate/filters.js';
export { decontaminate, filterRecords, lengthFilter, looksGarbled, textFeatures } from './curate/filters.js';
export { hashSplit, shuffleRecords, shuffleStream } from './curate/order.js';
export type { DataSummary, DataWarning, LengthSummary, SummaryOptions } from './curate/summary.js';
export { dataSummary } from './curate/summary.js';
export { recordKey, textsOf } from './curate/text.js';
// Token ids, packing, batches
export type { Dropped, EncodedGroup, EncodedPair, EncodeOptions, Truncation } from './encode.js';
export { encodeCompletion, encodeGroups, encodePair, encodePairs, encodePrompt, encodeSequence, joinSequence } from './encode.js';
export type { Episode, TextEnv, ToolSpec, TurnResult, TurnRewardFunction } from './interaction.js';
// Interfaces
export type {
  Batches,
  Candidate,
  Completion,
  CompletionLogps,
  Context,
  Criterion,
  Decoder,
  Generation,
  GroupRewardFunction,
  KvCache,
  LanguageModel,
  MediaRef,
  Message,
  PackedBatch,
  PairVerdict,
  PairwiseJudge,
  Prompt,
  RewardFunction,
  Rubric,
  Sampling,
  Scorer,
  Scores,
  ShapeInput,
  Shaper,
  StepRewardFunction,
  Tokenizer,
  TokenMask,
} from './interfaces.js';
export type { PromptedSequence, Sequence } from './pack.js';
export { completionTokens, packSequences, packShared, sharedTokens, takeSegments } from './pack.js';
// Pairs
export type { MakePairsOptions, PairStrategy } from './pairs/makePairs.js';
export { makePairs } from './pairs/makePairs.js';
export type { MarginSplit } from './pairs/relabel.js';
export { flipGroupLabels, flipLabels, quantileOf, relabel, splitByMargin, swapSides } from './pairs/relabel.js';
export { detectKind, recordKinds, recordsOfRow } from './read/kinds.js';
export type { Row, RowOptions } from './read/rows.js';
export { preferencesOfRow, promptOfRow, RowSkipped } from './read/rows.js';
export { isTranscript, parseTranscript, renderTranscript } from './read/transcript.js';
// Records
export type {
  CompletionRecord,
  MessagesRecord,
  MultiScoreRecord,
  PreferenceRecord,
  PromptRecord,
  RecordKind,
  Records,
  ScoredGroup,
  StepwiseRecord,
  TextRecord,
  TrajectoryRecord,
  UnpairedRecord,
} from './records.js';
export { isMessages, sameCompletion, splitRecords, textOf } from './records.js';
export type { Goal, GoalAugmentOptions, GoalPromptOptions, GoalTemplate } from './relabel/rewardGoal.js';
export { augmentWithRewardGoals, formatGoal, goalPrompt, multiAttributeTemplate, overallScoreTemplate } from './relabel/rewardGoal.js';
export { ultrafeedbackPairs } from './relabel/ultrafeedback.js';
export { checkRecord, recordSchemas } from './schemas.js';
export { type VectorEnv, type VectorStep, vectorEnv } from './vectorEnv.js';
