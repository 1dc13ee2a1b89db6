import { FormatError } from '@plumbline/core';
import { type DecoderSpec, decoderSpec } from '../decoder/spec.js';
import { type LocalTokenizer, type TokenizerConfig, tokenizerFromJson } from '../tokenizers/tokenizer.js';
import type { Gguf, GgufValue } from './parse.js';

/** What a GGUF file says of its decoder. @throws FormatError naming the metadata entry that is missing or not supported */
export function specFromGguf({ metadata, tensors }: Gguf, name: string): DecoderSpec {
  const architecture = metadata['general.architecture'];
  if (architecture !== 'llama' && architecture !== 'qwen2' && architecture !== 'qwen3')
    throw new FormatError(`${name}: general.architecture is ${show(architecture)}; supported are llama, qwen2, qwen3`);
  const number = (key: string, fallback?: number): number => {
    const value = metadata[`${architecture}.${key}`] ?? fallback;
    if (typeof value !== 'number')
      throw new FormatError(`${name}: metadata "${architecture}.${key}" must be a number, found ${show(value)}`);
    return value;
  };
  const find = (tensor: string) => tensors.find((t) => t.name === tensor);
  const embeddings = find('token_embd.weight');
  if (!embeddings) throw new FormatError(`${name}: there is no tensor "token_embd.weight" among ${tensors.length}`);
  if (find('rope_freqs.weight'))
    throw new FormatError(`${name}: scaled rotary frequencies ("rope_freqs.weight") are not supported from GGUF; load the safetensors`);
  const heads = number('attention.head_count');
  const width = number('embedding_length');
  return decoderSpec({
    family: architecture,
    vocabSize: embeddings.shape[0],
    width,
    layers: number('block_count'),
    heads,
    kvHeads: number('attention.head_count_kv', heads),
    headDim: number('attention.key_length', width / heads),
    mlpWidth: number('feed_forward_length'),
    contextLength: number('context_length'),
    ropeTheta: number('rope.freq_base', 10_000),
    rmsNormEps: number('attention.layer_norm_rms_epsilon', 1e-6),
    tiedEmbeddings: !find('output.weight'),
    attentionBias: find('blk.0.attn_q.bias') ? (find('blk.0.attn_output.bias') ? 'all' : 'qkv') : undefined,
    qkNorm: find('blk.0.attn_q_norm.weight') !== undefined,
  });
}

const modules: Record<string, string> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};
const outer: Record<string, string> = {
  'token_embd.weight': 'model.embed_tokens.weight',
  'output_norm.weight': 'model.norm.weight',
  'output.weight': 'lm_head.weight',
};

/** Hugging Face's name of a GGUF tensor; its own where there is none. */
export function parameterName(tensor: string): string {
  const [, layer, module, kind] = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(tensor) ?? [];
  return modules[module] ? `model.layers.${layer}.${modules[module]}.${kind}` : (outer[tensor] ?? tensor);
}

/**
 * Brings the rows of llama's q and k projections from GGUF's interleaved rotary order into Hugging Face's: row `2i + j` of a head becomes
 * row `i + j · headDim / 2`.
 */
export function unInterleave(data: Float32Array, headDim: number, rows: number): Float32Array {
  const out = new Float32Array(data.length);
  const width = data.length / rows;
  for (let row = 0; row < rows; row++) {
    const inHead = row % headDim;
    const target = row - inHead + (inHead >> 1) + (inHead & 1) * (headDim / 2);
    out.set(data.subarray(row * width, (row + 1) * width), target * width);
  }
  return out;
}

const byteLevel = (useRegex: boolean) => ({ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: useRegex });
const split = (Regex: string) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false });
const sequence = (...pretokenizers: object[]) => ({ type: 'Sequence', pretokenizers });
/** llama.cpp's `tokenizer.ggml.pre`: how text is cut before merging. */
const preTokenizers: Record<string, object> = {
  'gpt-2': byteLevel(true),
  default: byteLevel(true),
  smollm: sequence({ type: 'Digits', individual_digits: true }, byteLevel(true)), // digits first, then GPT-2's split
  'llama-bpe': sequence(
    split(
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    ),
    byteLevel(false),
  ),
  qwen2: sequence(
    split(
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    ),
    byteLevel(false),
  ),
};

/**
 * The byte-level BPE tokenizer in a GGUF file's metadata, with its special tokens and chat template.
 * @throws FormatError where it is of another kind, or cuts text in a way that is not known
 */
export function tokenizerFromGguf({ metadata }: Gguf, name: string): LocalTokenizer {
  const kind = metadata['tokenizer.ggml.model'];
  if (kind !== 'gpt2') throw new FormatError(`${name}: tokenizer.ggml.model is ${show(kind)}; supported is "gpt2" (byte-level BPE)`);
  const pre = String(metadata['tokenizer.ggml.pre'] ?? 'default');
  if (!preTokenizers[pre])
    throw new FormatError(`${name}: tokenizer.ggml.pre is "${pre}"; supported are ${Object.keys(preTokenizers).join(', ')}`);
  const list = (key: string): GgufValue[] => {
    const value = metadata[key];
    if (!Array.isArray(value)) throw new FormatError(`${name}: metadata "${key}" must be a list, found ${show(value)}`);
    return value;
  };
  const tokens = list('tokenizer.ggml.tokens') as string[];
  const types = (metadata['tokenizer.ggml.token_type'] ?? []) as number[];
  const added = tokens.flatMap((content, id) => {
    const special = types[id] === tokenTypes.control || types[id] === tokenTypes.unknown;
    if (!special && types[id] !== tokenTypes.userDefined) return [];
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
  const json = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: preTokenizers[pre],
    post_processor: null,
    decoder: byteLevel(true),
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: pre === 'llama-bpe',
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: (list('tokenizer.ggml.merges') as string[]).map((merge) => merge.split(' ')),
    },
  };
  const named = (key: string) => {
    const id = metadata[`tokenizer.ggml.${key}_token_id`];
    return typeof id === 'number' ? tokens[id] : undefined;
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

const tokenTypes = { unknown: 2, control: 3, userDefined: 4 };

function show(value: GgufValue | undefined): string {
  if (value === undefined) return 'nothing';
  return typeof value === 'string' ? JSON.stringify(value) : String(value).slice(0, 40);
}
