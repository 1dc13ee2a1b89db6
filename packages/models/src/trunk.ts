import { ConfigError, type Parameter, type ParameterTree, type Rng, ShapeError } from '@plumbline/core';
import type { PackedBatch } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { createDecoder, type LocalDecoder } from './decoder/decoder.js';
import { layoutOf } from './decoder/layout.js';
import { isFrozen } from './decoder/matrix.js';
import type { LoraConfig } from './lora/config.js';
import { addLora, isAdapted } from './lora/lora.js';

/** A decoder that also takes vectors in place of tokens: its layers as the trunk of another model. */
export interface DecoderTrunk {
  readonly width: number;
  /** The decoder of the trunk, with the adapter if there is one, for text: what is trained on either side is the same. `parameters` are those to train and save. */
  readonly decoder: LocalDecoder;
  /**
   * The last hidden states after the final norm, [rows, width], of given vectors [rows, width] in causal segments. Positions count from 0 in each segment where the family rotates; learned positions
   * (GPT-2) are not added. The caller owns it.
   */
  hidden(x: tf.Tensor2D, cuSeqlens: Int32Array): tf.Tensor2D;
  /** Frees the adapter. The decoder that it was made of stays the caller's. */
  dispose(): void;
}

/**
 * The layers of `decoder`, whose parameters are shared and not copied, as a trunk for other inputs than text; with a new adapter on them where `lora` says so. Shi et al. 2024 (LaMo), arXiv:2310.20587.
 *
 * @throws ConfigError where the decoder has an adapter already, or its embeddings are packed and frozen
 */
export async function decoderTrunk(decoder: LocalDecoder, { lora }: { lora?: LoraConfig & { rng: Rng } } = {}): Promise<DecoderTrunk> {
  const { spec, name, tokenizer, gradientCheckpointing, products, width } = decoder;
  if (isAdapted(decoder))
    throw new ConfigError(`decoderTrunk: ${name} has an adapter already; give its base, and the adapter's settings as lora`);
  const { embeddings, positions } = layoutOf(spec);
  if (isFrozen(decoder.parameters.get(embeddings)))
    throw new ConfigError(`decoderTrunk: the embeddings of ${name} are packed; load it without storage`);
  const slots = [embeddings, ...(positions ? [positions] : [])].map((slot) => replaceable(decoder.parameters.get(slot) as Parameter));
  const parameters = withSlots(
    decoder.parameters,
    slots.map(({ parameter }) => parameter),
  );
  // Vector i is looked up as token i, so that there may be more of them than the vocabulary has tokens.
  const base = createDecoder({ ...spec, vocabSize: 2 ** 31 - 1 }, { parameters, tokenizer, name, gradientCheckpointing, products });
  const { rng, ...config } = lora ?? {};
  const own = lora ? await addLora(base, config as LoraConfig, { rng: rng! }) : base;
  return {
    width,
    decoder: Object.assign(own, { spec }),
    hidden(x, cuSeqlens) {
      const [rows, wide] = x.shape;
      if (wide !== width || cuSeqlens.at(-1) !== rows)
        throw new ShapeError(
          `decoderTrunk: the vectors are [${x.shape}] in segments up to ${cuSeqlens.at(-1)}; ${name} takes [rows, ${width}]`,
        );
      return tf.tidy(() => {
        const [vectors, places] = slots;
        vectors.put(spec.family === 'gemma2' ? (tf.div(x, Math.sqrt(width)) as tf.Tensor2D) : x); // Gemma multiplies embeddings by that
        places?.put(tf.zeros([spec.contextLength, width]));
        try {
          return own.hidden(batchOf(rows, cuSeqlens));
        } finally {
          for (const slot of slots) slot.put(undefined);
        }
      });
    },
    dispose: () => {
      if (lora) own.dispose();
    },
  };
}

/** A parameter in whose place a tensor may stand for a while. */
function replaceable(real: Parameter): { parameter: Parameter; put(tensor: tf.Tensor | undefined): void } {
  let instead: tf.Tensor | undefined;
  const parameter: Parameter = {
    name: real.name,
    shape: real.shape,
    get trainable() {
      return real.trainable;
    },
    set trainable(trainable) {
      real.trainable = trainable;
    },
    get value() {
      return instead ?? real.value;
    },
  };
  return {
    parameter,
    put: (tensor) => {
      instead = tensor;
    },
  };
}

/** The same tree, which hands out `slots` for the parameters of their names; what is trained and saved are the real ones. */
function withSlots(tree: ParameterTree, slots: readonly Parameter[]): ParameterTree {
  const byName = new Map(slots.map((slot) => [slot.name, slot]));
  return {
    names: tree.names,
    get: (name) => byName.get(name) ?? tree.get(name),
    trainable: () => tree.trainable(),
    freeze: (names) => tree.freeze(names),
    snapshot: () => tree.snapshot(),
    save: () => tree.save(),
    load: (saved) => tree.load(saved),
    dispose: () => tree.dispose(),
  };
}

function batchOf(rows: number, cuSeqlens: Int32Array): PackedBatch {
  const positions = new Int32Array(rows);
  for (let s = 0; s + 1 < cuSeqlens.length; s++) for (let t = cuSeqlens[s]; t < cuSeqlens[s + 1]; t++) positions[t] = t - cuSeqlens[s];
  return {
    tokens: Int32Array.from({ length: rows }, (_, i) => i),
    positions,
    completionMask: new Uint8Array(rows),
    cuSeqlens,
    rows: Int32Array.from({ length: cuSeqlens.length - 1 }, (_, s) => s),
  };
}
