import * as tf from '@tensorflow/tfjs-core';
import { describe } from 'vitest';
import { type Make, same } from './testing/agreement.js';

describe('convolutions', () => {
  const image = (make: Make, shape: number[]) => make(shape) as tf.Tensor4D;
  // tfjs-core registers no gradients in Node: their kernels are called by name.
  const run = (name: string, inputs: Record<string, tf.Tensor>, attrs: object) =>
    tf.engine().runKernel(name, inputs, attrs as tf.NamedAttrMap) as tf.Tensor;
  const wave = (y: tf.Tensor) => tf.sin(tf.reshape(tf.range(0, y.size), y.shape));
  for (const [h, w, c, f, o, strides, pad] of [
    [7, 9, 3, 3, 5, 1, 'same'],
    [7, 9, 3, 3, 5, 2, 'same'],
    [8, 8, 4, 2, 17, 2, 'valid'],
    [5, 6, 2, 1, 3, 1, 'valid'],
    [12, 11, 1, 5, 33, 3, 'valid'],
    [9, 9, 5, 3, 4, 1, 1],
  ] as const) {
    const attrs = { strides, pad, dataFormat: 'NHWC' as const, dilations: 1, inputShape: [2, h, w, c] };
    const name = `${h}x${w}x${c}, filter ${f}, stride ${strides}, ${pad}`;
    same(
      `conv2d with its gradients, ${name}`,
      (make) => {
        const [x, filter] = [image(make, [2, h, w, c]), make([f, f, c, o]) as tf.Tensor4D];
        const y = tf.conv2d(x, filter, strides, pad);
        const dy = wave(y);
        return [
          y,
          run('Conv2DBackpropInput', { dy, filter }, attrs),
          run('Conv2DBackpropFilter', { x, dy }, { ...attrs, filterShape: filter.shape }),
        ];
      },
      2e-5,
    );
    same(
      `depthwise conv2d with its gradients, ${name}`,
      (make) => {
        const [x, filter] = [image(make, [2, h, w, c]), make([f, f, c, 2]) as tf.Tensor4D];
        const y = tf.depthwiseConv2d(x, filter, strides, pad);
        const dy = wave(y);
        return [
          y,
          run('DepthwiseConv2dNativeBackpropInput', { dy, filter }, attrs),
          run('DepthwiseConv2dNativeBackpropFilter', { x, dy }, { ...attrs, filterShape: filter.shape }),
        ];
      },
      2e-5,
    );
    same(
      `pools with their gradients, ${name}`,
      (make) => {
        const input = image(make, [2, h, w, c]);
        const [max, avg] = [tf.maxPool(input, f, strides, pad), tf.avgPool(input, f, strides, pad)];
        const of = { filterSize: [f, f], strides, pad };
        return [max, avg, run('MaxPoolGrad', { dy: wave(max), input, output: max }, of), run('AvgPoolGrad', { dy: wave(avg), input }, of)];
      },
      2e-5,
    );
  }
  same(
    'a dilated conv2d',
    (make) => tf.conv2d(image(make, [1, 9, 8, 3]), make([3, 3, 3, 4]) as tf.Tensor4D, 1, 'same', 'NHWC', [2, 2]),
    1e-5,
  );
  same(
    'conv2d with channels first',
    (make) => tf.conv2d(image(make, [1, 3, 6, 5]), make([3, 3, 3, 4]) as tf.Tensor4D, 1, 'same', 'NCHW'),
    1e-5,
  );
  for (const activation of ['relu', 'elu', 'linear'] as const) {
    same(
      `fused conv2d with ${activation}`,
      (make) =>
        tf.fused.conv2d({
          x: image(make, [2, 6, 5, 3]),
          filter: make([3, 3, 3, 4]) as tf.Tensor4D,
          strides: 1,
          pad: 'same',
          bias: make([4]),
          activation,
        }),
      1e-5,
    );
    same(
      `fused depthwise with ${activation}`,
      (make) =>
        tf.fused.depthwiseConv2d({
          x: image(make, [2, 6, 5, 3]),
          filter: make([3, 3, 3, 2]) as tf.Tensor4D,
          strides: 1,
          pad: 'same',
          bias: make([6]),
          activation,
        }),
      1e-5,
    );
  }
  same(
    'a transposed conv2d',
    (make) => tf.conv2dTranspose(image(make, [2, 5, 6, 4]), make([3, 3, 2, 4]) as tf.Tensor4D, [2, 10, 12, 2], 2, 'same'),
    1e-5,
  );
});

describe('images and volumes', () => {
  const attrs = (o: object) => o as unknown as tf.NamedAttrMap;
  const kernel = (name: string, inputs: Record<string, tf.Tensor>, o: object) => tf.engine().runKernel(name, inputs, attrs(o)) as tf.Tensor;
  for (const [alignCorners, half] of [
    [false, false],
    [true, false],
    [false, true],
  ])
    for (const size of [
      [7, 9],
      [2, 3],
      [4, 5],
      [1, 1],
    ] as [number, number][]) {
      same(`resize to ${size}, corners ${alignCorners}, half pixels ${half}`, (make) => {
        const x = make([2, 4, 5, 3]) as tf.Tensor4D;
        return [tf.image.resizeBilinear(x, size, alignCorners, half), tf.image.resizeNearestNeighbor(x, size, alignCorners, half)];
      });
      if (!half)
        same(`the gradients of that resize`, (make) => {
          const [dy, images] = [make([1, ...size, 3]), make([1, 4, 4, 3])]; // of more pictures, or not square, tfjs has it wrong
          const o = { alignCorners, halfPixelCenters: false, size };
          return [kernel('ResizeBilinearGrad', { dy, images }, o), kernel('ResizeNearestNeighborGrad', { dy, images }, o)];
        });
    }
  for (const [strides, pad] of [
    [1, 'same'],
    [2, 'same'],
    [2, 'valid'],
    [[1, 2, 3], 'valid'],
  ] as [number | [number, number, number], 'same' | 'valid'][]) {
    same(
      `conv3d, strides ${strides}, ${pad}, and its gradients`,
      (make) => {
        const [x, filter] = [make([2, 5, 6, 7, 2]) as tf.Tensor5D, make([2, 3, 2, 2, 3]) as tf.Tensor5D];
        const y = tf.conv3d(x, filter, strides, pad);
        const dy = make(y.shape);
        return [
          y,
          kernel('Conv3DBackpropInputV2', { dy, filter }, { strides, pad, inputShape: x.shape }),
          kernel('Conv3DBackpropFilterV2', { x, dy }, { strides, pad, filterShape: filter.shape }),
        ];
      },
      1e-5,
    );
    same(
      `pools of volumes, strides ${strides}, ${pad}, and their gradients`,
      (make) => {
        const input = make([2, 5, 6, 7, 19]) as tf.Tensor5D;
        const [max, avg] = [tf.maxPool3d(input, 2, strides, pad), tf.avgPool3d(input, [2, 3, 2], strides, pad)];
        return [
          max,
          avg,
          kernel('MaxPool3DGrad', { dy: make(max.shape), input, output: max }, { filterSize: [2, 2, 2], strides, pad }),
          kernel('AvgPool3DGrad', { dy: make(avg.shape), input }, { filterSize: [2, 3, 2], strides, pad }),
        ];
      },
      1e-5,
    );
  }
});
