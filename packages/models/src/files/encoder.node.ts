import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, FormatError, readSafetensors, type Safetensors } from '@plumbline/core';
import type { Tokenizer } from '@plumbline/data';
import type { DecoderWeights } from '../decoder/decoder.js';
import { createEncoder, type LocalEncoder, type SentenceSettings } from '../encoder/encoder.js';
import { encoderShapes } from '../encoder/layout.js';
import { encoderConfig, encoderSpecFromConfig } from '../encoder/spec.js';
import { createVit, type LocalVit, vitConfig, vitShapes, vitSpecFromConfig } from '../encoder/vit.js';
import { loadTokenizer } from './load.node.js';
import { type HubSettings, modelName, readConfig, readJson, resolveModel } from './resolve.node.js';
import { type SaveOptions, saveModel } from './save.node.js';

export type LoadEncoderOptions = {
  /** In place of the one beside the weights. */
  tokenizer?: Tokenizer;
  /** In place of what sentence-transformers' files say. */
  sentences?: Partial<SentenceSettings>;
  gradientCheckpointing?: boolean;
  hub?: HubSettings;
};

/**
 * Loads a BERT, RoBERTa or DistilBERT from a folder or the hub (`owner/name[@revision]`), with the heads that its weights have. How its sentences
 * become vectors is read from sentence-transformers' files (`modules.json` and what it names) where they are.
 *
 * @throws ConfigError naming what is missing or not supported; FormatError where a file is damaged
 */
export async function loadEncoder(nameOrPath: string, options: LoadEncoderOptions = {}): Promise<LocalEncoder> {
  const path = await resolveModel(nameOrPath, options.hub);
  const config = readConfig(path);
  const file = await readSafetensors(path);
  const spec = encoderSpecFromConfig(config, holder(file), join(path, 'config.json'));
  // The matrix of the masked-language head is the embeddings; old files repeat it, and carry their positions.
  const spare = /(^|\.)position_ids$|^cls\.predictions\.decoder\.|^lm_head\.decoder\.|^vocab_projector\.weight$/;
  if (spec.outputs.maskedLm && config.tie_word_embeddings === false)
    throw new ConfigError(`${join(path, 'config.json')}: tie_word_embeddings is false; supported is true, whose head is the embeddings`);
  return createEncoder(spec, {
    name: modelName(nameOrPath, path),
    tokenizer: options.tokenizer ?? loadTokenizer(path, config),
    weights: namedWeights(file, encoderShapes(spec), `${spec.family}.`, spare),
    sentences: { ...sentenceSettings(path), ...options.sentences },
    gradientCheckpointing: options.gradientCheckpointing,
  });
}

/** Loads a ViT from a folder or the hub. @throws as `loadEncoder` */
export async function loadVit(
  nameOrPath: string,
  options: Pick<LoadEncoderOptions, 'gradientCheckpointing' | 'hub'> = {},
): Promise<LocalVit> {
  const path = await resolveModel(nameOrPath, options.hub);
  const file = await readSafetensors(path);
  const spec = vitSpecFromConfig(readConfig(path), holder(file), join(path, 'config.json'));
  return createVit(spec, {
    name: modelName(nameOrPath, path),
    weights: namedWeights(file, vitShapes(spec), 'vit.', /^$/),
    gradientCheckpointing: options.gradientCheckpointing,
  });
}

/** Writes what `loadEncoder` and transformers read. How sentences become vectors is written as sentence-transformers reads it. */
export async function saveEncoder(folder: string, encoder: LocalEncoder, options: SaveOptions = {}): Promise<void> {
  const { tensors } = await encoder.parameters.save();
  await saveModel(folder, encoderConfig(encoder.spec), tensors, encoder.tokenizer, options, sentenceFiles(encoder));
}

/** Writes what `loadVit` and transformers read. */
export async function saveVit(folder: string, vit: LocalVit, options: SaveOptions = {}): Promise<void> {
  await saveModel(folder, vitConfig(vit.spec), (await vit.parameters.save()).tensors, undefined, options);
}

const holder = (file: Safetensors) => (tensor: string) => file.names.some((name) => name === tensor || name.endsWith(`.${tensor}`));

