/** The tokenizer in a GGUF file's metadata, as the object of a `tokenizer.json`. */
import { FormatError } from '@plumbline/core';
import { type LocalTokenizer, type TokenizerConfig, tokenizerFromJson } from '../tokenizers/tokenizer.js';
import { show } from './model.js';
import type { Gguf, GgufValue } from './parse.js';

const byteLevel = (useRegex: boolean) => ({ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: useRegex });
const split = (Regex: string) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false });
const sequence = (...pretokenizers: object[]) => ({ type: 'Sequence', pretokenizers });

const gpt2 = byteLevel(true);
const digitsFirst = sequence({ type: 'Digits', individual_digits: true }, byteLevel(true));
const wordsAndNumbers = (digits: string) =>
  sequence(
    split(
      `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
    ),
    byteLevel(false),
  );
const llama3 = wordsAndNumbers('\\p{N}{1,3}');
const qwen2 = wordsAndNumbers('\\p{N}');
/** llama.cpp's `tokenizer.ggml.pre`: how text is cut before merging. */
const preTokenizers: Record<string, object> = {
  'gpt-2': gpt2,
  'phi-2': gpt2,
  'roberta-bpe': gpt2,
  smollm: digitsFirst, // digits first, then GPT-2's split
  starcoder: digitsFirst,
  refact: digitsFirst,
  'command-r': digitsFirst,
  codeshell: digitsFirst,
  'llama-bpe': llama3,
  llama3,
  'llama-v3': llama3,
  qwen2,
  'deepseek-r1-qwen': qwen2,
  default: sequence(
    split('[\\p{P}\\$\\+<=>\\^~\\|]+'),
    split("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"),
    split('\\p{N}+'),
    split('[0-9][0-9][0-9]'),
    byteLevel(false),
  ),
};

/**
 * The tokenizer in a GGUF file's metadata, with its special tokens and chat template: a byte-level BPE (`gpt2`), whose text is cut as
 * `tokenizer.ggml.pre` says and as GPT-2's where it says nothing, or a SentencePiece BPE (`llama`), whose scores become merges.
 *
 * @throws FormatError where it is of another kind, or cuts text in a way that is not known
 */
export function tokenizerFromGguf({ metadata }: Gguf, name: string): LocalTokenizer {
  const kind = metadata['tokenizer.ggml.model'];
  if (kind !== 'gpt2' && kind !== 'llama')
    throw new FormatError(
      `${name}: tokenizer.ggml.model is ${show(kind)}; supported are "gpt2" (byte-level BPE) and "llama" (SentencePiece BPE)`,
    );
  const list = (key: string): GgufValue[] => {
    const value = metadata[key];
    if (!Array.isArray(value)) throw new FormatError(`${name}: metadata "${key}" must be a list, found ${show(value)}`);
    return value;
  };
  const tokens = list('tokenizer.ggml.tokens');
  tokens.forEach((token, id) => {
    if (typeof token !== 'string')
      throw new FormatError(`${name}: metadata "tokenizer.ggml.tokens" holds ${show(token)} at ${id}; tokens are texts`);
  });
  const pieces = tokens as string[];
  const types = (metadata['tokenizer.ggml.token_type'] ?? []) as number[];
  const idOf = (role: string): number | undefined => {
    const id = metadata[`tokenizer.ggml.${role}_token_id`];
    if (id === undefined) return undefined;
    if (typeof id !== 'number' || pieces[id] === undefined)
      throw new FormatError(`${name}: metadata "tokenizer.ggml.${role}_token_id" is ${show(id)}; ids go from 0 to ${pieces.length - 1}`);
    return id;
  };
  const added = pieces.flatMap((content, id) => {
    const special = types[id] === tokenTypes.control || types[id] === tokenTypes.unknown;
    if (!special && types[id] !== tokenTypes.userDefined) return [];
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
  const vocab = Object.fromEntries(pieces.map((token, id) => [token, id]));
  const pre = metadata['tokenizer.ggml.pre'];
  const parts =
    kind === 'gpt2'
      ? byteLevelParts(pre, vocab, list, name)
      : sentencePieceParts(metadata, pieces, types, vocab, idOf('unknown'), list, name);
  // llama.cpp: SentencePiece begins with bos unless said otherwise, and so does Llama 3.
  const begins = kind === 'llama' || parts.pre_tokenizer === llama3;
  const frame = {
    bos: (metadata['tokenizer.ggml.add_bos_token'] ?? begins) ? idOf('bos') : undefined,
    eos: metadata['tokenizer.ggml.add_eos_token'] ? idOf('eos') : undefined,
  };
  const json = { version: '1.0', truncation: null, padding: null, added_tokens: added, ...parts, post_processor: framed(frame, pieces) };
  const named = (role: string) => {
    const id = idOf(role);
    return id === undefined ? undefined : pieces[id];
  };
  const config: TokenizerConfig = {
    name,
    bos_token: named('bos'),
    eos_token: named('eos'),
    pad_token: named('padding') ?? named('eos'),
    chat_template: metadata['tokenizer.chat_template'] as string | undefined,
  };
  return tokenizerFromJson(json, config);
}

const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4 };
type List = (key: string) => GgufValue[];

function byteLevelParts(pre: GgufValue | undefined, vocab: Record<string, number>, list: List, name: string) {
  const way = typeof pre === 'string' ? pre : 'gpt-2';
  if (!Object.hasOwn(preTokenizers, way))
    throw new FormatError(`${name}: tokenizer.ggml.pre is ${show(pre)}; supported are ${Object.keys(preTokenizers).join(', ')}`);
  return {
    normalizer: preTokenizers[way] === qwen2 ? { type: 'NFC' } : null, // as the model was trained, though llama.cpp leaves it out
    pre_tokenizer: preTokenizers[way],
    decoder: byteLevel(true),
    model: {
      ...bpe,
      unk_token: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: preTokenizers[way] === llama3,
      vocab,
      merges: (list('tokenizer.ggml.merges') as string[]).map((merge) => merge.split(' ')),
    },
  };
}

/**
 * SentencePiece merges whichever pair makes the piece of the highest score. As ranked merges: every way to cut a piece in two pieces, in the order
 * of the scores of what they make (Kudo & Richardson 2018, arXiv:1808.06226, section 3.1).
 */
function sentencePieceParts(
  metadata: Gguf['metadata'],
  pieces: string[],
  types: number[],
  vocab: Record<string, number>,
  unknown: number | undefined,
  list: List,
  name: string,
) {
  const scores = list('tokenizer.ggml.scores') as number[];
  if (scores.length !== pieces.length)
    throw new FormatError(`${name}: ${pieces.length} tokens have ${scores.length} scores ("tokenizer.ggml.scores")`);
  const normal = (id: number | undefined) => id !== undefined && (types[id] ?? tokenTypes.normal) === tokenTypes.normal;
  const ids = new Map(pieces.map((piece, id) => [piece, id]));
  const merges: { left: string; right: string; score: number }[] = [];
  pieces.forEach((piece, id) => {
    if (!normal(id)) return;
    const characters = Array.from(piece);
    for (let i = 1; i < characters.length; i++) {
      const [left, right] = [characters.slice(0, i).join(''), characters.slice(i).join('')];
      if (normal(ids.get(left)) && normal(ids.get(right))) merges.push({ left, right, score: scores[id] });
    }
  });
  merges.sort((a, b) => b.score - a.score);
  const prefix = metadata['tokenizer.ggml.add_space_prefix'] !== false;
  const space = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
  return {
    normalizer: prefix ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, space] } : space,
    pre_tokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      ...bpe,
      unk_token: pieces[unknown ?? types.indexOf(tokenTypes.unknown)] ?? null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab,
      merges: merges.map(({ left, right }) => [left, right]),
    },
  };
}

const bpe = { type: 'BPE', dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null };

/** What a tokenizer puts around a text when asked for special tokens. */
function framed({ bos, eos }: { bos?: number; eos?: number }, pieces: string[]): object | null {
  if (bos === undefined && eos === undefined) return null;
  const token = (id: number, type_id: number) => ({ SpecialToken: { id: pieces[id], type_id } });
  const around = (id: 'A' | 'B', type_id: number) => [
    ...(bos === undefined ? [] : [token(bos, type_id)]),
    { Sequence: { id, type_id } },
    ...(eos === undefined ? [] : [token(eos, type_id)]),
  ];
  const ids = [bos, eos].filter((id): id is number => id !== undefined);
  return {
    type: 'TemplateProcessing',
    single: around('A', 0),
    pair: [...around('A', 0), ...around('B', 1)],
    special_tokens: Object.fromEntries(ids.map((id) => [pieces[id], { id: pieces[id], ids: [id], tokens: [pieces[id]] }])),
  };
}
