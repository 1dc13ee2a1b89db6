/** What every trainer of policies keeps, as a suite without a test framework: `for (const { name, run } of policyTrainerContract(make)) it(name, run)`. */
export {
  type PolicyTrainerUnderTest,
  policyTrainerContract,
  type RecordedBatch,
  type UpdateOptions,
  type UpdateOutcome,
} from './policyTrainer.js';
export { policySettings, trainPolicyUnderTest } from './trainPolicyUnderTest.js';
