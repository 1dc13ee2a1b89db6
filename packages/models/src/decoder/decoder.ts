import {
  attention,
  ConfigError,
  createParameters,
  gatherRows,
  type ParameterTree,
  type Products,
  type Rng,
  readCopy,
  ShapeError,
  segmentSum,
  tokenLogps,
} from '@plumbline/core';
import type { CompletionLogps, Decoder, KvCache, PackedBatch, Tokenizer } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { type Attend, type BackboneAdapter, backboneOf } from './backbone.js';
import { createKvCache } from './cache.js';
import { fittedWeights } from './fit.js';
import { frozenParameters, type Storage } from './frozen.js';
import { layoutOf, parameterShapes } from './layout.js';
import { asHead } from './matrix.js';
import type { DecoderSpec } from './spec.js';
import { fusedStep } from './step.js';

/** A decoder in this process: trainable, and able to generate. */
export interface LocalDecoder extends Decoder {
  readonly spec: DecoderSpec;
  readonly gradientCheckpointing?: boolean;
  readonly activationBytes: number;
  /** What products are computed in; float32 unless it was asked otherwise. */
  readonly products?: Products;
  /** A deep copy that shares nothing with this one but the tokenizer: a reference, or a policy to train. */
  snapshot(): LocalDecoder;
  /** Logits of final hidden states, [n, vocabulary]; for the few rows of a generation step, never for a training batch. */
  logits(hidden: tf.Tensor2D): tf.Tensor2D;
  cache(size: { rows: number; maxTokens: number; blockTokens?: number; blocks?: number }): KvCache;
  /**
   * Runs the next tokens of cache rows and answers the logits after those that `wanted` names, [wanted, vocabulary]; the array is good until the
   * next call. Tokens of one row, if there are several, stand in their order.
   */
  next(step: NextTokens, cache: KvCache): Promise<Float32Array>;
  dispose(): void;
}

/** Token i is `tokens[i]`, at `positions[i]` of the sequence in cache row `rows[i]`; `wanted` are indices of tokens. */
export type NextTokens = { tokens: Int32Array; positions: Int32Array; rows: Int32Array; wanted: Int32Array };

/** `fresh` where each reading of `data` is another array, which nobody else holds. */
export type DecoderWeights = Record<string, { shape: readonly number[]; data: Float32Array; fresh?: boolean }>;
/** A weight whose numbers are made each time that they are read. */
export const whenRead = (shape: readonly number[], read: () => Float32Array, fresh = false): DecoderWeights[string] => ({
  shape,
  fresh,
  get data() {
    return read();
  },
});
export type DecoderSource = {
  tokenizer: Tokenizer;
  name?: string;
  /**
   * Recompute each layer in the backward pass: a layer's activations instead of all, for about a third more time; false never does. Unless given, a pass
   * recomputes as many layers as it takes for the others to keep no more than 2 bytes a parameter (256 MB at least). The numbers are the same to the bit.
   */
  gradientCheckpointing?: boolean;
  /** Rounds both factors of each product on its way in; sums, norms and softmax stay float32. */
  products?: Products;
  /** Keeps matrices packed and frozen, rounded as said: for generation, references, and bases of adapters. Left out, all weights can be trained. */
  storage?: Storage;
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
  if ('parameters' in source) return decoderOf(spec, source.parameters, source);
  const weights = 'rng' in source ? newWeights(spec, source.rng, source.storage !== undefined) : fitted(spec, source.weights, name);
  const { storage } = source;
  const parameters = storage ? frozenParameters(weights, storage, transposedIn(spec)) : createParameters(weights);
  return decoderOf(spec, parameters, source);
}

/** Which matrices a family stores as [in, out]. */
function transposedIn(spec: DecoderSpec): (name: string) => boolean {
  const projections = layoutOf(spec).layers.flatMap(({ qkv, o, up, down }) => [...qkv, o, ...up, down]);
  const names = new Set(projections.filter(({ transposed }) => transposed).map(({ weight }) => weight));
  return (name) => names.has(name);
}

export type DecoderSettings = Pick<DecoderSource, 'tokenizer' | 'name' | 'gradientCheckpointing' | 'products'>;

