export {
  type ApplyMeasure,
  type ApplyOptions,
  type ApplyPlan,
  type ApplyResult,
  type ArmResult,
  applyExperiment,
  applyMeasures,
  planApply,
  rightPairs,
} from './apply.js';
export { applyReport } from './applyReport.js';
export { bedMakers } from './beds.js';
export { codeHash, experimentFile, loadExperimentFrom, packageVersions } from './bundle.js';
export { type Confirmation, confirmResult } from './confirm.js';
export { experimentContract } from './contract.js';
export { defineApply, defineExperiment, parseConfig } from './define.js';
export { judgeClaims, minimumSeeds, seedsForClaims } from './judge.js';
export { byArm, firstAnswers, goldTie, heldOutPrompts, pause, pretrainDecoder, wordsMetrics, wordsModel } from './pieces.js';
export { experimentReport, sourceWords } from './report.js';
export { freshness, type MatrixRow, readResult, reproductionMatrix, reproductionsMarkdown } from './reproductions.js';
export { type RunOptions, runExperiment } from './run.js';
export { readScales, type ScaleRow, scaleRow, storeApplied, storeScale } from './scales.js';
export type {
  AppliedArm,
  ApplyContext,
  ApplySpec,
  ArmSummary,
  BedMakers,
  Beds,
  Claim,
  ClaimResult,
  ClaimTest,
  Experiment,
  ExperimentResult,
  ExperimentSpec,
  LoggedRow,
  MetricSpec,
  Progress,
  SeedContext,
  SeedOutcome,
  StoredSeed,
} from './types.js';
export { applyMeasureSettings, applyOnlineSettings, applyRewardSettings, applySettings } from './types.js';
