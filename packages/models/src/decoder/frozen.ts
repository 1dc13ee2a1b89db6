import { CheckpointError, createParameters, type FrozenMatrix, frozenMatrix, type ParameterTree } from '@plumbline/core';
import type { DecoderWeights } from './decoder.js';
import { isFrozen } from './matrix.js';
import { release } from './release.js';

/** How weights that are not trained are kept: as they are, rounded to bfloat16, or in 8 bits with a scale for each output. */
export type Storage = FrozenMatrix['storage'];

/**
 * Weights that stay as they are: matrices packed as `storage` says, norms and biases as constants of float32. A copy shares them, since nobody
 * can change them; they are freed with the last copy.
 *
 * @param transposed matrices that come as [in, out]; `save` gives them back so
 */
export function frozenParameters(weights: DecoderWeights, storage: Storage, transposed: (name: string) => boolean): ParameterTree {
  const matrices = new Map<string, FrozenMatrix>();
  const vectors: Record<string, { shape: readonly number[]; data: Float32Array; trainable: boolean }> = {};
  for (const [name, one] of Object.entries(weights)) {
    const { shape, data } = one;
    if (shape.length !== 2) {
      vectors[name] = { shape, data, trainable: false };
      continue;
    }
    if (transposed(name)) matrices.set(name, frozenMatrix(transpose(data, shape[0]), [shape[1], shape[0]], storage));
    else matrices.set(name, frozenMatrix(data, [shape[0], shape[1]], storage));
    if (one.fresh) release([data]);
  }
  const rest = createParameters(vectors);
  const names = Object.keys(weights);
  let copies = 0;

  const handle = (): ParameterTree => {
    let live = true;
    copies++;
    return {
      names,
      get: (name) => matrices.get(name) ?? rest.get(name),
      trainable: () => [],
      freeze: (pattern) => names.filter((name) => name.search(pattern) >= 0).length,
      snapshot: handle,
      async save() {
        const { tensors } = await rest.save();
        const all = names.map((name) => {
          const matrix = matrices.get(name);
          if (!matrix) return [name, tensors[name]] as const;
          const [out, inputs] = matrix.shape;
          const data = matrix.unpack();
          return [name, transposed(name) ? { shape: [inputs, out], data: transpose(data, out) } : { shape: [out, inputs], data }] as const;
        });
        return { tensors: Object.fromEntries(all), json: { kind: 'parameters', version: 1 } };
      },
      async load() {
        throw new CheckpointError(`these weights are frozen (${storage}) and cannot be loaded into; load the model without storage`);
      },
      dispose() {
        if (!live) return;
        live = false;
        if (--copies > 0) return;
        for (const matrix of matrices.values()) matrix.dispose();
        rest.dispose();
      },
    };
  };
  return handle();
}

/** The storage of a tree's matrices; undefined where they are plain parameters. */
export function storageOf(parameters: ParameterTree): Storage | undefined {
  for (const name of parameters.names) {
    const matrix = parameters.get(name);
    if (isFrozen(matrix)) return matrix.storage;
  }
  return undefined;
}

/** Bytes that a tree's values take. */
export function parameterBytes(parameters: ParameterTree): number {
  return parameters.names.reduce((sum, name) => {
    const one = parameters.get(name);
    return sum + (isFrozen(one) ? one.bytes : 4 * one.shape.reduce((a, b) => a * b, 1));
  }, 0);
}

function transpose(data: Float32Array, rows: number): Float32Array {
  const columns = data.length / rows;
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j];
  return out;
}
