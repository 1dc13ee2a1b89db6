/** What `--model` and `--reward` may name beside a model: an adapter, which names its base, and a run folder, which holds one or the other. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '@plumbline/core';
import {
  adapterBase,
  adapterConfig,
  isAdapterFolder,
  type LocalDecoder,
  type LocalScorer,
  loadAdapter,
  loadDecoder,
  loadScorer,
  loadScorerAdapter,
  mergeAdapter,
  modelPath,
  type Storage,
} from '@plumbline/models';

export type ModelParts = { model: string; adapter?: string };

/**
 * Model and adapter behind a name, and behind `given`, an adapter or a run folder for it. Of `plumb align`'s run folders they are the policy's.
 *
 * @throws ConfigError where there is no such model, or the run holds none
 */
export function modelParts(name: string, given?: string): ModelParts {
  if (given !== undefined) return { model: resolved(name), adapter: inRun(given)?.adapter ?? given };
  const found = inRun(name) ?? (isAdapter(name) ? { adapter: name } : { model: name });
  if (found.adapter === undefined) return { model: resolved(found.model!) };
  return { model: resolved(found.model ?? baseOf(found.adapter)), adapter: found.adapter };
}

/** The language model behind a name, an adapter merged into it. */
export async function openDecoder(name: string, options: { storage?: Storage; products?: 'f32' | 'bf16' } = {}): Promise<LocalDecoder> {
  const { model, adapter } = modelParts(name);
  if (adapter === undefined) return loadDecoder(model, options);
  const storage = options.storage ?? (await storageOfBase(adapter));
  const base = await loadDecoder(model, { ...options, storage });
  const adapted = await loadAdapter(base, adapter);
  try {
    return await mergeAdapter(adapted, { storage });
  } finally {
    adapted.dispose();
    base.dispose();
  }
}

/** The reward model behind a name. */
export async function openScorer(name: string): Promise<LocalScorer> {
  if (isAdapter(name)) return loadScorerAdapter(await loadDecoder(modelParts(name).model, { storage: await storageOfBase(name) }), name);
  return loadScorer(name);
}

/** The folder of a reward model: of a run, where it left one. */
export function rewardPath(name: string): string {
  if (!isRun(name)) return modelPath(name);
  const found = [join(name, 'model'), join(name, 'reward', 'model')].find((folder) => existsSync(folder));
  if (found === undefined) throw new ConfigError(`${name}: this run holds no reward model yet; is it finished?`);
  return found;
}

/** `name`, for a training. @throws ConfigError saying how to make a model of an adapter or a run folder */
export function wholeModel(name: string): string {
  if (!isRun(name) && !isAdapter(name)) return name;
  throw new ConfigError(
    `${name} is ${isAdapter(name) ? 'an adapter' : 'a run folder'}; make a model of it first: plumb export ${name} --to safetensors --out FOLDER`,
  );
}

/** How the weights were kept on which an adapter of ours was trained; nothing where they were float32. */
export async function storageOfBase(adapter: string): Promise<Storage | undefined> {
  const { storage } = (await adapterBase(adapter)) ?? {};
  return storage === 'float32' ? undefined : storage;
}

/** Whether an adapter is a reward model's, with a head of its own. */
export const isScorerAdapter = (adapter: string): boolean => adapterConfig(adapter).config.task_type === 'SEQ_CLS';

/** What a run folder holds: of `plumb train` an adapter or a model, of `plumb align` those of its policy. */
function inRun(name: string): Partial<ModelParts> | undefined {
  if (!isRun(name)) return undefined;
  const { model } = JSON.parse(readFileSync(join(name, 'identity.json'), 'utf8')) as { model?: string };
  for (const folder of [join(name, 'adapter'), join(name, 'dpo', 'model')]) if (isAdapter(folder)) return { model, adapter: folder };
  for (const folder of [join(name, 'model'), join(name, 'dpo', 'model')])
    if (existsSync(join(folder, 'config.json'))) return { model: folder };
  throw new ConfigError(`${name}: this run holds neither an adapter nor a model yet; is it finished?`);
}

function baseOf(adapter: string): string {
  const base = adapterConfig(adapter).config.base_model_name_or_path;
  if (typeof base === 'string') return base;
  throw new ConfigError(`${adapter}: this adapter does not name its base; plumb export BASE --adapter ${adapter} puts it on one`);
}

const isRun = (name: string): boolean => !name.startsWith('zoo:') && existsSync(join(name, 'identity.json'));
const isAdapter = (name: string): boolean => !name.startsWith('zoo:') && isAdapterFolder(name);
const resolved = (name: string): string => (name.startsWith('zoo:') ? name : modelPath(name));
