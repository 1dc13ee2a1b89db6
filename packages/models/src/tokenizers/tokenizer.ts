import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { ConfigError, FormatError } from '@plumbline/core';
import type { Message, Tokenizer } from '@plumbline/data';
import { chatTemplate } from './chatTemplate.js';

/** What `tokenizer_config.json` may say that matters here. */
export type TokenizerConfig = {
  name?: string;
  bos_token?: string | { content: string } | null;
  eos_token?: string | { content: string } | null;
  pad_token?: string | { content: string } | null;
  unk_token?: string | { content: string } | null;
  /** One template, or named ones of which `default` is used. */
  chat_template?: string | readonly { name: string; template: string }[] | null;
  [key: string]: unknown;
};

/** A tokenizer that can be saved again: the objects of its `tokenizer.json` and `tokenizer_config.json`. */
export interface LocalTokenizer extends Tokenizer {
  readonly json: object;
  readonly config: TokenizerConfig;
  readonly chatTemplate?: string;
  /** @throws ConfigError where there is no such token */
  idOf(token: string): number;
}

/**
 * A tokenizer from the object of a `tokenizer.json`, with what its `tokenizer_config.json` says of special tokens and chat template.
 *
 * Encoding adds no special tokens unless asked; special tokens written out in the text are recognised. Decoding never tidies spaces (whatever
 * `clean_up_tokenization_spaces` says), so byte-level tokenizers give back exactly what they were given; ids that have no token (models often
 * have room for more) leave no trace.
 *
 * @throws FormatError where the object is no tokenizer; ConfigError where a special token is not in the vocabulary
 */
export function tokenizerFromJson(json: object, config: TokenizerConfig = {}): LocalTokenizer {
  const name = config.name ?? 'tokenizer';
  const inner = parse(json, name);
  let vocabSize = 0;
  for (const id of inner.get_vocab(true).values()) vocabSize = Math.max(vocabSize, id + 1);
  const named = new Uint8Array(vocabSize);
  for (const id of inner.get_vocab(true).values()) named[id] = 1;
  const special = (key: 'bos_token' | 'eos_token' | 'pad_token') => {
    const token = contentOf(config[key]);
    if (token === undefined) return undefined;
    const id = inner.token_to_id(token);
    if (id === undefined) throw new ConfigError(`${name}: ${key} is "${token}", which the vocabulary of ${vocabSize} tokens does not hold`);
    return id;
  };
  const template = templateOf(config.chat_template);
  const render =
    template === undefined
      ? undefined
      : chatTemplate(template, { bosToken: contentOf(config.bos_token), eosToken: contentOf(config.eos_token) });
  return {
    name,
    json,
    config,
    vocabSize,
    bosId: special('bos_token'),
    eosId: special('eos_token'),
    padId: special('pad_token'),
    chatTemplate: template,
    hasChatTemplate: render !== undefined,
    encode: (text, { special = false } = {}) => Int32Array.from(inner.encode(text, { add_special_tokens: special }).ids),
    decode(ids, { skipSpecial = false } = {}) {
      const known = Array.from(ids).filter((id) => id >= 0 && id < vocabSize && named[id]);
      return known.length === 0 ? '' : inner.decode(known, { skip_special_tokens: skipSpecial });
    },
    idOf(token) {
      const id = inner.token_to_id(token);
      if (id === undefined) throw new ConfigError(`${name}: no token "${token}" among ${vocabSize}`);
      return id;
    },
    renderChat(messages: readonly Message[], options = {}) {
      if (!render)
        throw new ConfigError(`${name} has no chat template; give plain text, or set chat_template in its tokenizer_config.json`);
      return render(messages, options);
    },
  };
}

function parse(json: object, name: string): HuggingFaceTokenizer {
  const model = (json as { model?: { vocab?: object } }).model;
  if (!model?.vocab)
    throw new FormatError(
      `${name}: not a tokenizer.json, it has no "model" with a "vocab" (keys: ${Object.keys(json).slice(0, 8).join(', ') || 'none'})`,
    );
  try {
    return new HuggingFaceTokenizer(
      { ...json, pre_tokenizer: withUnicodeDigits((json as { pre_tokenizer?: unknown }).pre_tokenizer) },
      { clean_up_tokenization_spaces: false },
    );
  } catch (error) {
    throw new FormatError(`${name}: this tokenizer.json cannot be used: ${(error as Error).message}`);
  }
}

/** `Digits` means every numeral (½, ² and ٣ too); the library's own reads 0 to 9 alone. */
function withUnicodeDigits(step: unknown): unknown {
  if (typeof step !== 'object' || step === null) return step;
  const { type, individual_digits, pretokenizers } = step as { type?: string; individual_digits?: boolean; pretokenizers?: unknown[] };
  if (type === 'Digits')
    return { type: 'Split', pattern: { Regex: individual_digits ? '\\p{N}' : '\\p{N}+' }, behavior: 'Isolated', invert: false };
  return pretokenizers ? { ...step, pretokenizers: pretokenizers.map(withUnicodeDigits) } : step;
}

function contentOf(token: string | { content: string } | null | undefined): string | undefined {
  return typeof token === 'string' ? token : (token?.content ?? undefined);
}

function templateOf(template: TokenizerConfig['chat_template']): string | undefined {
  if (template == null || typeof template === 'string') return template ?? undefined;
  return (template.find((t) => t.name === 'default') ?? template[0])?.template;
}
