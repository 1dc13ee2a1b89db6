import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { writeChunksAtomic } from '@plumbline/core';
import type { DecoderWeights, LocalDecoder } from '../decoder/decoder.js';
import { type GgufStorage, ggufChunks } from '../gguf/write.js';
import { isAdapted } from '../lora/lora.js';
import { mergedWeights } from '../lora/merge.js';

/**
 * Writes a decoder, an adapter merged into its base, as one GGUF file with its tokenizer and chat template: what llama.cpp and all that is built on it read.
 * @throws ConfigError where the family or the tokenizer has no form there
 */
export async function saveGguf(path: string, decoder: LocalDecoder, { storage = 'F16' }: { storage?: GgufStorage } = {}): Promise<void> {
  const weights = isAdapted(decoder)
    ? (await mergedWeights(decoder)).weights
    : ((await decoder.parameters.save()).tensors as DecoderWeights);
  await mkdir(dirname(path), { recursive: true });
  await writeChunksAtomic(path, ggufChunks(decoder, weights, storage));
}
