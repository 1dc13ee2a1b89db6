/**
 * Frozen weights in less memory: rounded once, and used by `linear`, `embedding` and `tokenLogps` as they are stored. A backend that has
 * kernels for the stored form registers a packer; elsewhere a matrix is its stored numbers and a tensor of what they stand for.
 */
import * as tf from '@tensorflow/tfjs-core';
import { PlumblineError, ShapeError } from './errors.js';
import { bfloat16ToFloat32, float32ToBfloat16 } from './safetensors.js';
import type { FrozenMatrix } from './types.js';

/** The numbers as they are stored: float32, the bits of bfloat16, or int8 times the scale of the row. */
export type StoredMatrix = { readonly shape: readonly [number, number] } & (
  | { readonly storage: 'f32'; readonly data: Float32Array }
  | { readonly storage: 'bf16'; readonly data: Uint16Array }
  | { readonly storage: 'int8'; readonly data: Int8Array; readonly scales: Float32Array }
);
/** A backend's own form of a stored matrix. */
export type PackedForm = {
  readonly bytes: number;
  /** Rows of the rounded values. */
  rows(ids: Int32Array): Float32Array;
};
const packers = new Map<string, (stored: StoredMatrix) => PackedForm>();

/** For a backend whose kernels take frozen matrices in a form of its own. */
export function registerPacker(backendName: string, pack: (stored: StoredMatrix) => PackedForm): void {
  packers.set(backendName, pack);
}

/**
 * A frozen weight, packed for the active backend; `values` [out, in] are float32 or the bits of bfloat16, and are copied.
 *
 * `f32` keeps them, `bf16` rounds to the nearest bfloat16, `int8` to the nearest of 255 multiples of `max |row| / 127`, each row of its
 * own. The memory is let go by `dispose`.
 *
 * @throws ShapeError if there are not out · in values; RangeError for another storage, or for `int8` of numbers that are not finite
 */
export function frozenMatrix(
  values: Float32Array | Uint16Array,
  shape: readonly [number, number],
  storage: FrozenMatrix['storage'],
): FrozenMatrix {
  const [out, width] = shape;
  if (!(shape.length === 2 && shape.every((n) => Number.isSafeInteger(n) && n >= 1)))
    throw new ShapeError(`frozenMatrix: shape must be [out, in], whole numbers of at least 1, got [${shape.join(', ')}].`);
  if (!(values instanceof Float32Array || values instanceof Uint16Array))
    throw new TypeError('frozenMatrix: values must be a Float32Array, or a Uint16Array of bfloat16 bits.');
  if (values.length !== out * width)
    throw new ShapeError(`frozenMatrix: ${values.length} values for shape [${out}, ${width}], which needs ${out * width}.`);
  // What a backend packs is copied by that.
  const floats = storage === 'f32' && values instanceof Float32Array && packers.has(tf.getBackend());
  return new Frozen(floats ? { shape: [out, width], storage, data: values } : store(values, [out, width], storage));
}

/** The backend's form of a matrix, made at the first use where the matrix was made for another backend. */
export function packedForm(matrix: FrozenMatrix, backendName: string): PackedForm {
  return frozen(matrix).packedFor(backendName);
}

/** The rounded values as a tensor [out, in], the matrix's own: never dispose it. For composites. */
export function frozenTensor(matrix: FrozenMatrix): tf.Tensor2D {
  return frozen(matrix).tensor();
}

function frozen(matrix: FrozenMatrix): Frozen {
  if (matrix instanceof Frozen) return matrix;
  throw new TypeError('frozen: not a matrix made by frozenMatrix.');
}

class Frozen implements FrozenMatrix {
  readonly shape: readonly [number, number];
  readonly storage: FrozenMatrix['storage'];
  private stored: StoredMatrix | null = null;
  private packed: { backendName: string; form: PackedForm } | null = null;
  private values: tf.Tensor2D | null = null;

  constructor(stored: StoredMatrix) {
    this.shape = stored.shape;
    this.storage = stored.storage;
    const backendName = tf.getBackend();
    const pack = packers.get(backendName);
    if (pack) {
      this.packed = { backendName, form: pack(stored) };
    } else {
      this.stored = stored;
      this.tensor();
    }
  }

