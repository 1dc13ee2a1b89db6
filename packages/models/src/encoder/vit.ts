import { ConfigError, createParameters, gatherRows, type Parameter, type ParameterTree, type Rng, ShapeError } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import type { DecoderWeights } from '../decoder/decoder.js';
import { fittedWeights } from '../decoder/fit.js';
import type { Norm, Projection } from '../decoder/layout.js';
import { configReader } from '../decoder/spec.js';
import { appliers, type EncoderLayer, encoderWeights, type StackSpec, shapeCollector, stackOf } from './stack.js';

/** A vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929), as transformers has it; without dropout. */
export type VitSpec = Omit<StackSpec, 'normFirst'> & {
  /** Height and width of the images, a multiple of `patchSize`. */
  imageSize: number;
  patchSize: number;
  channels: number;
  /** Biases on queries, keys and values. */
  qkvBias: boolean;
  /** Classes; 0 for a backbone alone. */
  labels: number;
  pooler: boolean;
  initializerRange: number;
};

/** A vision transformer in this process, trainable. What a function returns is the caller's. */
export interface LocalVit {
  readonly name: string;
  readonly spec: VitSpec;
  readonly parameters: ParameterTree;
  /** `images` [images, channels, height, width], as the processor scales them, to [images, 1 + patches, width] after the final norm; the class token comes first. */
  features(images: tf.Tensor4D): tf.Tensor3D;
  /** Class logits, [images, labels]. */
  logits(images: tf.Tensor4D): tf.Tensor2D;
  /** tanh of a projection of the class token, [images, width]. */
  pooled(images: tf.Tensor4D): tf.Tensor2D;
  snapshot(): LocalVit;
  dispose(): void;
}

export type VitSource = { name?: string; gradientCheckpointing?: boolean } & (
  | { rng: Rng }
  | { weights: DecoderWeights }
  | { parameters: ParameterTree }
);

/** Fills in ViT's usual settings. */
export function vitSpec(shape: Pick<VitSpec, 'width' | 'layers' | 'heads' | 'imageSize' | 'patchSize'> & Partial<VitSpec>): VitSpec {
  return checked(
    {
      mlpWidth: 4 * shape.width,
      layerNormEps: 1e-12,
      activation: 'gelu',
      channels: 3,
      qkvBias: true,
      labels: 0,
      pooler: false,
      initializerRange: 0.02,
      ...shape,
    },
    'vit',
  );
}

/** Reads the `config.json` of a ViT; `has` says which tensors the weights hold. @throws ConfigError naming the field and what it may hold */
export function vitSpecFromConfig(config: Record<string, unknown>, has: (tensor: string) => boolean, name = 'config.json'): VitSpec {
  if (config.model_type !== 'vit') throw new ConfigError(`${name}: model_type is ${JSON.stringify(config.model_type)}; supported is "vit"`);
  const { number, oneOf, activation } = configReader(config, name);
  oneOf('pooler_act', ['tanh'], 'tanh');
  const labels = typeof config.id2label === 'object' && config.id2label ? Object.keys(config.id2label).length : 2;
  return checked(
    {
      width: number('hidden_size'),
      layers: number('num_hidden_layers'),
      heads: number('num_attention_heads'),
      mlpWidth: number('intermediate_size'),
      layerNormEps: number('layer_norm_eps', 1e-12),
      activation: activation('hidden_act'),
      imageSize: number('image_size', 224),
      patchSize: number('patch_size', 16),
      channels: number('num_channels', 3),
      qkvBias: config.qkv_bias !== false,
      labels: has('classifier.weight') ? labels : 0,
      pooler: has('pooler.dense.weight'),
      initializerRange: number('initializer_range', 0.02),
    },
    name,
  );
}

