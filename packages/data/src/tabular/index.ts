/** Finite Markov decision processes and what is known of them in closed form: arrays, neither tensors nor random numbers. */
export type { TabularMdp, TabularPolicy } from './mdp.js';
export { checkMdp, deterministicPolicy, expectedReward, mixPolicies, uniformPolicy, withReward } from './mdp.js';
export type { Evaluation, Optimum } from './solve.js';
export {
  everyPolicyEnds,
  greedy,
  policyEvaluation,
  policyIteration,
  policyOfOccupancy,
  returnOf,
  softValueIteration,
  solveLinear,
  valueIteration,
} from './solve.js';
