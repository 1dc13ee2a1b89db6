import {
  attention,
  ConfigError,
  createParameters,
  gatherRows,
  linear,
  type ParameterTree,
  type Rng,
  ShapeError,
  segmentSum,
  tokenLogps,
} from '@plumbline/core';
import type { CompletionLogps, Decoder, KvCache, PackedBatch, Tokenizer } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { type Attend, backboneOf } from './backbone.js';
import { createKvCache } from './cache.js';
import { parameterShapes } from './layout.js';
import type { DecoderSpec } from './spec.js';

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
 * A decoder with new weights drawn from `rng`, or with given ones.
 *
 * Pre-norm blocks; in the Llama family of rotary grouped-query attention and SwiGLU (Touvron et al. 2023, arXiv:2302.13971; Ainslie et
 * al. 2023, arXiv:2305.13245). Parameters have Hugging Face's names. New weights are N(0, 0.02), those that write into the residual stream
 * divided by sqrt(2 · layers) (GPT-2), norms the identity, biases 0.
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
  const { run, finalNorm, head } = backboneOf(spec, parameters);
  const scale = spec.attentionScale ?? 1 / Math.sqrt(spec.headDim);
  const { attentionSoftcap, logitSoftcap } = spec;
  const packed =
    ({ cuSeqlens, prefixOf }: PackedBatch): Attend =>
    (q, k, v, layer) =>
      attention(
        { q, k, v },
        { cuSeqlens, causal: true, scale, window: spec.windows?.[layer] || undefined, softcap: attentionSoftcap, prefixOf },
      ).y;

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
      return tf.tidy(() => finalNorm(run(batch.tokens, batch.positions, packed(batch), { checkpointLayers })));
    },
    completionLogps(batch, { temperature, entropy, squaredSum } = {}) {
      checkBatch(batch, spec, name);
      const { rows, targets, cuSeqlens } = predictingRows(batch);
      return tf.tidy(() => {
        const lengths = tf.tensor1d(Float32Array.from({ length: cuSeqlens.length - 1 }, (_, s) => cuSeqlens[s + 1] - cuSeqlens[s]));
        if (rows.length === 0) return { tokens: tf.tensor1d([]), sums: tf.zerosLike(lengths), lengths };
        const last = run(batch.tokens, batch.positions, packed(batch), { checkpointLayers });
        const hidden = finalNorm(gatherRows({ x: last }, { rows }).y);
        const out = tokenLogps(
          { hidden, weight: head.value as tf.Tensor2D },
          { targets, temperature, softcap: logitSoftcap, entropy, squaredSum },
        );
        return {
          tokens: out.logps,
          sums: segmentSum({ x: out.logps }, { cuSeqlens }).y,
          lengths,
          ...(entropy && { entropy: out.entropy }),
          ...(squaredSum && { squaredSum: tf.log(out.squaredSum!) as tf.Tensor1D }),
        } as CompletionLogps;
      });
    },
    logits: (hidden) =>
      tf.tidy(() => {
        const logits = linear({ x: hidden, weight: head.value as tf.Tensor2D }, {}).y;
        return logitSoftcap === undefined ? logits : tf.mul(tf.tanh(tf.div(logits, logitSoftcap)), logitSoftcap);
      }),
    cache: ({ rows, maxTokens }) =>
      createKvCache({
        layers: spec.layers,
        rows,
        maxTokens,
        heads: spec.heads,
        kvHeads: spec.kvHeads,
        headDim: spec.headDim,
        scale,
        softcap: attentionSoftcap,
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
        return finalNorm(gatherRows({ x }, { rows: batch.cuSeqlens.slice(1).map((end) => end - 1) }).y);
      });
    },
    decode(tokens, positions, rows, cache) {
      return tf.tidy(() => {
        const x = run(tokens, positions, (q, k, v, layer) => {
          cache.append(layer, rows, k, v);
          return cache.attend(layer, rows, q);
        });
        return finalNorm(x);
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
      if (shape.length === 1)
        return [name, { shape, data: new Float32Array(size).fill(name.endsWith('bias') || spec.family === 'gemma2' ? 0 : 1) }];
      const residual = /(o_proj|down_proj|c_proj)\.weight$/.test(name);
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
  // Tied models often repeat the embedding as their head, and old files carry rotary tables and masks.
  const spare = (key: string) =>
    /rotary_emb\.inv_freq$|\.attn\.(masked_)?bias$/.test(key) || (spec.tiedEmbeddings && key === 'lm_head.weight');
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