/** A decoder over parameters that are there, with an adapter between them and the layers if one is given. */
export function decoderOf(
  spec: DecoderSpec,
  parameters: ParameterTree,
  { tokenizer, name = spec.family, gradientCheckpointing, products }: DecoderSettings,
  adapter?: BackboneAdapter,
): LocalDecoder {
  const { run, finalNorm, head, logits } = backboneOf(spec, parameters, { products, adapter });
  const walked = spec.layers - Math.min(adapter?.firstLayer ?? 0, spec.layers - 1);
  const activations = bytesOfActivations(spec);
  const activationBytes = gradientCheckpointing ? activations.layer + activations.input * walked : activations.layer * walked;
  const passes = ({ tokens: { length } }: PackedBatch) => ({
    recomputed: gradientCheckpointing ? spec.layers : gradientCheckpointing === false ? 0 : layersToRecompute(length),
    dropout: adapter?.dropout(),
  });
  /** From the first layer on: those that nothing is walked back through leave nothing in either case. */
  const layersToRecompute = (tokens: number): number => {
    const most = Math.max(leastBudget, 2 * parameterTotal(spec)) / tokens; // bytes a token
    if (activations.layer * walked <= most) return 0;
    const full = Math.floor((most - activations.layer - activations.input * walked) / (activations.layer - activations.input));
    return spec.layers - Math.max(0, full);
  };
  const scale = spec.attentionScale ?? 1 / Math.sqrt(spec.headDim);
  const { attentionSoftcap, logitSoftcap } = spec;
  const packed =
    ({ cuSeqlens, prefixOf }: PackedBatch): Attend =>
    (q, k, v, layer) =>
      attention(
        { q, k, v },
        { cuSeqlens, causal: true, scale, window: spec.windows?.[layer] || undefined, softcap: attentionSoftcap, prefixOf },
      ).y;

  let fused: ReturnType<typeof fusedStep> | undefined;
  const decoder: LocalDecoder = {
    name,
    spec,
    parameters,
    tokenizer,
    contextLength: spec.contextLength,
    width: spec.width,
    activationBytes,
    ...(gradientCheckpointing !== undefined && { gradientCheckpointing }),
    ...(products && { products }),
    snapshot: () => decoderOf(spec, parameters.snapshot(), { tokenizer, name, gradientCheckpointing, products }),
    hidden(batch) {
      checkBatch(batch, spec, name);
      return tf.tidy(() => finalNorm(run(batch.tokens, batch.positions, packed(batch), passes(batch))));
    },
    completionLogps(batch, { temperature, entropy, squaredSum } = {}) {
      checkBatch(batch, spec, name);
      const { rows, targets, cuSeqlens } = predictingRows(batch);
      return tf.tidy(() => {
        const lengths = tf.tensor1d(Float32Array.from({ length: cuSeqlens.length - 1 }, (_, s) => cuSeqlens[s + 1] - cuSeqlens[s]));
        if (rows.length === 0) return { tokens: tf.tensor1d([]), sums: tf.zerosLike(lengths), lengths };
        const last = run(batch.tokens, batch.positions, packed(batch), passes(batch));
        const hidden = finalNorm(gatherRows({ x: last }, { rows }).y);
        const [weight, frozen] = asHead(head);
        const out = tokenLogps(
          { hidden, ...weight },
          {
            targets,
            temperature,
            softcap: logitSoftcap,
            entropy,
            squaredSum,
            ...frozen,
            ...(products && { products }),
          },
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
        const raw = logits(hidden);
        return logitSoftcap === undefined ? raw : tf.mul(tf.tanh(tf.div(raw, logitSoftcap)), logitSoftcap);
      }),
    cache: (size) =>
      createKvCache({
        layers: spec.layers,
        heads: spec.heads,
        kvHeads: spec.kvHeads,
        headDim: spec.headDim,
        scale,
        softcap: attentionSoftcap,
        windows: spec.windows,
        ...size,
      }),
    async next(step, cache) {
      const { tokens, positions, rows, wanted } = step;
      fused ??= fusedStep(spec, parameters, { products, adapter });
      const whole = fused(step, cache);
      if (whole) return whole;
      const logits = tf.tidy(() => {
        const attend: Attend = (q, k, v, layer) => {
          cache.append(layer, rows, k, v);
          return cache.attend(layer, rows, q);
        };
        const x = run(tokens, positions, attend, { apart: true });
        return decoder.logits(finalNorm(gatherRows({ x }, { rows: wanted }).y));
      });
      try {
        return (await readCopy(logits)) as Float32Array;
      } finally {
        logits.dispose();
      }
    },
    dispose: () => parameters.dispose(),
  };
  return decoder;
}

/** Activations that a pass may keep whatever the size of its model. */
const leastBudget = 2 ** 28;

const parameterTotal = (spec: DecoderSpec): number =>
  Object.values(parameterShapes(spec)).reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);

/**
 * About what a token leaves of a layer for the backward pass, in bytes: its two inputs and their norms, queries, keys, values and what attention made of
 * them, and the MLP's inner widths. A layer that is recomputed leaves its input.
 */
function bytesOfActivations({ width, heads, kvHeads, headDim, mlpWidth, family }: DecoderSpec): { layer: number; input: number } {
  return { layer: 4 * (4 * width + 2 * (heads + kvHeads) * headDim + (family === 'gpt2' ? 2 : 3) * mlpWidth), input: 4 * width };
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

/** `late` where the numbers are to be packed one matrix after the other. */
function newWeights(spec: DecoderSpec, rng: Rng, late: boolean): DecoderWeights {
  const deviation = spec.initializerRange ?? 0.02;
  return Object.fromEntries(
    Object.entries(parameterShapes(spec)).map(([name, shape]) => {
      const size = shape.reduce((a, b) => a * b, 1);
      if (shape.length === 1)
        return [name, { shape, data: new Float32Array(size).fill(name.endsWith('bias') || spec.family === 'gemma2' ? 0 : 1) }];
      const residual = /(o_proj|down_proj|c_proj)\.weight$/.test(name);
      const scale = residual ? deviation / Math.sqrt(2 * spec.layers) : deviation;
      const draw = () =>
        rng
          .fork('weights', name)
          .normal(size)
          .map((z) => z * scale);
      return [name, late ? whenRead(shape, draw, true) : { shape, data: draw() }];
    }),
  );
}

function fitted(spec: DecoderSpec, weights: DecoderWeights, name: string): DecoderWeights {
  // Tied models often repeat the embedding as their head, and old files carry rotary tables and masks.
  const spare = (key: string) =>
    /rotary_emb\.inv_freq$|\.attn\.(masked_)?bias$/.test(key) || (spec.tiedEmbeddings && key === 'lm_head.weight');
  return fittedWeights(parameterShapes(spec), weights, name, `a ${spec.family} of this configuration`, spare);
}
