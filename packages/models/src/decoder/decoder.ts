import {
  attention,
  ConfigError,
  checkpoint,
  createParameters,
  embedding,
  gatherRows,
  linear,
  type Parameter,
  type ParameterTree,
  type Rng,
  rmsNorm,
  rotary,
  ShapeError,
  segmentSum,
  swiGlu,
  tokenLogps,
} from '@plumbline/core';
import type { CompletionLogps, Decoder, KvCache, PackedBatch, Tokenizer } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { createKvCache } from './cache.js';
import { type DecoderSpec, inverseFrequencies, parameterShapes } from './spec.js';

/** A decoder in this process: trainable, and able to generate. */
export interface LocalDecoder extends Decoder {
  readonly spec: DecoderSpec;
  /** A deep copy that shares nothing with this one but the tokenizer: a reference, or a policy to train. */
  snapshot(): LocalDecoder;
  /** Logits of final hidden states, [n, vocabulary]; for the few rows of a generation step, never for a training batch. */
  logits(hidden: tf.Tensor2D): tf.Tensor2D;
  cache(size: { rows: number; maxTokens: number }): KvCache;
  /** Runs whole sequences, fills cache row `rows[s]` with segment s, and answers the final hidden state of each one's last token, [segments, width]. */
  prefill(batch: PackedBatch, rows: Int32Array, cache: KvCache): tf.Tensor2D;
  /** One token for each cache row, [rows] -> [rows, width]; row r's token stands at `positions[r]`. */
  decode(tokens: Int32Array, positions: Int32Array, rows: Int32Array, cache: KvCache): tf.Tensor2D;
  dispose(): void;
}

export type DecoderWeights = Record<string, { shape: readonly number[]; data: Float32Array }>;
export type DecoderSource = {
  tokenizer: Tokenizer;
  name?: string;
  /** Recompute each layer in the backward pass: a layer's activations instead of all, for about a third more time. */
  checkpointLayers?: boolean;
} & ({ rng: Rng } | { weights: DecoderWeights } | { parameters: ParameterTree });

/**
 * A decoder of the Llama family, with new weights drawn from `rng`, or with given ones.
 *
 * Pre-norm blocks of rotary grouped-query attention and SwiGLU (Touvron et al. 2023, arXiv:2302.13971; Ainslie et al. 2023,
 * arXiv:2305.13245). Parameters have Hugging Face's names. New weights are N(0, 0.02), those that write into the residual stream
 * divided by sqrt(2 · layers) (GPT-2), norms 1, biases 0.
 *
 * @throws ConfigError where weights are missing, unknown or misshapen (all are listed), or the tokenizer has more tokens than the model
 */
export function createDecoder(spec: DecoderSpec, source: DecoderSource): LocalDecoder {
  const { tokenizer, name = spec.family } = source;
  if (tokenizer.vocabSize > spec.vocabSize) {
    throw new ConfigError(
      `${name}: the tokenizer has ${tokenizer.vocabSize} tokens and the model's vocabulary ${spec.vocabSize}; do they belong to each other?`,
    );
  }
  const parameters =
    'parameters' in source
      ? source.parameters
      : createParameters('rng' in source ? newWeights(spec, source.rng) : fitted(spec, source.weights, name));
  return decoderOf(spec, parameters, source);
}

