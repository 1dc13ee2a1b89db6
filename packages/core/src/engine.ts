/**
 * The parts of tfjs-core 4.22.0's engine that core reads and changes. They are not a public interface, so the version is
 * pinned and `assertEngine` tries each of them once, at import.
 */
import * as tf from '@tensorflow/tfjs-core';
import { BackendError, PlumblineError } from './errors.js';

/** One recorded kernel, as tfjs pushes it. `inputs` may be an array, for kernels that take one. */
export type TapeNode = {
  id: number;
  kernelName: string;
  inputs: Record<string, tf.Tensor | null | undefined>;
  outputs: tf.Tensor[];
  saved: tf.Tensor[];
  /** tfjs's form: gradients by input name, each computed when called. Missing where tfjs knows no gradient. */
  gradient?: (dys: (tf.Tensor | null)[]) => Record<string, () => tf.Tensor>;
  /** Our form: computes just what `needs` names. What it leaves out gets no gradient. */
  backward?: (dys: (tf.Tensor | null)[], needs: ReadonlySet<string>) => Record<string, tf.Tensor | undefined>;
};

/** Stands in for tfjs's array of nodes. */
export interface TapeLike {
  push(node: TapeNode): void;
  /** Whether a node with these inputs would be kept, that is, whether a wanted tensor reaches it. */
  reaches?(inputs: Iterable<tf.Tensor | null | undefined>): boolean;
}

export type Backend = tf.KernelBackend & { refCount(dataId: object): number; incRef(dataId: object): void };

type EngineState = {
  nextTapeNodeId: number;
  gradientDepth: number;
  kernelDepth: number;
  nextScopeId: number;
  activeTape: TapeLike | null;
  activeScope: { id: number; name: string } | null;
  tensorInfo: { get(dataId: object): { backend: Backend } | undefined; has(dataId: object): boolean };
  numTensors: number;
  numBytes: number;
};
type KernelRun = (name: string, inputs: tf.NamedTensorMap | tf.Tensor[], attrs?: object) => tf.Tensor | tf.Tensor[];
type Engine = {
  state: EngineState;
  backendName: string | null;
  readonly backend: Backend;
  isTapeOn(): boolean;
  runKernel: KernelRun & { guarded?: true };
  makeTensorFromTensorInfo(info: tf.TensorInfo, backend?: Backend): tf.Tensor;
  tidy<T extends tf.TensorContainer>(f: () => T): T;
  keep<T extends tf.Tensor>(x: T): T;
};
type TensorInternals = tf.Tensor & { kept: boolean; isDisposedInternal: boolean; scopeId: number };

export const engine = (): Engine => tf.engine() as unknown as Engine;
export const internals = (x: tf.Tensor): TensorInternals => x as TensorInternals;

/** Another handle on the same data, not on the tape. The caller owns it. */
export function alias<T extends tf.Tensor>(x: T): T {
  refuseFreed('alias', x);
  const backend = engine().state.tensorInfo.get(x.dataId)!.backend;
  backend.incRef(x.dataId);
  return engine().makeTensorFromTensorInfo({ dataId: x.dataId, shape: x.shape, dtype: x.dtype }, backend) as T;
}

/** Runs `f` with nothing recorded. */
export function untaped<T>(f: () => T): T {
  const { state } = engine();
  const depth = state.gradientDepth;
  state.gradientDepth = 0;
  try {
    return f();
  } finally {
    state.gradientDepth = depth;
  }
}

/** Runs `f` with `tape` in place of whatever was recording, wherever it is called from, and puts everything back. */
export function recording<T>(tape: TapeLike, f: () => T): T {
  const { state } = engine();
  const { gradientDepth, kernelDepth, activeTape } = state;
  state.gradientDepth = 1;
  state.kernelDepth = 0;
  state.activeTape = tape;
  try {
    return f();
  } finally {
    Object.assign(state, { gradientDepth, kernelDepth, activeTape });
  }
}

/** Runs `f` as tfjs runs the inside of a kernel: nothing that it calls is recorded. */
export function insideKernel<T>(f: () => T): T {
  const { state } = engine();
  state.kernelDepth++;
  try {
    return f();
  } finally {
    state.kernelDepth--;
  }
}

