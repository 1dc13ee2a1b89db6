import { rng } from '@plumbline/core';
import { createDecoder, decoderSpec, type LocalDecoder, tokenizerFromJson, trainByteBpe } from '@plumbline/models';
import { differentStories } from './stories.js';

/** A decoder that nobody trained, over a tokenizer of the stories. Small enough for the cpu backend. */
export function untrainedDecoder(seed = 0): LocalDecoder {
  const json = trainByteBpe(differentStories(rng(0).fork('stories'), 1000), { vocabSize: 1000, specialTokens: ['<|endoftext|>'] });
  const tokenizer = tokenizerFromJson(json, { name: 'tiny', eos_token: '<|endoftext|>' });
  return createDecoder(decoderSpec({ vocabSize: 1000, width: 16, layers: 1, heads: 2, mlpWidth: 24, contextLength: 64 }), {
    tokenizer,
    name: 'tiny',
    rng: rng(seed),
  });
}
