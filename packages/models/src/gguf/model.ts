import { FormatError } from '@plumbline/core';
import { type DecoderSpec, decoderSpec, inverseFrequencies, type Llama3Rope } from '../decoder/spec.js';
import type { Gguf, GgufValue } from './parse.js';

const families = { llama: 'llama', qwen2: 'qwen2', qwen3: 'qwen3', gemma2: 'gemma2', phi3: 'phi3', gpt2: 'gpt2' } as const;
export type GgufArchitecture = keyof typeof families;

/**
 * What a GGUF file says of its decoder. Mistral's files are of the architecture llama.
 * @param ropeFactors the tensor `rope_freqs.weight`, where the file has it: what rotary frequencies are divided by
 * @throws FormatError naming the metadata entry that is missing or not supported
 */
export function specFromGguf({ metadata, tensors }: Gguf, name: string, ropeFactors?: Float32Array): DecoderSpec {
  const architecture = architectureOf(metadata, name);
  const gemma = architecture === 'gemma2';
  const number = (key: string, fallback?: number): number => {
    const value = metadata[`${architecture}.${key}`] ?? fallback;
    if (typeof value !== 'number')
      throw new FormatError(`${name}: metadata "${architecture}.${key}" must be a number, found ${show(value)}`);
    return value;
  };
  const find = (tensor: string) => tensors.find((t) => t.name === tensor);
  const embeddings = find('token_embd.weight');
  if (!embeddings) throw new FormatError(`${name}: there is no tensor "token_embd.weight" among ${tensors.length}`);
  if (find('rope_factors_long.weight') || find('rope_factors_short.weight'))
    throw new FormatError(`${name}: rotary factors that change with the length of the text ("rope_factors_long.weight") are not supported`);
  const heads = number('attention.head_count');
  const width = number('embedding_length');
  const layers = number('block_count');
  const headDim = number('attention.key_length', width / heads);
  const window = number('attention.sliding_window', 0);
  const ropeTheta = architecture === 'gpt2' ? 0 : number('rope.freq_base', 10_000);
  const scaling = architecture === 'gpt2' ? {} : scalingOf(metadata, architecture, { headDim, ropeTheta }, ropeFactors, name);
  const softcap = (key: string) => {
    const value = number(key, 0);
    return value > 0 ? value : undefined;
  };
  return decoderSpec({
    family: families[architecture],
    vocabSize: embeddings.shape[0],
    width,
    layers,
    heads,
    kvHeads: number('attention.head_count_kv', heads),
    headDim,
    mlpWidth: number('feed_forward_length'),
    contextLength: number('context_length'),
    ropeTheta,
    ...scaling,
    rmsNormEps: architecture === 'gpt2' ? number('attention.layer_norm_epsilon', 1e-5) : number('attention.layer_norm_rms_epsilon', 1e-6),
    tiedEmbeddings: !find('output.weight'),
    attentionBias: architecture !== 'gpt2' && find('blk.0.attn_q.bias') ? (find('blk.0.attn_output.bias') ? 'all' : 'qkv') : undefined,
    qkNorm: find('blk.0.attn_q_norm.weight') !== undefined,
    ...(window > 0 && { windows: Array.from({ length: layers }, (_, layer) => (gemma && layer % 2 === 1 ? 0 : window)) }),
    ...(gemma && {
      // Files do not say it: all Gemma 2 scale by the head's width but the 27B, which has 46 layers.
      attentionScale: (layers === 46 ? width / heads : headDim) ** -0.5,
      attentionSoftcap: softcap('attn_logit_softcapping'),
      logitSoftcap: softcap('final_logit_softcapping'),
    }),
  });
}

export function architectureOf(metadata: Gguf['metadata'], name: string): GgufArchitecture {
  const architecture = metadata['general.architecture'];
  if (typeof architecture !== 'string' || !Object.hasOwn(families, architecture))
    throw new FormatError(`${name}: general.architecture is ${show(architecture)}; supported are ${Object.keys(families).join(', ')}`);
  return architecture as GgufArchitecture;
}

