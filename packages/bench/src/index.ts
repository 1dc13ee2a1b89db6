/** Statistics, report pages, and experiments that say whether a paper's claim holds. */

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
  MatrixRow,
  MetricSpec,
  Progress,
  RunOptions,
  SeedContext,
  SeedOutcome,
  StoredSeed,
} from './experiment/index.js';
export {
  bedMakers,
  codeHash,
  defineExperiment,
  experimentContract,
  experimentFile,
  experimentReport,
  judgeClaims,
  loadExperimentFrom,
  minimumSeeds,
  packageVersions,
  parseConfig,
  readResult,
  reproductionMatrix,
  reproductionsMarkdown,
  runExperiment,
} from './experiment/index.js';
export { type FrontierPoint, frontier, frontierGap, peak } from './frontier.js';
export type { Estimate, OverOptimisation, Verdict, VerdictRule } from './metrics/index.js';
export {
  bootstrapInterval,
  differences,
  distinctN,
  fitOverOptimisation,
  holm,
  mean,
  pairedDifference,
  pairedPower,
  quantile,
  repetition,
  spearman,
  standardDeviation,
  tInterval,
  unitsForPower,
  verdict,
  verdicts,
  wilsonInterval,
  winRate,
} from './metrics/index.js';
export { type Paper, type PaperSource, papers } from './papers.js';
export type { Axis, Block, Cell, Column, Measured, Point, ReportPage, Section, Series, SeriesColor, Tone } from './report/index.js';
export { formatNumber, reportPage, tableCsv } from './report/index.js';
