import { dirname, join } from 'node:path';
import { makeFolder, type SavedTensor, writeFileAtomic, writeSafetensors } from '@plumbline/core';
import type { Tokenizer } from '@plumbline/data';
import type { LocalDecoder } from '../decoder/decoder.js';
import { configFromSpec } from '../decoder/spec.js';
import { type AdaptedScorer, isAdapted } from '../lora/lora.js';
import { mergeAdapter, mergedWeights } from '../lora/merge.js';
import type { LocalScorer } from '../scorer/scorer.js';
import type { LocalTokenizer } from '../tokenizers/tokenizer.js';

export type SaveOptions = {
  /** How weights are rounded at rest. */
  dtype?: 'F32' | 'F16' | 'BF16';
};

/**
 * Writes `config.json`, `model.safetensors`, `tokenizer.json` and `tokenizer_config.json`, which `loadDecoder` and transformers read. An adapter is written
 * merged into its base; `saveAdapter` writes it alone.
 */
export async function saveDecoder(folder: string, decoder: LocalDecoder, options: SaveOptions = {}): Promise<void> {
  const weights = isAdapted(decoder) ? (await mergedWeights(decoder)).weights : (await decoder.parameters.save()).tensors;
  const apart = decoder.spec.tiedEmbeddings && 'lm_head.weight' in weights;
  const spec = apart ? { ...decoder.spec, tiedEmbeddings: false } : decoder.spec;
  await saveModel(folder, configFromSpec(spec, decoder.tokenizer), weights, decoder.tokenizer, options);
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
  const weights = isAdapted(scorer) ? await mergedScorer(scorer) : (await scorer.parameters.save()).tensors;
  await saveModel(folder, config, weights, scorer.tokenizer, options);
}

async function mergedScorer(scorer: AdaptedScorer): Promise<Weights> {
  const merged = await mergeAdapter(scorer);
  try {
    return (await merged.parameters.save()).tensors;
  } finally {
    merged.dispose();
  }
}

type Weights = Record<string, { shape: readonly number[]; data: SavedTensor['data'] }>;

/** Writes configuration, weights and tokenizer of any model; `more` are further JSON files, by name. */
export async function saveModel(
  folder: string,
  config: object,
  weights: Weights,
  tokenizer: Tokenizer | undefined,
  { dtype = 'F32' }: SaveOptions,
  more: Record<string, unknown> = {},
): Promise<void> {
  await makeFolder(folder);
  const typed = Object.fromEntries(Object.entries(weights).map(([name, { shape, data }]) => [name, { shape: [...shape], data, dtype }]));
  await writeSafetensors(join(folder, 'model.safetensors'), typed, { format: 'pt' });
  for (const [name, value] of Object.entries(more)) {
    await makeFolder(dirname(join(folder, name)));
    await writeFileAtomic(join(folder, name), `${JSON.stringify(value, null, 2)}\n`);
  }
  if (tokenizer && 'json' in tokenizer) {
    const { json, config: settings } = tokenizer as LocalTokenizer;
    await writeFileAtomic(join(folder, 'tokenizer.json'), JSON.stringify(json));
    await writeFileAtomic(join(folder, 'tokenizer_config.json'), JSON.stringify(settings, null, 2));
  }
  await writeFileAtomic(
    join(folder, 'config.json'),
    `${JSON.stringify({ ...config, torch_dtype: { F32: 'float32', F16: 'float16', BF16: 'bfloat16' }[dtype] }, null, 2)}\n`,
  ); // last: a folder with it is complete
}
