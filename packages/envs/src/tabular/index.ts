/** Finite processes whose optimum is known in closed form. */
export type { TabularEnv, TabularStep } from './env.js';
export { tabularEnv } from './env.js';
export type { GridworldOptions, RandomMdpOptions } from './makers.js';
export { bandit, chain, cliff, frozenLake, gridMoves, gridworld, mdpOf, randomMdp, riverSwim } from './makers.js';
export type { BanditPair, PreferenceBandit, PreferenceBanditOptions } from './preferenceBandit.js';
export { preferenceBandit } from './preferenceBandit.js';
export type { TomatoBoard, TomatoWorld } from './tomato.js';
export { sampleTomatoBoard, tomatoLevel2, tomatoWorld } from './tomato.js';
