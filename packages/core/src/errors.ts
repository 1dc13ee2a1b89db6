/** Errors whose message is meant for the user: what was asked, what was found, what is allowed, and the way on. */
export class PlumblineError extends Error {
  override name = this.constructor.name;
}
/** A file or record that is not what it says it is. */
export class FormatError extends PlumblineError {}
/** Tensors whose shapes do not fit each other. */
export class ShapeError extends PlumblineError {}
/** A setting that does not exist or holds what it may not hold. */
export class ConfigError extends PlumblineError {}
/** A backend that does not exist or cannot start here. */
export class BackendError extends PlumblineError {}
/** A checkpoint that is damaged or belongs to something else. */
export class CheckpointError extends PlumblineError {}
/** A loss or gradient that is not finite; the message names the step and the rows. */
export class NonFiniteError extends PlumblineError {}
/** Work that was stopped on request, after saving. */
export class InterruptedError extends PlumblineError {}
/** A file or folder that cannot be read or written: not there, not allowed, disk full. */
export class FileError extends PlumblineError {}
