// Backends

export type { BackendInfo, BackendOptions } from './backends.js';
export { backendInfo, describeBackends, initBackend } from './backends.node.js';

// Tape, kernels, reading

export type {
  AttentionAttrs,
  CachedAttentionAttrs,
  DecoderStepCall,
  DecoderStepShape,
  EmbeddingAttrs,
  Kernel,
  KernelDefinition,
  PagedKeys,
  RotaryAttrs,
  SampledTokens,
  SampleTokensAttrs,
  SegmentAttrs,
  TokenLogpsAttrs,
} from './index.js';
export {
  attention,
  cachedAttention,
  checkpoint,
  decoderStep,
  defineKernel,
  embedding,
  frozenMatrix,
  type GroupNormAttrs,
  gatherRows,
  gelu,
  geluTanh,
  gradients,
  groupNorm,
  hasDecoderStep,
  hostValues,
  layerNorm,
  linear,
  logSigmoid,
  logSumExp,
  lowRankLinear,
  ownTensor,
  readCopy,
  readScalars,
  rmsNorm,
  rotary,
  rotaryTables,
  sampleTokens,
  scope,
  segmentMean,
  segmentSum,
  stopGradient,
  swiGlu,
  tokenLogps,
  updateInPlace,
} from './index.js';

// All of index.ts

export type {
  AdafactorSettings,
  AdamSettings,
  AdamWSettings,
  AdamWStepAttrs,
  AdamWStepInputs,
  AdamWStepKernel,
  BestWeights,
  Checkpointable,
  Ema,
  FrozenMatrix,
  GradientSum,
  Json,
  LoggedStep,
  MemoryRun,
  Metric,
  MetricName,
  MicroGradients,
  Optimizer,
  Parameter,
  ParameterEntry,
  ParameterTree,
  Products,
  Rng,
  Run,
  Saved,
  SavedTensor,
  SgdSettings,
  Symptom,
  Tensors,
  TensorTree,
} from './index.js';
export {
  adafactor,
  adagrad,
  adam,
  adamW,
  BackendError,
  bestWeights,
  CheckpointError,
  ConfigError,
  checkSynchronisable,
  clipScale,
  createParameters,
  EarlyStopping,
  ema,
  FormatError,
  globalNorm,
  gradientSum,
  InterruptedError,
  knownSymptoms,
  learningRateSchedule,
  lion,
  memoryRun,
  metrics,
  NonFiniteError,
  PlumblineError,
  parameterCount,
  ReferenceSync,
  rmsProp,
  rng,
  ScheduleConfig,
  ShapeError,
  saveIfAborted,
  saveIfDue,
  sgd,
  symptomsOf,
  symptomWatch,
  synchroniseReference,
} from './index.js';

// Files

export type { NumberArray, Safetensors, SafetensorsDtype, SafetensorsEntry, TensorToWrite } from './index.js';
export {
  bfloat16ToFloat32,
  encodeSafetensors,
  FileError,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
  parseSafetensors,
} from './index.js';

// Node alone

export { fileError, makeFolder, writeChunksAtomic, writeFileAtomic } from './files.node.js';
export { type OpenRun, onInterrupt, openRun, type RunOptions } from './run.node.js';
export { readSafetensors, writeSafetensors } from './safetensors.node.js';
export { crc32c, type EventFile, maskedCrc32c, openEventFile } from './tensorboard.node.js';
