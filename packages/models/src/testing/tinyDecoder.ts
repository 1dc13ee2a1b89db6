import { rng } from '@plumbline/core';
import type { Tokenizer } from '@plumbline/data';
import { createDecoder, type LocalDecoder } from '../decoder/decoder.js';
import { type DecoderSpec, decoderSpec } from '../decoder/spec.js';
import { plainTokenizer } from './plainTokenizer.js';

export type TinyShape = Partial<DecoderSpec> & {
  /** What the weights are drawn from; 7 unless given. */
  seed?: number;
  name?: string;
  gradientCheckpointing?: boolean;
};

/** Two layers of odd sizes with weights large enough that nothing is nearly zero; unless `shape` says otherwise, 23 ids and 64 tokens of context. */
export function tinyDecoder({ seed = 7, name, gradientCheckpointing, ...shape }: TinyShape = {}, tokenizer?: Tokenizer): LocalDecoder {
  const spec = decoderSpec({
    vocabSize: 23,
    width: 18,
    layers: 2,
    heads: 3,
    kvHeads: 1,
    headDim: 6,
    mlpWidth: 20,
    contextLength: 64,
    initializerRange: 0.3,
    ...shape,
  });
  return createDecoder(spec, { name, tokenizer: tokenizer ?? plainTokenizer(spec.vocabSize), rng: rng(seed), gradientCheckpointing });
}