function decoderOf(
  spec: DecoderSpec,
  parameters: ParameterTree,
  { tokenizer, name = spec.family, checkpointLayers = false }: Omit<DecoderSource, 'rng'>,
): LocalDecoder {
  const weight = (name: string) => parameters.get(name) as Parameter;
  const bias = (has: boolean | undefined, name: string) => (has ? weight(name) : undefined);
  const layers = Array.from({ length: spec.layers }, (_, layer) => {
    const at = `model.layers.${layer}`;
    const projection = (module: string, biased: boolean | undefined) => ({
      weight: weight(`${at}.${module}.weight`),
      bias: bias(biased, `${at}.${module}.bias`),
    });
    return {
      inputNorm: weight(`${at}.input_layernorm.weight`),
      q: projection('self_attn.q_proj', !!spec.attentionBias),
      k: projection('self_attn.k_proj', !!spec.attentionBias),
      v: projection('self_attn.v_proj', !!spec.attentionBias),
      o: projection('self_attn.o_proj', spec.attentionBias === 'all'),
      qNorm: bias(spec.qkNorm, `${at}.self_attn.q_norm.weight`),
      kNorm: bias(spec.qkNorm, `${at}.self_attn.k_norm.weight`),
      mlpNorm: weight(`${at}.post_attention_layernorm.weight`),
      gate: projection('mlp.gate_proj', spec.mlpBias),
      up: projection('mlp.up_proj', spec.mlpBias),
      down: projection('mlp.down_proj', spec.mlpBias),
      window: spec.windows?.[layer] || undefined,
    };
  });
  type Layer = (typeof layers)[number];
  const embeddings = weight('model.embed_tokens.weight');
  const finalNorm = weight('model.norm.weight');
  const head = spec.tiedEmbeddings ? embeddings : weight('lm_head.weight');
  const frequencies = inverseFrequencies(spec);
  const scale = 1 / Math.sqrt(spec.headDim);
  const eps = spec.rmsNormEps;

  const norm = <T extends tf.Tensor>(x: T, weight: Parameter): T => rmsNorm({ x, weight: weight.value as tf.Tensor1D }, { eps }).y as T;
  const project = (x: tf.Tensor2D, p: Layer['q']): tf.Tensor2D =>
    linear({ x, weight: p.weight.value as tf.Tensor2D, ...(p.bias && { bias: p.bias.value as tf.Tensor1D }) }, {}).y;
  const split = (x: tf.Tensor2D, heads: number): tf.Tensor3D => tf.reshape(x, [-1, heads, spec.headDim]);
  const rotate = (x: tf.Tensor3D, positions: Int32Array, headNorm?: Parameter): tf.Tensor3D =>
    rotary({ x: headNorm ? norm(x, headNorm) : x }, { positions, inverseFrequencies: frequencies }).y;

  /** [tokens, width] -> [tokens, width]; `attend` is what tells training from generation. */
  type Attend = (q: tf.Tensor3D, k: tf.Tensor3D, v: tf.Tensor3D, layer: number) => tf.Tensor3D;
  const block = (x: tf.Tensor2D, index: number, positions: Int32Array, attend: Attend): tf.Tensor2D =>
    tf.tidy(() => {
      const layer = layers[index];
      const h = norm(x, layer.inputNorm);
      const q = rotate(split(project(h, layer.q), spec.heads), positions, layer.qNorm);
      const k = rotate(split(project(h, layer.k), spec.kvHeads), positions, layer.kNorm);
      const v = split(project(h, layer.v), spec.kvHeads);
      const mixed = tf.reshape(attend(q, k, v, index), [-1, spec.heads * spec.headDim]) as tf.Tensor2D;
      const middle: tf.Tensor2D = tf.add(x, project(mixed, layer.o));
      const g = norm(middle, layer.mlpNorm);
      const inner = swiGlu({ gate: project(g, layer.gate), up: project(g, layer.up) }, {}).y;
      return tf.add(middle, project(inner, layer.down)) as tf.Tensor2D;
    });
  const run = (tokens: Int32Array, positions: Int32Array, attend: Attend, recompute = false): tf.Tensor2D =>
    tf.tidy(() => {
      let x: tf.Tensor2D = embedding({ weight: embeddings.value as tf.Tensor2D }, { ids: tokens }).y;
      for (let index = 0; index < spec.layers; index++) {
        const next = recompute
          ? checkpoint((x) => block(x as tf.Tensor2D, index, positions, attend), x)
          : block(x, index, positions, attend);
        x.dispose(); // spent: where it is needed for the backward pass, the tape has its own reference
        x = next;
      }
      return x;
    });
  const packed =
    (batch: PackedBatch): Attend =>
    (q, k, v, layer) =>
      attention({ q, k, v }, { cuSeqlens: batch.cuSeqlens, causal: true, scale, window: layers[layer].window, prefixOf: batch.prefixOf }).y;

  const decoder: LocalDecoder = {
    name,
    spec,
    parameters,
    tokenizer,
    contextLength: spec.contextLength,
    width: spec.width,
    snapshot: () => decoderOf(spec, parameters.snapshot(), { tokenizer, name, checkpointLayers } as Omit<DecoderSource, 'rng'>),
    hidden(batch) {
      checkBatch(batch, spec, name);
      return tf.tidy(() => norm(run(batch.tokens, batch.positions, packed(batch), checkpointLayers), finalNorm));
    },
    completionLogps(batch, { temperature, entropy, squaredSum } = {}) {
      checkBatch(batch, spec, name);
      const { rows, targets, cuSeqlens } = predictingRows(batch);
      return tf.tidy(() => {
        const lengths = tf.tensor1d(Float32Array.from({ length: cuSeqlens.length - 1 }, (_, s) => cuSeqlens[s + 1] - cuSeqlens[s]));
        if (rows.length === 0) return { tokens: tf.tensor1d([]), sums: tf.zerosLike(lengths), lengths };
        const last = run(batch.tokens, batch.positions, packed(batch), checkpointLayers);
        const hidden = norm(gatherRows({ x: last }, { rows }).y, finalNorm);
        const out = tokenLogps({ hidden, weight: head.value as tf.Tensor2D }, { targets, temperature, entropy, squaredSum });
        return {
          tokens: out.logps,
          sums: segmentSum({ x: out.logps }, { cuSeqlens }).y,
          lengths,
          ...(entropy && { entropy: out.entropy }),
          ...(squaredSum && { squaredSum: tf.log(out.squaredSum!) as tf.Tensor1D }),
        } as CompletionLogps;
      });
    },
    logits: (hidden) => linear({ x: hidden, weight: head.value as tf.Tensor2D }, {}).y,
    cache: ({ rows, maxTokens }) =>
      createKvCache({
        layers: spec.layers,
        rows,
        maxTokens,
        heads: spec.heads,
        kvHeads: spec.kvHeads,
        headDim: spec.headDim,
        scale,
        windows: spec.windows,
      }),
    prefill(batch, rows, cache) {
      checkBatch(batch, spec, name);
      if (batch.prefixOf) throw new ShapeError(`${name}: prefill takes whole sequences, not segments that share a prefix`);
      const rowOfToken = new Int32Array(batch.tokens.length);
      for (const [s, row] of rows.entries()) rowOfToken.fill(row, batch.cuSeqlens[s], batch.cuSeqlens[s + 1]);
      const attend = packed(batch);
      return tf.tidy(() => {
        const x = run(batch.tokens, batch.positions, (q, k, v, layer) => {
          cache.append(layer, rowOfToken, k, v);
          return attend(q, k, v, layer);
        });
        return norm(gatherRows({ x }, { rows: batch.cuSeqlens.slice(1).map((end) => end - 1) }).y, finalNorm);
      });
    },
    decode(tokens, positions, rows, cache) {
      return tf.tidy(() => {
        const x = run(tokens, positions, (q, k, v, layer) => {
          cache.append(layer, rows, k, v);
          return cache.attend(layer, rows, q);
        });
        return norm(x, finalNorm);
      });
    },
    dispose: () => parameters.dispose(),
  };
  return decoder;
}

