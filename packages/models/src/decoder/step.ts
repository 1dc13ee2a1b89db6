import {
  type DecoderStepCall,
  type DecoderStepShape,
  decoderStep,
  type FrozenMatrix,
  hasDecoderStep,
  type Parameter,
  type ParameterTree,
  type Products,
  rotaryTables,
} from '@plumbline/core';
import type { KvCache } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import type { BackboneAdapter } from './backbone.js';
import { type HostCache, isHostCache } from './cache.js';
import type { NextTokens } from './decoder.js';
import { layoutOf } from './layout.js';
import { isFrozen, rowsOf } from './matrix.js';
import { type DecoderSpec, inverseFrequencies } from './spec.js';

/**
 * A decoder's step in one call of the backend, where it has that: [wanted, vocabulary], good until the next call. Answers null where it has not, the
 * cache is not in this process's memory, or the adapter does more than add low-rank updates. The numbers are those of the layers one by one, to the bit.
 */
export function fusedStep(
  spec: DecoderSpec,
  parameters: ParameterTree,
  { products, adapter }: { products?: Products; adapter?: BackboneAdapter } = {},
): (step: NextTokens, cache: KvCache) => Float32Array | null {
  const layout = layoutOf(spec);
  const gemma = spec.family === 'gemma2';
  const named = (name: string | undefined): Parameter | FrozenMatrix | null =>
    name === undefined ? null : (adapter?.replaced(name) ?? parameters.get(name));
  const factors = layout.layers.flatMap((l) =>
    [...[0, 1, 2].map((i) => l.qkv[i]), l.o, l.up[0], l.up[1], l.down].map((one) => (one && adapter?.factors(one)) || null),
  );
  const adapted = factors.some((one) => one !== null);
  if (factors.some((one) => one?.scaled)) return () => null;
  const [first] = layout.layers;
  const slots = layout.layers.map((l) => {
    const pair = (one: { weight: string; bias?: string } | undefined) => [named(one?.weight), named(one?.bias)];
    return [
      ...pair(l.attentionNorm),
      ...[0, 1, 2].flatMap((i) => pair(l.qkv[i])),
      named(l.qNorm?.weight),
      named(l.kNorm?.weight),
      ...pair(l.o),
      named(l.afterAttention?.weight),
      ...pair(l.mlpNorm),
      ...[0, 1].flatMap((i) => pair(l.up[i])),
      ...pair(l.down),
      named(l.afterMlp?.weight),
    ];
  });
  // A tied head that an adapter saves apart is no longer the embedding.
  const head = adapter?.replaced('lm_head.weight') ?? (layout.head === undefined ? parameters.get(layout.embeddings) : named(layout.head));
  const rest = [named(layout.finalNorm.weight), named(layout.finalNorm.bias), head, null];
  const embeddings = named(layout.embeddings)!;
  const positionEmbeddings = named(layout.positions);
  const frequencies = positionEmbeddings ? undefined : inverseFrequencies(spec);
  const shape: Omit<DecoderStepShape, 'blockTokens' | 'blocksPerRow'> = {
    layers: spec.layers,
    width: spec.width,
    heads: spec.heads,
    kvHeads: spec.kvHeads,
    headDim: spec.headDim,
    mlpWidth: spec.mlpWidth,
    vocabulary: spec.vocabSize,
    eps: spec.rmsNormEps,
    scale: spec.attentionScale ?? 1 / Math.sqrt(spec.headDim),
    softcap: spec.attentionSoftcap,
    logitSoftcap: spec.logitSoftcap,
    gemma,
    gelu: gemma,
    qkvParts: first.qkv.length,
    upParts: first.up.length,
    fusedUp: first.up[0].outputs.length > 1,
    transposed: first.qkv[0].transposed ?? false,
    windows: Array.from({ length: spec.layers }, (_, layer) => spec.windows?.[layer] ?? 0),
    // Plain matrices of GPT-2's kind are multiplied in float32 everywhere.
    products: first.qkv[0].transposed && !isFrozen(named(first.qkv[0].weight)!) ? 'f32' : products,
  };
  const live = (one: Parameter | FrozenMatrix | null) => (one === null || 'storage' in one ? one : one.value);
  let room = new Float32Array(0);

  /** The same list for as long as no parameter has another tensor. */
  const parts = [...slots.flat(), ...rest, ...factors.flatMap((one) => (one ? [one.a, one.b] : []))].filter(
    (one): one is Parameter => one !== null && !('storage' in one),
  );
  const known = new WeakMap<KvCache, { values: tf.Tensor[] } & Pick<DecoderStepCall, 'weights' | 'updates'>>();
  const listed = (cache: HostCache) => {
    const before = known.get(cache);
    if (before && parts.every(({ value }, i) => value === before.values[i])) return before;
    const weights = [
      ...slots.flatMap((layer, i) => {
        const { keys, values } = cache.paged(i);
        return [...layer.map(live), keys, values];
      }),
      ...rest.map(live),
    ];
    const updates = adapted ? factors.map((one) => one && { a: one.a.value, b: one.b.value, scale: one.scale }) : undefined;
    const made = { values: parts.map(({ value }) => value), weights, updates };
    known.set(cache, made);
    return made;
  };

  return ({ tokens, positions, rows, wanted }, cache) => {
    if (!isHostCache(cache) || !hasDecoderStep()) return null;
    const { slots: places, lengths } = cache.advance(rows);
    const { blockTokens, blocksPerRow, tables } = cache.paged(0);
    const { weights, updates } = listed(cache);
    if (room.length < wanted.length * spec.vocabSize) room = new Float32Array(wanted.length * spec.vocabSize);
    const logits = room.subarray(0, wanted.length * spec.vocabSize);
    const x = tf.tidy(() => {
      const embedded = rowsOf(embeddings, tokens);
      if (gemma) return tf.mul(embedded, Math.sqrt(spec.width)) as tf.Tensor2D;
      return positionEmbeddings ? (tf.add(embedded, rowsOf(positionEmbeddings, positions)) as tf.Tensor2D) : embedded;
    });
    try {
      decoderStep({
        shape: { ...shape, blockTokens, blocksPerRow },
        weights,
        updates,
        x,
        rotary: frequencies ? rotaryTables({ positions, inverseFrequencies: frequencies }) : null,
        rows,
        lengths,
        slots: places,
        tables,
        wanted,
        logits,
      });
    } finally {
      x.dispose();
    }
    return logits;
  };
}
