/** A decoder so small that a step takes milliseconds, and whose ids are letters. */
import { rng } from '@plumbline/core';
import type { Tokenizer } from '@plumbline/data';
import { createDecoder, decoderSpec, type LocalDecoder } from '@plumbline/models';

const vocabSize = 23;
export const tokenizer: Tokenizer = {
  name: 'ids',
  vocabSize,
  encode: (text) => Int32Array.from(text, (c) => c.codePointAt(0)! - 33),
  decode: (ids) => Array.from(ids, (id) => String.fromCodePoint(id + 33)).join(''),
  hasChatTemplate: false,
  renderChat: () => '',
};
const spec = decoderSpec({
  vocabSize,
  width: 18,
  layers: 2,
  heads: 3,
  kvHeads: 1,
  headDim: 6,
  mlpWidth: 20,
  contextLength: 32,
  initializerRange: 0.3,
});
export const tiny = (): LocalDecoder => createDecoder(spec, { tokenizer, rng: rng(7) });
