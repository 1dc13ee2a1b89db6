/** GGUF files: a decoder's weights under ggml's names, its shape and its tokenizer as metadata, as llama.cpp reads them. */
import { ConfigError, float32ToBfloat16, float32ToFloat16 } from '@plumbline/core';
import type { DecoderWeights, LocalDecoder } from '../decoder/decoder.js';
import { type DecoderSpec, inverseFrequencies } from '../decoder/spec.js';
import type { LocalTokenizer } from '../tokenizers/tokenizer.js';
import { parameterName } from './model.js';
import { type GgmlType, ggmlTypes } from './parse.js';

/** How matrices are stored; norms and biases are always F32. */
export type GgufStorage = Extract<GgmlType, 'F32' | 'F16' | 'BF16' | 'Q8_0'>;

type Value =
  | { kind: 'uint32' | 'float32'; value: number }
  | { kind: 'string'; value: string }
  | { kind: 'bool'; value: boolean }
  | { kind: 'strings'; value: readonly string[] }
  | { kind: 'int32s'; value: readonly number[] };
type Entry = { name: string; shape: readonly number[]; type: GgufStorage; data: Float32Array };

const architectures: Partial<Record<DecoderSpec['family'], string>> = { llama: 'llama', mistral: 'llama', qwen2: 'qwen2', qwen3: 'qwen3' };
const fileTypes: Record<GgufStorage, number> = { F32: 0, F16: 1, Q8_0: 7, BF16: 32 };
const alignment = 32;

/**
 * The bytes of a decoder as a GGUF file (version 3), in chunks. A matrix whose rows Q8_0's blocks of 32 do not divide is stored as F16.
 *
 * @param weights the decoder's, in float32 under Hugging Face's names
 * @throws ConfigError where llama.cpp has no such architecture, or no such way of cutting text, that we can write
 */
export function ggufChunks(decoder: LocalDecoder, weights: DecoderWeights, storage: GgufStorage): Iterable<Uint8Array> {
  const { spec, name } = decoder;
  const architecture = architectures[spec.family];
  if (!architecture)
    throw new ConfigError(
      `${name}: a ${spec.family} cannot be written as GGUF; ${Object.keys(architectures).join(', ')} can, and safetensors holds all`,
    );
  if (spec.windows?.some((window) => window > 0))
    throw new ConfigError(`${name}: GGUF of this architecture does not hold sliding windows; export safetensors instead`);
  const metadata = { ...modelMetadata(spec, architecture, name, storage), ...tokenizerMetadata(decoder) };
  return chunks(metadata, entriesOf(spec, architecture, weights, storage, name));
}

function modelMetadata(spec: DecoderSpec, architecture: string, name: string, storage: GgufStorage): Record<string, Value> {
  const number = (value: number): Value => ({ kind: 'uint32', value });
  const real = (value: number): Value => ({ kind: 'float32', value });
  const own: Record<string, Value> = {
    block_count: number(spec.layers),
    context_length: number(spec.contextLength),
    embedding_length: number(spec.width),
    feed_forward_length: number(spec.mlpWidth),
    'attention.head_count': number(spec.heads),
    'attention.head_count_kv': number(spec.kvHeads),
    'attention.key_length': number(spec.headDim),
    'attention.value_length': number(spec.headDim),
    'attention.layer_norm_rms_epsilon': real(spec.rmsNormEps),
    'rope.freq_base': real(spec.ropeTheta),
    'rope.dimension_count': number(spec.headDim),
    vocab_size: number(spec.vocabSize),
  };
  return {
    'general.architecture': { kind: 'string', value: architecture },
    'general.name': { kind: 'string', value: name },
    'general.file_type': number(fileTypes[storage]),
    'general.quantization_version': number(2),
    'general.alignment': number(alignment),
    ...Object.fromEntries(Object.entries(own).map(([key, value]) => [`${architecture}.${key}`, value])),
  };
}

