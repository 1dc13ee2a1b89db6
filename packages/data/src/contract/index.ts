/** What every implementation of an interface keeps, as suites without a test framework: `for (const { name, run } of suite) it(name, run)`. */
export { byteTokenizer } from '../testing/byteTokenizer.js';
export { batchesContract } from './batches.js';
export { type ContractCase, ensure, ensureClose, ensureThrows } from './case.js';
export { contractSequences, decoderContract, scorerContract } from './decoder.js';
export type { KvCacheShape } from './kvCache.js';
export { kvCacheContract } from './kvCache.js';
export { languageModelContract } from './languageModel.js';
export { groupRewardFunctionContract, pairwiseJudgeContract, rewardFunctionContract, stepRewardFunctionContract } from './rewards.js';
export {
  lacksFor,
  type StepOptions,
  type StepOutcome,
  type TrainerRow,
  type TrainerUnderTest,
  trainerContract,
  trainerRows,
} from './trainer.js';
