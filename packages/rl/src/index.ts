/** Online reinforcement learning for language models: advantages, policy losses, rollouts, and one trainer that takes any of them. */

// Advantages

export {
  emaBaseline,
  gpgAdvantages,
  opoAdvantages,
  optimalTokenBaseline,
  passKAdvantages,
  reinforceAdvantages,
  remaxAdvantages,
  rlooAdvantages,
} from './advantages/baselines.js';
export { chosenAdvantages } from './advantages/chosen.js';
export {
  type GroupAdvantageOptions,
  gdpoAdvantages,
  groupAdvantages,
  groupsWithoutDeviation,
  weightedRewards,
} from './advantages/group.js';
export { hardness, hardnessScale, hardnessScaled, robustMean } from './advantages/hardness.js';
export { discountedReturns, gae, reinforcePlusPlus, vtrace, whiten } from './advantages/temporal.js';
export { brpoAdvantages, gigpoAdvantages, rewardToGo, stepRewardsToTokens } from './advantages/turns.js';

// Policy losses

export { a2poLoss } from './losses/a2po.js';
export { type CispoOptions, cispoLoss } from './losses/cispo.js';
export { type ClippedOptions, clippedPolicyLoss } from './losses/clipped.js';
export { clipCovCandidates, clipCovLoss, klCovLoss, tokenCovariance } from './losses/covariance.js';
export { type GmpoOptions, gmpoLoss } from './losses/gmpo.js';
export { type PolicyLossName, policyLoss, policyLosses } from './losses/index.js';
export { type RatioLevel, ratioOf } from './losses/ratio.js';
export { reinforceLoss } from './losses/reinforce.js';
export { type SapoOptions, sapoLoss } from './losses/sapo.js';
export type { PolicyLoss, PolicyLossSpec, TokenLosses } from './losses/types.js';
export { adaptKlPenalty, clippedValueLoss, klPenaltyLoss } from './losses/value.js';
export { type VespoOptions, vespoLoss } from './losses/vespo.js';

// Sums, KL, masks, rewards

export { type Aggregation, aggregate, type StepCounts } from './aggregate.js';
export { type KlController, type KlEstimator, klController, klEstimate, klValue } from './kl.js';
export { adaptEntropyCoef, entropyThreshold, offPolicyMask, type SamplingCorrection, samplingWeights } from './masks.js';
export { distinctNgrams, missingEosPenalty, noReward, repetitionPenalty, softOverlongPenalty, tokenRewards } from './rewards.js';

// Rewards from labels that come while the policy plays

export { type EpisodicCounts, episodicCounts, intrinsicSum, type RetrievalReward, retrievalReward } from './intrinsic.js';

// Actors, critics and denoisers

export { gaussianLogp, softBellmanTarget, softPolicyLoss, squashedGaussianLogp, temperatureLoss } from './losses/actorCritic.js';
export { denoisingPolicyLoss, gaussianStepLogp } from './losses/denoising.js';

// Distillation and offline learning

export { distillationWeights, generalizedJsd, miniLlmAdvantages, miniLlmLoss } from './losses/distillation.js';
export { type IlqlInputs, ilqlLogits, ilqlLoss } from './losses/ilql.js';
export {
  awrWeights,
  cqlPenalty,
  expectileLoss,
  optimalAdvantageLoss,
  optimalValue,
  td3BcLoss,
  topByReturn,
  weightedCloningLoss,
} from './losses/offline.js';
export { OfflineAlgorithm, OfflineConfig, trainOffline } from './offline/trainOffline.js';
export { effectiveSampleSize, perDecisionValue, type RecordedEpisode, returnsToGo, targetReturns } from './offPolicy.js';

// Acting as predicting

export {
  createDecisionTransformer,
  type DecisionOptions,
  type DecisionTransformer,
  decisionPolicy,
} from './sequence/decisionTransformer.js';
export { actionLoss, DecisionConfig, trainDecisionTransformer } from './sequence/trainDecisionTransformer.js';
export { type DecisionWindows, delayRewards, sampleWindows, subsampleTrajectories, windowsOf } from './sequence/windows.js';

// Models of the world

export { DiscriminatorConfig, type DynamicsReward, trainDynamicsReward } from './dynamics/discriminators.js';
export { createDynamicsEnsemble, type DynamicsEnsemble, type DynamicsOptions, type StateActions } from './dynamics/ensemble.js';
export { type FilteredRolloutOptions, filteredRollout, type TransitionReward } from './dynamics/filteredRollout.js';
export {
  boundedLogVar,
  dynamicsRewardFromLogits,
  ensembleUncertainty,
  gaussianNll,
  logVarBound,
  type Uncertainty,
} from './dynamics/losses.js';
export { DynamicsConfig, trainDynamics } from './dynamics/trainDynamics.js';

// Control by planning

export { type CostTerm, costOf, type Norm, norm } from './mpc/costs.js';
export { type MpcModel, type PredictiveSampler, type PredictiveSamplerOptions, predictiveSampler } from './mpc/predictiveSampler.js';

// Search over steps

export { beamSearch } from './search/beam.js';
export { type CemOptions, crossEntropyMethod } from './search/cem.js';
export { type MctsNode, type MctsOptions, mcts, stepPreferencePairs, stepValues, upperConfidence } from './search/mcts.js';
export type { StepGenerator } from './search/types.js';

// Policies held near a base policy, by actions or by occupancy

export {
  chiSquared,
  discriminatorLoss,
  gaussianChiSquared,
  hackingLowerBound,
  klDivergence,
  type OccupancyPenalty,
  occupancyReward,
  proxyCorrelation,
  sequenceChi2Penalty,
  sqrtChi2,
} from './occupancy/divergence.js';
export { chiSquaredChoice, type Regularisation, regularisationPath, type Solution, solveRegularised } from './occupancy/solve.js';

// Rollouts and trainer

export { AdvantageConfig, PolicyTrainConfig } from './config.js';
export { type Critic, createCritic } from './critic.js';
export { type EntropyController, entropyController } from './entropy.js';
export type { AdvantageFunction, AdvantageInput, Experience } from './experience.js';
export { type EpisodeOptions, episodeReturn, episodes, observationText } from './rollout/episodes.js';
export { countOf, type Rollout, type RolloutOptions, type RolloutSample, rollout } from './rollout/generate.js';
export { type RemoteOptions, type RemotePolicy, remotePolicy } from './rollout/remote.js';
export { type GroupReplay, groupReplay, type KeptGroup } from './rollout/replay.js';
export { type Tool, type ToolEnvOptions, toolCall, toolEnv, toolPrompt } from './rollout/tools.js';
export { withTurnRewards } from './rollout/turnRewards.js';
export type { Reward } from './scoring.js';
export { type Distillation, DistillationConfig, trainDistillation } from './trainDistillation.js';
export { type PolicyResult, type PolicyTraining, trainPolicy } from './trainPolicy.js';
