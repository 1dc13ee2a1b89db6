/** Speed: each backend and PyTorch at the same work, in turns, in one run. */

export { type BenchOptions, type BenchResult, type Measured, peerName, runBench, type Spread } from './bench.js';
export { type BenchCase, type BenchSuite, benchCases, type DecoderSize, type Operation } from './cases.js';
export { type GenerationMeasure, type GenerationOptions, type GenerationResult, generationPeer, runGenerationBench } from './generation.js';
export { benchHistory, type HistoryRow } from './history.js';
export { arbitraryIds, freshDecoder, pacedTraining } from './training.js';
export {
  runTrlBench,
  type TrlCase,
  type TrlOptions,
  type TrlPrecision,
  type TrlResult,
  type TrlSide,
  type TrlTask,
  trlTasks,
} from './trl.js';
