/**
 * The tfjs backend `native`: tfjs's own CPU backend, with the memory of float and int tensors taken from a pool that dispose feeds.
 *
 * No two data ids share memory, and nobody outside holds a live array: `write`, `makeTensorInfo`, `move` and `read` copy (so kernels
 * that are still the CPU backend's, some of which return views of their inputs, are safe too), and views such as Identity and
 * Reshape share one data id by reference count.
 */
import { totalmem } from 'node:os';
import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { addon } from './addon.js';
import { BufferPool, type Numbers, type PoolStats } from './pool.js';

type BackendValues = tf.backend_util.BackendValues;
type DataId = tf.TensorInfo['dataId'];
interface TensorData {
  values?: BackendValues;
  dtype: tf.DataType;
  refCount: number;
  complexTensorInfos?: { real: tf.TensorInfo; imag: tf.TensorInfo };
  pooled?: boolean;
}
interface Storage {
  get(id: DataId): TensorData;
  set(id: DataId, data: TensorData): void;
  has(id: DataId): boolean;
}

const defaultLimit = Math.min(2 ** 30, Math.max(2 ** 28, totalmem() / 8));

export class NativeBackend extends MathBackendCPU {
  readonly pool = new BufferPool(defaultLimit, (untouched) => addon()?.hugePages(untouched));
  private nextNativeId = 0;

  private get storage(): Storage {
    return this.data as unknown as Storage;
  }

  /**
   * A copy of `values` in memory of our own; from the pool where asked. Strings are kept as they are.
   * What the CPU backend's kernels make is never pooled: they go on reading intermediate results that they have freed.
   */
  private own(values: BackendValues | number[], dtype: tf.DataType, pooled: boolean): TensorData {
    if (dtype === 'string' || dtype === 'complex64') return { values: values as BackendValues, dtype, refCount: 1 };
    const source = values as ArrayLike<number>;
    if (dtype === 'bool') return { values: new Uint8Array(source), dtype, refCount: 1 };
    if (!pooled) return { values: dtype === 'int32' ? new Int32Array(source) : new Float32Array(source), dtype, refCount: 1 };
    const copy = dtype === 'int32' ? this.pool.take('int32', source.length) : this.pool.take('float32', source.length);
    copy.set(source);
    return { values: copy, dtype, refCount: 1, pooled: true };
  }

  private add(data: TensorData): DataId {
    const id = { id: this.nextNativeId++ } as unknown as DataId;
    this.storage.set(id, data);
    return id;
  }

  override write(values: BackendValues, _shape: number[], dtype: tf.DataType): DataId {
    return this.add(values == null ? { dtype, refCount: 1 } : this.own(values, dtype, true));
  }

  override makeTensorInfo(shape: number[], dtype: tf.DataType, values?: BackendValues | string[]): tf.TensorInfo {
    const strings = dtype === 'string' && values && values.length > 0 && typeof values[0] === 'string';
    const data = strings ? (values as string[]).map((s) => tf.util.encodeString(s)) : (values as BackendValues | undefined);
    return { dataId: this.add(data == null ? { dtype, refCount: 1 } : this.own(data, dtype, false)), shape, dtype };
  }

  override move(dataId: DataId, values: BackendValues, _shape: number[], dtype: tf.DataType, refCount: number): void {
    this.storage.set(dataId, { ...(values == null ? { dtype } : this.own(values, dtype, true)), refCount });
  }

  override readSync(dataId: DataId): BackendValues {
    const values = super.readSync(dataId);
    return ArrayBuffer.isView(values) ? (values as Numbers).slice() : values;
  }

  override disposeData(dataId: DataId, force = false): boolean {
    const data = this.storage.has(dataId) ? this.storage.get(dataId) : undefined;
    const gone = super.disposeData(dataId, force);
    if (gone && data?.pooled) {
      this.pool.give(data.values as Numbers);
      data.pooled = false;
      data.values = undefined;
    }
    return gone;
  }

  override memory() {
    const { usedBytes, idleBytes } = this.pool.stats();
    return { unreliable: false, reasons: [], numBytesInUse: usedBytes, numBytesIdle: idleBytes } as unknown as ReturnType<
      MathBackendCPU['memory']
    >;
  }

  /** The live array of a tensor, for kernels. Never keep it: dispose hands it to the next tensor. */
  values(x: tf.TensorInfo): Float32Array | Int32Array | Uint8Array {
    return this.storage.get(x.dataId).values as Float32Array;
  }

  /** A new tensor whose contents are not set yet. */
  empty(shape: number[], dtype: 'float32' | 'int32' | 'bool'): tf.TensorInfo {
    const size = tf.util.sizeFromShape(shape);
    const data: TensorData =
      dtype === 'bool'
        ? { values: new Uint8Array(size), dtype, refCount: 1 }
        : { values: dtype === 'int32' ? this.pool.take('int32', size) : this.pool.take('float32', size), dtype, refCount: 1, pooled: true };
    return { dataId: this.add(data), shape, dtype };
  }

  /** The same data under another shape. */
  view(x: tf.TensorInfo, shape: number[]): tf.TensorInfo {
    this.incRef(x.dataId);
    return { dataId: x.dataId, shape, dtype: x.dtype };
  }

  /**
   * Lets `update` write into what a float tensor holds. Only where nothing else refers to the data.
   * @throws Error if the data has more than one reference
   */
  updateInPlace(x: tf.TensorInfo, update: (values: Float32Array) => void): void {
    const data = this.storage.get(x.dataId);
    if (data.refCount !== 1) throw new Error(`updateInPlace: the data of this tensor has ${data.refCount} references; copy it first`);
    update(data.values as Float32Array);
  }

  poolStats(): PoolStats {
    return this.pool.stats();
  }
}
