import { type Parameter, readCopy } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { createDecoder, type DecoderWeights, type LocalDecoder } from '../decoder/decoder.js';
import type { Storage } from '../decoder/frozen.js';
import { createScorer, headName, type LocalScorer } from '../scorer/scorer.js';
import { type AdaptedDecoder, type AdaptedScorer, isUpdate, namesOf, valuesOf } from './lora.js';

/** A model whose weights hold an adapter's update, and which can give it back. */
export interface MergedDecoder extends LocalDecoder {
  /** The model without the update: the base, to rounding, with whatever was changed since. */
  unmerge(): Promise<LocalDecoder>;
}

/**
 * A model of its own whose weights are those of the base with the adapter's update in them; base and adapter stay as they are. The same logits to
 * rounding, at the base's speed.
 *
 * @param options.storage keeps the merged matrices packed and frozen; left out, they can be trained
 */
export async function mergeAdapter(adapted: AdaptedDecoder, options?: { storage?: Storage }): Promise<MergedDecoder>;
export async function mergeAdapter(adapted: AdaptedScorer, options?: { storage?: Storage }): Promise<LocalScorer>;
export async function mergeAdapter(
  adapted: AdaptedDecoder | AdaptedScorer,
  options: { storage?: Storage } = {},
): Promise<MergedDecoder | LocalScorer> {
  if ('backbone' in adapted) {
    const { pooling, padId, name } = adapted;
    const backbone = await mergeAdapter(adapted.backbone as AdaptedDecoder, options);
    const tree = adapted.parameters.names.includes(headName) ? adapted.parameters : adapted.base.parameters;
    const head = await valuesOf(tree.get(headName));
    try {
      return createScorer(backbone, { pooling, padId, name: name.replace(/-lora$/, ''), head });
    } finally {
      backbone.dispose();
    }
  }
  const { weights, factors } = await mergedWeights(adapted);
  const { base, tokenizer } = adapted;
  const { gradientCheckpointing, products, name } = base;
  const settings = { tokenizer, name, gradientCheckpointing, products };
  const apart = base.spec.tiedEmbeddings && 'lm_head.weight' in weights;
  const spec = apart ? { ...base.spec, tiedEmbeddings: false } : base.spec;
  const merged = createDecoder(spec, { ...settings, ...options, weights });
  return Object.assign(merged, {
    async unmerge() {
      const { tensors } = await merged.parameters.save();
      const own = Object.fromEntries(base.parameters.names.map((name) => [name, tensors[name]])) as DecoderWeights;
      for (const { projection, module, scale } of adapted.adapter.targets) {
        const { weight, transposed } = projection;
        const delta = await deltaOf(adapted, module, scale, transposed === true);
        const { data } = own[weight];
        const factor = factors[weight];
        const width = projection.inputs;
        for (let i = 0; i < data.length; i++)
          data[i] = data[i] / (factor ? factor[transposed ? i % factor.length : Math.floor(i / width)] : 1) - delta[i];
      }
      if (adapted.parameters.names.some((name) => name in own)) {
        const before = (await base.parameters.save()).tensors as DecoderWeights;
        for (const name of adapted.parameters.names) if (name in own) own[name] = before[name];
      }
      return createDecoder(base.spec, { ...settings, ...options, weights: own });
    },
  });
}

/** The weights of base and adapter together, in float32; with DoRA also what each output row was multiplied by. */
export async function mergedWeights(adapted: AdaptedDecoder): Promise<{ weights: DecoderWeights; factors: Record<string, Float32Array> }> {
  const { base, adapter } = adapted;
  const weights: DecoderWeights = {};
  const factors: Record<string, Float32Array> = {};
  Object.assign(weights, (await base.parameters.save()).tensors);
  for (const { module, projection, scale } of adapter.targets) {
    const { weight, transposed } = projection;
    const { data } = weights[weight];
    const delta = await deltaOf(adapted, module, scale, transposed === true);
    for (let i = 0; i < data.length; i++) data[i] += delta[i];
    if (!adapter.config.dora) continue;
    const magnitudes = await valuesOf(adapter.parameters.get(namesOf(module).m));
    const rows = magnitudes.length;
    const rowOf = (i: number) => (transposed ? i % rows : Math.floor(i / projection.inputs));
    const squared = new Float64Array(rows);
    for (let i = 0; i < data.length; i++) squared[rowOf(i)] += data[i] ** 2;
    factors[weight] = magnitudes.map((m, row) => m / Math.sqrt(squared[row]));
    for (let i = 0; i < data.length; i++) data[i] *= factors[weight][rowOf(i)];
  }
  for (const name of adapter.parameters.names) {
    if (isUpdate(name) || name === headName) continue;
    const { shape } = adapter.parameters.get(name);
    weights[name] = { shape, data: await valuesOf(adapter.parameters.get(name)) };
  }
  return { weights, factors };
}

/** `scale · B A`, laid out as the weight is. */
async function deltaOf({ adapter }: AdaptedDecoder, module: string, scale: number, transposed: boolean): Promise<Float32Array> {
  const { a, b } = namesOf(module);
  const value = (name: string) => (adapter.parameters.get(name) as Parameter).value as tf.Tensor2D;
  const product = tf.tidy(() => {
    const whole = tf.mul(tf.matMul(value(b), value(a)), scale) as tf.Tensor2D;
    return transposed ? (tf.transpose(whole) as tf.Tensor2D) : whole;
  });
  try {
    return (await readCopy(product)) as Float32Array;
  } finally {
    product.dispose();
  }
}
