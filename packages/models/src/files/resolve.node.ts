/** From a model's name to its files: folders, GGUF files, the zoo, and the hub. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { ConfigError, FormatError } from '@plumbline/core';
import { type HubOptions, hubSnapshot, parseHubId } from '@plumbline/data';

/** How the hub is asked, where a name leads there. */
export type HubSettings = Omit<HubOptions, 'repo' | 'type' | 'revision' | 'patterns'>;

/** What is fetched of a model's repository: configuration, tokenizer and safetensors, not the copies in other formats that many hold. */
const modelFiles = [
  '*.json',
  '*.jinja',
  'model.safetensors',
  'model-*-of-*.safetensors',
  'adapter_model.safetensors',
  '*_Pooling/config.json',
  '*_Dense/config.json',
  'vocab.txt',
  'merges.txt',
];

/**
 * The folder or file behind a model's name: as `modelPath`, and otherwise `owner/name[@revision]` on the hub, or `owner/name/file.gguf[@revision]`
 * for a file in it. What is fetched is kept in Python's cache; the path that is answered names one commit, so that it means the same tomorrow.
 *
 * @throws ConfigError where the name leads nowhere; FileError where the hub cannot be reached and the cache has nothing, saying what to do
 */
export async function resolveModel(name: string, hub: HubSettings = {}): Promise<string> {
  const id = name.startsWith('zoo:') || existsSync(resolve(name)) ? undefined : parseHubId(name);
  if (!id) return modelPath(name);
  if (id.path !== undefined && extname(id.path) !== '.gguf')
    throw new ConfigError(
      `${name}: there is no such folder, and of a repository on the hub only a .gguf file can be named; found "${id.path}"`,
    );
  try {
    const { dir } = await hubSnapshot({
      ...hub,
      repo: id.repo,
      ...(id.revision !== undefined && { revision: id.revision }),
      patterns: id.path === undefined ? modelFiles : [id.path],
    });
    return modelPath(id.path === undefined ? dir : join(dir, id.path));
  } catch (error) {
    if (error instanceof Error) error.message = `there is no ${resolve(name)}; as a name on the hub: ${error.message}`;
    throw error;
  }
}

/** What a model is called in messages: the name that it was asked for by, or its folder's. */
export function modelName(name: string, path: string): string {
  if (name.startsWith('zoo:')) return name.slice(4);
  return existsSync(resolve(name)) ? basename(path, '.gguf') : (parseHubId(name)?.repo ?? basename(path));
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
      `no model at ${path}; give a folder with config.json, a .gguf file, owner/name on the hub${names.length > 0 ? `, or ${names.map((n) => `zoo:${n}`).join(', ')}` : ', or zoo:NAME'}`,
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

export function readConfig(folder: string): Record<string, unknown> {
  const path = join(folder, 'config.json');
  if (!existsSync(path)) throw new FormatError(`${folder}: there is no config.json; it has ${listing(folder)}`);
  return readJson(path) as Record<string, unknown>;
}

export function readJson(path: string): object {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (typeof value === 'object' && value !== null) return value;
    throw new Error(`it holds ${JSON.stringify(value)}, not an object`);
  } catch (error) {
    throw new FormatError(`${path}: ${(error as Error).message}`);
  }
}

export function listing(folder: string): string {
  const names = readdirSync(folder);
  return names.length === 0 ? 'nothing' : names.slice(0, 8).join(', ') + (names.length > 8 ? ', ...' : '');
}
