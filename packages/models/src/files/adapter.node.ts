/** Adapters on disk, as PEFT writes and reads them, with a record of the base that they were trained on. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ConfigError, FormatError, makeFolder, readCopy, readSafetensors, rng, writeFileAtomic, writeSafetensors } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import type { DecoderWeights, LocalDecoder } from '../decoder/decoder.js';
import { type Storage, storageOf } from '../decoder/frozen.js';
import { type AdaptedDecoder, type AdaptedScorer, addLora, valuesOf } from '../lora/lora.js';
import { fromPeft, loraFromPeft, peftConfig, peftName } from '../lora/peft.js';
import { createScorer, type LocalScorer, type Pooling } from '../scorer/scorer.js';

/**
 * What an adapter remembers of its base: a hash of names, shapes and values, how they were kept, what base and adapter answered to a probe, and of a
 * scorer what its head reads.
 */
export type BaseRecord = { name: string; sha256: string; storage: Storage | 'float32'; probe: number[]; pooling?: Pooling };

/**
 * Writes `adapter_config.json` and `adapter_model.safetensors`, which PEFT loads. The record of the base is in the metadata of the latter, where
 * Python's readers pass it over.
 *
 * @param options.base what to call the base (`base_model_name_or_path`); its name unless given
 */
export async function saveAdapter(folder: string, adapted: AdaptedDecoder | AdaptedScorer, options: { base?: string } = {}): Promise<void> {
  await makeFolder(folder);
  const scorer = 'backbone' in adapted;
  const decoder = scorer ? adapted.backbone : adapted;
  const base = options.base ?? adapted.base.name;
  const { tensors } = await adapted.parameters.save();
  const named = Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [peftName(name), { ...tensor, dtype: 'F32' as const }]));
  const record: BaseRecord = {
    name: base,
    sha256: await hashOf(adapted.base),
    storage: storageOf(baseDecoder(adapted).parameters) ?? 'float32',
    probe: await probe(adapted),
    ...(scorer && { pooling: adapted.pooling }),
  };
  await writeSafetensors(join(folder, 'adapter_model.safetensors'), named, { format: 'pt', 'plumbline.base': JSON.stringify(record) });
  const config = peftConfig(adapted.adapter.config, { spec: decoder.spec, base, task: scorer ? 'SEQ_CLS' : 'CAUSAL_LM' });
  await writeFileAtomic(join(folder, 'adapter_config.json'), `${JSON.stringify(config, null, 2)}\n`); // last: a folder with it is complete
}

export type LoadAdapterOptions = {
  /** Receives a line where the base is not the one that the adapter was trained on; standard error unless given. */
  onWarning?: (line: string) => void;
  /** Goes on drawing dropout masks; seed 0 unless given. */
  seed?: number;
};

/**
 * Puts an adapter from PEFT, or from `saveAdapter`, on a base. On a base of other weights or another storage than it was trained on, it says so with the
 * difference that this makes: the largest change of a logit (of a score) over a few fixed tokens.
 *
 * @throws FormatError where the folder holds no adapter; ConfigError where the adapter does not fit, or needs what is not supported
 */
export async function loadAdapter(base: LocalDecoder, folder: string, options?: LoadAdapterOptions): Promise<AdaptedDecoder>;
export async function loadAdapter(base: LocalScorer, folder: string, options?: LoadAdapterOptions): Promise<AdaptedScorer>;
export async function loadAdapter(
  base: LocalDecoder | LocalScorer,
  folder: string,
  { onWarning = (line) => void process.stderr.write(`${line}\n`), seed = 0 }: LoadAdapterOptions = {},
): Promise<AdaptedDecoder | AdaptedScorer> {
  const { config, path } = adapterConfig(folder);
  const file = await readSafetensors(join(path, 'adapter_model.safetensors'));
  const tensors: DecoderWeights = Object.fromEntries(
    file.names.map((name) => [name, { shape: file.entry(name).shape, data: file.floats(name) }]),
  );
  const lora = loraFromPeft(config, join(path, 'adapter_config.json'));
  const source = { rng: rng(seed), weights: fromPeft(tensors) };
  const adapted = 'backbone' in base ? await addLora(base, lora, source) : await addLora(base, lora, source);
  const record = recordOf(file.metadata['plumbline.base']);
  if (record && record.sha256 !== (await hashOf(base))) {
    const now = await probe(adapted);
    const gap = now.reduce((most, x, i) => Math.max(most, Math.abs(x - record.probe[i])), 0);
    const storage = storageOf(baseDecoder(adapted).parameters) ?? 'float32';
    const trained =
      record.storage === storage ? `another base, ${record.name}` : `${record.name} with its weights kept as ${record.storage}`;
    const here = record.storage === storage ? `on ${base.name}` : `here they are ${storage}, and`;
    const what = 'backbone' in base ? 'scores' : 'logits';
    if (gap > 0)
      onWarning(
        `${folder}: this adapter was trained on ${trained}; ${here} its ${what} on ${probeTokens} fixed tokens differ by up to ${gap.toPrecision(3)}`,
      );
  }
  return adapted;
}

