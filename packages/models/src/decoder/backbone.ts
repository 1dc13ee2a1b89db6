import {
  checkpoint,
  geluTanh,
  layerNorm,
  type Parameter,
  type ParameterTree,
  type Products,
  type Rng,
  rmsNorm,
  rotary,
  swiGlu,
} from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { layoutOf, type Norm, type Projection } from './layout.js';
import { isFrozen, type Matrix, multiply, rowsOf } from './matrix.js';
import { type DecoderSpec, inverseFrequencies } from './spec.js';

/** Mixes the tokens of one layer: what tells training from generation. `q` [tokens, heads, headDim], `k` and `v` [tokens, kvHeads, headDim]. */
export type Attend = (q: tf.Tensor3D, k: tf.Tensor3D, v: tf.Tensor3D, layer: number) => tf.Tensor3D;

/**
 * What an adapter does in one pass. `dropout` is there only where the pass is recorded for gradients and something is to be dropped. `apart`: a
 * low-rank update is computed by itself and then added, as a backend's kernel of a whole generation step does, to the bit.
 */
export type AdapterPass = { dropout?: Rng; apart?: boolean };
/** `base` is the projection that is adapted. */
export type Adaptation = (x: tf.Tensor2D, base: (x: tf.Tensor2D, o?: { bias: boolean }) => tf.Tensor2D, pass: AdapterPass) => tf.Tensor2D;
/** What stands between a base and its layers: an adapter's low-rank updates, and the modules that it replaces whole. */
export type BackboneAdapter = {
  adapt(projection: Projection): Adaptation | undefined;
  replaced(name: string): Parameter | undefined;
  /** What `adapt` adds to a projection, `scale · (x · aᵀ) · bᵀ`; `scaled` where it does not leave it at that (DoRA). */
  factors(projection: Projection): { a: Parameter; b: Parameter; scale: number; scaled: boolean } | undefined;
  /** The first layer that is trained, or 0 where something below it is; nothing is walked back through the layers before. */
  readonly firstLayer: number;
  /** Randomness of one pass. */
  dropout(): Rng | undefined;
};

/** `recomputed`: so many layers from the first on keep their input alone for the backward pass, which runs them again. */
export type RunOptions = AdapterPass & { recomputed?: number };
export type Backbone = {
  /** [tokens] -> [tokens, width], before the final norm. The caller owns it. */
  run(tokens: Int32Array, positions: Int32Array, attend: Attend, options?: RunOptions): tf.Tensor2D;
  finalNorm(x: tf.Tensor2D): tf.Tensor2D;
  /** The language head, [vocabulary, width], and what it makes of hidden states, [n, width] -> [n, vocabulary]. */
  readonly head: Matrix;
  logits(hidden: tf.Tensor2D): tf.Tensor2D;
};

