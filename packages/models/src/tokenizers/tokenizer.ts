import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { ConfigError, FormatError } from '@plumbline/core';
import type { Message, Tokenizer } from '@plumbline/data';
import { assistantMask, assistantSpans } from './assistantMask.js';
import { type ChatOptions, chatRenderer } from './chatTemplate.js';
import { align, inCodePoints, withSpecial } from './offsets.js';

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
  /**
   * Ids, and for each the part of the text that it stands for: from and to, in code points (what Python counts). A token inside a character has
   * the whole character's; a token that the post-processor adds has [0, 0].
   */
  encodeWithOffsets(text: string, options?: { special?: boolean }): { ids: Int32Array; offsets: [number, number][] };
  /** Two texts as the post-processor joins them; `typeIds` is 0 for the first and 1 for the second. */
  encodePair(first: string, second: string): { ids: Int32Array; typeIds: Int32Array };
  /** @throws ConfigError where the tokenizer has no chat template; FormatError where the template refuses the messages */
  renderChat(messages: readonly Message[], options?: ChatOptions & { returnAssistantMask?: false }): string;
  /** With `assistantMask` 1 on each token of what the assistant said: see `assistantSpans`. */
  renderChat(messages: readonly Message[], options: ChatOptions & { returnAssistantMask: true }): MaskedChat;
}

/** A conversation as one sequence of tokens; `assistantMask` [tokens] is 1 on what the assistant wrote. */
export type MaskedChat = { text: string; tokens: Int32Array; assistantMask: Uint8Array };

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
      : chatRenderer(template, { bosToken: contentOf(config.bos_token), eosToken: contentOf(config.eos_token) });
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
    encodeWithOffsets(text, { special = false } = {}) {
      const { ids, spans } = encodeSpans(text, special);
      return { ids, offsets: inCodePoints(text, spans) };
    },
    encodePair(first, second) {
      const { ids, token_type_ids } = inner.encode(first, { text_pair: second, add_special_tokens: true, return_token_type_ids: true });
      return { ids: Int32Array.from(ids), typeIds: Int32Array.from(token_type_ids ?? ids.map(() => 0)) };
    },
    renderChat: renderChat as LocalTokenizer['renderChat'],
  };

  function encodeSpans(text: string, special: boolean) {
    const aligned = align(inner, text);
    const { tokens, spans } = special ? withSpecial(inner, aligned) : aligned;
    const unknown = (inner.model as unknown as { unk_token_id?: number }).unk_token_id;
    return { ids: Int32Array.from(tokens, (token) => inner.token_to_id(token) ?? unknown ?? 0), spans };
  }

  function renderChat(messages: readonly Message[], options: ChatOptions & { returnAssistantMask?: boolean } = {}): string | MaskedChat {
    if (!render) throw new ConfigError(`${name} has no chat template; give plain text, or set chat_template in its tokenizer_config.json`);
    if (!options.returnAssistantMask) return render(messages, options).text;
    const { text, spans } = assistantSpans(render, messages, { ...options, eosToken: contentOf(config.eos_token), name });
    const encoded = encodeSpans(text, false);
    return { text, tokens: encoded.ids, assistantMask: assistantMask(encoded.spans, spans) };
  }
}

function parse(json: object, name: string): HuggingFaceTokenizer {
  const model = (json as { model?: { vocab?: object } }).model;
  if (!model?.vocab)
    throw new FormatError(
      `${name}: not a tokenizer.json, it has no "model" with a "vocab" (keys: ${Object.keys(json).slice(0, 8).join(', ') || 'none'})`,
    );
  checkIds(json, model.vocab, name);
  try {
    return new HuggingFaceTokenizer(
      { ...json, pre_tokenizer: withUnicodeDigits((json as { pre_tokenizer?: unknown }).pre_tokenizer) },
      { clean_up_tokenization_spaces: false },
    );
  } catch (error) {
    throw new FormatError(`${name}: this tokenizer.json cannot be used: ${(error as Error).message}`);
  }
}

/** A vocabulary is laid out by its ids: one that is far out would take all memory. */
function checkIds(json: object, vocab: object, name: string): void {
  const isId = (id: unknown) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < 2 ** 24;
  if (!Array.isArray(vocab)) {
    for (const [token, id] of Object.entries(vocab)) {
      if (!isId(id))
        throw new FormatError(
          `${name}: the token ${JSON.stringify(token)} has the id ${JSON.stringify(id)}; ids are whole numbers from 0 to ${2 ** 24 - 1}`,
        );
    }
  }
  const { added_tokens: added } = json as { added_tokens?: unknown };
  if (added === undefined || added === null) return;
  if (!Array.isArray(added)) throw new FormatError(`${name}: added_tokens must be a list, found ${JSON.stringify(added).slice(0, 60)}`);
  for (const token of added as { id?: unknown; content?: unknown }[]) {
    if (!isId(token?.id) || typeof token.content !== 'string')
      throw new FormatError(
        `${name}: added_tokens holds ${JSON.stringify(token)?.slice(0, 60)}; each needs a content and an id below ${2 ** 24}`,
      );
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