function tokenizerMetadata({ tokenizer, spec, name }: LocalDecoder): Record<string, Value> {
  if (!('json' in tokenizer))
    throw new ConfigError(`${name}: only a tokenizer from tokenizer.json or GGUF can be written; this one is ${tokenizer.name}`);
  const { json, config } = tokenizer as LocalTokenizer;
  type Json = {
    model?: { type?: string; vocab?: Record<string, number>; merges?: (string | [string, string])[] };
    pre_tokenizer?: object | null;
    added_tokens?: { id: number; content: string; special?: boolean }[];
  };
  const { model, pre_tokenizer: before, added_tokens: added = [] } = json as Json;
  if (model?.type !== 'BPE' || !model.vocab || !model.merges)
    throw new ConfigError(`${name}: the tokenizer is a ${model?.type}; a byte-level BPE can be written as GGUF`);
  const tokens: (string | undefined)[] = new Array(spec.vocabSize).fill(undefined);
  const types: number[] = new Array(spec.vocabSize).fill(5); // unused
  for (const [token, id] of Object.entries(model.vocab)) [tokens[id], types[id]] = [token, 1];
  for (const { id, content, special } of added) [tokens[id], types[id]] = [content, special === false ? 4 : 3];
  const { bosId, eosId, padId } = tokenizer;
  const id = (role: string, value: number | undefined): Record<string, Value> =>
    value === undefined ? {} : { [`tokenizer.ggml.${role}_token_id`]: { kind: 'uint32', value } };
  const beginning = tokenizer.encode('a', { special: true })[0];
  return {
    'tokenizer.ggml.model': { kind: 'string', value: 'gpt2' },
    'tokenizer.ggml.pre': { kind: 'string', value: preOf(before, name) },
    'tokenizer.ggml.tokens': { kind: 'strings', value: tokens.map((token, i) => token ?? `[PAD${i}]`) },
    'tokenizer.ggml.token_type': { kind: 'int32s', value: types },
    'tokenizer.ggml.merges': { kind: 'strings', value: model.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' '))) },
    ...id('bos', bosId),
    ...id('eos', eosId),
    ...id('padding', padId),
    'tokenizer.ggml.add_bos_token': { kind: 'bool', value: bosId !== undefined && beginning === bosId },
    ...(typeof config.chat_template === 'string' && { 'tokenizer.chat_template': { kind: 'string', value: config.chat_template } }),
  };
}

const llamaSplit =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
/** llama.cpp's names of ways to cut text before merging, by the parts of a pre-tokenizer. */
const pres: Record<string, string> = {
  'ByteLevel true': 'gpt-2',
  'Digits true, ByteLevel true': 'smollm',
  [`Split ${llamaSplit}, ByteLevel false`]: 'llama-bpe',
  [`Split ${llamaSplit.replace('{1,3}', '')}, ByteLevel false`]: 'qwen2',
};

function preOf(pre: object | null | undefined, name: string): string {
  type Part = { type: string; pretokenizers?: Part[]; use_regex?: boolean; individual_digits?: boolean; pattern?: { Regex?: string } };
  const describe = (part: Part): string => {
    if (part.type === 'Sequence') return (part.pretokenizers ?? []).map(describe).join(', ');
    if (part.type === 'ByteLevel') return `ByteLevel ${part.use_regex ?? true}`;
    if (part.type === 'Digits') return `Digits ${part.individual_digits}`;
    return `${part.type} ${part.pattern?.Regex ?? JSON.stringify(part)}`;
  };
  const found = pre ? describe(pre as Part) : 'nothing';
  if (pres[found]) return pres[found];
  throw new ConfigError(`${name}: llama.cpp's name of this tokenizer's way to cut text is not known (${found.slice(0, 120)})`);
}

function entriesOf(spec: DecoderSpec, architecture: string, weights: DecoderWeights, storage: GgufStorage, name: string): Entry[] {
  const ggmlName = ggmlNames(spec.layers);
  const entries = Object.entries(weights).map(([parameter, { shape, data }]): Entry => {
    const tensor = ggmlName.get(parameter);
    if (!tensor) throw new ConfigError(`${name}: GGUF has no name for "${parameter}"`);
    const turned = architecture === 'llama' && /self_attn\.[qk]_proj/.test(parameter);
    const own = turned ? interleave(data, spec.headDim, shape[0]) : data;
    if (shape.length === 1) return { name: tensor, shape, type: 'F32', data: own };
    const fits = shape[1] % ggmlTypes[storage].block === 0;
    return { name: tensor, shape, type: fits ? storage : 'F16', data: own };
  });
  if (!spec.ropeScaling) return entries;
  const plain = inverseFrequencies({ ...spec, ropeScaling: undefined });
  const scaled = inverseFrequencies(spec);
  return [...entries, { name: 'rope_freqs.weight', shape: [plain.length], type: 'F32', data: plain.map((f, i) => f / scaled[i]) }];
}

/** ggml's name of each parameter. */
function ggmlNames(layers: number): Map<string, string> {
  const inner = [
    'attn_norm',
    'attn_q',
    'attn_k',
    'attn_v',
    'attn_output',
    'attn_q_norm',
    'attn_k_norm',
    'ffn_norm',
    'ffn_gate',
    'ffn_up',
    'ffn_down',
  ];
  const all = ['token_embd.weight', 'output_norm.weight', 'output.weight'];
  for (let layer = 0; layer < layers; layer++)
    for (const module of inner) for (const kind of ['weight', 'bias']) all.push(`blk.${layer}.${module}.${kind}`);
  return new Map(all.map((tensor) => [parameterName(tensor), tensor]));
}

/** Brings the rows of llama's q and k projections into GGUF's order: row `i + j · headDim / 2` of a head becomes row `2i + j`. */
function interleave(data: Float32Array, headDim: number, rows: number): Float32Array {
  const out = new Float32Array(data.length);
  const width = data.length / rows;
  for (let row = 0; row < rows; row++) {
    const inHead = row % headDim;
    const target = row - inHead + 2 * (inHead % (headDim / 2)) + Math.floor(inHead / (headDim / 2));
    out.set(data.subarray(row * width, (row + 1) * width), target * width);
  }
  return out;
}