/** The layers of a decoder over its parameters. */
export function backboneOf(
  spec: DecoderSpec,
  parameters: ParameterTree,
  { products, adapter }: { products?: Products; adapter?: BackboneAdapter } = {},
): Backbone {
  const { heads, kvHeads, headDim, rmsNormEps: eps } = spec;
  const layout = layoutOf(spec);
  const matrix = (name: string): Matrix => adapter?.replaced(name) ?? parameters.get(name);
  const parameter = (name: string) => matrix(name) as Parameter;
  const gemma = spec.family === 'gemma2';

  const normOf = ({ weight, bias }: Norm): (<T extends tf.Tensor>(x: T) => T) => {
    const w = parameter(weight);
    if (bias) {
      const b = parameter(bias);
      return <T extends tf.Tensor>(x: T) => layerNorm({ x, weight: w.value, bias: b.value }, { eps }).y as T;
    }
    const scale = gemma ? () => tf.add(w.value, 1) : () => w.value; // Gemma multiplies by 1 + weight
    return <T extends tf.Tensor>(x: T) => rmsNorm({ x, weight: scale() }, { eps }).y as T;
  };
  /** Each part of the outputs, [tokens, part]. */
  const projectionOf = (projection: Projection): ((x: tf.Tensor2D, pass: AdapterPass) => tf.Tensor2D[]) => {
    const { weight, bias, outputs, transposed } = projection;
    const w = matrix(weight);
    const b = bias === undefined ? undefined : parameter(bias);
    const base = (x: tf.Tensor2D, { bias: biased } = { bias: true }): tf.Tensor2D => {
      const shift = biased ? (b?.value as tf.Tensor1D | undefined) : undefined;
      if (isFrozen(w) || !transposed) return multiply(x, w, { bias: shift, products });
      const y = tf.matMul(x, w.value as tf.Tensor2D) as tf.Tensor2D;
      return shift ? tf.add(y, shift) : y;
    };
    const adapted = adapter?.adapt(projection);
    return (x, pass) => {
      const y = adapted ? adapted(x, base, pass) : base(x);
      return outputs.length === 1 ? [y] : tf.split(y, [...outputs], 1);
    };
  };
  const all = (projections: Projection[]) => {
    const each = projections.map(projectionOf);
    return (x: tf.Tensor2D, pass: AdapterPass) => each.flatMap((project) => project(x, pass));
  };
  const layers = layout.layers.map((layer) => ({
    attentionNorm: normOf(layer.attentionNorm),
    qkv: all(layer.qkv),
    qNorm: layer.qNorm && normOf(layer.qNorm),
    kNorm: layer.kNorm && normOf(layer.kNorm),
    o: projectionOf(layer.o),
    afterAttention: layer.afterAttention && normOf(layer.afterAttention),
    mlpNorm: normOf(layer.mlpNorm),
    up: all(layer.up),
    down: projectionOf(layer.down),
    afterMlp: layer.afterMlp && normOf(layer.afterMlp),
  }));
  const embeddings = matrix(layout.embeddings);
  const learnedPositions = layout.positions === undefined ? undefined : matrix(layout.positions);
  const frequencies = inverseFrequencies(spec);

  const split = (x: tf.Tensor2D, count: number): tf.Tensor3D => tf.reshape(x, [-1, count, headDim]);
  const rotate = (x: tf.Tensor3D, positions: Int32Array): tf.Tensor3D =>
    learnedPositions ? x : rotary({ x }, { positions, inverseFrequencies: frequencies }).y;
  /** SwiGLU of gate and up; Gemma's gate is a GELU; GPT-2 has no gate. */
  const activate = ([gate, up]: tf.Tensor2D[]): tf.Tensor2D => {
    if (gemma) return tf.mul(geluTanh({ x: gate }, {}).y, up);
    return up ? swiGlu({ gate, up }, {}).y : (geluTanh({ x: gate }, {}).y as tf.Tensor2D);
  };

  /** `x + attention(norm(x))`, then `x + mlp(norm(x))`. */
  const block = (x: tf.Tensor2D, index: number, positions: Int32Array, attend: Attend, pass: AdapterPass): tf.Tensor2D =>
    tf.tidy(() => {
      const layer = layers[index];
      const [queries, keys, values] = layer.qkv(layer.attentionNorm(x), pass);
      const [q, k, v] = [split(queries, heads), split(keys, kvHeads), split(values, kvHeads)];
      const mixed = attend(rotate(layer.qNorm?.(q) ?? q, positions), rotate(layer.kNorm?.(k) ?? k, positions), v, index);
      const [attended] = layer.o(tf.reshape(mixed, [-1, heads * headDim]), pass);
      const middle: tf.Tensor2D = tf.add(x, layer.afterAttention?.(attended) ?? attended);
      const [mlp] = layer.down(activate(layer.up(layer.mlpNorm(middle), pass)), pass);
      return tf.add(middle, layer.afterMlp?.(mlp) ?? mlp) as tf.Tensor2D;
    });
  const embed = (tokens: Int32Array, positions: Int32Array): tf.Tensor2D => {
    const x = rowsOf(embeddings, tokens);
    if (gemma) return tf.mul(x, Math.sqrt(spec.width));
    return learnedPositions ? tf.add(x, rowsOf(learnedPositions, positions)) : x;
  };
  // A tied head that an adapter saves apart is no longer the embedding.
  const head = adapter?.replaced('lm_head.weight') ?? (layout.head === undefined ? parameters.get(layout.embeddings) : matrix(layout.head));

  return {
    run: (tokens, positions, attend, { recomputed = 0, ...pass } = {}) =>
      tf.tidy(() => {
        let x = embed(tokens, positions);
        for (let index = 0; index < layers.length; index++) {
          const apply = (input: tf.Tensor) => block(input as tf.Tensor2D, index, positions, attend, pass);
          const next = index < recomputed ? checkpoint(apply, x) : apply(x);
          x.dispose(); // spent: where it is needed for the backward pass, the tape has its own reference
          x = next;
        }
        return x;
      }),
    finalNorm: normOf(layout.finalNorm),
    head,
    logits: (hidden) => multiply(hidden, head, { products }),
  };
}