/**
 * The rows whose next token counts, that token, and cumulative counts per segment. A segment's first token is predicted by the last one of
 * its prefix, or by none.
 */
export function predictingRows({ tokens, completionMask, cuSeqlens, prefixOf }: PackedBatch): {
  rows: Int32Array;
  targets: Int32Array;
  cuSeqlens: Int32Array;
} {
  const rows = new Int32Array(tokens.length);
  const targets = new Int32Array(tokens.length);
  const counts = new Int32Array(cuSeqlens.length);
  let n = 0;
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    const prefix = prefixOf?.[s] ?? -1;
    for (let t = cuSeqlens[s]; t < cuSeqlens[s + 1]; t++) {
      const row = t > cuSeqlens[s] ? t - 1 : prefix >= 0 ? cuSeqlens[prefix + 1] - 1 : -1;
      if (!completionMask[t] || row < 0) continue;
      rows[n] = row;
      targets[n++] = tokens[t];
    }
    counts[s + 1] = n;
  }
  return { rows: rows.slice(0, n), targets: targets.slice(0, n), cuSeqlens: counts };
}

function checkBatch({ tokens, positions, cuSeqlens, completionMask }: PackedBatch, spec: DecoderSpec, name: string): void {
  const n = tokens.length;
  const segments = cuSeqlens.length - 1;
  if (n === 0 || segments < 1) throw new ShapeError(`${name}: an empty batch (${n} tokens in ${Math.max(0, segments)} segments)`);
  if (positions.length !== n || completionMask.length !== n || cuSeqlens[0] !== 0 || cuSeqlens[segments] !== n) {
    throw new ShapeError(
      `${name}: a packed batch of ${n} tokens needs ${n} positions and mask entries and lengths from 0 to ${n}; it has ${positions.length} positions, ` +
        `${completionMask.length} mask entries and lengths from ${cuSeqlens[0]} to ${cuSeqlens[segments]}`,
    );
  }
  for (let t = 0; t < n; t++) {
    if (!(tokens[t] >= 0 && tokens[t] < spec.vocabSize))
      throw new ShapeError(`${name}: token ${t} is ${tokens[t]}; ids go from 0 to ${spec.vocabSize - 1}`);
    if (!(positions[t] >= 0 && positions[t] < spec.contextLength)) {
      throw new ShapeError(
        `${name}: token ${t} stands at position ${positions[t]}, but the context holds ${spec.contextLength} tokens; shorten the sequence`,
      );
    }
  }
}

