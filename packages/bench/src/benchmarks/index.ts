/** Benchmarks by name, and how a reward, a judge, a step scorer or a model is judged on them. */
import { humanEval } from './code.js';
import { ifbench, ifeval, mIfeval } from './instructions/benchmark.js';
import { gsm8k, math, mgsm } from './maths.js';
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
import { verilogEval, verilogEval2 } from './verilog.js';
import { vilBench } from './vilbench.js';
import { vlrmCritique, vlrmForesight, vlrmSolutions } from './vlrm.js';

/** Every benchmark, by its id. Marked as pure, so that what takes one of them elsewhere does not depend on the others. */
export const benchmarks: Readonly<Record<string, Benchmark>> = /* @__PURE__ */ Object.fromEntries(
  /* @__PURE__ */ [
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
    vilBench,
    prmBench,
    socraticPrmBench,
    processBench,
    vlrmBench,
    vlrmSolutions,
    vlrmForesight,
    vlrmCritique,
    ifeval,
    ifbench,
    mIfeval,
    gsm8k,
    math,
    mgsm,
    humanEval,
    verilogEval,
    verilogEval2,
  ].map((benchmark) => [benchmark.id, benchmark]),
);

export { type EvalResult, type EvaluateOptions, evaluate, type Item, numbersOf, readItems, type Spent, type Subject } from './evaluate.js';
export { followsInstructions, type Instructions, looseVariants } from './instructions/benchmark.js';
export { ifbenchInstructions } from './instructions/ifbench.js';
export { ifevalInstructions } from './instructions/ifeval.js';
export { mIfevalInstructions } from './instructions/mIfeval.js';
export { answersRight } from './maths.js';
export { outcomeOf } from './preference.js';
export { benchmarkReport } from './report.js';
export { benchmarkRows } from './rows.js';
export {
  countSteps,
  firstErrors,
  harmonic,
  prmScore,
  type StepCounts,
  socraticPatterns,
  socraticPrmBench,
  splitSteps,
  weightedF1,
} from './steps.js';
export { likelihoodReward, prefixSteps, sharedModel, similarityReward } from './subjects.js';
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