/** A bare model's names lack the prefix, and very old files call a norm's weight and bias gamma and beta. */
function namedWeights(file: Safetensors, wanted: Record<string, readonly number[]>, prefix: string, spare: RegExp): DecoderWeights {
  const nameOf = (name: string) => {
    const current = name.replace(/\.gamma$/, '.weight').replace(/\.beta$/, '.bias');
    return `${prefix}${current}` in wanted ? `${prefix}${current}` : current;
  };
  const used = file.names.filter((name) => !spare.test(name));
  return Object.fromEntries(used.map((name) => [nameOf(name), { shape: file.entry(name).shape, data: file.floats(name) }]));
}

const poolings = { cls_token: 'cls', mean_tokens: 'mean', max_tokens: 'max', mean_sqrt_len_tokens: 'meanSqrt', lasttoken: 'last' } as const;

/** @throws FormatError where the files ask for what is not supported */
export function sentenceSettings(folder: string): Partial<SentenceSettings> {
  const modulesFile = join(folder, 'modules.json');
  if (!existsSync(modulesFile)) return {};
  const modules = readJson(modulesFile) as { type?: string; path?: string }[];
  if (!Array.isArray(modules)) throw new FormatError(`${modulesFile}: it must be a list of modules`);
  const settings: Partial<SentenceSettings> = { normalize: false };
  for (const [i, { type = '', path = '' }] of modules.entries()) {
    const kind = type.split('.').at(-1);
    if (kind === 'Transformer' && i === 0) continue;
    if (kind === 'Normalize') settings.normalize = true;
    else if (kind === 'Pooling') settings.pooling = poolingOf(join(folder, path, 'config.json'));
    else
      throw new FormatError(
        `${modulesFile}: module ${i} is ${JSON.stringify(type)}; supported are Transformer (first), Pooling and Normalize`,
      );
  }
  const transformer = join(folder, modules[0]?.path ?? '', 'sentence_bert_config.json');
  if (existsSync(transformer)) {
    const { max_seq_length, do_lower_case } = readJson(transformer) as { max_seq_length?: number | null; do_lower_case?: boolean };
    if (typeof max_seq_length === 'number') settings.maxTokens = max_seq_length;
    if (do_lower_case) settings.lowerCase = true;
  }
  const general = join(folder, 'config_sentence_transformers.json');
  if (existsSync(general)) {
    const { prompts } = readJson(general) as { prompts?: Record<string, string> };
    if (prompts && Object.keys(prompts).length > 0) settings.prompts = prompts;
  }
  return settings;
}

function poolingOf(file: string): SentenceSettings['pooling'] {
  const config = readJson(file) as Record<string, unknown>;
  const named = typeof config.pooling_mode === 'string' ? [`pooling_mode_${config.pooling_mode}`] : [];
  const on = [...named, ...Object.keys(config).filter((key) => key.startsWith('pooling_mode_') && config[key] === true)].map((key) => {
    const mode = key.slice('pooling_mode_'.length);
    return (
      (poolings as Record<string, SentenceSettings['pooling']>)[mode] ??
      (Object.values(poolings).find((known) => known === mode) as undefined)
    );
  });
  if (on.length !== 1 || on[0] === undefined)
    throw new FormatError(
      `${file}: it asks for ${JSON.stringify(config)}; supported is one of ${Object.keys(poolings)
        .map((key) => `pooling_mode_${key}`)
        .join(', ')}`,
    );
  return on[0];
}

function sentenceFiles({ sentences, width }: LocalEncoder): Record<string, unknown> {
  const prefix = 'sentence_transformers.models.';
  const modules = [
    { idx: 0, name: '0', path: '', type: `${prefix}Transformer` },
    { idx: 1, name: '1', path: '1_Pooling', type: `${prefix}Pooling` },
    ...(sentences.normalize ? [{ idx: 2, name: '2', path: '2_Normalize', type: `${prefix}Normalize` }] : []),
  ];
  const pooling = Object.entries(poolings).map(([key, value]) => [`pooling_mode_${key}`, value === sentences.pooling]);
  return {
    'modules.json': modules,
    '1_Pooling/config.json': { word_embedding_dimension: width, ...Object.fromEntries(pooling) },
    'sentence_bert_config.json': { max_seq_length: sentences.maxTokens, do_lower_case: sentences.lowerCase ?? false },
    ...(sentences.prompts && { 'config_sentence_transformers.json': { prompts: sentences.prompts } }),
  };
}
