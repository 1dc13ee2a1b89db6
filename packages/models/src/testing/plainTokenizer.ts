import type { Tokenizer } from '@plumbline/data';

/** Stands in for a tokenizer where only ids matter: id i is the character i + 33, or `eosId` the end. */
export function plainTokenizer(vocabSize: number, { eosId }: { eosId?: number } = {}): Tokenizer {
  return {
    name: 'plain',
    vocabSize,
    eosId,
    encode: (text) => Int32Array.from(text, (c) => c.codePointAt(0)! - 33),
    decode: (ids, { skipSpecial = false } = {}) =>
      Array.from(ids)
        .filter((id) => !(skipSpecial && id === eosId))
        .map((id) => String.fromCodePoint(id + 33))
        .join(''),
    hasChatTemplate: false,
    renderChat() {
      throw new Error('no chat template');
    },
  };
}
