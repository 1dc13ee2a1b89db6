/** The layers that text and image encoders share: full attention and an MLP, with the norm behind each (BERT) or in front of it (ViT). */
import { attention, checkpoint, gelu, geluTanh, layerNorm, linear, type Parameter, type ParameterTree, type Rng } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import type { DecoderWeights } from '../decoder/decoder.js';
import type { Norm, Projection } from '../decoder/layout.js';

export type Activation = 'gelu' | 'gelu_new' | 'relu' | 'tanh';
export type StackSpec = {
  width: number;
  layers: number;
  heads: number;
  mlpWidth: number;
  layerNormEps: number;
  activation: Activation;
  /** Norms in front of attention and MLP; else behind the sums with the residual stream. */
  normFirst: boolean;
};
export type EncoderLayer = {
  q: Projection;
  k: Projection;
  v: Projection;
  o: Projection;
  attentionNorm: Norm;
  up: Projection;
  down: Projection;
  mlpNorm: Norm;
};

/** `x` [tokens, width], packed; the same shape. The caller owns the outcome. */
export type Stack = (x: tf.Tensor2D, cuSeqlens: Int32Array, options?: { checkpointLayers?: boolean }) => tf.Tensor2D;

export function stackOf(spec: StackSpec, layers: readonly EncoderLayer[], parameters: ParameterTree): Stack {
  const { heads, width } = spec;
  const headDim = width / heads;
  const { norm, project } = appliers(parameters, spec.layerNormEps);
  const activate = activationOf(spec.activation);
  const split = (x: tf.Tensor2D): tf.Tensor3D => tf.reshape(x, [-1, heads, headDim]);
  const blocks = layers.map((layer) => {
    const [q, k, v, o, up, down] = [layer.q, layer.k, layer.v, layer.o, layer.up, layer.down].map(project);
    const [attentionNorm, mlpNorm] = [norm(layer.attentionNorm), norm(layer.mlpNorm)];
    const attend = (x: tf.Tensor2D, cuSeqlens: Int32Array) => {
      const mixed = attention(
        { q: split(q(x)), k: split(k(x)), v: split(v(x)) },
        { cuSeqlens, causal: false, scale: 1 / Math.sqrt(headDim) },
      ).y;
      return o(tf.reshape(mixed, [-1, width]));
    };
    const mlp = (x: tf.Tensor2D) => down(activate(up(x)));
    return (x: tf.Tensor2D, cuSeqlens: Int32Array): tf.Tensor2D => {
      if (spec.normFirst) {
        const middle: tf.Tensor2D = tf.add(x, attend(attentionNorm(x), cuSeqlens));
        return tf.add(middle, mlp(mlpNorm(middle)));
      }
      const middle = attentionNorm(tf.add(x, attend(x, cuSeqlens)));
      return mlpNorm(tf.add(middle, mlp(middle)));
    };
  });
  return (x, cuSeqlens, { checkpointLayers = false } = {}) =>
    tf.tidy(() => {
      let at: tf.Tensor2D = x;
      for (const block of blocks) {
        const apply = (input: tf.Tensor) => tf.tidy(() => block(input as tf.Tensor2D, cuSeqlens));
        const next = checkpointLayers ? checkpoint(apply, at) : apply(at);
        if (at !== x) at.dispose(); // where the backward pass needs it, the tape has its own reference
        at = next;
      }
      return at === x ? tf.clone(x) : at;
    });
}

/** Norms and projections over a tree's parameters, as functions. */
export function appliers(parameters: ParameterTree, eps: number) {
  const of = (name: string) => parameters.get(name) as Parameter;
  return {
    norm({ weight, bias }: Norm) {
      const [w, b] = [of(weight), of(bias!)];
      return (x: tf.Tensor2D): tf.Tensor2D => layerNorm({ x, weight: w.value, bias: b.value }, { eps }).y as tf.Tensor2D;
    },
    project({ weight, bias, inputs }: Projection) {
      const [w, b] = [of(weight), bias === undefined ? undefined : of(bias)];
      return (x: tf.Tensor2D): tf.Tensor2D =>
        linear({ x, weight: tf.reshape(w.value, [-1, inputs]), ...(b && { bias: b.value as tf.Tensor1D }) }, {}).y;
    },
  };
}

export function activationOf(name: Activation): (x: tf.Tensor2D) => tf.Tensor2D {
  switch (name) {
    case 'gelu':
      return (x) => gelu({ x }, {}).y as tf.Tensor2D;
    case 'gelu_new':
      return (x) => geluTanh({ x }, {}).y as tf.Tensor2D;
    case 'relu':
      return (x) => tf.relu(x);
    case 'tanh':
      return (x) => tf.tanh(x);
    default:
      return name satisfies never;
  }
}

/** Names and shapes of what norms and projections are made of. */
export function shapeCollector(): {
  shapes: Record<string, readonly number[]>;
  norm(n: Norm): void;
  projection(p: Projection): void;
  layer(l: EncoderLayer): void;
} {
  const shapes: Record<string, readonly number[]> = {};
  const norm = ({ weight, bias, width }: Norm) => {
    shapes[weight] = [width];
    if (bias) shapes[bias] = [width];
  };
  const projection = ({ weight, bias, inputs, outputs }: Projection) => {
    const out = outputs.reduce((a, b) => a + b, 0);
    shapes[weight] = [out, inputs];
    if (bias) shapes[bias] = [out];
  };
  return {
    shapes,
    norm,
    projection,
    layer({ q, k, v, o, attentionNorm, up, down, mlpNorm }) {
      for (const p of [q, k, v, o]) projection(p);
      norm(attentionNorm);
      for (const p of [up, down]) projection(p);
      norm(mlpNorm);
    },
  };
}

/** New weights as BERT's and ViT's: N(0, deviation), norms the identity, biases 0. */
export function encoderWeights(shapes: Record<string, readonly number[]>, deviation: number, rng: Rng): DecoderWeights {
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => {
      const size = shape.reduce((a, b) => a * b, 1);
      if (name.endsWith('bias')) return [name, { shape, data: new Float32Array(size) }];
      if (shape.length === 1) return [name, { shape, data: new Float32Array(size).fill(1) }];
      const draws = rng.fork('weights', name).normal(size);
      return [name, { shape, data: draws.map((z) => z * deviation) }];
    }),
  );
}