function newWeights(spec: DecoderSpec, rng: Rng): DecoderWeights {
  const deviation = spec.initializerRange ?? 0.02;
  return Object.fromEntries(
    Object.entries(parameterShapes(spec)).map(([name, shape]) => {
      const size = shape.reduce((a, b) => a * b, 1);
      if (shape.length === 1) return [name, { shape, data: new Float32Array(size).fill(name.endsWith('bias') ? 0 : 1) }];
      const residual = /(o_proj|down_proj)\.weight$/.test(name);
      const scale = residual ? deviation / Math.sqrt(2 * spec.layers) : deviation;
      return [
        name,
        {
          shape,
          data: rng
            .fork('weights', name)
            .normal(size)
            .map((z) => z * scale),
        },
      ];
    }),
  );
}

function fitted(spec: DecoderSpec, weights: DecoderWeights, name: string): DecoderWeights {
  const shapes = parameterShapes(spec);
  const problems: string[] = [];
  for (const [key, shape] of Object.entries(shapes)) {
    const found = weights[key];
    if (!found) problems.push(`"${key}" [${shape}] is missing`);
    else if (found.shape.join() !== shape.join()) problems.push(`"${key}" is [${found.shape}], not [${shape}]`);
  }
  // Tied models often repeat the embedding as their head, and old files carry rotary tables.
  const spare = (key: string) => key.endsWith('rotary_emb.inv_freq') || (spec.tiedEmbeddings && key === 'lm_head.weight');
  for (const key of Object.keys(weights))
    if (!(key in shapes) && !spare(key))
      problems.push(`"${key}" [${weights[key].shape}] is not part of a ${spec.family} of this configuration`);
  if (problems.length > 0) {
    throw new ConfigError(
      `${name}: the weights do not fit the configuration: ${problems.slice(0, 6).join('; ')}${problems.length > 6 ? `; and ${problems.length - 6} more` : ''}`,
    );
  }
  return Object.fromEntries(Object.keys(shapes).map((key) => [key, weights[key]]));
}
