import * as tf from '@tensorflow/tfjs-core';

type CpuBackend = tf.KernelBackend & {
  data: { get(id: object): { values: Float32Array | Int32Array } };
  makeTensorInfo(shape: number[], dtype: tf.DataType, values: Float32Array | Int32Array): tf.TensorInfo;
};
type Call = { inputs: Record<'x' | 'segmentIds', tf.TensorInfo>; attrs: { numSegments: number }; backend: CpuBackend };

/** `UnsortedSegmentSum` of the cpu backend in one pass over the rows; ids outside of the segments are left out, as in tfjs. */
export function unsortedSegmentSum({ inputs: { x, segmentIds }, attrs: { numSegments }, backend }: Call): tf.TensorInfo {
  const [rows, ids] = [x, segmentIds].map(({ dataId }) => backend.data.get(dataId).values);
  const width = tf.util.sizeFromShape(x.shape.slice(1));
  const sums = x.dtype === 'int32' ? new Int32Array(numSegments * width) : new Float32Array(numSegments * width);
  for (let row = 0; row < ids.length; row++) {
    const id = ids[row];
    if (!(id >= 0 && id < numSegments)) continue;
    for (let i = 0, from = row * width, to = id * width; i < width; i++) sums[to + i] += rows[from + i];
  }
  return backend.makeTensorInfo([numSegments, ...x.shape.slice(1)], x.dtype, sums);
}
