import { rng } from '@plumbline/core';
import type { Tokenizer } from '@plumbline/data';
import { createDecoder, type LocalDecoder } from '../decoder/decoder.js';
import { type DecoderSpec, decoderSpec } from '../decoder/spec.js';
import { plainTokenizer } from './plainTokenizer.js';

/** Two layers of odd sizes with weights large enough that nothing is nearly zero. */
export function tinyDecoder(shape: Partial<DecoderSpec> & { gradientCheckpointing?: boolean } = {}, tokenizer?: Tokenizer): LocalDecoder {
  const { gradientCheckpointing, ...spec } = shape;
  const full = decoderSpec({
    vocabSize: 23,
    width: 18,
    layers: 2,
    heads: 3,
    kvHeads: 1,
    headDim: 6,
    mlpWidth: 20,
    contextLength: 64,
    initializerRange: 0.3,
    ...spec,
  });
  return createDecoder(full, { tokenizer: tokenizer ?? plainTokenizer(full.vocabSize), rng: rng(7), gradientCheckpointing });
}
