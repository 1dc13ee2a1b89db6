/** Finite processes whose optimum is known in closed form. */
export type { TabularEnv, TabularStep } from './env.js';
export { tabularEnv } from './env.js';
export type { GridworldOptions, RandomMdpOptions } from './makers.js';
export { bandit, chain, cliff, frozenLake, gridMoves, gridworld, mdpOf, randomMdp, riverSwim } from './makers.js';
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
export type { TomatoBoard, TomatoWorld } from './tomato.js';
export { sampleTomatoBoard, tomatoLevel2, tomatoWorld } from './tomato.js';