/** The `config.json` of a spec. */
export function vitConfig(spec: VitSpec): Record<string, unknown> {
  const labels = Array.from({ length: spec.labels }, (_, i) => `LABEL_${i}`);
  return {
    architectures: [spec.labels > 0 ? 'ViTForImageClassification' : 'ViTModel'],
    model_type: 'vit',
    hidden_size: spec.width,
    num_hidden_layers: spec.layers,
    num_attention_heads: spec.heads,
    intermediate_size: spec.mlpWidth,
    layer_norm_eps: spec.layerNormEps,
    hidden_act: spec.activation,
    image_size: spec.imageSize,
    patch_size: spec.patchSize,
    num_channels: spec.channels,
    qkv_bias: spec.qkvBias,
    initializer_range: spec.initializerRange,
    ...(labels.length > 0 && {
      id2label: Object.fromEntries(labels.map((label, i) => [i, label])),
      label2id: Object.fromEntries(labels.map((label, i) => [label, i])),
    }),
    torch_dtype: 'float32',
  };
}

/** A vision transformer with new weights drawn from `rng`, or with given ones. @throws ConfigError listing weights that do not fit */
export function createVit(spec: VitSpec, source: VitSource): LocalVit {
  const { name = 'vit' } = source;
  const shapes = vitShapes(spec);
  const parameters =
    'parameters' in source
      ? source.parameters
      : createParameters(
          'rng' in source
            ? encoderWeights(shapes, spec.initializerRange, source.rng)
            : fittedWeights(shapes, source.weights, name, 'a ViT of this configuration'),
        );
  return vitOf(spec, parameters, source);
}

function vitOf(spec: VitSpec, parameters: ParameterTree, source: Omit<VitSource, 'rng'>): LocalVit {
  const { name = 'vit', gradientCheckpointing: checkpointLayers = false } = source;
  const { width, patchSize, channels, imageSize } = spec;
  const layout = vitLayout(spec);
  const { norm, project } = appliers(parameters, spec.layerNormEps);
  const stack = stackOf({ ...spec, normFirst: true }, layout.layers, parameters);
  const [classToken, positions] = [parameters.get(layout.classToken) as Parameter, parameters.get(layout.positions) as Parameter];
  const embed = project(layout.patches);
  const finalNorm = norm(layout.finalNorm);
  const classifier = layout.classifier && project(layout.classifier);
  const pooler = layout.pooler && project(layout.pooler);
  const side = imageSize / patchSize;
  const tokens = side * side + 1;

  const run = (images: tf.Tensor4D): tf.Tensor2D => {
    const [count, ...size] = images.shape;
    if (size.join() !== `${channels},${imageSize},${imageSize}` || count < 1)
      throw new ShapeError(`${name}: images are [${images.shape}]; they must be [images, ${channels}, ${imageSize}, ${imageSize}]`);
    const cuSeqlens = Int32Array.from({ length: count + 1 }, (_, i) => i * tokens);
    return tf.tidy(() => {
      // A convolution whose steps are as long as its kernel is a product over patches.
      const split = tf.reshape(images, [count, channels, side, patchSize, side, patchSize]);
      const patches: tf.Tensor2D = tf.reshape(tf.transpose(split, [0, 2, 4, 1, 3, 5]), [
        count * side * side,
        channels * patchSize * patchSize,
      ]);
      const embedded = tf.reshape(embed(patches), [count, side * side, width]);
      const first = tf.tile(tf.reshape(classToken.value, [1, 1, width]), [count, 1, 1]);
      const x = tf.add(tf.concat([first, embedded], 1), positions.value);
      return finalNorm(stack(tf.reshape(x, [count * tokens, width]), cuSeqlens, { checkpointLayers }));
    });
  };
  const classTokens = (hidden: tf.Tensor2D): tf.Tensor2D =>
    gatherRows({ x: hidden }, { rows: Int32Array.from({ length: hidden.shape[0] / tokens }, (_, i) => i * tokens) }).y;

  return {
    name,
    spec,
    parameters,
    features: (images) => tf.tidy(() => tf.reshape(run(images), [images.shape[0], tokens, width])),
    logits(images) {
      if (!classifier) throw new ConfigError(`${name} has no classifier`);
      return tf.tidy(() => classifier(classTokens(run(images))));
    },
    pooled(images) {
      if (!pooler) throw new ConfigError(`${name} has no pooler`);
      return tf.tidy(() => tf.tanh(pooler(classTokens(run(images)))));
    },
    snapshot: () => vitOf(spec, parameters.snapshot(), { ...source, name } as Omit<VitSource, 'rng'>),
    dispose: () => parameters.dispose(),
  };
}

