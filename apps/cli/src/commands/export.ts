/** `plumb export`: models and adapters in the forms that other tools read. */
import { existsSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { ConfigError, initBackend } from '@plumbline/core';
import {
  type GgufStorage,
  type LocalDecoder,
  type LocalScorer,
  loadAdapter,
  loadDecoder,
  loadScorer,
  loadScorerAdapter,
  type Storage,
  saveAdapter,
  saveDecoder,
  saveGguf,
  saveScorer,
} from '@plumbline/models';
import pc from 'picocolors';
import { isScorerAdapter, modelParts, storageOfBase } from '../models.js';

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
  const { model, adapter } = modelParts(name, options.adapter);
  if (to === 'peft' && adapter === undefined)
    throw new ConfigError(`${name} is a whole model; --to peft writes an adapter (--adapter FOLDER, or the run folder of a training)`);
  await initBackend();
  // By itself an adapter stays on the base that it was trained on; merged, it goes into the weights as they are on disk.
  const storage = to === 'peft' ? await storageOfBase(adapter!) : undefined;
  const written = await write(await load(model, adapter, storage), { to, out, type, model });
  console.log(`${to === 'peft' ? 'The adapter is' : 'The model is'} in\n${pc.cyan(resolve(written))}`);
}

async function load(model: string, adapter: string | undefined, storage: Storage | undefined): Promise<LocalDecoder | LocalScorer> {
  if (isScorer(model)) {
    const base = await loadScorer(model, { storage });
    return adapter === undefined ? base : loadAdapter(base, adapter);
  }
  const base = await loadDecoder(model, { storage });
  if (adapter === undefined) return base;
  return isScorerAdapter(adapter) ? loadScorerAdapter(base, adapter) : loadAdapter(base, adapter);
}

async function write(
  model: LocalDecoder | LocalScorer,
  { to, out, type, model: base }: { to: Form; out: string; type: GgufStorage; model: string },
): Promise<string> {
  switch (to) {
    case 'gguf': {
      if ('backbone' in model)
        throw new ConfigError(`${model.name} is a reward model; llama.cpp has no place for its head, export safetensors`);
      const path = join(out, `${basename(base.replace(/^zoo:/, ''), '.gguf')}.${type}.gguf`);
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

function isScorer(model: string): boolean {
  const config = model.startsWith('zoo:') ? '' : join(model, 'config.json');
  if (!config || !existsSync(config)) return false;
  const { architectures = [] } = JSON.parse(readFileSync(config, 'utf8')) as { architectures?: string[] };
  return architectures.some((name) => name.endsWith('ForSequenceClassification'));
}
