import { join } from 'node:path';
import { makeFolder, type ParameterTree, type SavedTensor, writeFileAtomic, writeSafetensors } from '@plumbline/core';
import type { Tokenizer } from '@plumbline/data';
import type { LocalDecoder } from '../decoder/decoder.js';
import { configFromSpec } from '../decoder/spec.js';
import type { LocalScorer } from '../scorer/scorer.js';
import type { LocalTokenizer } from '../tokenizers/tokenizer.js';

export type SaveOptions = {
  /** How weights are rounded at rest. */
  dtype?: 'F32' | 'F16' | 'BF16';
};

/** Writes `config.json`, `model.safetensors`, `tokenizer.json` and `tokenizer_config.json`, which `loadDecoder` and transformers read. */
export async function saveDecoder(folder: string, decoder: LocalDecoder, options: SaveOptions = {}): Promise<void> {
  await saveModel(folder, configFromSpec(decoder.spec, decoder.tokenizer), decoder.parameters, decoder.tokenizer, options);
}

/** The same for a reward model, as a sequence classifier with one label; how it pools is under the key `plumbline`. */
export async function saveScorer(folder: string, scorer: LocalScorer, options: SaveOptions = {}): Promise<void> {
  const { spec } = scorer.backbone;
  const { bosId, eosId, padId } = scorer.tokenizer;
  const base = configFromSpec(spec, { bosId, eosId, padId: scorer.padId ?? padId });
  const config = {
    ...base,
    architectures: (base.architectures as string[]).map((name) => name.replace('ForCausalLM', 'ForSequenceClassification')),
    id2label: { 0: 'LABEL_0' },
    label2id: { LABEL_0: 0 },
    plumbline: { pooling: scorer.pooling, padId: scorer.padId ?? null },
  };
  await saveModel(folder, config, scorer.parameters, scorer.tokenizer, options);
}

async function saveModel(
  folder: string,
  config: object,
  parameters: ParameterTree,
  tokenizer: Tokenizer,
  { dtype = 'F32' }: SaveOptions,
): Promise<void> {
  await makeFolder(folder);
  const { tensors } = await parameters.save();
  const typed = Object.fromEntries(Object.entries(tensors).map(([name, tensor]: [string, SavedTensor]) => [name, { ...tensor, dtype }]));
  await writeSafetensors(join(folder, 'model.safetensors'), typed, { format: 'pt' });
  if ('json' in tokenizer) {
    const { json, config: settings } = tokenizer as LocalTokenizer;
    await writeFileAtomic(join(folder, 'tokenizer.json'), JSON.stringify(json));
    await writeFileAtomic(join(folder, 'tokenizer_config.json'), JSON.stringify(settings, null, 2));
  }
  await writeFileAtomic(
    join(folder, 'config.json'),
    `${JSON.stringify({ ...config, torch_dtype: { F32: 'float32', F16: 'float16', BF16: 'bfloat16' }[dtype] }, null, 2)}\n`,
  ); // last: a folder with it is complete
}
