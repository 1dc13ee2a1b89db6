/** Reward models and reward functions: losses, a trainer, models as rewards, verifiers, judges, shaping. */

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
// Labels that come later
export type { Annotate, AnnotatorCounts, AnnotatorOptions, AsyncAnnotator, Labelled } from './annotator.js';
export { asyncAnnotator, labelsByPairs, labelsByReward } from './annotator.js';
// Several rewards in one, each shaped by itself
export type { ShapedOptions } from './combine.js';
export { combine, shapedReward, tiltedPolicy } from './combine.js';
// Comparison of reward functions: of answers to prompts, and of a finite process
export { answerDistance, answerDistances, answerRegret } from './comparison/language.js';
export { averageRegret, normalisedRegret, returnRange, worstCaseRegret } from './comparison/regret.js';
export type { Canonicalisation, RewardNorm, StarcOptions } from './comparison/starc.js';
export { canonicalise, distanceMatrix, rewardNorm, standardise, starcDistance } from './comparison/starc.js';
// Contrastive learning of embeddings
export type { ContrastedPairs } from './contrastive/infoNce.js';
export { infoNce } from './contrastive/infoNce.js';
export type { SentenceEncoder, SimilarityOptions } from './contrastive/sqlReward.js';
export { contrastiveSimilarity, contrastiveSqlReward } from './contrastive/sqlReward.js';
export type { ContrastBatch, EncoderTraining, TextPair } from './contrastive/trainEncoder.js';
export { contrastBatches, EncoderTrainConfig, trainEncoder } from './contrastive/trainEncoder.js';
// Diagnostics
export { chooseRidge, gatedScore, gateWeights, ridgeProbe, verbosityPenalties, withoutVerbosity } from './diagnostics/attributes.js';
export { calibrationError, isotonic, presentPairs, temperatureScale } from './diagnostics/calibration.js';
export { hackingGap, lengthBalancedAccuracy, lengthBias } from './diagnostics/length.js';
export { partitionByStrength, preferenceStrength } from './diagnostics/strength.js';
export { crossEvaluation, diagonalGap, type MemberScores, memberRankCorrelation } from './diagnostics/underspecification.js';
// Acting in a world: plans, objects that are moved, imagined futures
export type { PlanScoring, PlanStep, StepSimilarity } from './embodied/plans.js';
export { finishedReward, orderedMatching, parsePlan, planReward, scorePlan } from './embodied/plans.js';
export { selectBySimulation, selectionRegret } from './embodied/selectBySimulation.js';
export type { KeypointOptions, Pose, ReferenceCursor, Symmetry, TrackingOptions } from './embodied/tracking.js';
export { keypointDistance, objectKeypoints, referenceCursor, trackingReward } from './embodied/tracking.js';
// Ensembles of models
export type { EnsembleMember } from './ensemble.js';
export { averageWeights, trainEnsemble } from './ensemble.js';
// Where people already are
export type { AiSdkModel } from './external/aiSdk.js';
export { fromAiSdk } from './external/aiSdk.js';
export type { PromptfooContext, PromptfooResult } from './external/promptfoo.js';
export { promptfooAssertion } from './external/promptfoo.js';
export type { RewardMatchers } from './external/vitest.js';
export { rewardMatchers } from './external/vitest.js';
// A gate that weighs attributes by the prompt
export type { Gate, GatePairs } from './gate.js';
export { createGate, GateTrainConfig, gatedAttributeReward, gatedPairLoss, promptStates, trainGate } from './gate.js';
// Heads and what they learn from
export type { HeadedModel, RewardModel } from './heads.js';
export { attributeReward, createHeads, processReward, scoreOutputs, stepScorer } from './heads.js';
export type { HttpRewardOptions } from './http.js';
export { httpReward, RewardServerError } from './http.js';
export type { LabelledRewardBatch, StepBatch, StepItem, TargetBatch, TargetItem, TargetRecord } from './items.js';
export { encodeSteps, encodeTargets, stepBatch, stepBatches, targetBatch, targetBatches, withPairLabels } from './items.js';
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
// Scores read off a model
export type { LogitScoreMode } from './logitScore.js';
export { expectedScoreFromLogits } from './logitScore.js';
// Losses
export type { BradleyTerryLoss, BradleyTerryOptions, PairScores } from './losses/bradleyTerry.js';
export { bradleyTerryLoss } from './losses/bradleyTerry.js';
export { davidsonLoss } from './losses/davidson.js';
export type { RewardLossName } from './losses/index.js';
export { rewardLoss, rewardLosses } from './losses/index.js';
export { multiAttributeLoss, presentWeight } from './losses/multiAttribute.js';
export type { OdinInputs } from './losses/odin.js';
export { odinLoss } from './losses/odin.js';
export { cumulativeLinkLoss, gradeProbabilities, pairwiseOrdinalLoss } from './losses/ordinal.js';
export { outcomeLoss } from './losses/outcome.js';
export { pairwiseLoss } from './losses/pairwise.js';
export { listwisePairsLoss, plackettLuceLoss } from './losses/plackettLuce.js';
export { cosentLoss, demonstrationLoss, progressLoss } from './losses/ranking.js';
export { raoKupperLoss } from './losses/raoKupper.js';
export { stepLoss, tokenStepLoss } from './losses/step.js';
export { ascendingThresholds, rawThresholds, symmetricThresholds } from './losses/thresholds.js';
export type {
  AnyRewardLoss,
  PairItems,
  PairRewardLoss,
  RewardLoss,
  StepItems,
  StepRewardLoss,
  TargetItems,
  TargetRewardLoss,
} from './losses/types.js';
// Models as rewards
export type { ModelRewardOptions } from './model.js';
export { implicitReward, modelReward, rewardAccuracy, scoreMoments } from './model.js';
// Labels of steps by sampling
export type { Completer } from './monteCarlo.js';
export { mcEstimate } from './monteCarlo.js';
// Shaping
export type { ProcessRefinement } from './processShaping.js';
export { combineStepRewards, etaFromQuantile, refineProcess } from './processShaping.js';
export type { ReferenceSampler } from './references.js';
export { scoreReferences } from './references.js';
export type { RescaleOptions } from './rescale.js';
export { rescaleScores } from './rescale.js';
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
export type { RewardResult, RewardTraining } from './train.js';
export { RewardTrainConfig, trainReward } from './train.js';
export { type RewardEpochsConfig, trainRewardEpochs } from './trainEpochs.js';
// Verifiers
export { exactMatch, numericAnswer } from './verifiers/answers.js';
export type { CodeLimits, CodeRun, CodeTest } from './verifiers/code.js';
export { codeTests, runCode, runTests } from './verifiers/code.js';
export type { Stage } from './verifiers/gated.js';
export { gatedReward } from './verifiers/gated.js';
export { jsonSchema } from './verifiers/jsonSchema.js';
export type { LanguageOptions, Script } from './verifiers/language.js';
export { detectLanguage, dominantScript, languageIs, languageShare } from './verifiers/language.js';
export type { LengthUnit } from './verifiers/patterns.js';
export { keywords, lengthOf, lengthWithin, regexMatch, tagFormat } from './verifiers/patterns.js';
export type { ProgramShape, RewardProgram } from './verifiers/program.js';
export { compileRewardProgram, RewardProgramError } from './verifiers/program.js';
export { repetitionPenalty } from './verifiers/repetition.js';
export type { VerifierName } from './verifiers/spec.js';
export { rewardFromSpec, verifierOf, verifiers } from './verifiers/spec.js';
export type { Verifier } from './verifiers/verifier.js';
export { Abstain, verifier } from './verifiers/verifier.js';
