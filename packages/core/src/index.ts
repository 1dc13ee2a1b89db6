import './setup.js';

// Tape, kernels, reading

export { attention, type AttentionAttrs } from './kernels/attention.js';
export { embedding } from './kernels/embedding.js';
export { geluTanh } from './kernels/gelu.js';
export { layerNorm } from './kernels/layerNorm.js';
export { linear } from './kernels/linear.js';
export { rmsNorm } from './kernels/rmsNorm.js';
export { rotary, type RotaryAttrs } from './kernels/rotary.js';
export { gatherRows, type SegmentAttrs, segmentMean, segmentSum } from './kernels/rows.js';
export { swiGlu } from './kernels/swiGlu.js';
export { tokenLogps, type TokenLogpsAttrs } from './kernels/tokenLogps.js';
export { defineKernel, type Kernel, type KernelDefinition } from './kernel.js';
export { logSigmoid, logSumExp } from './math.js';
export { ownTensor, readCopy, readScalars, scope } from './scope.js';
export { checkpoint, gradients, stopGradient } from './tape.js';

// Parameters, optimizers and schedules

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
export { learningRateSchedule, ScheduleConfig } from './schedules.js';

// Randomness, metrics and runs

export { type Metric, type MetricName, metrics } from './metrics.js';
export { rng } from './rng.js';
export { type LoggedStep, type MemoryRun, memoryRun, saveIfAborted } from './run.js';

// The signatures that packages share, and errors meant for users

export {
  BackendError,
  CheckpointError,
  ConfigError,
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
  Rng,
  Run,
  Saved,
  SavedTensor,
  Tensors,
} from './types.js';
