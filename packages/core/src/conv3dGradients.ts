/** The backward kernels of conv3d in plain ops, for a backend that has only the forward one. */
import * as tf from '@tensorflow/tfjs-core';

type Shape5 = [number, number, number, number, number];
type Attrs = { strides: number | [number, number, number]; pad: 'same' | 'valid' };
type Triple = [number, number, number];

function geometry(inputShape: Shape5, filterShape: Shape5, { strides, pad }: Attrs) {
  const c = tf.backend_util.computeConv3DInfo(inputShape, filterShape, strides, 1, pad);
  return {
    input: [c.inDepth, c.inHeight, c.inWidth] as Triple,
    filter: [c.filterDepth, c.filterHeight, c.filterWidth] as Triple,
    output: [c.outDepth, c.outHeight, c.outWidth] as Triple,
    stride: [c.strideDepth, c.strideHeight, c.strideWidth] as Triple,
    before: [c.padInfo.front, c.padInfo.top, c.padInfo.left] as Triple,
  };
}

/** `x` [batch, ...spatial, channels] with `axis` grown by zeros or cut, so that it begins `before` earlier and has `size` entries. */
function fitted(x: tf.Tensor, axis: number, before: number, size: number): tf.Tensor {
  const after = size - before - x.shape[axis];
  const grown = tf.pad(
    x,
    x.shape.map((_, d): [number, number] => (d === axis ? [Math.max(0, before), Math.max(0, after)] : [0, 0])),
  );
  return tf.slice(
    grown,
    x.shape.map((_, d) => (d === axis ? Math.max(0, -before) : 0)),
    grown.shape.map((n, d) => (d === axis ? size : n)),
  );
}

/** Zeros between the entries along `axis`, `stride` apart. */
function apart(x: tf.Tensor, axis: number, stride: number): tf.Tensor {
  if (stride === 1) return x;
  const before = x.shape.slice(0, axis).reduce((a, b) => a * b, 1);
  const n = x.shape[axis];
  const after = x.shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const padded = tf.pad(tf.reshape(x, [before * n, 1, after]), [
    [0, 0],
    [0, stride - 1],
    [0, 0],
  ]);
  return tf.reshape(padded, x.shape.with(axis, n * stride));
}

/** dx = conv3d(dy with zeros between and around, the filter turned and its channels exchanged). */
export function conv3dBackpropInput({
  inputs: { dy, filter },
  attrs,
}: {
  inputs: { dy: tf.TensorInfo; filter: tf.TensorInfo };
  attrs: Attrs & { inputShape: Shape5 };
}): tf.TensorInfo {
  return tf.tidy(() => {
    const g = geometry(attrs.inputShape, filter.shape as Shape5, attrs);
    let grad = dy as tf.Tensor;
    for (let d = 0; d < 3; d++)
      grad = fitted(apart(grad, d + 1, g.stride[d]), d + 1, g.filter[d] - 1 - g.before[d], g.input[d] + g.filter[d] - 1);
    const [depth, height, width, inChannels, outChannels] = filter.shape;
    const flat = tf.reshape(filter as tf.Tensor, [depth, height, width, inChannels * outChannels]); // webgpu turns four axes at most
    const turned = tf.transpose(tf.reshape(tf.reverse(flat, [0, 1, 2]), filter.shape), [0, 1, 2, 4, 3]);
    return tf.conv3d(grad as tf.Tensor5D, turned as tf.Tensor5D, 1, 'valid');
  });
}

/** Each place of the filter by one product: the entries that it met, against what came out. */
export function conv3dBackpropFilter({
  inputs: { x, dy },
  attrs,
}: {
  inputs: { x: tf.TensorInfo; dy: tf.TensorInfo };
  attrs: Attrs & { filterShape: Shape5 };
}): tf.TensorInfo {
  return tf.tidy(() => {
    const g = geometry(x.shape as Shape5, attrs.filterShape, attrs);
    const [, , , inChannels, outChannels] = attrs.filterShape;
    let padded = x as tf.Tensor;
    // Room for whole strides behind the last place, so that every stride-th entry can be had by a reshape.
    for (let d = 0; d < 3; d++) padded = fitted(padded, d + 1, g.before[d], g.filter[d] - 1 + g.output[d] * g.stride[d]);
    const grad = tf.reshape(dy as tf.Tensor, [-1, outChannels]) as tf.Tensor2D;
    const places: tf.Tensor[] = [];
    for (let fz = 0; fz < g.filter[0]; fz++)
      for (let fy = 0; fy < g.filter[1]; fy++)
        for (let fx = 0; fx < g.filter[2]; fx++) {
          const at = [fz, fy, fx];
          let met = padded;
          for (let d = 0; d < 3; d++) met = everyNth(met, d + 1, at[d], g.stride[d], g.output[d]);
          places.push(tf.matMul(tf.reshape(met, [-1, inChannels]) as tf.Tensor2D, grad, true));
        }
    return tf.reshape(tf.stack(places), attrs.filterShape);
  });
}

function everyNth(x: tf.Tensor, axis: number, from: number, stride: number, count: number): tf.Tensor {
  const begin = x.shape.map((_, d) => (d === axis ? from : 0));
  const size = x.shape.map((n, d) => (d === axis ? count * stride : n));
  const part = tf.slice(x, begin, size);
  if (stride === 1) return part;
  const before = x.shape.slice(0, axis).reduce((a, b) => a * b, 1);
  const after = x.shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const kept = tf.slice(tf.reshape(part, [before * count, stride, after]), [0, 0, 0], [before * count, 1, after]);
  return tf.reshape(kept, x.shape.with(axis, count));
}
