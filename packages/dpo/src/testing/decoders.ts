/** For tests: a tiny decoder with odd sizes, the llama of the reference numbers, pairs with something to learn. */
import { readFileSync } from 'node:fs';
import { readSafetensors, rng } from '@plumbline/core';
import { type EncodedPair, type PairBatch, packSequences, type Tokenizer } from '@plumbline/data';
import { createDecoder, decoderSpec, type LocalDecoder, specFromConfig } from '@plumbline/models';

/** Stands in for a tokenizer where only ids matter: id i is the character i + 33. */
export function idTokenizer(vocabSize: number): Tokenizer {
  return {
    name: 'ids',
    vocabSize,
    encode: (text) => Int32Array.from(text, (c) => c.codePointAt(0)! - 33),
    decode: (ids) => Array.from(ids, (id) => String.fromCodePoint(id + 33)).join(''),
    hasChatTemplate: false,
    renderChat: () => '',
  };
}

export function tinyDecoder(seed = 7): LocalDecoder {
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
  return createDecoder(spec, { tokenizer: idTokenizer(23), rng: rng(seed) });
}

/** Random prompts; chosen completions are of even ids, rejected ones of odd ids, of 2 to 5 tokens. */
export function separablePairs(count: number, seed = 1): EncodedPair[] {
  const draw = rng(seed);
  return Array.from({ length: count }, (_, i) => {
    const side = (odd: number) => Int32Array.from({ length: 2 + draw.below(4) }, () => 2 * draw.below(11) + odd);
    const prompt = Int32Array.from({ length: 1 + draw.below(4) }, () => draw.below(23));
    return { id: `pair-${i}`, prompt, chosen: side(0), rejected: side(1) };
  });
}

/** `models/llama` of the reference numbers; `folder` is where its files are. */
export async function fixtureLlama(configPath: string): Promise<LocalDecoder> {
  const folder = configPath.replace(/config\.json$/, '');
  const spec = specFromConfig(JSON.parse(readFileSync(configPath, 'utf8')));
  const file = await readSafetensors(`${folder}model.safetensors`);
  const weights = Object.fromEntries(file.names.map((name) => [name, { shape: file.entry(name).shape, data: file.floats(name) }]));
  return createDecoder(spec, { tokenizer: idTokenizer(spec.vocabSize), weights });
}

/** A padded batch as TRL's trainers see it, packed: rows in their order, padding left out on either side. */
export function packRows(ids: number[][], attention: number[][], completion: number[][]) {
  return packSequences(
    ids.map((row, i) => {
      const kept = row.map((_, t) => t).filter((t) => attention[i][t] === 1);
      return { tokens: Int32Array.from(kept, (t) => row[t]), completionStart: kept.findIndex((t) => completion[i][t] === 1), row: i };
    }),
  );
}

export type { PairBatch };
