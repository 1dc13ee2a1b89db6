import type * as tf from '@tensorflow/tfjs-core';

type Internals = {
  dataIdNextNumber: number;
  dataIdMap: { get(id: object): { id: number; memoryOffset: number; shape: number[] } };
  wasm: { tfjs: { disposeData(id: number): void; registerTensor(id: number, size: number, offset: number): void } };
};

/** After writing into a tensor's memory: a new inner id, since products have packed the old matrix under the old one. */
export function refreshStorage(backend: tf.KernelBackend, x: tf.TensorInfo): void {
  const { dataIdMap, wasm } = backend as unknown as Internals;
  const record = dataIdMap.get(x.dataId);
  wasm.tfjs.disposeData(record.id);
  record.id = (backend as unknown as Internals).dataIdNextNumber++;
  wasm.tfjs.registerTensor(
    record.id,
    record.shape.reduce((a, b) => a * b, 1),
    record.memoryOffset,
  );
}
