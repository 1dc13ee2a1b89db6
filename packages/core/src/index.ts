import './setup.js';

// Backends

export { backendInfo, describeBackends, initBackend } from './backends.browser.js';
export type { BackendInfo, BackendOptions } from './backends.js';

// Tape, kernels, reading

export { frozenMatrix } from './frozen.js';
export { defineKernel, type Kernel, type KernelDefinition } from './kernel.js';
export { type AttentionAttrs, attention } from './kernels/attention.js';
export { type CachedAttentionAttrs, cachedAttention, hostValues, type PagedKeys } from './kernels/cachedAttention.js';
export { type DecoderStepCall, type DecoderStepShape, decoderStep, hasDecoderStep } from './kernels/decoderStep.js';
export { type EmbeddingAttrs, embedding } from './kernels/embedding.js';
export { gelu, geluTanh } from './kernels/gelu.js';
export { type GroupNormAttrs, groupNorm } from './kernels/groupNorm.js';
export { layerNorm } from './kernels/layerNorm.js';
export { type LinearAttrs, linear } from './kernels/linear.js';
export { type LowRankLinearAttrs, lowRankLinear } from './kernels/lowRankLinear.js';
export { rmsNorm } from './kernels/rmsNorm.js';
export { type RotaryAttrs, rotary, rotaryTables } from './kernels/rotary.js';
export { gatherRows, type SegmentAttrs, segmentMean, segmentSum } from './kernels/rows.js';
export { type SampledTokens, type SampleTokensAttrs, sampleTokens } from './kernels/sampleTokens.js';
export { swiGlu } from './kernels/swiGlu.js';
export { type TokenLogpsAttrs, tokenLogps } from './kernels/tokenLogps.js';
export { logSigmoid, logSumExp } from './math.js';
export { ownTensor, readCopy, readScalars, scope } from './scope.js';
export { checkpoint, gradients, stopGradient } from './tape.js';
export { updateInPlace } from './updateInPlace.js';

// Parameters, optimizers and schedules

export { type BestWeights, bestWeights, EarlyStopping } from './bestWeights.js';
export { type Ema, ema } from './ema.js';
export { clipScale, type GradientSum, globalNorm, gradientSum, type MicroGradients } from './gradientSum.js';
export { type AdafactorSettings, adafactor } from './optimizers/adafactor.js';
export {
  type AdamSettings,
  type AdamWSettings,
  type AdamWStepAttrs,
  type AdamWStepInputs,
  type AdamWStepKernel,
  adam,
  adamW,
} from './optimizers/adamW.js';
export { adagrad, rmsProp } from './optimizers/adaptive.js';
export { lion } from './optimizers/lion.js';
export { type SgdSettings, sgd } from './optimizers/sgd.js';
export { createParameters, type ParameterEntry, parameterCount, type TensorTree } from './parameters.js';
export { checkSynchronisable, ReferenceSync, synchroniseReference } from './referenceSync.js';
export { learningRateSchedule, ScheduleConfig } from './schedules.js';

// Randomness, metrics and runs

export { type Metric, type MetricName, metrics } from './metrics.js';
export { rng } from './rng.js';
export { type LoggedStep, type MemoryRun, memoryRun, saveIfAborted, saveIfDue } from './run.js';
export { knownSymptoms, type Symptom, symptomsOf, symptomWatch } from './symptoms.js';

// Files

export {
  bfloat16ToFloat32,
  encodeSafetensors,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
  type NumberArray,
  parseSafetensors,
  type Safetensors,
  type SafetensorsDtype,
  type SafetensorsEntry,
  type TensorToWrite,
} from './safetensors.js';

// The signatures that packages share, and errors meant for users

export {
  BackendError,
  CheckpointError,
  ConfigError,
  FileError,
  FormatError,
  InterruptedError,
  NonFiniteError,
  PlumblineError,
  ShapeError,
} from './errors.js';
export type {
  Checkpointable,
  FrozenMatrix,
  Json,
  Optimizer,
  Parameter,
  ParameterTree,
  Products,
  Rng,
  Run,
  Saved,
  SavedTensor,
  Tensors,
} from './types.js';
