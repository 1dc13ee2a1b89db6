/** What every implementation of core's interfaces keeps, without a test framework: `for (const { name, run } of cases) it(name, run)`. */
export { type KernelCase, type KernelCheck, testKernel } from '../testing.js';
export type { ContractCase } from './case.js';
export { checkpointableContract } from './checkpointable.js';
export { optimizerContract } from './optimizer.js';
export { parameterTreeContract } from './parameterTree.js';
export { rngContract } from './rng.js';
export { runContract } from './run.js';
