export { bedMakers } from './beds.js';
export { codeHash, experimentFile, loadExperimentFrom, packageVersions } from './bundle.js';
export { experimentContract } from './contract.js';
export { defineExperiment, parseConfig } from './define.js';
export { judgeClaims, minimumSeeds } from './judge.js';
export { experimentReport } from './report.js';
export { type MatrixRow, readResult, reproductionMatrix, reproductionsMarkdown } from './reproductions.js';
export { type RunOptions, runExperiment } from './run.js';
export type {
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
