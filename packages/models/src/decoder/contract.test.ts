import { rng } from '@plumbline/core';
import { decoderContract, kvCacheContract, languageModelContract, scorerContract } from '@plumbline/data/contract';
import { describe, it } from 'vitest';
import { asLanguageModel } from '../languageModel.js';
import { createScorer } from '../scorer/scorer.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { tokenizerFromJson } from '../tokenizers/tokenizer.js';
import { trainByteBpe } from '../tokenizers/trainByteBpe.js';
import { createKvCache, hostCache, tensorCache } from './cache.js';
import type { LocalDecoder } from './decoder.js';

const variants = {
  'a tied Llama with grouped heads': {},
  'an untied Qwen2 with biases': { family: 'qwen2', tiedEmbeddings: false, attentionBias: 'qkv' },
  'a Qwen3 with head norms and a window': { family: 'qwen3', qkNorm: true, windows: [0, 4] },
  'a Llama that recomputes its layers': { gradientCheckpointing: true },
} as const;

describe.each(Object.entries(variants))('%s keeps the decoder contract', (_, shape) => {
  const cases = decoderContract(() => tinyDecoder(shape), { snapshotOf: (decoder) => (decoder as LocalDecoder).snapshot() });
  it.each(cases)('$name', ({ run }) => run());
});

describe.each(['mean', 'last'] as const)('a scorer with pooling %s keeps the scorer contract', (pooling) => {
  const make = () => createScorer(tinyDecoder({ tiedEmbeddings: false }), { pooling, rng: rng(3) });
  it.each(scorerContract(make))('$name', ({ run }) => run());
});

describe.each([
  ['the cache of this backend', createKvCache],
  ['the cache in host memory', hostCache],
  ['the cache of tensors', tensorCache],
])('%s keeps the KvCache contract', (_, make) => {
  it.each(kvCacheContract(make))('$name', ({ run }) => run());
});

describe('a local decoder keeps the LanguageModel contract', () => {
  const tokenizer = tokenizerFromJson(trainByteBpe([], { vocabSize: 257, specialTokens: ['<|end|>'] }), { eos_token: '<|end|>' });
  const make = () => asLanguageModel(tinyDecoder({ vocabSize: 257 }, tokenizer));
  it.each(languageModelContract(make, { prompts: ['Once', 'a longer prompt than the first', [{ role: 'user', content: 'hello' }]] }))(
    '$name',
    ({ run }) => run(),
  );
});
