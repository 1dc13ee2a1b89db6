import { ConfigError } from '@plumbline/core';
import type { Message, Tokenizer } from '../interfaces.js';

/** One token a byte, and the end token 256: enough of a tokenizer for tests, without files. `chat` adds ChatML-like turns whose end is the end token. */
export function byteTokenizer({ eos = true, chat = false, bos = false }: { eos?: boolean; chat?: boolean; bos?: boolean } = {}): Tokenizer {
  const [eosId, bosId] = [256, 257];
  const encoder = new TextEncoder();
  const encode = (text: string): number[] =>
    text.split('<end>').flatMap((part, i) => (i === 0 || !eos ? [...encoder.encode(part)] : [eosId, ...encoder.encode(part)]));
  return {
    name: 'bytes',
    vocabSize: 258,
    ...(eos && { eosId }),
    ...(bos && { bosId }),
    encode: (text, options) => Int32Array.from(options?.special && bos ? [bosId, ...encode(text)] : encode(text)),
    decode: (ids, options) => {
      const parts = Array.from(ids, (id) => (id < 256 ? id : id === eosId && !options?.skipSpecial ? [...encoder.encode('<end>')] : []));
      return new TextDecoder().decode(Uint8Array.from(parts.flat()));
    },
    hasChatTemplate: chat,
    renderChat(messages: readonly Message[], options) {
      if (!chat) throw new ConfigError('the tokenizer bytes has no chat template');
      const turns = messages.map(({ role, content }) => `[${role}]\n${content}<end>\n`);
      return turns.join('') + (options?.addGenerationPrompt ? '[assistant]\n' : '');
    },
  };
}
