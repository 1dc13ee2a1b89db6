/**
 * Named parameters. They are not `tf.Variable`s, whose names are global to the process: a policy and its reference would clash.
 * Storage is the tree's own: data is copied in and out, and only an optimizer's step and `load` change it.
 */
import * as tf from '@tensorflow/tfjs-core';
import { CheckpointError, ShapeError } from './errors.js';
import { readCopy } from './scope.js';
import type { Parameter, ParameterTree, Saved, SavedTensor } from './types.js';
import { updateInPlace } from './updateInPlace.js';

export type ParameterEntry = { shape: readonly number[]; data: Float32Array; trainable?: boolean };

/** A tree of float32 parameters, each of which has a tensor. */
export interface TensorTree extends ParameterTree {
  get(name: string): Parameter;
  /** All parameters, in order of creation. */
  all(): readonly Parameter[];
  snapshot(): TensorTree;
}

/**
 * Parameters with the given values, in the given order. `data` is copied; `trainable` is true unless said.
 * The caller disposes the tree.
 *
 * @throws ShapeError if an array is not as long as its shape says
 */
export function createParameters(entries: Readonly<Record<string, ParameterEntry>>): TensorTree {
  for (const [name, { shape, data }] of Object.entries(entries)) checkEntry(name, shape, data);
  return treeOf(
    Object.entries(entries).map(
      ([name, { shape, data, trainable = true }]) => new TensorParameter(name, shape, trainable, ownedTensor(data.slice(), shape)),
    ),
  );
}

/** How many numbers a tree holds, in all and trainable. */
export function parameterCount(tree: ParameterTree): { total: number; trainable: number } {
  const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
  return {
    total: tree.names.reduce((sum, name) => sum + size(tree.get(name).shape), 0),
    trainable: tree.trainable().reduce((sum, parameter) => sum + size(parameter.shape), 0),
  };
}

/**
 * Gives a parameter the value of `next`, which is the parameter's from now on. For optimizers and `load`. Who holds the data of the
 * old value, through a clone or a pending `readCopy`, goes on seeing the old numbers.
 */
export function replaceValue(parameter: Parameter, next: tf.Tensor): void {
  if (!(parameter instanceof TensorParameter)) throw new TypeError(`replaceValue: "${parameter.name}" was not made by createParameters`);
  parameter.replace(next);
}

/** Gives the parameter storage that no other tensor shares, so that a kernel may write into it; a copy only where it is shared. */
export function unshare(parameter: Parameter): void {
  const exclusive = exclusiveTensor(parameter.value);
  if (exclusive !== parameter.value) replaceValue(parameter, exclusive);
}

/** `tensor` itself if nothing else refers to its data, else a copy that the caller keeps (and `tensor` stays as it was). */
export function exclusiveTensor(tensor: tf.Tensor): tf.Tensor {
  const { backend } = tf.engine().state.tensorInfo.get(tensor.dataId)!;
  return backend.refCount(tensor.dataId) === 1 ? tensor : deepCopy(tensor);
}

