/** Small fully connected networks over named parameters. */
import { linear, type Parameter, type ParameterEntry, type ParameterTree, type Rng } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';

export type Activation = 'relu' | 'tanh' | 'swish';
const activations: Record<Activation, (x: tf.Tensor2D) => tf.Tensor2D> = {
  relu: (x) => tf.relu(x),
  tanh: (x) => tf.tanh(x),
  swish: (x) => tf.mul(x, tf.sigmoid(x)) as tf.Tensor2D,
};

/**
 * Parameters of a network from `widths[0]` inputs to the last of `widths`: `PREFIX.0.weight` [out, in], `PREFIX.0.bias`, ... Uniform within 1 / √inputs, biases 0; the last layer's weights are
 * multiplied by `lastScale`.
 */
export function mlpEntries(prefix: string, widths: readonly number[], rng: Rng, { lastScale = 1 } = {}): Record<string, ParameterEntry> {
  return Object.fromEntries(
    widths.slice(1).flatMap((outputs, i) => {
      const inputs = widths[i];
      const scale = (i === widths.length - 2 ? lastScale : 1) / Math.sqrt(inputs);
      const data = rng
        .fork(prefix, i)
        .uniform(outputs * inputs)
        .map((u) => (2 * u - 1) * scale);
      return [
        [`${prefix}.${i}.weight`, { shape: [outputs, inputs], data }],
        [`${prefix}.${i}.bias`, { shape: [outputs], data: new Float32Array(outputs) }],
      ];
    }),
  );
}

/** The network of those parameters: [n, inputs] -> [n, outputs], without an activation after the last layer. */
export function mlpOf(tree: ParameterTree, prefix: string, activation: Activation): (x: tf.Tensor2D) => tf.Tensor2D {
  const layers: [Parameter, Parameter][] = [];
  while (tree.names.includes(`${prefix}.${layers.length}.weight`))
    layers.push([tree.get(`${prefix}.${layers.length}.weight`) as Parameter, tree.get(`${prefix}.${layers.length}.bias`) as Parameter]);
  return (x) =>
    tf.tidy(() =>
      layers.reduce((h, [weight, bias], i) => {
        const y = linear({ x: h, weight: weight.value as tf.Tensor2D, bias: bias.value as tf.Tensor1D }, {}).y;
        return i === layers.length - 1 ? y : activations[activation](y);
      }, x),
    );
}
