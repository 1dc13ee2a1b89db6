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
