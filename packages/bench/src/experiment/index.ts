export { type AppliedArm, type ApplyOptions, type ApplyPlan, type ApplyResult, applyExperiment, planApply } from './apply.js';
export { bedMakers } from './beds.js';
export { codeHash, experimentFile, loadExperimentFrom, packageVersions } from './bundle.js';
export { experimentContract } from './contract.js';
export { defineExperiment, parseConfig } from './define.js';
export { judgeClaims, minimumSeeds, seedsForClaims } from './judge.js';
export { experimentReport } from './report.js';
export { type MatrixRow, readResult, reproductionMatrix, reproductionsMarkdown } from './reproductions.js';
export { type RunOptions, runExperiment } from './run.js';
export type {
  AppliedPolicy,
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
export { applySettings } from './types.js';
