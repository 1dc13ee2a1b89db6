/** A new value for a tensor that keeps its identity: how a step changes a parameter without a second copy of it. */
import * as tf from '@tensorflow/tfjs-core';
import { engine, refuseFreed } from './engine.js';
import { BackendError, ShapeError } from './errors.js';

type Entry = Record<string, unknown>;
type WithStorage = { data?: { get(id: object): Entry }; dataIdMap?: { get(id: object): Entry }; tensorMap?: { get(id: object): Entry } };

/**
 * Which fields of a backend's record hold the data itself; shape, type and reference count stay with the data id. Exchanging
 * them, rather than writing into the old memory, is what each backend needs: cpu's `slice` is a view of its input without a
 * reference, wasm has packed the old matrix under the inner id, webgpu has cached what was read, TensorFlow's are immutable.
 */
const storageFields: Record<string, readonly string[]> = {
  wasm: ['id', 'memoryOffset'],
  webgpu: ['resource', 'values', 'external'],
  tensorflow: ['id', 'values'],
};
const onHost = ['values', 'pooled'];

/**
 * Gives `x` the value of `next`, which is freed, where nothing else shares the data of either.
 *
 * @returns whether it did; if not (a clone or a pending read holds x's data), nothing has changed, and the caller takes `next` in place of `x`
 */
export function updateInPlace(x: tf.Tensor, next: tf.Tensor): boolean {
  refuseFreed('updateInPlace', x);
  refuseFreed('updateInPlace', next);
  if (x.dtype !== next.dtype || x.shape.length !== next.shape.length || x.shape.some((n, axis) => n !== next.shape[axis]))
    throw new ShapeError(`updateInPlace: ${next.dtype} [${next.shape}] cannot replace ${x.dtype} [${x.shape}].`);
  const { state, backendName } = engine();
  const backend = state.tensorInfo.get(x.dataId)!.backend;
  if (state.tensorInfo.get(next.dataId)!.backend !== backend || backend !== engine().backend) return false;
  if (backend.refCount(x.dataId) !== 1 || backend.refCount(next.dataId) !== 1) return false;
  const { data, dataIdMap, tensorMap } = backend as unknown as WithStorage;
  const records = dataIdMap ?? tensorMap ?? data!;
  const a = records.get(x.dataId);
  const b = records.get(next.dataId);
  for (const field of storageFields[backendName!] ?? onHost) {
    if (!(field in a) && !(field in b)) continue;
    [a[field], b[field]] = [b[field], a[field]];
  }
  next.dispose();
  return true;
}

/** Tries the exchange once on the current backend. @throws BackendError if its records are not what core expects */
export function assertStorage(): void {
  const [x, next] = [tf.scalar(1), tf.scalar(2)];
  const { backendName, backend } = engine();
  const { data, dataIdMap, tensorMap } = backend as unknown as WithStorage;
  const record = (dataIdMap ?? tensorMap ?? data)?.get(x.dataId);
  const known = record && (storageFields[backendName!] ?? ['values']).some((field) => field in record);
  const done = known && updateInPlace(x, next);
  tf.dispose([x, next]);
  if (!done) throw new BackendError(`The backend ${backendName} does not keep its data as core ${tf.version_core} expects it.`);
}
