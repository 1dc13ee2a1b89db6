/** Statistics and metrics on plain arrays: neither tfjs nor native code nor environments behind this door. */

export type { CalibrationBin, Draws, Estimate, OverOptimisation } from '@plumbline/data/statistics';
export {
  auroc,
  averagePrecision,
  bestOfNKl,
  bootstrapInterval,
  bradleyTerryMle,
  brierScore,
  calibration,
  cohenKappa,
  cohenKappaInterval,
  differences,
  distinctN,
  fitOverOptimisation,
  fleissKappa,
  incompleteBeta,
  kendallTau,
  krippendorffAlpha,
  lnGamma,
  logLoss,
  mean,
  ndcg,
  normalCdf,
  normalQuantile,
  pairedDifference,
  passAtK,
  pearson,
  quantile,
  ranks,
  repetition,
  seededDraws,
  spearman,
  standardDeviation,
  tCdf,
  tInterval,
  tQuantile,
  tTwoSidedP,
  welchDifference,
  wilsonInterval,
  winRate,
} from '@plumbline/data/statistics';
export { type BestOfNPoint, bestOfNCurve } from './bestOfN.js';
export { type LengthPair, lengthBias, lengthCorrelation, positionBias, selfPreference } from './bias.js';
export type { Verdict, VerdictRule } from './decide.js';
export { holm, pairedPower, unitsForPower, verdict, verdicts } from './decide.js';
export { instructionDifficulty, type LengthControlled, lengthControlledWinRate } from './lengthControl.js';
export { bradleyTerryRanking, type Ranked } from './ranking.js';