/** Llama 3's scaling where the factors are its own, so that the model can be written again; else the factors as they are. */
function scalingOf(
  metadata: Gguf['metadata'],
  architecture: string,
  rope: { headDim: number; ropeTheta: number },
  factors: Float32Array | undefined,
  name: string,
): { ropeScaling?: Llama3Rope; ropeFactors?: number[] } {
  const half = rope.headDim / 2;
  const type = metadata[`${architecture}.rope.scaling.type`] ?? 'none';
  if (type === 'linear') {
    const factor = metadata[`${architecture}.rope.scaling.factor`];
    if (typeof factor !== 'number' || !(factor > 0))
      throw new FormatError(`${name}: metadata "${architecture}.rope.scaling.factor" must be a number above 0, found ${show(factor)}`);
    if (factor !== 1) return { ropeFactors: new Array<number>(half).fill(factor) };
  } else if (type !== 'none') {
    throw new FormatError(`${name}: metadata "${architecture}.rope.scaling.type" is ${show(type)}; supported are "none" and "linear"`);
  }
  if (!factors) return {};
  if (factors.length !== half)
    throw new FormatError(`${name}: "rope_freqs.weight" has ${factors.length} factors for ${half} rotary frequencies`);
  const plain = inverseFrequencies(rope);
  for (const originalContextLength of [8192, 32]) {
    const ropeScaling = { factor: Math.max(...factors), lowFreqFactor: 1, highFreqFactor: 4, originalContextLength };
    const scaled = inverseFrequencies({ ...rope, ropeScaling });
    if (factors.every((factor, i) => Math.abs(plain[i] / scaled[i] / factor - 1) < 1e-4)) return { ropeScaling };
  }
  return { ropeFactors: Array.from(factors) };
}

const llamaModules: Record<string, string> = {
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
const modules: Partial<Record<GgufArchitecture, Record<string, string>>> = {
  gemma2: {
    ...llamaModules,
    post_attention_norm: 'post_attention_layernorm',
    ffn_norm: 'pre_feedforward_layernorm',
    post_ffw_norm: 'post_feedforward_layernorm',
  },
  phi3: { ...llamaModules, attn_qkv: 'self_attn.qkv_proj', ffn_up: 'mlp.gate_up_proj' },
  gpt2: {
    attn_norm: 'ln_1',
    attn_qkv: 'attn.c_attn',
    attn_output: 'attn.c_proj',
    ffn_norm: 'ln_2',
    ffn_up: 'mlp.c_fc',
    ffn_down: 'mlp.c_proj',
  },
};
const outer: Record<string, string> = {
  'token_embd.weight': 'model.embed_tokens.weight',
  'output_norm.weight': 'model.norm.weight',
  'output.weight': 'lm_head.weight',
};
const outerGpt2: Record<string, string> = {
  'token_embd.weight': 'transformer.wte.weight',
  'position_embd.weight': 'transformer.wpe.weight',
  'output_norm.weight': 'transformer.ln_f.weight',
  'output_norm.bias': 'transformer.ln_f.bias',
  'output.weight': 'lm_head.weight',
};

/** Hugging Face's name of a GGUF tensor; its own where there is none. */
export function parameterName(tensor: string, architecture: GgufArchitecture = 'llama'): string {
  const [, layer, module, kind] = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(tensor) ?? [];
  const renamed = (modules[architecture] ?? llamaModules)[module];
  const gpt2 = architecture === 'gpt2';
  if (renamed) return `${gpt2 ? 'transformer.h' : 'model.layers'}.${layer}.${renamed}.${kind}`;
  return (gpt2 ? outerGpt2 : outer)[tensor] ?? tensor;
}

/** The shape that `asParameter` gives. */
export function shapeAsParameter(parameter: string, shape: readonly number[], spec: DecoderSpec): number[] {
  return spec.family === 'gpt2' && /\.c_\w+\.weight$/.test(parameter) ? [...shape].reverse() : [...shape];
}

/**
 * A tensor of a GGUF file as Hugging Face has it: llama.cpp keeps llama's q and k rows in interleaved order, Gemma's norms with the 1 that they
 * are added to, and GPT-2's matrices the other way round.
 */
export function asParameter(
  parameter: string,
  shape: readonly number[],
  data: Float32Array,
  spec: DecoderSpec,
): { shape: number[]; data: Float32Array } {
  if (spec.family === 'llama' && /self_attn\.[qk]_proj/.test(parameter))
    return { shape: [...shape], data: unInterleave(data, spec.headDim, shape[0]) };
  if (spec.family === 'gemma2' && /norm\.weight$/.test(parameter)) return { shape: [...shape], data: data.map((x) => x - 1) };
  if (spec.family === 'gpt2' && /\.c_\w+\.weight$/.test(parameter)) {
    const [rows, columns] = shape;
    const turned = new Float32Array(data.length);
    for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) turned[j * rows + i] = data[i * columns + j];
    return { shape: [columns, rows], data: turned };
  }
  return { shape: [...shape], data };
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

export function show(value: GgufValue | undefined): string {
  if (value === undefined) return 'nothing';
  return typeof value === 'string' ? JSON.stringify(value) : String(value).slice(0, 40);
}
