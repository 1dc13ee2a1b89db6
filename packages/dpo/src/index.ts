/** Direct preference alignment: losses, and one trainer that takes any of them. */

// Pair losses with a reference

export { aotLoss, aotUnpairedLoss } from './losses/aot.js';
export { apoDownLoss, apoZeroLoss } from './losses/apo.js';
export { bcoPairLoss } from './losses/bcoPair.js';
export { discopopLoss } from './losses/discopop.js';
export { type DpoOptions, dpo, dpoLoss } from './losses/dpo.js';
export { exoPairLoss } from './losses/exoPair.js';
export { hingeLoss } from './losses/hinge.js';
export { ipoLoss } from './losses/ipo.js';
export { ncaPairLoss } from './losses/ncaPair.js';
export { robustLoss } from './losses/robust.js';
export { sigmoidNormLoss } from './losses/sigmoidNorm.js';
export { sppoHardLoss, sppoLoss } from './losses/sppo.js';

// Of single papers

export { chiPoLoss } from './losses/chiPo.js';
export { dnoLoss } from './losses/dno.js';
export { dpopLoss } from './losses/dpop.js';
export { flexLoss } from './losses/flex.js';
export { gammaDpoLoss } from './losses/gammaDpo.js';
export { irepoLoss } from './losses/irepo.js';
export { geometricMixture, nashMdLoss } from './losses/nashMd.js';
export { odpoLoss } from './losses/odpo.js';
export { rdpoLoss } from './losses/rdpo.js';
export { rebelLoss } from './losses/rebel.js';
export { reverseBonusLoss } from './losses/reverseBonus.js';
export { rewardAwareLoss } from './losses/rewardAware.js';
export { xpoLoss } from './losses/xpo.js';

// Without a reference

export { cpoIpoLoss, cpoLoss } from './losses/cpo.js';
export { orpoLoss } from './losses/orpo.js';
export { sftLoss } from './losses/sft.js';
export { simpoLoss } from './losses/simpo.js';
export { slicLoss } from './losses/slic.js';
export { tpoLoss } from './losses/tpo.js';

// By name, and what may be put around them

export { Divergence, divergenceScore, withDivergence } from './losses/divergence.js';
export { type OnlinePairLossName, onlinePairLosses, type PairLossName, pairLoss, pairLosses } from './losses/index.js';
export {
  gapWeights,
  type MixturePart,
  mixture,
  policyWeight,
  withLengthDesensitization,
  withOptions,
  withPolicyWeighting,
} from './losses/modifiers.js';
export { startingLosses } from './losses/startingLosses.js';
export type {
  PairInputs,
  PairLengths,
  PairLogps,
  PairLoss,
  PairLossSpec,
  PairNeed,
  PairScores,
  PairTokenLogps,
  TokenLogps,
} from './losses/types.js';

// Trainer of pairs

export { evaluatePairs, type PairEvaluation, withoutIdentical } from './evaluatePairs.js';
export { precomputeReference, type Reference, type ReferenceLogps, type TrainingPairs, withGold } from './pairInputs.js';
export { type KnownLogps, type LogpCache, memoryLogpCache, referenceLogps, referenceRowLogps } from './referenceLogps.js';
export { type PairResult, PairTrainConfig, type PairTraining, trainPairs } from './trainPairs.js';

// Pairs of the policy and an opponent: XPO, Nash-MD

export { sampleMixture } from './online/mixture.js';
export { type OpponentPairs, opponentPairs } from './online/opponentPairs.js';

// Pairs sampled as the policy trains, kept and shown again; a policy as a classifier

export { type PolicyAsClassifier, policyClassifier } from './diagnostics/policyClassifier.js';
export { type OnlineCounts, type OnlinePairs, onlinePairs, type RecordableBatches } from './online/onlinePairs.js';
export { type RoundPairs, roundPairs } from './online/roundPairs.js';
export { type PairStream, readStream, recordStream, replayStream, writeStream } from './online/stream.js';

// Sample, score, pair, train, and again

export { type IteratePreferences, type Iteration, iteratePreferences } from './iterate.js';

// Single completions with a thumb up or down: losses, batches, trainer

export { evaluateRows } from './evaluateRows.js';
export { trainUnpaired, type UnpairedResult, UnpairedTrainConfig, type UnpairedTraining } from './trainUnpaired.js';
export { type EncodedRow, encodeRows, type UnpairedBatch, unpairedBatch, unpairedBatches } from './unpaired/batches.js';
export { bcoLoss, densityRatios, runningShift } from './unpaired/bco.js';
export { type UnpairedLossName, unpairedLoss, unpairedLosses } from './unpaired/index.js';
export { apoZeroUnpairedLoss, type KtoOptions, ktoLoss, referencePoint } from './unpaired/kto.js';
export type { UnpairedInputs, UnpairedLoss, UnpairedLossSpec } from './unpaired/types.js';
