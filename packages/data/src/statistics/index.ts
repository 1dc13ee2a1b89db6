/** Statistics on plain arrays: neither tfjs nor native code behind this door. */

export { cohenKappa, cohenKappaInterval, fleissKappa, krippendorffAlpha } from './agreement.js';
export { maximumAssignment } from './assignment.js';
export type { CalibrationBin } from './binary.js';
export { auroc, averagePrecision, brierScore, calibration, logLoss } from './binary.js';
export { bradleyTerryMle } from './bradleyTerry.js';
export { kendallTau, ndcg, pearson, ranks, spearman } from './correlation.js';
export { incompleteBeta, lnGamma, normalCdf, normalQuantile, tCdf, tQuantile, tTwoSidedP } from './distributions.js';
export type { Draws, Estimate } from './estimates.js';
export {
  bootstrapInterval,
  differences,
  mean,
  pairedDifference,
  quantile,
  seededDraws,
  standardDeviation,
  tInterval,
  welchDifference,
  wilsonInterval,
  winRate,
} from './estimates.js';
export type { OverOptimisation } from './sampling.js';
export { bestOfNKl, distinctN, fitOverOptimisation, passAtK, repetition } from './sampling.js';
export { tiltedPolicy } from './tilting.js';
