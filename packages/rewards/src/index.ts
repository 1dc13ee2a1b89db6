/** Reward models and reward functions. */

// Rewards and judges made of others
export { batched, cached, debiased, pairwiseFromPointwise, pointwiseFromPairwise, rewardFromText, weightedSum } from './adapters.js';
// Ensembles
export { averageWeights } from './ensemble.js';
// Losses
export type { BradleyTerryLoss, BradleyTerryOptions, PairScores } from './losses/bradleyTerry.js';
export { bradleyTerryLoss } from './losses/bradleyTerry.js';
export { plackettLuceLoss } from './losses/plackettLuce.js';
// Models as rewards
export type { ModelRewardOptions } from './model.js';
export { implicitReward, modelReward, rewardAccuracy, scoreMoments } from './model.js';
// Shaping
export type { ReferenceSampler } from './references.js';
export { scoreReferences } from './references.js';
export type { RescaleOptions } from './rescale.js';
export { rescaleScores } from './rescale.js';
// Choosing
export { bestOfN, bestOfNCurve, bestOfNKl } from './select.js';
export type { ReferenceOptions } from './shaping.js';
export {
  ceiling,
  centered,
  centeredAtan,
  centeredTanh,
  chain,
  identity,
  lengthPenalty,
  logSigmoidCentered,
  polynomialSigmoid,
  runningClip,
  runningMeanStd,
  runningMinMax,
  sigmoidPolynomial,
  sigmoidPreference,
  sigmoidReward,
  slowGrowth,
  tanhReward,
} from './shaping.js';
// Trainer
export type { RewardTraining } from './train.js';
export { RewardTrainConfig, trainReward } from './train.js';