function* chunks(metadata: Record<string, Value>, entries: readonly Entry[]): Iterable<Uint8Array> {
  const sizes = entries.map(({ type, data }) => (data.length / ggmlTypes[type].block) * ggmlTypes[type].bytes);
  const header = new Writer();
  header.bytes(new TextEncoder().encode('GGUF'));
  header.u32(3);
  header.u64(entries.length);
  header.u64(Object.keys(metadata).length);
  for (const [key, value] of Object.entries(metadata)) {
    header.string(key);
    header.value(value);
  }
  let offset = 0;
  entries.forEach(({ name, shape, type }, i) => {
    header.string(name);
    header.u32(shape.length);
    for (const size of [...shape].reverse()) header.u64(size);
    header.u32(ggmlTypes[type].id);
    header.u64(offset);
    offset = aligned(offset + sizes[i]);
  });
  header.bytes(new Uint8Array(aligned(header.length) - header.length));
  yield header.done();
  for (const [i, { type, data }] of entries.entries()) {
    yield encode(data, type);
    const padding = aligned(sizes[i]) - sizes[i];
    if (padding > 0) yield new Uint8Array(padding);
  }
}

const aligned = (n: number): number => Math.ceil(n / alignment) * alignment;

/** Numbers as ggml stores them. */
export function encode(data: Float32Array, type: GgufStorage): Uint8Array {
  const bytes = (x: Float32Array | Uint16Array) => new Uint8Array(x.buffer, x.byteOffset, x.byteLength);
  switch (type) {
    case 'F32':
      return bytes(data);
    case 'F16':
      return bytes(float32ToFloat16(data));
    case 'BF16':
      return bytes(float32ToBfloat16(data));
    case 'Q8_0':
      return quantised(data);
    default:
      throw new ConfigError(`GGUF as ${type satisfies never}`);
  }
}

/** Q8_0: blocks of 32 numbers as `scale · q`, the scale a float16 and `max |x| / 127`. */
function quantised(data: Float32Array): Uint8Array {
  const blocks = data.length / 32;
  const scales = new Float32Array(blocks);
  for (let b = 0; b < blocks; b++) {
    let most = 0;
    for (let i = 32 * b; i < 32 * b + 32; i++) most = Math.max(most, Math.abs(data[i]));
    scales[b] = most / 127;
  }
  const halves = float32ToFloat16(scales);
  const out = new Uint8Array(34 * blocks);
  const view = new DataView(out.buffer);
  for (let b = 0; b < blocks; b++) {
    view.setUint16(34 * b, halves[b], true);
    const inverse = scales[b] > 0 ? 1 / scales[b] : 0;
    for (let i = 0; i < 32; i++) {
      const x = data[32 * b + i] * inverse;
      view.setInt8(34 * b + 2 + i, Math.sign(x) * Math.round(Math.abs(x))); // halves go away from 0, as C's roundf
    }
  }
  return out;
}

class Writer {
  private buffer = new Uint8Array(1 << 16);
  private at = 0;
  private readonly text = new TextEncoder();
  get length(): number {
    return this.at;
  }
  bytes(bytes: Uint8Array): void {
    this.room(bytes.length);
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }
  u32(value: number): void {
    this.number(4, (view, at) => view.setUint32(at, value, true));
  }
  u64(value: number): void {
    this.number(8, (view, at) => view.setBigUint64(at, BigInt(value), true));
  }
  string(value: string): void {
    const bytes = this.text.encode(value);
    this.u64(bytes.length);
    this.bytes(bytes);
  }
  value(value: Value): void {
    switch (value.kind) {
      case 'uint32':
        this.u32(4);
        this.u32(value.value);
        break;
      case 'float32':
        this.u32(6);
        this.number(4, (view, at) => view.setFloat32(at, value.value, true));
        break;
      case 'bool':
        this.u32(7);
        this.bytes(Uint8Array.of(value.value ? 1 : 0));
        break;
      case 'string':
        this.u32(8);
        this.string(value.value);
        break;
      case 'strings':
        this.u32(9);
        this.u32(8);
        this.u64(value.value.length);
        for (const one of value.value) this.string(one);
        break;
      case 'int32s':
        this.u32(9);
        this.u32(5);
        this.u64(value.value.length);
        for (const one of value.value) this.number(4, (view, at) => view.setInt32(at, one, true));
        break;
      default:
        throw new ConfigError(`metadata of kind ${JSON.stringify(value satisfies never)}`);
    }
  }
  done(): Uint8Array {
    return this.buffer.slice(0, this.at);
  }
  private number(size: number, set: (view: DataView, at: number) => void): void {
    this.room(size);
    set(new DataView(this.buffer.buffer), this.at);
    this.at += size;
  }
  private room(more: number): void {
    if (this.at + more <= this.buffer.length) return;
    const next = new Uint8Array(Math.max(2 * this.buffer.length, this.at + more));
    next.set(this.buffer);
    this.buffer = next;
  }
}