export function refuseFreed(what: string, x: tf.Tensor): void {
  if (internals(x).isDisposedInternal)
    throw new PlumblineError(
      `${what}: a tensor of shape [${x.shape}] was used after it was freed. Keep it until the last use, or use an alias (stopGradient).`,
    );
}

/** Makes every kernel refuse freed tensors. Without this WebGPU accepts a reshape of one, and an unrelated read fails later. */
function guardKernels(): void {
  const target = engine();
  if (target.runKernel.guarded) return;
  const run = target.runKernel;
  const guarded: Engine['runKernel'] = (name, inputs, attrs) => {
    for (const key in inputs) {
      const x = (inputs as tf.NamedTensorMap)[key] as TensorInternals | null | undefined;
      if (x?.isDisposedInternal) refuseFreed(name, x);
    }
    // tfjs cannot save an input that is absent, and of all recorded kernels only this one has such: a scale of 1 in its place.
    if (name === tf.FusedBatchNorm && !(inputs as tf.NamedTensorMap).scale && target.isTapeOn())
      inputs = { ...inputs, scale: tf.onesLike((inputs as tf.NamedTensorMap).mean) } as tf.NamedTensorMap;
    return run.call(target, name, inputs, attrs);
  };
  guarded.guarded = true;
  target.runKernel = guarded;
}

const pinned = '4.22.0';

function assertOneCopy(): void {
  if (tf.version_core !== pinned)
    throw new BackendError(`@plumbline/core needs @tensorflow/tfjs-core ${pinned}, found ${tf.version_core}. Install exactly ${pinned}.`);
  const probe = tf.scalar(0);
  const same = Object.getPrototypeOf(probe) === tf.Tensor.prototype;
  probe.dispose();
  if (!same)
    throw new BackendError(
      'Two copies of @tensorflow/tfjs-core are loaded in this process; gradients would be wrong. Install one (`npm ls @tensorflow/tfjs-core`), and never bundle it.',
    );
}

/** One recorded `exp` exercises what the walk relies on. */
function assertTape(): void {
  const nodes: TapeNode[] = [];
  const missing: string[] = [];
  const x = tf.scalar(1);
  engine().tidy(() => {
    recording({ push: (node) => void nodes.push(node) }, () => tf.exp(x));
    const node = nodes.at(-1);
    if (!node) {
      missing.push('activeTape.push');
      return [];
    }
    for (const field of ['id', 'kernelName', 'inputs', 'outputs', 'saved', 'gradient'] as const)
      if (node[field] === undefined) missing.push(`node.${field}`);
    if (node.saved.length !== 1) missing.push('one saved tensor for Exp');
    if (typeof node.gradient?.([tf.scalar(1)]).x !== 'function') missing.push('a gradient for x of Exp');
    tf.dispose(node.saved);
    return [];
  });
  const { state } = engine();
  const fields = ['nextTapeNodeId', 'gradientDepth', 'kernelDepth', 'nextScopeId', 'tensorInfo'] as const;
  for (const field of fields) if (state[field] === undefined) missing.push(`state.${field}`);
  for (const method of ['isTapeOn', 'runKernel', 'makeTensorFromTensorInfo', 'tidy', 'keep'] as const)
    if (typeof engine()[method] !== 'function') missing.push(`engine.${method}`);
  for (const field of ['kept', 'isDisposedInternal'] as const) if (internals(x)[field] === undefined) missing.push(`tensor.${field}`);
  const before = engine().backend.refCount(x.dataId);
  const y = alias(x);
  if (engine().backend.refCount(x.dataId) !== before + 1) missing.push('backend.incRef');
  tf.dispose([x, y]);
  if (missing.length > 0)
    throw new BackendError(`@tensorflow/tfjs-core ${tf.version_core} is not built as core expects; missing: ${missing.join(', ')}.`);
}

/** tfjs's CPU backend advertises another backend on its first tensor, unless it believes that it is being tested. */
export function silenceBanner(): void {
  tf.env().set('IS_TEST', true); // left on, it would add one array entry for each kernel
  tf.scalar(0).dispose();
  tf.env().set('IS_TEST', false);
}

/** Called once a backend is registered and the gradients are. */
export function assertEngine(): void {
  silenceBanner();
  assertOneCopy();
  guardKernels();
  assertTape();
}
