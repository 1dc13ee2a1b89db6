/** Faults of particular versions of TensorFlow, mended by a kernel of our own. */
import * as tf from '@tensorflow/tfjs-core';
import type { TfjsNode, TfjsNodeBackend } from './tfjsNode.js';
import { convolutionKills, roundsIntegersToZero } from './versions.js';

type Call = { inputs: Record<string, tf.TensorInfo>; attrs: Record<string, unknown>; backend: TfjsNodeBackend };

/** @returns what was mended, one line each */
export function mendFaults(version: string, { createTensorsTypeOpAttr }: Pick<TfjsNode, 'createTensorsTypeOpAttr'>): string[] {
  const mended: string[] = [];
  if (roundsIntegersToZero(version)) {
    override(tf.Round, ({ inputs: { x }, backend }) => {
      if (x.dtype !== 'int32') return backend.executeSingleOutput('Round', [createTensorsTypeOpAttr('T', x.dtype)], [x]);
      backend.incRef(x.dataId);
      return { dataId: x.dataId, shape: x.shape, dtype: x.dtype };
    });
    mended.push('round of int32');
  }
  if (convolutionKills(version)) {
    const theirs = tf.getKernel(tf.Conv2DBackpropInput, 'tensorflow')!.kernelFunc as unknown as (call: Call) => tf.TensorInfo;
    override(tf.Conv2DBackpropInput, (call) => {
      refuseWrongShape(call);
      return theirs(call);
    });
    mended.push('transposed convolution of the wrong shape');
  }
  return mended;
}

/** The gradient that comes in must have the shape that the convolution gives; where it has not, 2.18 ends the process. */
export function refuseWrongShape({ inputs: { dy, filter }, attrs }: Pick<Call, 'inputs' | 'attrs'>): void {
  const { strides, pad, dataFormat, dimRoundingMode, inputShape } = attrs as {
    strides: number | [number, number];
    pad: 'valid' | 'same' | number;
    dataFormat: 'NHWC' | 'NCHW';
    dimRoundingMode?: 'floor' | 'round' | 'ceil';
    inputShape: [number, number, number, number];
  };
  const format = tf.backend_util.convertConv2DDataFormat(dataFormat);
  const { outShape } = tf.backend_util.computeConv2DInfo(
    inputShape,
    filter.shape as [number, number, number, number],
    strides,
    1,
    pad,
    dimRoundingMode,
    false,
    format,
  );
  if (outShape.some((n, axis) => n !== dy.shape[axis]))
    throw new Error(`conv2dTranspose: an input of [${inputShape}] under these strides and padding gives [${outShape}], not [${dy.shape}].`);
}

function override(kernelName: string, kernelFunc: (call: Call) => tf.TensorInfo): void {
  const config = tf.getKernel(kernelName, 'tensorflow')!;
  tf.unregisterKernel(kernelName, 'tensorflow');
  tf.registerKernel({ ...config, kernelFunc: kernelFunc as unknown as tf.KernelFunc });
}
