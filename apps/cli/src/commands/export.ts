/** `plumb export`: models and adapters in the forms that other tools read. */
import { existsSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { ConfigError, initBackend, readSafetensors } from '@plumbline/core';
import {
  adapterConfig,
  type BaseRecord,
  type GgufStorage,
  isAdapterFolder,
  type LocalDecoder,
  type LocalScorer,
  loadAdapter,
  loadDecoder,
  loadScorer,
  modelPath,
  type Storage,
  saveAdapter,
  saveDecoder,
  saveGguf,
  saveScorer,
} from '@plumbline/models';
import pc from 'picocolors';

type Form = 'gguf' | 'peft' | 'safetensors';
const types: Record<Form, readonly GgufStorage[]> = {
  gguf: ['F32', 'F16', 'BF16', 'Q8_0'],
  safetensors: ['F32', 'F16', 'BF16'],
  peft: ['F32'],
};

export async function exportModel(name: string, options: { to: Form; out: string; adapter?: string; type?: string }): Promise<void> {
  const { to, out } = options;
  const type = (options.type?.toUpperCase() ?? (to === 'gguf' ? 'F16' : 'F32')) as GgufStorage;
  if (!types[to].includes(type)) throw new ConfigError(`--type ${options.type}: with --to ${to} there are ${types[to].join(', ')}`);
  const { model, adapter } = parts(name, options.adapter);
  if (to === 'peft' && adapter === undefined)
    throw new ConfigError(`${name} is a whole model; --to peft writes an adapter (--adapter FOLDER, or the run folder of plumb train sft)`);
  await initBackend();
  const scorer = isScorer(model);
  // By itself an adapter stays on the base that it was trained on; merged, it goes into the weights as they are on disk.
  const storage = to === 'peft' ? await storageOfBase(adapter!) : undefined;
  const base = scorer ? await loadScorer(model, { storage }) : await loadDecoder(model, { storage });
  const loaded = adapter === undefined ? base : 'backbone' in base ? await loadAdapter(base, adapter) : await loadAdapter(base, adapter);
  const written = await write(loaded, { to, out, type, model });
  console.log(`${to === 'peft' ? 'The adapter is' : 'The model is'} in\n${pc.cyan(resolve(written))}`);
}

async function write(
  model: LocalDecoder | LocalScorer,
  { to, out, type, model: base }: { to: Form; out: string; type: GgufStorage; model: string },
): Promise<string> {
  switch (to) {
    case 'gguf': {
      if ('backbone' in model)
        throw new ConfigError(`${model.name} is a reward model; llama.cpp has no place for its head, export safetensors`);
      const path = join(out, `${basename(base, '.gguf')}.${type}.gguf`);
      await saveGguf(path, model, { storage: type });
      return path;
    }
    case 'safetensors': {
      const dtype = type as Exclude<GgufStorage, 'Q8_0'>;
      await ('backbone' in model ? saveScorer(out, model, { dtype }) : saveDecoder(out, model, { dtype }));
      return out;
    }
    case 'peft': {
      if (!('adapter' in model)) throw new ConfigError(`${model.name} has no adapter`);
      await saveAdapter(out, model as Parameters<typeof saveAdapter>[1], { base });
      return out;
    }
    default:
      throw new ConfigError(`--to ${to satisfies never}`);
  }
}

/** Model and adapter behind a name: a run folder names its model and holds its adapter, an adapter names its base. */
function parts(name: string, given: string | undefined): { model: string; adapter?: string } {
  if (given !== undefined) return { model: resolved(name), adapter: given };
  if (!name.startsWith('zoo:') && existsSync(join(name, 'identity.json'))) {
    const { model } = JSON.parse(readFileSync(join(name, 'identity.json'), 'utf8')) as { model?: string };
    if (isAdapterFolder(join(name, 'adapter')) && model !== undefined) return { model: resolved(model), adapter: join(name, 'adapter') };
    if (existsSync(join(name, 'model', 'config.json'))) return { model: join(name, 'model') };
    throw new ConfigError(`${name}: this run holds neither an adapter nor a model yet; is it finished?`);
  }
  if (!name.startsWith('zoo:') && isAdapterFolder(name)) {
    const base = adapterConfig(name).config.base_model_name_or_path;
    if (typeof base !== 'string')
      throw new ConfigError(`${name}: this adapter does not name its base; give the base, and --adapter ${name}`);
    return { model: resolved(base), adapter: name };
  }
  return { model: resolved(name) };
}

/** How the weights were kept on which an adapter of ours was trained. */
async function storageOfBase(adapter: string): Promise<Storage | undefined> {
  const { metadata } = await readSafetensors(join(adapterConfig(adapter).path, 'adapter_model.safetensors'));
  const { storage } = JSON.parse(metadata['plumbline.base'] ?? '{}') as Partial<BaseRecord>;
  return storage === 'float32' ? undefined : storage;
}

function resolved(name: string): string {
  return name.startsWith('zoo:') ? name : modelPath(name);
}

function isScorer(model: string): boolean {
  const config = model.startsWith('zoo:') ? '' : join(model, 'config.json');
  if (!config || !existsSync(config)) return false;
  const { architectures = [] } = JSON.parse(readFileSync(config, 'utf8')) as { architectures?: string[] };
  return architectures.some((name) => name.endsWith('ForSequenceClassification'));
}
