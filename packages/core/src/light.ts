/** What needs no tensors: errors and random numbers, for those who judge and never train. Neither tfjs nor native code behind this door. */

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
export { rng } from './rng.js';
export type { Rng } from './types.js';
