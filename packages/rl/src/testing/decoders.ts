/** For tests: a tiny decoder with odd sizes, and the llama of the reference numbers. */
import { readFileSync } from 'node:fs';
import { readSafetensors, rng } from '@plumbline/core';
import type { Tokenizer } from '@plumbline/data';
import { createDecoder, decoderSpec, type LocalDecoder, specFromConfig } from '@plumbline/models';

/** Stands in for a tokenizer where only ids matter: id i is the character i + 33. */
export function idTokenizer(vocabSize: number, eosId?: number): Tokenizer {
  return {
    name: 'ids',
    vocabSize,
    eosId,
    encode: (text) => Int32Array.from(text, (c) => c.codePointAt(0)! - 33),
    decode: (ids) => Array.from(ids, (id) => String.fromCodePoint(id + 33)).join(''),
    hasChatTemplate: false,
    renderChat: () => '',
  };
}

export function tinyDecoder(seed = 7, eosId?: number): LocalDecoder {
  const spec = decoderSpec({
    vocabSize: 23,
    width: 18,
    layers: 2,
    heads: 3,
    kvHeads: 1,
    headDim: 6,
    mlpWidth: 20,
    contextLength: 32,
    initializerRange: 0.3,
  });
  return createDecoder(spec, { tokenizer: idTokenizer(23, eosId), rng: rng(seed) });
}

/** `models/llama` of the reference numbers; `folder` is where its files are. */
export async function fixtureLlama(configPath: string): Promise<LocalDecoder> {
  const folder = configPath.replace(/config\.json$/, '');
  const spec = specFromConfig(JSON.parse(readFileSync(configPath, 'utf8')));
  const file = await readSafetensors(`${folder}model.safetensors`);
  const weights = Object.fromEntries(file.names.map((name) => [name, { shape: file.entry(name).shape, data: file.floats(name) }]));
  return createDecoder(spec, { tokenizer: idTokenizer(spec.vocabSize), weights });
}