type VitLayout = {
  classToken: string;
  positions: string;
  patches: Projection;
  layers: EncoderLayer[];
  finalNorm: Norm;
  classifier?: Projection;
  pooler?: Projection;
};

function vitLayout({ width, mlpWidth, channels, patchSize, layers, labels, pooler, qkvBias }: VitSpec): VitLayout {
  const projection = (name: string, inputs = width, out = width, biased = true): Projection => ({
    weight: `${name}.weight`,
    ...(biased && { bias: `${name}.bias` }),
    inputs,
    outputs: [out],
  });
  const norm = (name: string): Norm => ({ weight: `${name}.weight`, bias: `${name}.bias`, width });
  return {
    classToken: 'vit.embeddings.cls_token',
    positions: 'vit.embeddings.position_embeddings',
    patches: projection('vit.embeddings.patch_embeddings.projection', channels * patchSize * patchSize),
    layers: Array.from({ length: layers }, (_, i) => {
      const at = `vit.encoder.layer.${i}`;
      return {
        q: projection(`${at}.attention.attention.query`, width, width, qkvBias),
        k: projection(`${at}.attention.attention.key`, width, width, qkvBias),
        v: projection(`${at}.attention.attention.value`, width, width, qkvBias),
        o: projection(`${at}.attention.output.dense`),
        attentionNorm: norm(`${at}.layernorm_before`),
        up: projection(`${at}.intermediate.dense`, width, mlpWidth),
        down: projection(`${at}.output.dense`, mlpWidth, width),
        mlpNorm: norm(`${at}.layernorm_after`),
      };
    }),
    finalNorm: norm('vit.layernorm'),
    ...(labels > 0 && { classifier: projection('classifier', width, labels) }),
    ...(pooler && { pooler: projection('vit.pooler.dense') }),
  };
}

/** Name and shape of every parameter; the patches' matrix has the shape of the convolution that it is in the files. */
export function vitShapes(spec: VitSpec): Record<string, readonly number[]> {
  const { width, channels, patchSize, imageSize } = spec;
  const layout = vitLayout(spec);
  const { shapes, norm, projection, layer } = shapeCollector();
  shapes[layout.classToken] = [1, 1, width];
  shapes[layout.positions] = [1, (imageSize / patchSize) ** 2 + 1, width];
  shapes[layout.patches.weight] = [width, channels, patchSize, patchSize];
  shapes[layout.patches.bias!] = [width];
  layout.layers.forEach(layer);
  norm(layout.finalNorm);
  if (layout.classifier) projection(layout.classifier);
  if (layout.pooler) projection(layout.pooler);
  return shapes;
}

function checked(spec: VitSpec, name: string): VitSpec {
  for (const key of ['width', 'layers', 'heads', 'mlpWidth', 'imageSize', 'patchSize', 'channels'] as const) {
    if (!Number.isInteger(spec[key]) || spec[key] < 1)
      throw new ConfigError(`${name}: ${key} must be a whole number above 0, got ${spec[key]}`);
  }
  if (spec.layers > 10_000) throw new ConfigError(`${name}: layers is ${spec.layers}; at most 10,000 are allowed`);
  if (spec.width % spec.heads !== 0) throw new ConfigError(`${name}: width (${spec.width}) must be a multiple of heads (${spec.heads})`);
  if (spec.imageSize % spec.patchSize !== 0)
    throw new ConfigError(`${name}: imageSize (${spec.imageSize}) must be a multiple of patchSize (${spec.patchSize})`);
  return spec;
}
