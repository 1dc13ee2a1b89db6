import { basename, join } from 'node:path';
import { ConfigError, FormatError, readSafetensors } from '@plumbline/core';
import { configFromSpec } from '../decoder/spec.js';
import { isAdapted } from '../lora/lora.js';
import { mergedWeights } from '../lora/merge.js';
import {
  type AttributeScorer,
  createAttributeScorer,
  createPairScorer,
  createStepScorer,
  createTokenValues,
  type LocalHead,
} from '../scorer/heads.js';
import type { Pooling } from '../scorer/scorer.js';
import { type LoadOptions, loadBackbone } from './load.node.js';
import { type SaveOptions, saveModel } from './save.node.js';

/**
 * Writes a model with a head as transformers' classifiers: attributes and pairs as a sequence classifier with a label for each output, values and steps as a token
 * classifier. What a head is, is under the key `plumbline` of `config.json`. An adapter is merged.
 */
export async function saveHead(folder: string, head: LocalHead, options: SaveOptions = {}): Promise<void> {
  const { backbone, kind, labels } = head;
  const tokens = kind === 'values' || kind === 'steps';
  const base = configFromSpec(backbone.spec, backbone.tokenizer);
  const architecture = `For${tokens ? 'Token' : 'Sequence'}Classification`;
  const { 'lm_head.weight': _, ...weights } = isAdapted(backbone)
    ? (await mergedWeights(backbone)).weights
    : (await backbone.parameters.save()).tensors;
  const { tensors } = await head.parameters.save();
  const own = Object.fromEntries(Object.entries(tensors).filter(([name]) => name.startsWith('score.')));
  if (tokens && !own['score.bias']) own['score.bias'] = { shape: [labels.length], data: new Float32Array(labels.length) }; // token classifiers have one
  const { pooling, padId } = head as Partial<AttributeScorer>;
  const config = {
    ...base,
    architectures: (base.architectures as string[]).map((name) => name.replace('ForCausalLM', architecture)),
    id2label: Object.fromEntries(labels.map((label, i) => [i, label])),
    label2id: Object.fromEntries(labels.map((label, i) => [label, i])),
    ...(padId !== undefined && { pad_token_id: padId }),
    plumbline: { head: kind, ...(pooling && { pooling, padId: padId ?? null }) },
  };
  await saveModel(folder, config, { ...weights, ...own }, backbone.tokenizer, options);
}

/**
 * Loads what `saveHead` wrote, or a classifier of transformers: a sequence classifier gives its labels as attributes (read at the last token that is no padding), a
 * token classifier with two labels the steps, with one the values.
 *
 * @throws FormatError where there is no head; ConfigError where its labels fit no kind
 */
export async function loadHead(path: string, options: LoadOptions = {}): Promise<LocalHead> {
  const file = await readSafetensors(path);
  if (!file.has('score.weight')) throw new FormatError(`${path}: there is no "score.weight", so it has no head`);
  const { backbone, config } = await loadBackbone(path, options);
  const weight = file.floats('score.weight');
  const count = file.entry('score.weight').shape[0];
  const bias = file.has('score.bias') ? file.floats('score.bias') : undefined;
  const labels = Object.values((config.id2label ?? {}) as Record<string, string>);
  const own = (config.plumbline ?? {}) as { head?: LocalHead['kind']; pooling?: Pooling; padId?: number | null };
  const tokens = String((config.architectures as string[] | undefined)?.[0]).endsWith('ForTokenClassification');
  const kind = own.head ?? (tokens ? (count === 2 ? 'steps' : 'values') : 'attributes');
  const shared = { name: basename(path), head: { weight, bias } };
  try {
    switch (kind) {
      case 'attributes': {
        const padId = own.padId === undefined ? (config.pad_token_id as number | null) : own.padId;
        const attributes = labels.length === count ? labels : Array.from({ length: count }, (_, i) => `LABEL_${i}`);
        return createAttributeScorer(backbone, { ...shared, attributes, pooling: own.pooling ?? 'last', padId: padId ?? undefined });
      }
      case 'steps':
        return createStepScorer(backbone, shared);
      case 'values':
        return createTokenValues(backbone, shared);
      case 'pairs':
        return createPairScorer(backbone, shared);
      default:
        throw new ConfigError(`${join(path, 'config.json')}: plumbline.head is ${JSON.stringify(kind satisfies never)}`);
    }
  } finally {
    backbone.dispose();
  }
}
