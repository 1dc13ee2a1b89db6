import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { ConfigError, FormatError, type Products, readSafetensors, type Safetensors } from '@plumbline/core';
import type { Tokenizer } from '@plumbline/data';
import { createDecoder, type DecoderWeights, type LocalDecoder } from '../decoder/decoder.js';
import type { Storage } from '../decoder/frozen.js';
import { parameterShapes } from '../decoder/layout.js';
import { type DecoderSpec, specFromConfig } from '../decoder/spec.js';
import { createScorer, headName, type LocalScorer, type Pooling } from '../scorer/scorer.js';
import { type LocalTokenizer, type TokenizerConfig, tokenizerFromJson } from '../tokenizers/tokenizer.js';
import { loadGguf, tokenizerOfGguf } from './gguf.node.js';

export type LoadOptions = {
  /** Recompute each layer in the backward pass: less memory, more time. */
  gradientCheckpointing?: boolean;
  /** In place of the one beside the weights. */
  tokenizer?: Tokenizer;
  /** Keeps matrices packed and frozen: for generation, references and bases of adapters. Left out, all weights can be trained. */
  storage?: Storage;
  /** Rounds the factors of products to bf16; float32 unless said. */
  products?: Products;
};

/**
 * Loads a decoder by name: `zoo:NAME` (shipped with `@plumbline/zoo`), a folder with `config.json`, safetensors (one file or sharded) and
 * `tokenizer.json`, or a `.gguf` file (or the folder of one), which holds all three. Weights become float32.
 *
 * @throws ConfigError where the name leads nowhere, saying what would; FormatError where a file is damaged or missing
 */
export async function loadDecoder(nameOrPath: string, options: LoadOptions = {}): Promise<LocalDecoder> {
  const path = modelPath(nameOrPath);
  if (extname(path) === '.gguf') return loadGguf(path, options);
  const name = nameOrPath.startsWith('zoo:') ? nameOrPath.slice(4) : basename(path);
  const config = readConfig(path);
  const spec = specFromConfig(config, join(path, 'config.json'));
  const tokenizer = options.tokenizer ?? loadTokenizer(path, config);
  const weights = readWeights(await readSafetensors(path), spec);
  return createDecoder(spec, { ...options, name, tokenizer, weights });
}

/**
 * Loads a reward model: what `saveScorer` wrote, or a sequence classifier of transformers with one label (its score is read at the last token
 * that is not the pad token).
 *
 * @throws ConfigError where the head has more than one output; FormatError where a file is damaged or missing
 */
export async function loadScorer(nameOrPath: string, options: LoadOptions = {}): Promise<LocalScorer> {
  const path = modelPath(nameOrPath);
  const config = readConfig(path);
  const spec = { ...specFromConfig(config, join(path, 'config.json')), tiedEmbeddings: true }; // a scorer has no language head
  const file = await readSafetensors(path);
  if (!file.has(headName))
    throw new FormatError(`${path}: there is no "${headName}"; a reward model has one (was this meant for loadDecoder?)`);
  const { shape } = file.entry(headName);
  if (shape.join() !== `1,${spec.width}`)
    throw new ConfigError(`${path}: "${headName}" is [${shape}]; a reward model's is [1, ${spec.width}]`);
  const tokenizer = options.tokenizer ?? loadTokenizer(path, config);
  const { pooling, padId } = (config.plumbline ?? { pooling: 'last', padId: config.pad_token_id }) as {
    pooling: Pooling;
    padId?: number | null;
  };
  const backbone = createDecoder(spec, {
    name: basename(path),
    tokenizer,
    weights: readWeights(file, spec),
    gradientCheckpointing: options.gradientCheckpointing,
  });
  try {
    return createScorer(backbone, { name: basename(path), pooling, padId: padId ?? undefined, head: file.floats(headName) });
  } finally {
    backbone.dispose();
  }
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

/** The folder or file behind a model's name. @throws ConfigError saying what there is */
export function modelPath(nameOrPath: string): string {
  if (!nameOrPath.startsWith('zoo:')) {
    const path = resolve(nameOrPath);
    if (existsSync(path)) {
      if (extname(path) === '.gguf' && !statSync(path).isDirectory()) return path;
      if (statSync(path).isDirectory()) return loneGguf(path) ?? path;
      throw new ConfigError(`${nameOrPath}: a model is a folder, a .gguf file or zoo:NAME`);
    }
    const zoo = zooFolder();
    const names = zoo ? zooNames(zoo) : [];
    throw new ConfigError(
      `no model at ${path}; give a folder with config.json, a .gguf file${names.length > 0 ? `, or ${names.map((n) => `zoo:${n}`).join(', ')}` : ', or zoo:NAME'}`,
    );
  }
  const zoo = zooFolder();
  if (!zoo) throw new ConfigError(`${nameOrPath}: @plumbline/zoo is not installed; add it to the project`);
  const path = join(zoo, nameOrPath.slice(4));
  const names = zooNames(zoo);
  if (!names.includes(nameOrPath.slice(4)))
    throw new ConfigError(`the zoo has no "${nameOrPath.slice(4)}"; it has ${names.join(', ') || 'no models yet'}`);
  return path;
}

/** A folder may hold one GGUF file and nothing else of a model. */
function loneGguf(folder: string): string | undefined {
  if (existsSync(join(folder, 'config.json'))) return undefined;
  const files = readdirSync(folder).filter((name) => extname(name) === '.gguf');
  if (files.length > 1) throw new ConfigError(`${folder} holds ${files.length} models; name one of ${files.join(', ')}`);
  return files.length === 1 ? join(folder, files[0]) : undefined;
}

function zooFolder(): string | undefined {
  try {
    return dirname(createRequire(import.meta.url).resolve('@plumbline/zoo/package.json'));
  } catch {
    return undefined;
  }
}

const zooNames = (zoo: string): string[] => readdirSync(zoo).filter((name) => existsSync(join(zoo, name, 'config.json')));

function readWeights(file: Safetensors, spec: DecoderSpec): DecoderWeights {
  const wanted = parameterShapes(spec);
  // GPT-2's oldest files lack the prefix. What is there beyond the wanted is named if it looks like a part of the backbone.
  const prefix = spec.family === 'gpt2' ? 'transformer.' : 'model.';
  const parameterOf = (name: string) => (`${prefix}${name}` in wanted ? `${prefix}${name}` : name);
  const used = file.names.filter((name) => parameterOf(name) in wanted || name.startsWith(prefix));
  return Object.fromEntries(used.map((name) => [parameterOf(name), { shape: file.entry(name).shape, data: file.floats(name) }]));
}

function readConfig(folder: string): Record<string, unknown> {
  const path = join(folder, 'config.json');
  if (!existsSync(path)) throw new FormatError(`${folder}: there is no config.json; it has ${listing(folder)}`);
  return readJson(path) as Record<string, unknown>;
}

function readJson(path: string): object {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (typeof value === 'object' && value !== null) return value;
    throw new Error(`it holds ${JSON.stringify(value)}, not an object`);
  } catch (error) {
    throw new FormatError(`${path}: ${(error as Error).message}`);
  }
}

function listing(folder: string): string {
  const names = readdirSync(folder);
  return names.length === 0 ? 'nothing' : names.slice(0, 8).join(', ') + (names.length > 8 ? ', ...' : '');
}