/**
 * The scorer of an adapter that holds a head of its own: on `base`, which it shares, reading what it was trained to read (by default the last token, as
 * transformers does).
 *
 * @throws ConfigError where the adapter has no head
 */
export async function loadScorerAdapter(base: LocalDecoder, folder: string, options?: LoadAdapterOptions): Promise<AdaptedScorer> {
  const { path } = adapterConfig(folder);
  const file = await readSafetensors(join(path, 'adapter_model.safetensors'));
  if (!file.names.some((name) => name.endsWith('.score.weight')))
    throw new ConfigError(`${folder}: this adapter has no head, so that it gives no score; it is a language model's`);
  const { pooling = 'last' } = recordOf(file.metadata['plumbline.base']) ?? {};
  const scorer = createScorer(base, { pooling, padId: base.tokenizer.padId, rng: rng(0), shareBackbone: true });
  return loadAdapter(scorer, folder, options);
}

/** What an adapter of ours says of its base; nothing where PEFT wrote it. */
export async function adapterBase(folder: string): Promise<BaseRecord | undefined> {
  const { metadata } = await readSafetensors(join(adapterConfig(folder).path, 'adapter_model.safetensors'));
  return recordOf(metadata['plumbline.base']);
}

/** Whether a folder holds an adapter. */
export const isAdapterFolder = (folder: string): boolean => existsSync(join(folder, 'adapter_config.json'));

/** An adapter's configuration as PEFT wrote it. @throws FormatError saying what the folder lacks */
export function adapterConfig(folder: string): { config: Record<string, unknown>; path: string } {
  const path = resolve(folder);
  if (!existsSync(path) || !statSync(path).isDirectory()) throw new FormatError(`${folder}: an adapter is a folder, and there is none`);
  for (const name of ['adapter_config.json', 'adapter_model.safetensors'])
    if (!existsSync(join(path, name))) throw new FormatError(`${folder}: there is no ${name}; PEFT writes both files of an adapter`);
  const file = join(path, 'adapter_config.json');
  try {
    const config: unknown = JSON.parse(readFileSync(file, 'utf8'));
    if (typeof config !== 'object' || config === null) throw new Error(`it holds ${JSON.stringify(config)}, not an object`);
    return { config: config as Record<string, unknown>, path };
  } catch (error) {
    throw new FormatError(`${file}: ${(error as Error).message}`);
  }
}

function recordOf(text: string | undefined): BaseRecord | undefined {
  if (text === undefined) return undefined;
  try {
    const record = JSON.parse(text) as BaseRecord;
    return typeof record.sha256 === 'string' && Array.isArray(record.probe) ? record : undefined;
  } catch {
    return undefined; // a record that cannot be read says nothing
  }
}

const baseDecoder = (adapted: AdaptedDecoder | AdaptedScorer): LocalDecoder =>
  'backbone' in adapted ? adapted.base.backbone : adapted.base;

const hashes = new WeakMap<object, Promise<string>>();

/** SHA-256 over the names, shapes and values of all weights, as they are kept; computed once for each model. */
export function hashOf(model: LocalDecoder | LocalScorer): Promise<string> {
  const known = hashes.get(model);
  if (known) return known;
  const made = (async () => {
    const hash = createHash('sha256');
    for (const name of [...model.parameters.names].sort()) {
      const one = model.parameters.get(name);
      hash.update(`${name} [${one.shape}]\n`);
      const values = await valuesOf(one);
      hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    }
    return hash.digest('hex');
  })();
  hashes.set(model, made);
  return made;
}

const probeTokens = 16;
/** Logits of a few ids at the last of a few tokens, or the score: enough to tell one base from another. */
async function probe(adapted: AdaptedDecoder | AdaptedScorer): Promise<number[]> {
  const { spec } = 'backbone' in adapted ? adapted.backbone : adapted;
  const ids = rng(0).fork('probe').permutation(spec.vocabSize);
  const tokens = Int32Array.from({ length: Math.min(probeTokens, spec.contextLength) }, (_, i) => ids[i % ids.length]);
  const batch = packSequences([{ tokens, completionStart: 0, row: 0 }]);
  const values = tf.tidy(() => {
    if ('backbone' in adapted) return adapted.scores(batch);
    const hidden = adapted.hidden(batch);
    return tf.gather(
      tf.reshape(adapted.logits(tf.slice(hidden, [tokens.length - 1, 0], [1, -1])), [-1]),
      tf.tensor1d(ids.slice(0, 256), 'int32'),
    );
  });
  try {
    return Array.from(await readCopy(values));
  } finally {
    values.dispose();
  }
}
