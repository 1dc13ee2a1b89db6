import { existsSync, readFileSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import { ConfigError, FormatError, type Products, readSafetensors, type Safetensors } from '@plumbline/core';
import type { Tokenizer } from '@plumbline/data';
import { createDecoder, type DecoderWeights, type LocalDecoder, whenRead } from '../decoder/decoder.js';
import type { Storage } from '../decoder/frozen.js';
import { parameterShapes } from '../decoder/layout.js';
import { type DecoderSpec, specFromConfig } from '../decoder/spec.js';
import { createScorer, headName, type LocalScorer, type Pooling } from '../scorer/scorer.js';
import { type LocalTokenizer, type TokenizerConfig, tokenizerFromJson } from '../tokenizers/tokenizer.js';
import { loadGguf, tokenizerOfGguf } from './gguf.node.js';
import { type HubSettings, listing, modelName, modelPath, readConfig, readJson, resolveModel } from './resolve.node.js';

export type LoadOptions = {
  /** Recompute each layer in the backward pass: less memory, more time. */
  gradientCheckpointing?: boolean;
  /** In place of the one beside the weights. */
  tokenizer?: Tokenizer;
  /** Keeps matrices packed and frozen: for generation, references and bases of adapters. Left out, all weights can be trained. */
  storage?: Storage;
  /** Rounds the factors of products to bf16; float32 unless said. */
  products?: Products;
  /** How the hub is asked. */
  hub?: HubSettings;
};

/**
 * Loads a decoder by name: `zoo:NAME` (shipped with `@plumbline/zoo`), a folder with `config.json`, safetensors (one file or sharded) and
 * `tokenizer.json`, a `.gguf` file (or the folder of one), which holds all three, or `owner/name[@revision]` on the hub. Weights become float32.
 *
 * @throws ConfigError where the name leads nowhere, saying what would; FormatError where a file is damaged or missing
 */
export async function loadDecoder(nameOrPath: string, options: LoadOptions = {}): Promise<LocalDecoder> {
  const path = await resolveModel(nameOrPath, options.hub);
  const name = modelName(nameOrPath, path);
  if (extname(path) === '.gguf') return loadGguf(path, options);
  const config = readConfig(path);
  const spec = specFromConfig(config, join(path, 'config.json'));
  const tokenizer = options.tokenizer ?? loadTokenizer(path, config);
  const weights = readWeights(await readSafetensors(path), spec, options.storage !== undefined);
  return createDecoder(spec, { ...options, name, tokenizer, weights });
}

/**
 * Loads a reward model: what `saveScorer` wrote, or a sequence classifier of transformers with one label (its score is read at the last token
 * that is not the pad token).
 *
 * @throws ConfigError where the head has more than one output; FormatError where a file is damaged or missing
 */
export async function loadScorer(nameOrPath: string, options: LoadOptions = {}): Promise<LocalScorer> {
  const path = await resolveModel(nameOrPath, options.hub);
  if (extname(path) === '.gguf') throw new ConfigError(`${path}: a reward model is a folder with config.json; GGUF files hold none`);
  const config = readConfig(path);
  const spec = specFromConfig(config, join(path, 'config.json'));
  const file = await readSafetensors(path);
  if (!file.has(headName))
    throw new FormatError(`${path}: there is no "${headName}"; a reward model has one (was this meant for loadDecoder?)`);
  const { shape } = file.entry(headName);
  if (shape.join() !== `1,${spec.width}`)
    throw new ConfigError(`${path}: "${headName}" is [${shape}]; a reward model's is [1, ${spec.width}]`);
  const { pooling, padId } = (config.plumbline ?? { pooling: 'last', padId: config.pad_token_id }) as {
    pooling: Pooling;
    padId?: number | null;
  };
  const { backbone } = await loadBackbone(nameOrPath, options);
  try {
    return createScorer(backbone, { name: modelName(nameOrPath, path), pooling, padId: padId ?? undefined, head: file.floats(headName) });
  } finally {
    backbone.dispose();
  }
}

/** The decoder of a folder that has another head than a language model's, and its `config.json`. */
export async function loadBackbone(
  nameOrPath: string,
  options: LoadOptions = {},
): Promise<{ backbone: LocalDecoder; config: Record<string, unknown> }> {
  const path = await resolveModel(nameOrPath, options.hub);
  const config = readConfig(path);
  const spec = { ...specFromConfig(config, join(path, 'config.json')), tiedEmbeddings: true }; // without a language head
  const tokenizer = options.tokenizer ?? loadTokenizer(path, config);
  const weights = readWeights(await readSafetensors(path), spec, options.storage !== undefined);
  return { backbone: createDecoder(spec, { ...options, name: modelName(nameOrPath, path), tokenizer, weights }), config };
}

/**
 * The tokenizer of a model folder or `zoo:NAME`: `tokenizer.json` with `tokenizer_config.json`, and the chat template in a file of its own where transformers
 * puts one. Special tokens that no file names are taken from `config.json`'s ids.
 */
export function loadTokenizer(nameOrPath: string, config: Record<string, unknown> = {}): LocalTokenizer {
  const path = modelPath(nameOrPath);
  if (extname(path) === '.gguf') return tokenizerOfGguf(path);
  const file = join(path, 'tokenizer.json');
  if (!existsSync(file)) throw new FormatError(`${path}: there is no tokenizer.json; it has ${listing(path)}`);
  const json = readJson(file);
  const settings = existsSync(join(path, 'tokenizer_config.json'))
    ? (readJson(join(path, 'tokenizer_config.json')) as TokenizerConfig)
    : {};
  const template = join(path, 'chat_template.jinja');
  const named: TokenizerConfig = {
    ...settings,
    name: basename(path),
    chat_template: settings.chat_template ?? (existsSync(template) ? readFileSync(template, 'utf8') : undefined),
  };
  const vocabulary = (json as { model?: { vocab?: Record<string, number> } }).model?.vocab ?? {};
  const added = ((json as { added_tokens?: { id: number; content: string }[] }).added_tokens ?? []).map(
    ({ id, content }) => [content, id] as const,
  );
  const tokenOf = (id: unknown) => [...added, ...Object.entries(vocabulary)].find(([, other]) => other === id)?.[0];
  for (const role of ['bos', 'eos', 'pad'] as const) {
    const id = config[`${role}_token_id`];
    const first = Array.isArray(id) ? id[0] : id;
    if (named[`${role}_token`] === undefined && typeof first === 'number') named[`${role}_token`] = tokenOf(first);
  }
  return tokenizerFromJson(json, named);
}

/** `late` where the numbers are to be packed one matrix after the other. */
function readWeights(file: Safetensors, spec: DecoderSpec, late = false): DecoderWeights {
  const wanted = parameterShapes(spec);
  // GPT-2's oldest files lack the prefix. What is there beyond the wanted is named if it looks like a part of the backbone.
  const prefix = spec.family === 'gpt2' ? 'transformer.' : 'model.';
  const parameterOf = (name: string) => (`${prefix}${name}` in wanted ? `${prefix}${name}` : name);
  const used = file.names.filter((name) => parameterOf(name) in wanted || name.startsWith(prefix));
  const read = (name: string) =>
    late ? whenRead(file.entry(name).shape, () => file.floats(name)) : { shape: file.entry(name).shape, data: file.floats(name) };
  return Object.fromEntries(used.map((name) => [parameterOf(name), read(name)]));
}
