/** Ownership over awaits, and reading. */
import * as tf from '@tensorflow/tfjs-core';
import { alias, untaped } from './engine.js';

/**
 * Asynchronous code that frees exactly what was handed to `own`, at its end, also when it throws; what `f` returns is kept.
 *
 * An engine scope (`tf.tidy`) across an await would free another flow's tensors.
 */
export async function scope<T>(f: (own: <X extends tf.TensorContainer>(x: X) => X) => Promise<T>): Promise<T> {
  const owned = new Set<tf.Tensor>();
  const own = <X extends tf.TensorContainer>(x: X): X => {
    for (const tensor of tensorsIn(x)) owned.add(tensor);
    return x;
  };
  try {
    const result = await f(own);
    for (const tensor of tensorsIn(result)) owned.delete(tensor);
    return result;
  } finally {
    tf.dispose([...owned]);
  }
}

/** Reads scalars by name, in one transfer. They stay the caller's. */
export async function readScalars<K extends string>(x: Record<K, tf.Scalar>): Promise<Record<K, number>> {
  const names = Object.keys(x) as K[];
  if (names.length === 0) return {} as Record<K, number>;
  const stacked = untaped(() =>
    tf.tidy(() => {
      const flat = names.map((name) => {
        if (x[name].size !== 1) throw new RangeError(`readScalars: ${name} has shape [${x[name].shape}]; take a sum or a mean first.`);
        return tf.reshape(tf.cast(x[name], 'float32'), [1]);
      });
      return flat.length === 1 ? tf.clone(flat[0]) : tf.concat(flat);
    }),
  );
  try {
    const values = await readCopy(stacked);
    return Object.fromEntries(names.map((name, i) => [name, values[i]])) as Record<K, number>;
  } finally {
    stacked.dispose();
  }
}

/**
 * The values, in an array of the caller's own. Holds a reference until it is done, so that the tensor may be freed or
 * stepped meanwhile. Truth values come as whole numbers.
 */
export async function readCopy(x: tf.Tensor): Promise<Float32Array | Int32Array> {
  const held = alias(x);
  try {
    const values = await held.data();
    return x.dtype === 'float32' ? Float32Array.from(values as Float32Array) : Int32Array.from(values as Int32Array);
  } finally {
    held.dispose();
  }
}

/** A tensor that shares nothing with the caller's array; several backends keep the array that `tf.tensor` is given. */
export function ownTensor(values: Float32Array | Int32Array, shape: readonly number[]): tf.Tensor {
  return tf.tensor(values.slice(), [...shape], values instanceof Int32Array ? 'int32' : 'float32');
}

/** Every tensor in records, arrays, maps and sets. */
export function tensorsIn(x: unknown, found: tf.Tensor[] = [], seen = new Set<unknown>()): tf.Tensor[] {
  if (x instanceof tf.Tensor) found.push(x);
  else if (typeof x === 'object' && x !== null && !ArrayBuffer.isView(x) && !seen.has(x)) {
    seen.add(x);
    const plain = Object.getPrototypeOf(x) === Object.prototype || Object.getPrototypeOf(x) === null;
    const inner = x instanceof Map || x instanceof Set || Array.isArray(x) ? x.values() : plain ? Object.values(x) : [];
    for (const item of inner) tensorsIn(item, found, seen);
  }
  return found;
}