class TensorParameter implements Parameter {
  #value: tf.Tensor;
  constructor(
    readonly name: string,
    readonly shape: readonly number[],
    public trainable: boolean,
    value: tf.Tensor,
  ) {
    this.#value = value;
  }
  get value(): tf.Tensor {
    return this.#value;
  }
  replace(next: tf.Tensor): void {
    if (next.shape.join() !== this.shape.join() || next.dtype !== 'float32')
      throw new ShapeError(`parameter "${this.name}" is float32 [${this.shape}]; its new value is ${next.dtype} [${next.shape}]`);
    tf.keep(next);
    if (updateInPlace(this.#value, next)) return;
    this.#value.dispose();
    this.#value = next;
  }
}

function treeOf(parameters: readonly TensorParameter[]): TensorTree {
  const byName = new Map(parameters.map((parameter) => [parameter.name, parameter]));
  const names = parameters.map((parameter) => parameter.name);
  return {
    names,
    all: () => parameters,
    get: (name) => {
      const found = byName.get(name);
      if (!found) throw new RangeError(`no parameter "${name}"${nearest(name, names)}`);
      return found;
    },
    trainable: () => parameters.filter((parameter) => parameter.trainable),
    freeze: (pattern) => {
      const matching = parameters.filter((parameter) => parameter.name.search(pattern) >= 0); // `search` ignores lastIndex
      for (const parameter of matching) parameter.trainable = false;
      return matching.length;
    },
    snapshot: () =>
      treeOf(parameters.map(({ name, shape, trainable, value }) => new TensorParameter(name, shape, trainable, deepCopy(value)))),
    save: async (): Promise<Saved> => {
      // All copies are asked for before the first wait: they are of one moment even if a step comes between.
      const copies = await Promise.all(parameters.map((parameter) => readCopy(parameter.value)));
      const tensors = parameters.map(({ name, shape }, i): [string, SavedTensor] => [name, { shape: [...shape], data: copies[i] }]);
      return { tensors: Object.fromEntries(tensors), json: { kind: 'parameters', version: 1 } };
    },
    load: async (saved) => {
      const expected = Object.fromEntries(parameters.map(({ name, shape }) => [name, shape]));
      checkTensors('parameters', saved.tensors, expected);
      for (const parameter of parameters)
        parameter.replace(ownedTensor(saved.tensors[parameter.name].data.slice() as Float32Array, parameter.shape));
    },
    dispose: () => {
      for (const parameter of parameters) parameter.value.dispose();
    },
  };
}

/**
 * Checks saved float32 tensors against the names and shapes that a part expects.
 * @throws CheckpointError listing what is missing, unknown, or shaped or typed otherwise
 */
export function checkTensors(part: string, tensors: Saved['tensors'], expected: Readonly<Record<string, readonly number[]>>): void {
  const names = Object.keys(expected);
  const missing = names.filter((name) => !Object.hasOwn(tensors, name));
  const unknown = Object.keys(tensors).filter((name) => !Object.hasOwn(expected, name));
  const unlike = names
    .filter((name) => Object.hasOwn(tensors, name))
    .flatMap((name) => {
      const { shape, data } = tensors[name];
      if (shape.join() !== expected[name].join()) return [`"${name}" is [${shape}] where [${expected[name]}] belongs`];
      if (!(data instanceof Float32Array)) return [`"${name}" is ${data.constructor.name} where Float32Array belongs`];
      const size = shape.reduce((a, b) => a * b, 1);
      return data.length === size ? [] : [`"${name}" has ${data.length} numbers where [${shape}] needs ${size}`];
    });
  const problems = [
    ...(missing.length > 0 ? [`missing ${list(missing.map((name) => `"${name}"`))}`] : []),
    ...(unknown.length > 0 ? [`unknown ${list(unknown.map((name) => `"${name}"`))}`] : []),
    ...(unlike.length > 0 ? [list(unlike)] : []),
  ];
  if (problems.length > 0) throw new CheckpointError(`saved ${part} do not fit: ${problems.join('; ')}`);
}

/** `clone` shares data; a product with 1 does not. */
export function deepCopy(tensor: tf.Tensor): tf.Tensor {
  return tf.keep(tf.tidy(() => tf.mul(tensor, 1)));
}

/** A tensor over the array itself, kept out of every scope. */
export function ownedTensor(data: Float32Array, shape: readonly number[]): tf.Tensor {
  return tf.keep(tf.tensor(data, [...shape], 'float32'));
}

function checkEntry(name: string, shape: readonly number[], data: Float32Array): void {
  if (!shape.every((n) => Number.isSafeInteger(n) && n >= 0))
    throw new ShapeError(`createParameters: the shape of "${name}" is [${shape}]; it must hold whole numbers, at least 0`);
  const size = shape.reduce((a, b) => a * b, 1);
  if (data.length !== size)
    throw new ShapeError(`createParameters: "${name}" has ${data.length} numbers; its shape [${shape}] needs ${size}`);
}

function list(items: string[], most = 8): string {
  return items.length <= most ? items.join(', ') : `${items.slice(0, most).join(', ')} and ${items.length - most} more`;
}

/** The names that share the longest beginning or end with a wrong one. */
function nearest(name: string, names: readonly string[]): string {
  if (names.length === 0) return '; the tree is empty';
  const common = (a: string, b: string) => {
    let start = 0;
    while (start < a.length && a[start] === b[start]) start++;
    let end = 0;
    while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
    return start + end;
  };
  const best = [...names].sort((a, b) => common(b, name) - common(a, name)).slice(0, 3);
  return `; nearest: ${best.map((n) => `"${n}"`).join(', ')}${names.length > 3 ? ` (of ${names.length})` : ''}`;
}