  get bytes(): number {
    const stored = this.stored ? this.stored.data.byteLength + (this.stored.storage === 'int8' ? this.stored.scales.byteLength : 0) : 0;
    return stored + (this.packed?.form.bytes ?? 0) + (this.values ? 4 * this.values.size : 0);
  }

  unpack(): Float32Array {
    return this.rows(Int32Array.from({ length: this.shape[0] }, (_, row) => row));
  }

  rows(ids: Int32Array): Float32Array {
    this.refuseFreed();
    ids.forEach((id, i) => {
      if (!(id >= 0 && id < this.shape[0])) throw new RangeError(`rows: ids[${i}] is ${id}, outside [0, ${this.shape[0]}).`);
    });
    return this.packed ? this.packed.form.rows(ids) : storedRows(this.stored!, ids);
  }

  packedFor(backendName: string): PackedForm {
    this.refuseFreed();
    if (this.packed?.backendName === backendName) return this.packed.form;
    const pack = packers.get(backendName);
    if (!pack) throw new PlumblineError(`The backend ${backendName} has no packed form of frozen matrices.`);
    const form = pack(this.stored ?? store(this.unpack(), this.shape, this.storage));
    this.packed = { backendName, form };
    return form;
  }

  tensor(): tf.Tensor2D {
    this.refuseFreed();
    this.values ??= tf.keep(tf.tensor2d(this.unpack(), [this.shape[0], this.shape[1]]));
    return this.values;
  }

  dispose(): void {
    this.values?.dispose();
    this.stored = null;
    this.packed = null;
    this.values = null;
  }

  private refuseFreed(): void {
    if (!this.stored && !this.packed)
      throw new PlumblineError(`A frozen matrix of shape [${this.shape.join(', ')}] was used after it was freed.`);
  }
}

function store(values: Float32Array | Uint16Array, shape: readonly [number, number], storage: FrozenMatrix['storage']): StoredMatrix {
  switch (storage) {
    case 'f32':
      return { shape, storage, data: values instanceof Float32Array ? values.slice() : bfloat16ToFloat32(values) };
    case 'bf16':
      return { shape, storage, data: values instanceof Float32Array ? float32ToBfloat16(values) : values.slice() };
    case 'int8':
      return quantised(values, shape);
    default:
      throw new RangeError(`frozenMatrix: storage must be f32, bf16 or int8, got ${String(storage)}.`);
  }
}

function quantised(values: Float32Array | Uint16Array, shape: readonly [number, number]): StoredMatrix {
  const [out, width] = shape;
  const data = new Int8Array(out * width);
  const scales = new Float32Array(out);
  for (let r = 0; r < out; r++) {
    const stored = values.subarray(r * width, (r + 1) * width);
    const row = stored instanceof Float32Array ? stored : bfloat16ToFloat32(stored);
    let largest = 0;
    for (let k = 0; k < width; k++) {
      const size = Math.abs(row[k]);
      if (!(size < Infinity)) throw new RangeError(`frozenMatrix: values[${r * width + k}] is ${row[k]}, which int8 cannot hold.`);
      if (size > largest) largest = size;
    }
    scales[r] = largest / 127;
    const scale = scales[r];
    if (scale > 0) for (let k = 0; k < width; k++) data[r * width + k] = Math.max(-127, Math.min(127, Math.round(row[k] / scale)));
  }
  return { shape, storage: 'int8', data, scales };
}

function storedRows(stored: StoredMatrix, ids: Int32Array): Float32Array {
  const width = stored.shape[1];
  const out = new Float32Array(ids.length * width);
  ids.forEach((id, i) => {
    const [from, to] = [id * width, (id + 1) * width];
    if (stored.storage === 'f32') out.set(stored.data.subarray(from, to), i * width);
    else if (stored.storage === 'bf16') out.set(bfloat16ToFloat32(stored.data.subarray(from, to)), i * width);
    else for (let k = 0; k < width; k++) out[i * width + k] = stored.data[from + k] * stored.scales[id];
  });
  return out;
}
