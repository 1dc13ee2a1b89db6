/** Benchmarks by name, and how a reward, a judge, a step scorer or a model is judged on them. */
import {
  judgeBench,
  llmBar,
  mRewardBench,
  planRewardBench,
  rewardBench,
  rewardBench2,
  rmBench,
  videoRewardBench,
  vlRewardBench,
  writingQuality,
} from './preference.js';
import { prmBench, processBench, socraticPrmBench, vlrmBench } from './steps.js';
import type { Benchmark } from './types.js';

/** Every benchmark, by its id. */
export const benchmarks: Readonly<Record<string, Benchmark>> = Object.fromEntries(
  [
    rewardBench,
    rewardBench2,
    rmBench,
    mRewardBench,
    llmBar,
    judgeBench,
    planRewardBench,
    writingQuality,
    vlRewardBench,
    videoRewardBench,
    prmBench,
    socraticPrmBench,
    processBench,
    vlrmBench,
  ].map((benchmark) => [benchmark.id, benchmark]),
);

export { type EvalResult, type EvaluateOptions, evaluate, type Item, numbersOf, readItems, type Subject } from './evaluate.js';
export { outcomeOf } from './preference.js';
export { benchmarkReport } from './report.js';
export { benchmarkRows } from './rows.js';
export {
  countSteps,
  firstErrors,
  harmonic,
  prmScore,
  type StepCounts,
  selectByMeanStep,
  socraticPatterns,
  splitSteps,
  weightedF1,
} from './steps.js';
export type {
  AnswerBenchmark,
  AnswerItem,
  AnswerOutcome,
  Benchmark,
  BenchmarkNumber,
  PreferenceBenchmark,
  PreferenceItem,
  PreferenceOutcome,
  Row,
  RowPlace,
  StepBenchmark,
  StepItem,
  StepOutcome,
} from './types.js';
